# SPDX-License-Identifier: GPL-3.0-or-later
"""contrib/ansible: the role, by Debian's Ansible, on a machine that is up."""

import json
import re
import shutil

import pytest

from contrib import CONTRIB, example, filled
from guarded import SIGNING_KEY, SSH, VM_ID

PLAY = "/root/play"
FILES = "/etc/jitgate/agent.conf", "/etc/jitgate/trust.jwks"


class Play:
    """The README's playbook on a machine, which is its own control node."""

    def __init__(self, machine, installed):
        self.machine = machine
        shutil.copytree(CONTRIB / "ansible/roles", machine.path(f"{PLAY}/roles"))
        machine.write(SIGNING_KEY, (installed / "root/signing.jwk").read_text(), 0o600)
        self.trust = (installed / "etc/jitgate/trust.jwks").read_text()
        machine.write(f"{PLAY}/trust.jwks", self.trust)
        machine.write(f"{PLAY}/play.yml", filled(example("ansible", "hosts: web"), {
            "hosts: web": "hosts: localhost", "mode: audit": f"mode: audit\n      vm_id: {VM_ID}",
            "10.0.0.0/8": machine.network.requester.v4}))

    def run(self, **variables):
        """What it printed, and how many tasks changed something, or None where it failed."""
        done = self.machine.run("ansible-playbook", "--connection=local", f"{PLAY}/play.yml", "--extra-vars",
                                json.dumps(variables), check=False, timeout=120)
        said = done.stdout + done.stderr
        recap = re.search(r"\bchanged=(\d+) .*\bfailed=(\d+)", said)
        assert recap and (done.returncode == 0) == (recap[2] == "0"), said
        return said, int(recap[1]) if done.returncode == 0 else None

    def state(self):
        """What a run that fails must leave as it is."""
        files = [(self.machine.path(name).read_bytes(), self.machine.path(name).stat().st_mtime_ns) for name in FILES]
        return files, self.machine.main_pid("jitgated"), self.machine.grants(), self.machine.audit("configuration_reloaded")


@pytest.fixture
def play(managed, installed):
    if managed.suite == "bullseye":
        pytest.skip("its Ansible, 2.10, comes with all collections, which take longer to install than the tests take")
    made = Play(managed, installed)
    managed.boot()
    managed.run("apt-get", "-qq", "update")
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
