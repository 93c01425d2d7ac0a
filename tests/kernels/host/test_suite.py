# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on the kernel at hand runs on this one: the system tests, and those for which a machine must be one's own."""

import os

import pytest

BOUND_SECONDS = 4 * 3600  # of all system tests, emulated
COUNTED = True


@pytest.fixture(scope="module", autouse=True)
def files_in_memory(machine):
    """Nothing waits for a disk then: such a wait may last long in counted time."""
    machine.run("sh", "-c", "find /usr/bin /usr/sbin /usr/lib /tree -xdev -type f -size -100M -print0 | xargs -0 cat >/dev/null")


def run_in(machine, *arguments):
    """tests/system/run in the machine, shown as it goes. Waiting costs nothing there: one process does all."""
    machine.begin("tests/system/run", *arguments, environment={
        "BUILD": "/tree/build", "JOBS": "1", "PYTHONPATH": "/tree/tests/system",
        "JITGATE_TEST_SLOWNESS": str(machine.slowness)})
    status = "it said nothing"
    for status in machine.follow(BOUND_SECONDS):
        if isinstance(status, str):
            print(status, end="", flush=True)
    assert status == 0


def test_on_a_machine_of_its_own(machine):
    run_in(machine, "-p", "conftest", "tests/kernels/guest")


def test_the_system_tests(machine):
    files = os.environ["JITGATE_SUITE"].split()
    if files == ["none"]:
        pytest.skip("SUITE=none")
    run_in(machine, *(f"tests/system/{name}" for name in files))
