# SPDX-License-Identifier: GPL-3.0-or-later
"""jitgate beside the real ufw: each refuses what it refuses, and nothing that ufw does opens the gate or costs a session."""

import os
import pathlib
import shutil
from functools import partial

import pytest

from beside import assert_undisturbed
from doctor import OK, PROBLEM, doctor
from harness import Listener, is_open

SHARE = pathlib.Path("/usr/share/ufw")
RULES = [f"{name}{family}.rules" for name in ("before", "user", "after") for family in ("", "6")]

families = pytest.mark.parametrize("family", [4, 6])


class Ufw:
    """ufw as it is installed, with configuration of its own: what this host's administrator wrote is left alone."""

    def __init__(self, vm, name):
        if not shutil.which("ufw") or not SHARE.is_dir():
            pytest.skip("ufw is missing")
        self.vm = vm
        self.root = pathlib.Path("/run/ufw-of-tests") / name  # it warns below a directory that all may write to
        etc = self.root / "etc" / "ufw"
        (etc / "applications.d").mkdir(parents=True)
        for name in ["ufw.conf", *RULES]:
            shutil.copy(SHARE / name, etc)
        (etc / "sysctl.conf").write_text("")
        (self.root / "etc/default").mkdir()
        (self.root / "etc/default/ufw").write_text(
            'IPV6=yes\nDEFAULT_INPUT_POLICY="DROP"\nDEFAULT_OUTPUT_POLICY="ACCEPT"\nDEFAULT_FORWARD_POLICY="DROP"\n'
            'DEFAULT_APPLICATION_POLICY="SKIP"\nMANAGE_BUILTINS=no\nIPT_SYSCTL=/etc/ufw/sysctl.conf\nIPT_MODULES=""\n')
        shutil.copytree("/lib/ufw", self.root / "lib/ufw")  # its lock is there too
        (self.root / "usr/share").mkdir(parents=True)
        os.symlink(SHARE, self.root / "usr/share/ufw")

    def __call__(self, *arguments):
        return self.vm.run("ufw", f"--rootdir={self.root}", f"--datadir={self.root}", *arguments, timeout=60)


@pytest.fixture
def ufw(world):
    return Ufw(world.vm, world.vm.name)


@families
def test_a_port_is_open_where_ufw_and_a_grant_let_it_in(world, agent, ufw, family):
    vm, requester, address = world.vm, world.requester, world.vm.address(family)
    Listener(vm, "::", 22, dual_stack=True)
    agent.configure(ports={"ssh": {"number": 22}})
    ufw("--force", "enable")
    agent.start()
    agent.grant("22/tcp", requester.address(family))
    assert not is_open(requester, address, 22), "ufw denies what comes in, unless it is told"
    found = doctor(agent).of("firewall")
    assert [finding["verdict"] for finding in found] == [PROBLEM, PROBLEM], found
    assert all("INPUT" in finding["message"] and "ufw allow 22/tcp" in finding["advice"] for finding in found), found
    ufw("allow", "22/tcp")
    assert is_open(requester, address, 22)
    assert not is_open(world.stranger, address, 22), "ufw's rule opened the gate"
    assert doctor(agent).verdicts("firewall") == {OK}
    ufw("delete", "allow", "22/tcp")
    ufw("limit", "22/tcp")
    assert is_open(requester, address, 22)
    assert doctor(agent).verdicts("firewall") == {OK}


@families
def test_nothing_that_ufw_does_opens_the_gate_or_costs_a_session(world, agent, ufw, family, older_kernel):
    """Also where the kernel can't own tables: ufw changes its own chains, and no others."""
    agent.environment.update(older_kernel)
    steps = (("allow", "22/tcp"), ("--force", "enable"), ("reload",), ("disable",), ("--force", "enable"),
             ("--force", "reset"))
    assert_undisturbed(world, agent, family, [partial(ufw, *step) for step in steps])


def test_what_ufw_denies_a_grant_does_not_open(world, agent, ufw):
    """An administrator who blocks an address in ufw has blocked it."""
    Listener(world.vm, "::", 22, dual_stack=True)
    ufw("deny", "from", world.requester.v4)
    ufw("allow", "22/tcp")
    ufw("--force", "enable")
    agent.start()
    agent.grant("22/tcp", [world.requester.v4, world.stranger.v4])
    assert is_open(world.stranger, world.vm.v4, 22)
    assert not is_open(world.requester, world.vm.v4, 22)
