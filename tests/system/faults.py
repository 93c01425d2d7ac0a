# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes chosen calls of a running jitgated fail, by means of faults.c."""

import collections
import contextlib
import mmap
import os
import struct

# kind: "memory" or "system"; at: which call of those made while it is armed fails, from 1, or 0 for none;
# lasting: all that follow fail too; choice: which of a call's errors; kills: instead, it kills the program
# before the call is made; only: of system calls, those of this name alone count.
Fault = collections.namedtuple("Fault", "kind at lasting choice kills only",
                               defaults=(0, False, 0, False, ""))


class Faults:
    _LAYOUT = struct.Struct("=5B3x3I16s96s")

    def __init__(self, directory, library):
        path = directory / "faults"
        path.write_bytes(bytes(mmap.PAGESIZE))
        with open(path, "r+b") as file:
            self._page = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        self.environment = {
            "JITGATE_FAULTS": str(path), "LD_PRELOAD": str(library),
            "ASAN_OPTIONS": os.environ["ASAN_OPTIONS"]
            + ":verify_asan_link_order=0:allocator_may_return_null=1"}

    def arm(self, fault):
        """From now on calls count."""
        self.disarm()
        self._LAYOUT.pack_into(self._page, 0, 0, 0, fault.lasting, fault.choice, fault.kills,
                               fault.at, 0, 0, fault.only.encode(), b"")
        self._page[0 if fault.kind == "system" else 1] = 1

    def disarm(self):
        self._page[0] = self._page[1] = 0

    @contextlib.contextmanager
    def armed(self, fault):
        self.arm(fault)
        try:
            yield
        finally:
            self.disarm()

    @property
    def _fields(self):
        return self._LAYOUT.unpack_from(self._page)

    @property
    def n_calls(self):
        return self._fields[6]

    @property
    def n_failed(self):
        return self._fields[7]

    @property
    def where(self):
        """The call that failed first: a system call's name, or what asked for memory."""
        return self._fields[9].rstrip(b"\0").decode()
