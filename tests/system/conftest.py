# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: each test has a fresh world, an agent that is not yet started, and its own directory."""

import os
import platform
import shutil
import subprocess

import pytest

from agent import Agent
from certificates import Authority
from chain import Chain
from control_plane import Server
from faults import Faults
from feed import Feed, Poll, add_users, has_users, may_have_users
from kernel import kernel_version
from measured import measure, pytest_terminal_summary  # noqa: F401
from world import World

FINDINGS = "/run/findings"


def pytest_configure(config):
    """/run is the tests' own: names of namespaces, xtables' lock, the tests' directories."""
    if "JITGATE_SHARD" not in os.environ:
        raise pytest.UsageError("run these with tests/system/run: they need their own namespaces")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "jitgate-tests", "/run"], check=True)
    os.mkdir(FINDINGS)
    os.chmod(FINDINGS, 0o1777)
    for name in "ASAN_OPTIONS", "UBSAN_OPTIONS":
        os.environ[name] = ":".join(filter(None, [
            os.environ.get(name), f"log_path={FINDINGS}/of", "print_stacktrace=1"]))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def pytest_collection_modifyitems(config, items):
    index, count = map(int, os.environ["JITGATE_SHARD"].split("/"))
    mine = items[index::count]
    config.hook.pytest_deselected(items=[item for item in items if item not in mine])
    items[:] = mine


@pytest.fixture(autouse=True)
def findings():
    """What sanitizers found in programs that ran for a test, whatever became of them, fails it."""
    yield
    found = [os.path.join(FINDINGS, name) for name in sorted(os.listdir(FINDINGS))]
    texts = []
    for path in found:
        with open(path, encoding="utf-8", errors="replace") as file:
            texts.append(file.read())
        os.unlink(path)
    assert not texts, "\n".join(texts)


@pytest.fixture
def world():
    with World() as made:
        yield made


@pytest.fixture
def agent(world, tmp_path):
    """Guards 22/tcp and 53/udp on the VM once start() is called; configure() says otherwise."""
    made = Agent(world.vm, tmp_path)
    yield made
    made.close()
    print(made.log())
    print("\n".join(f"{record['time']} {record['type']}: {record['message']}"
                    for record in made.audit()[-20:]))


@pytest.fixture
def server(tmp_path):
    """A control plane that runs, with the log shown where a test fails."""
    made = Server(tmp_path).start()
    yield made
    print(made.read_log())
    made.close()


@pytest.fixture
def admin(server):
    return server.person("root@example.org", "administrator")


@pytest.fixture
def alice(server):
    return server.person("alice@example.org", "requester")


@pytest.fixture
def bob(server):
    return server.person("bob@example.org", "approver")


@pytest.fixture
def users(tmp_path_factory):
    """Those of packages. They go when the host's own files are replaced meanwhile: useradd does that."""
    if not may_have_users():
        pytest.skip("needs root: only one user is mapped here")
    if not has_users():
        add_users(tmp_path_factory.mktemp("etc"))


@pytest.fixture
def poll(users, agent):
    """jitgate-poll beside the agent, once configure() and start() are called."""
    made = Poll(agent)
    yield made
    made.close()
    print(made.log())


@pytest.fixture
def chain(users, world, agent, authority, tmp_path):
    """A control plane that runs, and web-1 (chain.vms[0]), which has joined once join() is called."""
    made = Chain(world, tmp_path, agent, authority).start()
    made.add()
    yield made
    made.close()


@pytest.fixture
def feed(world):
    """A control plane on the VM's loopback address, in plain HTTP."""
    made = Feed(world.vm)
    yield made
    made.close()


@pytest.fixture(scope="session")
def loopback():
    """127.0.0.1 and ::1 of the tests' own namespace."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@pytest.fixture(scope="session")
def authority(loopback, tmp_path_factory):
    """Whom the tests' clients trust for certificates."""
    return Authority(tmp_path_factory.mktemp("authority"))


def build_preload(directory, name):
    """A library of these tests that is preloaded into the daemon."""
    compiler = os.environ.get("CC", "cc").split()[0]
    if not shutil.which(compiler):
        pytest.skip(f"no C compiler to build {name}.c")
    library = directory / f"{name}.so"
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-fno-builtin", "-D_GNU_SOURCE",
                    "-o", library, source, "-ldl"], check=True)
    return library


def preloaded(tmp_path_factory, name):
    """The environment of a daemon with it."""
    return {"LD_PRELOAD": str(build_preload(tmp_path_factory.mktemp("shim"), name)),
            "ASAN_OPTIONS": os.environ["ASAN_OPTIONS"] + ":verify_asan_link_order=0"}


@pytest.fixture(scope="session")
def older_kernel(tmp_path_factory):
    """The environment of a daemon whose kernel can't own tables."""
    return preloaded(tmp_path_factory, "older_kernel")


@pytest.fixture(scope="session")
def unread_legacy(tmp_path_factory):
    """The environment of a daemon that can't read which tables iptables-legacy has."""
    return preloaded(tmp_path_factory, "unread_legacy")


@pytest.fixture(scope="session")
def fault_library(tmp_path_factory):
    if platform.machine() != "x86_64":
        pytest.skip("catching system calls is written for x86-64")
    if kernel_version() < (5, 11):
        pytest.skip("system calls are caught from kernel 5.11 on")
    return build_preload(tmp_path_factory.mktemp("faults"), "faults")


@pytest.fixture
def faults(agent, fault_library, tmp_path):
    """Of the agent."""
    faults = Faults(tmp_path, fault_library)
    agent.environment.update(faults.environment)
    return faults
