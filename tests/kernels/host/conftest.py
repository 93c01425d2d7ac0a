# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines with the kernel that this process is for. tests/kernels/run says which."""

import os

import pytest

from machine import Machine


def pytest_configure(config):
    if "JITGATE_KERNEL" not in os.environ:
        raise pytest.UsageError("run these with tests/kernels/run: they need images to boot from")


@pytest.fixture(scope="module")
def machine(request, tmp_path_factory):
    """Running; what its disk /state has is there until the module's last test. A module that says COUNTED = True has one
    whose time is that of its instructions."""
    made = Machine(os.environ["JITGATE_IMAGES"], os.environ["JITGATE_KERNEL"],
                   os.environ["JITGATE_TREE"], tmp_path_factory.mktemp("machine"),
                   counted=getattr(request.module, "COUNTED", False))
    try:
        yield made.start()
    finally:
        made.stop()
