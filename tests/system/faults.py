# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes chosen calls of a running jitgated fail, and sets its clock, by means of faults.c."""

import collections
import contextlib
import ctypes
import functools
import mmap
import os
import pathlib
import re
import struct
import subprocess

from harness import BUILD

PIDFD_GETFD = 438  # <asm-generic/unistd.h>
CLOCK_WATCH_FLAGS = 3  # TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET
LIBC = ctypes.CDLL(None, use_errno=True)

# kind: "memory" or "system"; at: which call of those made while it is armed fails, from 1, or 0 for none;
# lasting: all that follow fail too; choice: which of a call's errors; kills: instead, it kills the program
# before the call is made; only: of system calls, those of this name alone count, of allocations those that this
# function of jitgated's asks for.
Fault = collections.namedtuple("Fault", "kind at lasting choice kills only",
                               defaults=(0, False, 0, False, ""))


class Faults:
    _LAYOUT = struct.Struct("=5B3x3I16s2I96s")
    _CLOCK, _CLOCK_AT = struct.Struct("=q"), 144

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
        is_function = fault.only and fault.kind == "memory"
        self._LAYOUT.pack_into(self._page, 0, 0, 0, fault.lasting, fault.choice, fault.kills,
                               fault.at, 0, 0, b"" if is_function else fault.only.encode(),
                               *(code_of(fault.only) if is_function else (0, 0)), b"")
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

    def slew_clock(self, seconds):
        """As if the wall clock had been slewed forward: nobody is told."""
        ahead, = self._CLOCK.unpack_from(self._page, self._CLOCK_AT)
        self._CLOCK.pack_into(self._page, self._CLOCK_AT, ahead + round(seconds * 1_000_000))

    def step_clock(self, watch, seconds):
        """As if the wall clock had been set forward; watch is the process's clock_watch()."""
        self.slew_clock(seconds)
        # What the kernel cancels when its clock is set (timerfd_create(2)) elapses instead.
        long_ago = (ctypes.c_long * 4)(0, 0, 0, 1)  # struct itimerspec
        assert LIBC.timerfd_settime(watch, CLOCK_WATCH_FLAGS, long_ago, None) == 0

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
        return self._fields[11].rstrip(b"\0").decode()

    @property
    def failed_for_memory(self):
        return "+0x" in self.where


@functools.cache
def code_of(function):
    """Where in jitgated it begins and ends."""
    symbols = subprocess.run(["nm", "-S", os.path.join(BUILD, "jitgated")], check=True,
                             capture_output=True, text=True).stdout
    (begin, size), = re.findall(rf"^(\w+) (\w+) [tT] {function}$", symbols, re.MULTILINE)
    return int(begin, 16), int(begin, 16) + int(size, 16)


def start_with_unread_ledger(agent, faults):
    """It starts, and will read its ledger later."""
    for at in range(1, 10):  # the audit log is read before
        with faults.armed(Fault("system", at, lasting=True, only="pread64")):
            agent.start()
        if agent.audit("ledger_damaged"):
            return
        agent.kill()
    raise AssertionError("the ledger is read each time")


def clock_watch(pid):
    """A descriptor of the timer by which a process is told that the clock was set."""
    number, = (int(info.name) for info in pathlib.Path(f"/proc/{pid}/fdinfo").iterdir()
               if is_clock_watch(info))
    process = os.pidfd_open(pid)
    watch = LIBC.syscall(PIDFD_GETFD, process, number, 0)
    os.close(process)
    assert watch >= 0, os.strerror(ctypes.get_errno())
    return watch


def is_clock_watch(info):
    with contextlib.suppress(FileNotFoundError):  # closed meanwhile
        text = info.read_text()
        return "clockid: 0\n" in text and f"settime flags: 0{CLOCK_WATCH_FLAGS}" in text
    return False
