# SPDX-License-Identifier: GPL-3.0-or-later
"""jitgate beside the real firewalld, on a message bus of its own: each refuses what it refuses, and nothing that firewalld
does opens the gate or costs a session."""

import os
import pathlib
import shutil
from functools import partial

import pytest

from beside import assert_undisturbed
from doctor import OK, PROBLEM, doctor, is_reached
from harness import Listener, await_, is_open

families = pytest.mark.parametrize("family", [4, 6])

BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={}/bus</listen><auth>EXTERNAL</auth><policy context="default">
<allow user="*"/><allow own="*"/><allow send_type="*" eavesdrop="true"/><allow receive_type="*"/></policy></busconfig>
"""


class Firewalld:
    """With configuration of its own: what this host's administrator wrote is left alone."""

    def __init__(self, vm, name):
        for program in "firewalld", "firewall-cmd", "dbus-daemon":
            if not shutil.which(program):
                pytest.skip(f"{program} is missing")
        self.vm = vm
        self.directory = pathlib.Path("/run/firewalld-of-tests") / name
        (self.directory / "etc").mkdir(parents=True)
        (self.directory / "etc/firewalld.conf").write_text(
            "DefaultZone=public\nFirewallBackend=nftables\nCleanupModulesOnExit=no\n")
        (self.directory / "bus.conf").write_text(BUS.format(self.directory))
        self.environment = dict(os.environ, DBUS_SYSTEM_BUS_ADDRESS=f"unix:path={self.directory}/bus")
        vm.spawn("dbus-daemon", "--nofork", f"--config-file={self.directory}/bus.conf", env=self.environment)
        await_((self.directory / "bus").exists, what="the bus")
        self.process = None

    def start(self):
        with open(self.directory / "log", "ab") as log:
            self.process = self.vm.spawn(
                "firewalld", "--nofork", "--nopid", f"--system-config={self.directory}/etc",
                f"--log-file={self.directory}/firewalld.log", env=self.environment, stdout=log, stderr=log)
        await_(lambda: self.call("--state").stdout.strip() == "running", 60, "firewalld runs")

    def stop(self):
        self.process.terminate()
        assert self.process.wait(60) == 0

    def call(self, *arguments):
        return self.vm.call("env", f"DBUS_SYSTEM_BUS_ADDRESS=unix:path={self.directory}/bus", "firewall-cmd",
                            *arguments, timeout=60)

    def __call__(self, *arguments):
        done = self.call(*arguments)
        assert done.returncode == 0, (arguments, done.stderr, (self.directory / "log").read_text())
        return done.stdout


@pytest.fixture
def firewalld(world):
    return Firewalld(world.vm, world.vm.name)


@families
def test_a_port_is_open_where_firewalld_and_a_grant_let_it_in(world, agent, firewalld, family):
    vm, requester, address = world.vm, world.requester, world.vm.address(family)
    Listener(vm, "::", 22, dual_stack=True)
    agent.configure(ports={"ssh": {"number": 22}})
    firewalld.start()
    agent.start()
    agent.grant("22/tcp", requester.address(family))
    assert is_open(requester, address, 22), "the default zone has ssh"
    assert not is_open(world.stranger, address, 22)
    assert doctor(agent).verdicts("firewall") == {OK}
    firewalld("--remove-service=ssh")
    assert not is_reached(requester, address, 22)
    found = doctor(agent).of("firewall")
    assert [finding["verdict"] for finding in found] == [PROBLEM, PROBLEM], found
    assert all("table inet firewalld" in finding["message"] and "--add-port=22/tcp" in finding["advice"]
               for finding in found), found
    firewalld("--panic-on")
    found = doctor(agent).of("firewall")
    assert found and all("--panic-off" in finding["advice"] for finding in found), found
    firewalld("--panic-off")
    firewalld("--permanent", "--add-port=22/tcp")
    firewalld("--reload")
    assert is_open(requester, address, 22)
    assert doctor(agent).verdicts("firewall") == {OK}


@families
def test_nothing_that_firewalld_does_opens_the_gate_or_costs_a_session(world, agent, firewalld, family, older_kernel):
    agent.environment.update(older_kernel)
    assert_undisturbed(world, agent, family, [
        firewalld.start, *(partial(firewalld, step) for step in ("--reload", "--complete-reload", "--add-masquerade")),
        firewalld.stop])
