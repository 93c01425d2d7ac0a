# SPDX-License-Identifier: GPL-3.0-or-later
"""What the systemd units say, and which system calls a program makes."""

import pathlib
import re
import subprocess

SYSTEMD = pathlib.Path(__file__).resolve().parents[2] / "packaging" / "systemd"
APPARMOR = SYSTEMD.parent / "apparmor"
PROGRAMS = "jitgated", "jitgate-poll", "jitgate-server"


def unit_text(program):
    return (SYSTEMD / f"{program}.service.in").read_text().replace("@PREFIX@", "/usr")


def group_of(name):
    """The system calls that this systemd means by @group."""
    if not name.startswith("@"):
        return {name}
    text = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True,
                          capture_output=True, text=True).stdout
    names = set()
    for line in map(str.strip, text.splitlines()):
        if line.startswith("@") and line != name:
            names |= group_of(line)
        elif line and line[0] not in "@#":
            names.add(line)
    return names


def allowed_calls(program):
    """As the unit's SystemCallFilter= lines say, one after the other."""
    allowed = group_of("@default")
    for line in re.findall(r"^SystemCallFilter=(.*)$", unit_text(program), re.M):
        for name in line.lstrip("~").split():
            if line.startswith("~"):
                allowed -= group_of(name)
            else:
                allowed |= group_of(name)
    return allowed


def listed_calls(program):
    """Those that the unit names one by one."""
    return {name for line in re.findall(r"^SystemCallFilter=([^~].*)$", unit_text(program), re.M)
            for name in line.split() if not name.startswith("@")}


def tracing(trace):
    """In front of a command: strace counts its calls into a file, and the command keeps its process id."""
    # Sanitizers look for leaks by ptrace, too.
    return ["env", "LSAN_OPTIONS=detect_leaks=0", "strace", "-D", "-f", "-c", "-o", str(trace)]


def calls_made(trace):
    """From what strace wrote once the program had ended."""
    rows = map(str.split, pathlib.Path(trace).read_text().splitlines())
    return {row[-1] for row in rows if len(row) >= 5 and re.match(r"[0-9.]+$", row[0])
            and row[-1] != "total"}
