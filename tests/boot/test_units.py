# SPDX-License-Identifier: GPL-3.0-or-later
"""The units, as each Debian's own systemd sees them."""

import re

import pytest

UNITS = "jitgated", "jitgate-poll", "jitgate-server"


@pytest.fixture
def up(machine):
    machine.boot()
    machine.await_active()
    return machine


def test_systemd_has_nothing_to_say_against_them(up):
    done = up.run("systemd-analyze", "verify", "--man=no", *(f"{unit}.service" for unit in UNITS))
    said = [line for line in (done.stdout + done.stderr).splitlines() if "jitgate" in line]
    assert not said
    assert not [r for r in up.journal("--boot", "_PID=1", "--priority=warning") if "jitgate" in str(r["MESSAGE"])]


def exposure(machine, unit):
    said = machine.run("systemd-analyze", "security", "--no-pager", f"{unit}.service").stdout
    return float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", said).group(1)), said


@pytest.mark.parametrize("unit", UNITS)
def test_exposure(up, unit, measure):
    level, said = exposure(up, unit)
    measure(f"exposure of {unit}", level)
    assert level <= 1.5, said


def test_the_daemon_holds_one_privilege(up):
    pid = up.main_pid("jitgated")
    status = up.run("cat", f"/proc/{pid}/status").stdout
    found = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(found["CapEff"], 16) == int(found["CapPrm"], 16) == 1 << 12
    assert found["NoNewPrivs"] == "1" and found["Seccomp"] == "2"


def test_a_start_at_boot_is_not_disturbed(up):
    assert up.show("jitgated", "NRestarts") == "0"
