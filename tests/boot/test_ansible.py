# SPDX-License-Identifier: GPL-3.0-or-later
"""contrib/ansible: the role, by Debian's Ansible, on a machine that is up."""

import json
import re
import shutil

import pytest

from contrib import CONTRIB, example, filled
from guarded import SIGNING_KEY, SSH, VM_ID
from plane import VM, Neighbour, feed_state
from world import await_

PLAY, NAME = "/root/play", VM.rpartition("/")[2]
TOKEN = "/root/token-for"
FILES = "/etc/jitgate/agent.conf", "/etc/jitgate/trust.jwks"


class Play:
    """The README's playbook on a machine, which is its own control node."""

    def __init__(self, machine, text):
        self.machine = machine
        shutil.copytree(CONTRIB / "ansible/roles", machine.path(f"{PLAY}/roles"))
        machine.write(f"{PLAY}/play.yml", text)

    def run(self, **variables):
        """What it printed, and how many tasks changed something, or None where it failed."""
        done = self.machine.run("ansible-playbook", "--connection=local", f"--inventory={NAME},", f"{PLAY}/play.yml",
                                "--extra-vars", json.dumps(variables), check=False, timeout=120)
        said = done.stdout + done.stderr
        recap = re.search(r"\bchanged=(\d+) .*\bfailed=(\d+)", said)
        assert recap and (done.returncode == 0) == (recap[2] == "0"), said
        return said, int(recap[1]) if done.returncode == 0 else None

    def state(self):
        """What a run that fails must leave as it is."""
        files = [(self.machine.path(name).read_bytes(), self.machine.path(name).stat().st_mtime_ns) for name in FILES]
        return files, self.machine.main_pid("jitgated"), self.machine.grants(), self.machine.audit("configuration_reloaded")


def playbook(machine, blanks):
    return filled(example("ansible", "hosts: web"),
                  {"hosts: web": f"hosts: {NAME}", "10.0.0.0/8": machine.network.requester.v4, **blanks})


@pytest.fixture
def up(managed):
    if managed.suite == "bullseye":
        pytest.skip("its Ansible, 2.10, comes with all collections, which take longer to install than the tests take")
    managed.boot()
    managed.run("apt-get", "-qq", "update")
    return managed


@pytest.fixture
def play(up, installed):
    up.write(SIGNING_KEY, (installed / "root/signing.jwk").read_text(), 0o600)
    made = Play(up, playbook(up, {"mode: audit": f"mode: audit\n      vm_id: {VM_ID}"}))
    made.trust = (installed / "etc/jitgate/trust.jwks").read_text()
    up.write(f"{PLAY}/trust.jwks", made.trust)
    return made


def test_it_runs_again_and_again(play):
    """A first run, one that has nothing to do, one with a variable changed; mistakes leave all as it was."""
    machine, network = play.machine, play.machine.network
    said, changed = play.run()
    assert changed, said
    assert machine.show("jitgated", "UnitFileState") == "enabled"
    assert machine.status()["mode"] == "audit"
    assert machine.lets_in(network.stranger, 20)
    pid = machine.main_pid("jitgated")
    said, changed = play.run()
    assert changed == 0, said

    enforcing = {"jitgate_agent": {"mode": "enforce", "vm_id": VM_ID}}
    said, changed = play.run(**enforcing)
    assert changed, said
    assert machine.main_pid("jitgated") == pid
    assert machine.status()["mode"] == "enforce"
    assert not machine.is_open(network.stranger)
    assert machine.lets_in(network.requester)

    machine.grant(network.stranger, numbers=[SSH])
    before = play.state()
    other = play.trust.replace('"k1"', '"k2"')
    assert other != play.trust
    # Beside what is wrong is what could be placed, were it not for that.
    for mistake, told in (
            ({"jitgate_agent": {}, "jitgate_trust": other}, "jitgate_agent.mode"),
            ({"jitgate_ports": {"ssh": {"nubmer": SSH}}, "jitgate_trust": other}, "nubmer")):
        said, changed = play.run(**{**enforcing, **mistake})
        assert changed is None and told in said, said
        assert play.state() == before, mistake
    assert machine.lets_in(network.stranger)


@pytest.fixture
def joining(aside, up):
    """The same, with what the README has for joining in place of what it says. Who asks for a token gets what is written
    to its file."""
    plane = Neighbour(aside, up, is_trusted=False)
    alone = example("ansible", "hosts: web")
    agent = alone[alone.index("    jitgate_agent:"):alone.index("    jitgate_ports:")]
    trust = alone[alone.index("    jitgate_trust:"):alone.index("  roles:")]
    joins = filled(example("ansible", "jitgate_enroll_url"), {
        "/subscriptions/…/virtualMachines": VM.rpartition("/")[0], "SHA256:…": plane.fingerprint(),
        "ssh plane jitgate-server enrollment new --vm": TOKEN})
    made = Play(up, playbook(up, {agent: "", trust: joins}))
    made.plane = plane
    up.write(TOKEN, f"#!/bin/sh\n[ \"$1\" = {VM} ] && cat {TOKEN}.file\n", 0o755)
    return made


def test_it_joins_a_control_plane(joining):
    """With a certificate of its own. What fails leaves all as it was, and the token good; a machine that has joined needs none."""
    machine, network, plane = joining.machine, joining.machine.network, joining.plane
    token = plane.token()
    machine.write(f"{TOKEN}.file", f"{token}\n", 0o600)
    own = {"jitgate_enroll_ca": plane.certificate}
    for mistake, told in (({}, "certificate"),
                          ({**own, "jitgate_enroll_fingerprint": "SHA256:" + 43 * "A"}, "fingerprint")):
        said, changed = joining.run(**mistake)
        assert changed is None and told in said and token not in said, said
        assert not machine.path("/etc/jitgate/agent.conf").exists()
        assert machine.show("jitgated", "ActiveState") == "inactive"
    said, changed = joining.run(**own)
    assert changed and token not in said, said
    assert machine.status()["vmId"] == VM and machine.status()["mode"] == "audit"
    await_(lambda: feed_state(machine) == "connected", 20, "the poll is connected")
    assert machine.lets_in(network.stranger, 20)
    assert token not in machine.run("journalctl", "--all").stdout

    for asked in TOKEN, f"{TOKEN}.file":
        machine.path(asked).unlink()
    said, changed = joining.run(**own)
    assert changed == 0, said
    pids = [machine.main_pid(unit) for unit in ("jitgated", "jitgate-poll")]
    said, changed = joining.run(**own, jitgate_agent={"mode": "enforce", "vm_id": VM})
    assert changed and machine.main_pid("jitgated") == pids[0] and machine.main_pid("jitgate-poll") != pids[1], said
    await_(lambda: not machine.is_open(network.stranger), 20, "it is enforced")
    plane.ask(network.stranger)
    await_(lambda: machine.lets_in(network.stranger), 20, "the grant is there")
    said, changed = joining.run(**own, jitgate_agent={"mode": "enforce", "vm_id": VM + "2"})
    assert changed is None and "--replace" in said and machine.status()["vmId"] == VM, said
