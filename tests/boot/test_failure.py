# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon dies, hangs, or does not start: the gate stands, grants go on, and systemd keeps at it."""

import os
import shutil
import signal

import pytest

from guarded import SSH
from network import MACHINE4
from sockets import is_open
from world import await_

PROGRAM = "/usr/sbin/jitgated"
N_KILLS = 12  # more than systemd's own limit of starts


def kill(machine, number=signal.SIGKILL):
    machine.systemctl("kill", f"--signal={number.name}", "jitgated")


def test_a_crash_is_mended(guarded):
    pid = guarded.main_pid("jitgated")
    with guarded.watched():
        kill(guarded)
        await_(lambda: guarded.main_pid("jitgated") not in (0, pid), 20, "it is started again")
        guarded.await_active()
    assert guarded.show("jitgated", "NRestarts") == "1"
    assert list(guarded.grants().values()) == ["active"]
    assert not guarded.audit("gate_removed")


def test_it_comes_back_however_often_it_is_killed(guarded, measure):
    """Killed again as soon as it is there, more often than systemd's limit of starts is: it is not given up."""
    with guarded.watched(measure, f"killed {N_KILLS} times"):
        for _ in range(N_KILLS):
            pid = await_(lambda: guarded.main_pid("jitgated"), 20, "it is started again")
            kill(guarded)
            await_(lambda: guarded.main_pid("jitgated") != pid, 10, "it is dead")
        await_(lambda: guarded.main_pid("jitgated"), 20, "it is started again")
        guarded.await_active()
    assert list(guarded.grants().values()) == ["active"]


def test_a_program_that_ends_at_once(guarded, measure):
    """It is tried again and again, and the gate stands; once it is mended it is back by itself."""
    program, kept = guarded.path(PROGRAM), guarded.directory / "jitgated"
    shutil.copy2(program, kept)
    with guarded.watched(measure, "the program ends at once"):
        # Not a script: its shell opens it by its name, once more, and may find the mended program there.
        shutil.copy2(guarded.path("/bin/false"), guarded.path(PROGRAM + ".broken"))
        guarded.path(PROGRAM + ".broken").rename(program)
        kill(guarded)
        await_(lambda: int(guarded.show("jitgated", "NRestarts")) > 6, 60, "it is started again and again")
        assert guarded.gate_stands()
        shutil.copy2(kept, guarded.path(PROGRAM + ".mended"))
        guarded.path(PROGRAM + ".mended").rename(program)
        await_(lambda: guarded.show("jitgated", "ActiveState") == "active"
               and guarded.run("jitgate", "status", check=False).returncode == 0, 90, "it is back")
    assert list(guarded.grants().values()) == ["active"]


def test_a_daemon_that_hangs_is_replaced(guarded, measure):
    """Within WatchdogSec; nobody who comes meanwhile is answered wrong."""
    limit = guarded.show("jitgated", "WatchdogUSec")
    assert limit == "30s"
    # The same in less time.
    guarded.write("/etc/systemd/system/jitgated.service.d/watchdog.conf", "[Service]\nWatchdogSec=2\n")
    guarded.systemctl("daemon-reload")
    guarded.systemctl("restart", "jitgated")
    pid = guarded.main_pid("jitgated")
    with guarded.watched(measure, "hung until the watchdog"):
        kill(guarded, signal.SIGSTOP)
        await_(lambda: guarded.main_pid("jitgated") not in (0, pid), 30, "it is replaced")
        guarded.await_active()
        assert guarded.run("jitgate", "status").returncode == 0
    assert any("atchdog" in str(r["MESSAGE"]) for r in guarded.journal("--boot", "UNIT=jitgated.service"))
    assert list(guarded.grants().values()) == ["active"]


def test_a_tmp_that_can_not_be_written(guarded, measure):
    """As on a disk that is full or read-only. The daemon starts again, and local root opens a port."""
    guarded.run("mount", "-t", "tmpfs", "-o", "ro", "none", "/tmp")
    with guarded.watched(measure, "restarted without a /tmp"):
        pid = guarded.main_pid("jitgated")
        kill(guarded)
        await_(lambda: guarded.main_pid("jitgated") not in (0, pid), 20, "it is started again")
        guarded.await_active()
    guarded.run("jitgate", "grant", "--port", f"{SSH}/tcp", "--source", guarded.network.stranger.v4, "--for", "PT10M",
                "--reason", "the rest is down")
    assert is_open(guarded.network.stranger, MACHINE4, SSH)


def test_a_clean_stop_that_removes(machine):
    """on_stop = remove: for a stop, not for a restart's crash."""
    machine.configure(on_stop="remove")
    network = machine.network
    machine.boot()
    assert not machine.is_open(network.stranger)
    pid = machine.main_pid("jitgated")
    kill(machine)
    await_(lambda: machine.main_pid("jitgated") not in (0, pid), 20, "it is started again")
    machine.await_active()
    assert not machine.is_open(network.stranger)
    machine.systemctl("stop", "jitgated")
    assert not machine.gate_stands()
    assert machine.lets_in(network.stranger, 20)
    assert "managed ports are open" in machine.journal("MESSAGE_ID=b2bd7ae9e2e74bd0a5d9f2a40be6fe05")[-1]["MESSAGE"]


def test_a_grant_ends_on_time_with_the_daemon_dead(guarded):
    """The kernel ends it."""
    guarded.grant(guarded.network.stranger, seconds=3)
    guarded.systemctl("mask", "--runtime", "jitgated")
    guarded.systemctl("kill", "--signal=SIGKILL", "jitgated")
    await_(lambda: guarded.main_pid("jitgated") == 0, 10, "it is dead")
    await_(lambda: not is_open(guarded.network.stranger, MACHINE4, SSH), 10, "the grant has ended")
    assert guarded.is_open(guarded.network.requester)
    assert os.path.exists(guarded.path("/var/lib/jitgate/ledger"))


@pytest.mark.parametrize("spoil", [
    lambda path: path.write_text("[agent]\nmood = enforce\n"), lambda path: path.chmod(0o600)],
    ids=["bad", "unreadable"])
def test_a_configuration_that_can_not_be_taken_at_boot(guarded, spoil):
    """The last good one is in force. Mended, the file is."""
    spoil(guarded.path("/etc/jitgate/agent.conf"))
    guarded.reboot()
    guarded.await_active()
    assert guarded.gate_stands() and not guarded.is_open(guarded.network.stranger)
    assert guarded.lets_in(guarded.network.requester, 20)
    assert "agent.conf:" in guarded.status()["configurationError"]
    guarded.configure()
    guarded.systemctl("reload", "jitgated")
    assert "configurationError" not in guarded.status()
    assert list(guarded.grants().values()) == ["active"]
