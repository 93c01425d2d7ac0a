# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepares and tests each suite, some at once: suites.py [PYTEST ARGUMENTS]. tests/boot/run starts it."""

import os
import pathlib
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ["BUILD"])
SUITES = ["bookworm", "trixie", "bullseye"]
TIED = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


class Groups:
    """A control group for each suite, below our own: what is in it is the suite's."""

    def __init__(self):
        mounts = [line.split() for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
        tops = [fields[1] for fields in mounts if fields[2] == "cgroup2"]
        if not tops:
            raise SystemExit("tests/boot/run: no cgroup2 is mounted here, and the containers need it")
        lines = pathlib.Path("/proc/self/cgroup").read_text().splitlines()
        own = next(line[3:] for line in lines if line.startswith("0::"))
        self.top = pathlib.Path(tops[0] + own)

    def make(self, name):
        made = self.top / f"jitgate-boot-{os.getpid()}-{name}"
        made.mkdir()
        return made

    def remove_dead(self):
        """Those of runs that are over, this one or one that was killed: what has processes can't be removed."""
        for group in self.top.glob("jitgate-boot-*"):
            for directory, _, _ in os.walk(group, topdown=False):
                try:
                    os.rmdir(directory)
                except OSError:
                    pass


def call(command, log, **options):
    return subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False,
                          **options).returncode


def run(suite, groups, arguments):
    """Returns the exit status. What is printed meanwhile is in a file, and is shown in the end."""
    directory = BUILD / "boot" / suite
    directory.mkdir(exist_ok=True)
    begun = time.monotonic()
    selects = any(not argument.startswith("-") and os.path.exists(argument.split("::")[0]) for argument in arguments)
    with open(directory / "tests.log", "w") as log:
        status = call([*TIED, HERE / "prepare", suite, directory], log)
        prepared = time.monotonic()
        if status == 0:
            status = call(
                ["setpriv", "--pdeathsig", "KILL", "sh", "-c", 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"', "sh",
                 groups.make(suite), *TIED, "--net", "--cgroup", "--", sys.executable, "-m", "pytest",
                 "-p", "no:cacheprovider", "--rootdir", HERE, "--tb", "short", "--basetemp", "/run/tests", "-q", "-rs",
                 *arguments, *([] if selects else [HERE])], log, env=dict(os.environ, JITGATE_SUITE=suite))
    print(f"== {suite}\n{(directory / 'tests.log').read_text()}{suite}: prepared in {prepared - begun:.0f} s, "
          f"tested in {time.monotonic() - prepared:.0f} s, exit status {status}", flush=True)
    return status

def main():
    suites = os.environ.get("SUITES", "").split() or SUITES
    jobs = int(os.environ.get("JOBS") or os.cpu_count())
    groups = Groups()
    groups.remove_dead()
    begun = time.monotonic()
    try:
        with ThreadPoolExecutor(jobs) as pool:
            statuses = list(pool.map(lambda suite: run(suite, groups, sys.argv[1:]), suites))
    finally:
        groups.remove_dead()
    print(f"boot tests: {'FAILED' if any(statuses) else 'passed'} in {time.monotonic() - begun:.0f} s")
    return 1 if any(statuses) else 0


if __name__ == "__main__":
    sys.exit(main())
