# SPDX-License-Identifier: GPL-3.0-or-later
"""Upgrades and restarts leave no gap: nobody is answered wrong at any time, and sessions live on."""

import glob
import os

import pytest


def by_file(machine):
    name = os.path.basename(glob.glob(f"{machine.next}/jitgate_*.deb")[0])
    return machine.apt("install", f"/repository/next/{name}")


def by_upgrade(machine):
    machine.follow_next()
    return machine.apt("upgrade")


def by_dist_upgrade(machine):
    machine.follow_next()
    return machine.apt("dist-upgrade")


@pytest.mark.parametrize("how", [by_file, by_upgrade, by_dist_upgrade])
def test_an_upgrade_leaves_no_gap(guarded, how, measure):
    before, pid = guarded.version(), guarded.main_pid("jitgated")
    with guarded.watched(measure, f"upgrade {how.__name__}"):
        said = how(guarded)
        guarded.await_active()
    assert "/etc/jitgate" not in said
    assert "+1" in guarded.version() and "+1" not in before
    assert guarded.main_pid("jitgated") != pid
    assert list(guarded.grants().values()) == ["active"]
    assert guarded.show("jitgated", "UnitFileState") == "enabled"
    assert not guarded.audit("gate_removed") and not guarded.audit("gate_repaired")
    guarded.run("jitgate", "audit", "verify")


@pytest.mark.parametrize("command", [
    ["restart", "jitgated"], ["reload", "jitgated"], ["try-reload-or-restart", "jitgated"], ["daemon-reload"],
    ["daemon-reexec"]], ids=" ".join)
def test_systemctl_leaves_no_gap(guarded, command, measure):
    with guarded.watched(measure, "systemctl " + " ".join(command)):
        for _ in range(3):
            guarded.systemctl(*command)
            guarded.await_active()
    assert list(guarded.grants().values()) == ["active"]
    assert guarded.show("jitgated", "NRestarts") == "0"


def test_stop_and_start_leave_no_gap(guarded, measure):
    """on_stop = keep: also while it is stopped."""
    with guarded.watched(measure, "stop and start"):
        guarded.systemctl("stop", "jitgated")
        assert guarded.gate_stands() and guarded.show("jitgated", "ActiveState") == "inactive"
        guarded.systemctl("start", "jitgated")
    assert list(guarded.grants().values()) == ["active"]


def test_a_configuration_that_the_new_version_refuses(guarded, measure):
    """It may be what was good for the one before, too. The gate stands as it was, the package is installed, what the new
    one knows of it is in force, and the journal says why."""
    for path in guarded.path("/etc/jitgate/agent.conf"), guarded.path("/var/lib/jitgate/agent.conf"):
        with path.open("a") as file:
            file.write("mood = 1\n")
    with guarded.watched(measure, "upgrade to a version that refuses the configuration"):
        assert "agent.conf:" in by_upgrade(guarded)
        guarded.await_active()
        assert guarded.gate_stands()
        assert "installed" in guarded.version() and "+1" in guarded.version()
        messages = [str(r["MESSAGE"]) for r in guarded.journal("--boot", "--unit=jitgated")]
        assert any("agent.conf:" in message and "mood" in message for message in messages)
        assert "mood" in guarded.status()["configurationError"]
        assert not guarded.is_open(guarded.network.stranger)
        guarded.configure()
        guarded.systemctl("reload", "jitgated")
        assert "configurationError" not in guarded.status()
    assert list(guarded.grants().values()) == ["active"]


@pytest.mark.parametrize("name", ["agent.conf", "trust.jwks"])
def test_a_file_that_the_service_can_not_read_is_told(guarded, name):
    """Root can read it, and would not notice before somebody needs a grant. The package is installed all the same."""
    guarded.path(f"/etc/jitgate/{name}").chmod(0o600)
    said = by_file(guarded)
    assert f"jitgated, who can't read this: /etc/jitgate/{name}: Permission denied" in said
    assert "installed" in guarded.version() and "+1" in guarded.version()


def test_a_configuration_that_is_gone_is_told(guarded):
    """The daemon, which is not started without it, does not come back; the gate stands."""
    guarded.path("/etc/jitgate/agent.conf").unlink()
    said = by_file(guarded)
    assert "/etc/jitgate/agent.conf: No such file" in said and "jitgate doctor" in said, said
    assert "installed" in guarded.version() and "+1" in guarded.version()
    assert guarded.gate_stands() and not guarded.is_open(guarded.network.stranger)


def test_a_reload_of_a_bad_configuration_changes_nothing(guarded):
    pid = guarded.main_pid("jitgated")
    guarded.write("/etc/jitgate/agent.conf", "[agent]\nmood = enforce\n")
    with guarded.watched():
        guarded.systemctl("reload", "jitgated")
    assert guarded.main_pid("jitgated") == pid
    assert list(guarded.grants().values()) == ["active"]
    assert guarded.audit("reload_failed")
