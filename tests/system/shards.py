# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs pytest in several processes, each in namespaces of its own: shards.py N [PYTEST ARGUMENTS].

Each process collects all tests and takes every n-th (conftest.py)."""

import concurrent.futures
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
NO_TESTS = 5  # pytest's exit status: fewer tests than processes, unless all say so


def start(index, count, arguments):
    selects = any(not argument.startswith("-") and os.path.exists(argument.split("::")[0])
                  for argument in arguments)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", HERE,
               "--tb", "short", "--basetemp", "/run/tests",
               "-q", "-rs", *arguments, *([] if selects else [HERE])]
    environment = dict(os.environ, JITGATE_SHARD=f"{index}/{count}")
    output = None if count == 1 else subprocess.PIPE
    # A mount namespace for each: /run with the namespaces' names and xtables' lock is not shared.
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--", *command],
        env=environment, stdout=output, stderr=subprocess.STDOUT, text=True)


def tell(shard):
    """Prints how far it is; returns the rest of what it says, so that it stays in one piece."""
    rest = []
    for line in shard.stdout or ():
        if line.endswith("%]\n"):
            print(line, end="", flush=True)
        else:
            rest.append(line)
    return "".join(rest)


def main():
    count, arguments = max(1, int(sys.argv[1])), sys.argv[2:]
    begun = time.monotonic()
    shards = [start(i, count, arguments) for i in range(count)]
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        for rest in pool.map(tell, shards):
            print(rest, end="", flush=True)
    statuses = {shard.wait() for shard in shards}
    failed = not statuses <= {0, NO_TESTS} or statuses == {NO_TESTS}
    print(f"system tests: {'FAILED' if failed else 'passed'}"
          f" in {time.monotonic() - begun:.0f} s, {count} processes")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
