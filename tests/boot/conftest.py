# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: a network, and machines of the suite that this process tests, each with a disk of its own."""

import os
import pathlib
import subprocess
import sys

import pytest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "system"))

from guarded import Guarded  # noqa: E402
from measured import measure, pytest_terminal_summary  # noqa: E402, F401
from network import Network  # noqa: E402

SUITE = os.environ.get("JITGATE_SUITE", "")
MADE = pathlib.Path(os.environ.get("BUILD", "")) / "boot" / SUITE


def pytest_configure(config):
    """/run is the tests' own, on which all they make is kept, and the control groups are this process's."""
    if not SUITE:
        raise pytest.UsageError("run these with tests/boot/run: they need their own namespaces")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "jitgate-tests", "/run"], check=True)
    subprocess.run(["mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"], check=True)
    # A group that hands controllers down holds no process.
    own = pathlib.Path("/sys/fs/cgroup/tests")
    own.mkdir()
    (own / "cgroup.procs").write_text(str(os.getpid()))
    for controller in "memory", "pids":
        try:
            pathlib.Path("/sys/fs/cgroup/cgroup.subtree_control").write_text(f"+{controller}")
        except OSError:
            pass  # it is not handed down to us, or the older control groups have it
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


_machines = []


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport():
    """A test that fails shows what its machine says of it."""
    report = (yield).get_result()
    if report.failed and _machines:
        report.sections.append(("machine", _machines[-1].told()))


@pytest.fixture
def network():
    made = Network()
    yield made
    made.close()


def new_machine(directory, network, *layers):
    _machines.append(Guarded(directory, network, layers, SUITE, MADE / "now", MADE / "next"))
    return _machines[-1]


@pytest.fixture
def bare(tmp_path, network):
    """A machine as a provider hands it over: it is off, and has nothing of jitgate's."""
    made = new_machine(tmp_path / "machine", network, MADE / "vm")
    yield made
    made.close()


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """What the packages' installation, on a machine that was up, has left on its disk."""
    directory = tmp_path_factory.mktemp("installed")
    network = Network()
    made = new_machine(directory / "machine", network, MADE / "vm")
    made.boot()
    made.apt("install", "jitgate", "jitgate-server")
    made.power_off()
    made.make_keys()
    made.close()
    network.close()
    return made.upper


@pytest.fixture
def machine(tmp_path, network, installed):
    """A machine with the packages, that guards ssh and the door; it is off."""
    made = new_machine(tmp_path / "machine", network, installed, MADE / "vm")
    made.configure()
    yield made
    made.close()


@pytest.fixture
def managed(tmp_path, network):
    """A machine as a provider hands it over, with cloud-init and Ansible; it is off."""
    made = new_machine(tmp_path / "machine", network, MADE / "managed", MADE / "vm")
    yield made
    made.close()


@pytest.fixture
def aside(tmp_path, network, installed):
    """The packages' disk, for what runs in a neighbour's network."""
    made = new_machine(tmp_path / "aside", network, installed, MADE / "vm")
    yield made
    made.close()


@pytest.fixture
def guarded(machine):
    """The same, up, with a grant for the requester alone."""
    machine.boot()
    machine.grant(machine.network.requester)
    assert machine.lets_in(machine.network.requester, 20)
    assert not machine.is_open(machine.network.stranger)
    return machine
