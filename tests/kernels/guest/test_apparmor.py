# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs' work under their AppArmor profiles, enforced by the kernel."""

import pathlib
import subprocess

import pytest

from control_plane import rule
from harness import BUILD, Listener, await_, is_open
from kernel import assert_as_granted, granted

PROFILES = pathlib.Path("/tree/packaging/apparmor")


class Enforcing:
    """Profiles that the kernel has until close()."""

    def __init__(self, directory):
        self.directory = directory
        self.loaded = []
        (directory / "local").mkdir()
        subprocess.run(["dmesg", "--clear"], check=True)

    def _parse(self, how, profile):
        subprocess.run(["apparmor_parser", how, "--skip-cache", "-I", self.directory, "-I", "/etc/apparmor.d", profile],
                       check=True)

    def load(self, name, attached=False):
        """attached: where the program is executed its profile is the kernel's choice, not a unit's."""
        # What /etc/apparmor.d/local is for: directories elsewhere. Here the tests' own, and the program's.
        (self.directory / "local" / name).write_text(f"/run/tests/** rwk,\n{BUILD}/{name} mr,\n")
        text = (PROFILES / f"{name}.in").read_text().replace("@PREFIX@", "/usr")
        if attached:
            text = text.replace(f"profile {name} {{", f"profile {name} {BUILD}/{name} {{")
        profile = self.directory / name
        profile.write_text(text)
        self._parse("--replace", profile)
        self.loaded.append(profile)

    def close(self):
        for profile in self.loaded:
            self._parse("--remove", profile)


@pytest.fixture
def enforcing(tmp_path_factory):
    made = Enforcing(tmp_path_factory.mktemp("profiles"))
    yield made
    made.close()


@pytest.fixture
def confined(agent, enforcing):
    enforcing.load("jitgated")
    # With no other capability, as its unit starts it.
    agent.wrapper = ["setpriv", "--bounding-set=-all,+net_admin", "aa-exec", "-p", "jitgated", "--"]
    yield agent
    agent.close()


@pytest.fixture
def both_confined(enforcing):
    for name in "jitgate-poll", "jitgate-server":
        enforcing.load(name, attached=True)


def profile_of(process):
    with open(f"/proc/{process.pid}/attr/current", encoding="ascii") as file:
        return file.read().strip("\n\0")


def denials():
    log = subprocess.run(["dmesg"], check=True, capture_output=True, text=True).stdout
    return [line for line in log.splitlines() if "DENIED" in line and 'profile="jitgate' in line]


def test_the_daemon_works_under_its_profile(world, confined):
    agent = confined.start()
    assert profile_of(agent.process) == "jitgated (enforce)"
    Listener(world.vm, "0.0.0.0", 22)
    agent.grant("22/tcp", "192.0.2.7", jti="g")
    assert is_open(world.requester, "192.0.2.1", 22)
    agent.configure(destination_nat="yes")
    agent.reload()
    agent.kill()
    agent.start()
    assert_as_granted(agent)
    agent.revoke("g", sessions="kill")
    assert granted(agent.namespace) == [] and agent.cli("audit", "verify").returncode == 0
    assert agent.stop() == 0
    assert denials() == []


def test_the_profile_confines(confined):
    """It reads nothing else, and executes nothing."""
    for command in (["cat", "/etc/shadow"], ["sh", "-c", "/bin/true"]):
        done = subprocess.run(["aa-exec", "-p", "jitgated", "--", *command], check=False)
        assert done.returncode != 0, command
    assert denials()


def test_a_request_is_served_under_theirs(both_confined, chain, world):
    vm = chain.vms[0].join()
    chain.admin.put({"web-1": [rule(22)]})
    await_(lambda: vm.agent.call("Status")["ports"], 10, "the policy is there")
    Listener(world.vm, "0.0.0.0", 22)
    assert profile_of(chain.server.process) == "jitgate-server (enforce)"
    assert profile_of(vm.poll.process) == "jitgate-poll (enforce)"
    chain.request()
    assert is_open(world.requester, world.vm.v4, 22)
    vm.await_all_told()
    vm.poll.stop()
    vm.poll.start()
    vm.poll.await_state("connected")
    chain.server.reload()
    chain.request(port="22", who="carol")
    chain.server.stop()
    # Root, as whom the server runs here, has capabilities to give up that a unit does not leave it.
    assert [line for line in denials() if 'capname="setpcap"' not in line] == []
