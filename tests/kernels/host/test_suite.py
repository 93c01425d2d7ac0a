# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on the kernel at hand runs on this one: the system tests, and those for which a machine must be one's own."""

import os

import pytest

BOUND_SECONDS = 4 * 3600  # of all system tests, emulated
JOBS = 4  # they mostly wait: for what must not arrive, above all


def run_in(machine, jobs, *arguments):
    """tests/system/run in the machine, shown as it goes."""
    machine.begin("tests/system/run", *arguments, environment={
        "BUILD": "/tree/build", "JOBS": str(jobs), "PYTHONPATH": "/tree/tests/system",
        "JITGATE_TEST_SLOWNESS": str(machine.slowness)})
    status = "it said nothing"
    for status in machine.follow(BOUND_SECONDS):
        if isinstance(status, str):
            print(status, end="", flush=True)
    assert status == 0


def test_on_a_machine_of_its_own(machine):
    """Steps of the clock concern all that runs: one test at a time."""
    run_in(machine, 1, "-p", "conftest", "tests/kernels/guest")


def test_the_system_tests(machine):
    files = os.environ["JITGATE_SUITE"].split()
    if files == ["none"]:
        pytest.skip("SUITE=none")
    run_in(machine, JOBS, *(f"tests/system/{name}" for name in files))
