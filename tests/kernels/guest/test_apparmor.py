# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon's whole work under its AppArmor profile, enforced by the kernel."""

import pathlib
import subprocess

import pytest

from harness import BUILD, Listener, is_open
from kernel import assert_as_granted, granted

PROFILE = pathlib.Path("/tree/packaging/apparmor/jitgated.in")
# What /etc/apparmor.d/local is for: directories elsewhere. Here the tests' own, and the program's.
LOCAL = f"""/run/tests/** rwk,
{BUILD}/jitgated mr,
"""


@pytest.fixture
def confined(agent, tmp_path):
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "jitgated").write_text(LOCAL)
    profile = tmp_path / "jitgated"
    profile.write_text(PROFILE.read_text().replace("@PREFIX@", "/usr"))
    subprocess.run(["apparmor_parser", "--replace", "--skip-cache", "-I", tmp_path,
                    "-I", "/etc/apparmor.d", profile], check=True)
    subprocess.run(["dmesg", "--clear"], check=True)
    # With no other capability, as its unit starts it.
    agent.wrapper = ["setpriv", "--bounding-set=-all,+net_admin", "aa-exec", "-p", "jitgated", "--"]
    yield agent
    agent.close()
    subprocess.run(["apparmor_parser", "--remove", "-I", tmp_path, "-I", "/etc/apparmor.d",
                    profile], check=True)


def denials():
    log = subprocess.run(["dmesg"], check=True, capture_output=True, text=True).stdout
    return [line for line in log.splitlines() if "DENIED" in line and 'profile="jitgated"' in line]


def test_the_daemon_works_under_its_profile(world, confined):
    agent = confined.start()
    with open(f"/proc/{agent.process.pid}/attr/current", encoding="ascii") as file:
        assert file.read().strip("\n\0") == "jitgated (enforce)"
    Listener(world.vm, "0.0.0.0", 22)
    agent.grant("22/tcp", "192.0.2.7", jti="g")
    assert is_open(world.requester, "192.0.2.1", 22)
    agent.configure(destination_nat="yes")
    agent.reload()
    agent.kill()
    agent.start()
    assert_as_granted(agent)
    agent.revoke("g", sessions="kill")
    assert granted(agent.namespace) == [] and agent.cli("audit", "verify").returncode == 0
    assert agent.stop() == 0
    assert denials() == []


def test_the_profile_confines(confined):
    """It reads nothing else, and executes nothing."""
    for command in (["cat", "/etc/shadow"], ["sh", "-c", "/bin/true"]):
        done = subprocess.run(["aa-exec", "-p", "jitgated", "--", *command], check=False)
        assert done.returncode != 0, command
    assert denials()
