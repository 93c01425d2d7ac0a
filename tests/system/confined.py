# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs with as little as their units leave them."""

import os
import re
import struct

from units import unit_text

NOBODY = 65534  # stands for the units' users


def open_path(directory):
    """As /tmp is in a run of root's, nobody else gets to the test's files."""
    while str(directory) != "/":
        directory.chmod(directory.stat().st_mode | 0o011)
        directory = directory.parent


def give(*directories):
    """Directories as systemd makes them for the unit's user."""
    for directory in directories:
        directory.mkdir()
        os.chown(directory, NOBODY, NOBODY)


def give_agent(agent):
    """An agent's own directories, and the way to them and to who is told of its start."""
    open_path(agent.directory)
    give(*(agent.directory / name for name in ("state", "run", "log")))
    (agent.directory / "notify").chmod(0o666)


def let_in_by_access_list(path, user):
    """The user may read the file, and nobody else but its owner; false where no file system here has acl(5)."""
    entries = (1, 6, -1), (2, 4, user), (4, 0, -1), (16, 4, -1), (32, 0, -1)  # owner, user, group, mask, others
    try:
        os.setxattr(path, "system.posix_acl_access",
                    struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries))
    except OSError:
        return False
    return True


def as_unit(program):
    """In front of a command: the user and the capabilities that the unit gives."""
    sets = re.search(r"^CapabilityBoundingSet=(.*)$", unit_text(program), re.M).group(1).lower()
    plus = "".join(f",+{name.removeprefix('cap_')}" for name in sets.split())
    return ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups",
            f"--inh-caps=-all{plus}", f"--ambient-caps=-all{plus}", f"--bounding-set=-all{plus}"]


def status(process):
    """/proc/PID/status: names and texts."""
    with open(f"/proc/{process.pid}/status") as file:
        return {name: text.strip() for name, text in (line.split(":", 1) for line in file)}
