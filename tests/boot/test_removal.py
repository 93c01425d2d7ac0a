# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing takes the gate away and keeps what is the owner's; purging takes the state away too. Both say so."""

import signal

import pytest

from world import await_


def test_removing_takes_the_gate_away(guarded):
    network = guarded.network
    said = guarded.apt("remove", "jitgate")
    assert "gate" in said and "removed" in said
    assert not guarded.gate_stands()
    assert guarded.lets_in(network.stranger, 20)
    assert guarded.path("/etc/jitgate/agent.conf").exists() and guarded.path("/var/lib/jitgate/ledger").exists()
    assert not guarded.path("/usr/sbin/jitgated").exists()
    assert guarded.systemctl("is-active", "jitgated", "jitgate-poll", check=False).split() == ["inactive"] * 2
    guarded.reboot()
    assert not guarded.failed()
    assert not guarded.gate_stands() and guarded.lets_in(network.stranger, 20)


def test_reinstalling_enforces_again(guarded):
    guarded.apt("remove", "jitgate")
    guarded.apt("install", "jitgate")
    guarded.await_active()
    assert guarded.gate_stands() and not guarded.is_open(guarded.network.stranger)
    assert list(guarded.grants().values()) == ["active"]
    assert guarded.lets_in(guarded.network.requester)
    guarded.run("jitgate", "audit", "verify")


def test_purging_takes_the_state_away(guarded):
    said = guarded.apt("purge", "jitgate")
    for gone in "/var/lib/jitgate", "/var/log/jitgate", "/run/jitgate":
        assert gone in said
        assert guarded.run("test", "-e", gone, check=False).returncode == 1
    assert "/etc/jitgate" in said and guarded.path("/etc/jitgate/agent.conf").exists()
    assert not guarded.gate_stands() and guarded.lets_in(guarded.network.stranger, 20)
    left = guarded.run("find", "/etc/systemd/system", "-name", "jitgate*", "-not", "-name", "*server*").stdout
    assert not left
    # What has left nothing can be installed anew, and what stayed is in force.
    guarded.apt("install", "jitgate")
    guarded.await_active()
    assert guarded.gate_stands() and guarded.grants() == {}


def test_purging_after_a_removal(guarded):
    guarded.apt("remove", "jitgate")
    said = guarded.apt("purge", "jitgate")
    assert "/var/lib/jitgate" in said and not guarded.path("/var/lib/jitgate").exists()


@pytest.mark.parametrize("how", ["killed", "stopped", "does not start", "kept by policy", "hangs",
                                 "not configured"])
def test_removing_with_the_daemon_not_well(guarded, how):
    """The gate goes all the same."""
    if how == "killed":
        guarded.systemctl("mask", "--runtime", "jitgated")
        guarded.systemctl("kill", "--signal=SIGKILL", "jitgated")
        await_(lambda: guarded.main_pid("jitgated") == 0, 10, "it is dead")
    elif how == "stopped":
        guarded.systemctl("stop", "jitgated")
    elif how == "does not start":
        guarded.write("/etc/jitgate/agent.conf", "nonsense\n")
        guarded.systemctl("restart", "jitgated", check=False)
    elif how == "kept by policy":
        guarded.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
    elif how == "not configured":  # an upgrade that was cut off: dpkg then removes without prerm
        package, = guarded.next.glob("jitgate_*.deb")
        guarded.run("dpkg", "--unpack", f"/repository/next/{package.name}")
    else:
        guarded.write("/etc/systemd/system/jitgated.service.d/stop.conf", "[Service]\nTimeoutStopSec=2\n")
        guarded.systemctl("daemon-reload")
        guarded.systemctl("kill", f"--signal={signal.SIGSTOP.name}", "jitgated")
    assert guarded.gate_stands() and not guarded.is_open(guarded.network.stranger)
    guarded.apt("remove", "jitgate")
    assert not guarded.gate_stands()
    assert guarded.main_pid("jitgated") == 0
    assert guarded.lets_in(guarded.network.stranger, 20)
