# SPDX-License-Identifier: GPL-3.0-or-later
"""jitgated --remove-gate: opens what a daemon that has ended left shut, and nothing else."""

import os
import pathlib
import pwd
import subprocess

import pytest

from agent import BUILD
from harness import Listener, Session, is_open

TREE = pathlib.Path(__file__).parents[2]


REMOVED = "The gate is removed: managed ports are open, unless another rule shuts them.\n"


@pytest.fixture(params=["kernel owns tables", "older kernel"])
def agent_left(request, world, agent):
    """An agent that has run, on a kernel that can own tables and on one that can't."""
    if request.param == "older kernel":
        agent.environment.update(request.getfixturevalue("older_kernel"))
    world.listener = Listener(world.vm, "0.0.0.0", 22)
    return agent.start()


def remove_gate(agent, *wrapper, config=None):
    """What it exits with, and what it says to standard output and standard error."""
    process = agent.namespace.spawn(
        *wrapper, f"{BUILD}/jitgated", "-c", str(config or agent.config_path), "--remove-gate",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return process.wait(60), process.stdout.read(), process.stderr.read()


@pytest.mark.parametrize("ended", ["stop", "kill"])
def test_it_opens_what_a_daemon_has_left(world, agent_left, ended):
    audit_file = agent_left.directory / "log" / "audit.jsonl"
    agent_left.grant("22/tcp", "192.0.2.7")
    session = Session(world.requester, "192.0.2.1", world.listener)
    getattr(agent_left, ended)()
    assert not is_open(world.stranger, "192.0.2.1", 22)
    assert remove_gate(agent_left) == (0, REMOVED, "")
    assert is_open(world.stranger, "192.0.2.1", 22)
    assert session.works()
    assert "jitgate" not in world.vm.run("nft", "list", "tables")
    # The record's chain goes on, over the daemon's and this one's.
    assert "--remove-gate" in agent_left.audit("gate_removed")[-1]["message"]
    assert agent_left.cli("audit", "verify", "--file", audit_file).returncode == 0
    # It is as if there had never been one: again is no error, and a start shuts anew.
    assert remove_gate(agent_left) == (0, "There is no gate.\n", "")
    agent_left.start()
    assert not is_open(world.stranger, "192.0.2.1", 22)


def test_a_daemon_that_runs_keeps_its_gate(world, agent_left):
    status, out, err = remove_gate(agent_left)
    assert status == 1 and out == "" and "stop it first" in err.lower()
    assert not is_open(world.stranger, "192.0.2.1", 22)
    assert not agent_left.audit("gate_removed") and not agent_left.audit("gate_repaired")
    assert agent_left.stop() == 0


@pytest.mark.parametrize("both", [["-n", "--remove-gate"], ["--remove-gate", "--check"]], ids=" ".join)
def test_who_checks_takes_nothing_away(world, agent_left, both):
    agent_left.stop()
    done = agent_left.namespace.call(f"{BUILD}/jitgated", "-c", str(agent_left.config_path), *both)
    assert done.returncode == 2 and "--check and --remove-gate exclude one another" in done.stderr
    assert done.stdout == "" and not is_open(world.stranger, "192.0.2.1", 22)


def test_the_record_stays_the_daemons_to_write(users, agent):
    """Root takes the gate away, and the daemon has a user of its own."""
    agent.start()
    agent.stop()
    daemon = pwd.getpwnam("jitgate-poll")
    for name in "state", "log":
        (agent.directory / name).chmod(0o700)
        for path in agent.directory / name, *(agent.directory / name).iterdir():
            os.chown(path, daemon.pw_uid, daemon.pw_gid)
    (agent.directory / "state" / "ledger").unlink()
    (agent.directory / "log" / "audit.jsonl").unlink()
    for path in agent.directory, *agent.directory.parents:
        path.chmod(path.stat().st_mode | 0o011)
    assert remove_gate(agent) == (0, REMOVED, "")
    assert agent.audit("gate_removed")
    for name in "state/ledger", "log/audit.jsonl":
        assert (agent.directory / name).stat().st_uid == daemon.pw_uid


@pytest.mark.parametrize("package, name", [("jitgate", "log/jitgate"), ("jitgate-server", "lib/jitgate-server")])
def test_a_purge_that_meets_a_mount_ends(tmp_path, package, name):
    """Else dpkg is never done with the package. What is on the mount goes all the same."""
    mount = tmp_path / "var" / name
    mount.mkdir(parents=True)
    (tmp_path / "var/lib" / package).mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", mount], check=True)
    try:
        (mount / "file").touch()
        done = subprocess.run(["sh", str(TREE / "packaging" / "debian" / f"{package}.postrm"), "purge"], text=True,
                              env={**os.environ, "DPKG_ROOT": str(tmp_path)}, capture_output=True, check=False)
        assert done.returncode == 0 and f"/var/{name} is not removed whole" in done.stderr, done
        assert os.listdir(mount) == []
    finally:
        subprocess.run(["umount", mount], check=True)
    assert package == "jitgate-server" or not (tmp_path / "var/lib/jitgate").exists()


def test_a_configuration_that_is_wrong_or_gone_hinders_nothing(world, agent, tmp_path):
    Listener(world.vm, "0.0.0.0", 22)
    agent.start()
    agent.kill()
    agent.config_path.write_text("nonsense\n")
    status, out, err = remove_gate(agent)
    assert (status, out) == (0, REMOVED) and "agent.conf:1" in err
    assert is_open(world.stranger, "192.0.2.1", 22)
    assert remove_gate(agent, config=tmp_path / "none") == (0, "There is no gate.\n", "")


def test_who_may_not_is_told(world, agent):
    Listener(world.vm, "0.0.0.0", 22)
    agent.start()
    agent.stop()
    status, out, err = remove_gate(agent, "setpriv", "--bounding-set=-net_admin",
                                    "--inh-caps=-net_admin")
    assert status == 1 and "CAP_NET_ADMIN" in err
    assert not is_open(world.stranger, "192.0.2.1", 22)
    assert not agent.audit("gate_removed")
