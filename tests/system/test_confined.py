# SPDX-License-Identifier: GPL-3.0-or-later
"""What a program gives up by itself, however it was started."""

import os
import shutil
import subprocess

import pytest

from confined import NOBODY, as_unit, give, give_agent, open_path, status
from harness import BUILD, SANITIZED, Listener, await_, is_open
from nat import KINDS
from server import Server

NET_ADMIN, NET_BIND_SERVICE = 1 << 12, 1 << 10
SETS = "CapPrm", "CapEff", "CapBnd"


def assert_given_up(process, kept):
    now = status(process)
    assert now["NoNewPrivs"] == "1"
    assert [int(now[name], 16) for name in SETS] == [kept] * 3
    assert int(now["CapAmb"], 16) == 0
    assert int(now["Umask"], 8) & 0o027 == 0o027


def assert_of(user, process):
    """All of the process is that user's, but what is in its memory is root's to see."""
    assert status(process)["Uid"].split() == [str(user)] * 4
    assert status(process)["Gid"].split() == [str(user)] * 4
    assert status(process)["Groups"] == ""
    assert SANITIZED or os.stat(f"/proc/{process.pid}/environ").st_uid == 0


def test_an_agent_that_root_starts_keeps_what_the_gate_takes(agent):
    agent.start()
    assert_given_up(agent.process, NET_ADMIN)
    with agent.connect() as other:
        assert other.call("Status")["gate"]["installed"]
    # Whatever the umask: others reach its socket, and not its files.
    modes = {path.name: path.stat().st_mode & 0o777
             for path in (agent.directory / "run", agent.directory / "log", agent.socket_path)}
    assert modes == {"run": 0o755, "log": 0o750, "agent.sock": 0o666}


def test_an_agent_that_root_starts_becomes_whose_the_state_is(users, world, agent):
    """Else the service could not go on with what it wrote."""
    Listener(world.vm, "::", 22, dual_stack=True)
    give_agent(agent)
    agent.start()
    assert_of(NOBODY, agent.process)
    assert_given_up(agent.process, NET_ADMIN)
    agent.grant("22/tcp", "192.0.2.7")
    agent.call("Grant", ports=[{"number": 22, "protocol": "TCP",
                                "allowedSourceAddressPrefixes": ["192.0.2.9"]}],
               seconds=60, reason="test")
    assert is_open(world.requester, world.vm.v4, 22)
    files = [path for name in ("state", "run", "log")
             for path in (agent.directory / name).iterdir()]
    assert len(files) >= 4 and {path.stat().st_uid for path in files} == {NOBODY}
    agent.kill()
    agent.start()
    assert len(agent.call("ListGrants")["grants"]) == 2


def test_a_user_that_it_can_not_become_keeps_it_no_privileges(agent):
    """In a user namespace, say, which has only one."""
    give(agent.directory / "state")
    agent.wrapper = ["unshare", "-rn"]
    agent.start()
    assert_given_up(agent.process, NET_ADMIN)
    assert "can't give up privileges" in agent.log()


def test_what_removes_the_gate_leaves_nothing_of_roots(users, agent):
    give_agent(agent)
    agent.start()
    agent.stop()
    (agent.directory / "state" / "ledger").unlink()
    done = agent.namespace.call(f"{BUILD}/jitgated", "-c", str(agent.config_path), "--remove-gate")
    assert done.returncode == 0, done
    assert agent.audit("gate_removed")
    files = [path for name in ("state", "run", "log")
             for path in (agent.directory / name).iterdir()]
    assert files and {path.stat().st_uid for path in files} == {NOBODY}
    agent.start()


def test_a_check_by_root_tells_what_the_service_can_not_read(users, agent):
    """Else it is learnt of when the gate does not stand after a boot."""
    def check():
        done = agent.namespace.call(f"{BUILD}/jitgated", "-n", "-c", str(agent.config_path))
        assert done.returncode == 0 and ": ok" in done.stdout, done
        return done.stderr

    open_path(agent.directory)
    assert check() == ""
    for path, mode in (agent.config_path, 0o600), (agent.trust_path, 0o640), (agent.directory, 0o700):
        before = path.stat().st_mode
        path.chmod(mode)
        said = check()
        assert "the user jitgated" in said and "Permission denied" in said
        path.chmod(before)
    agent.config_path.chmod(0o600)
    done = agent.namespace.call(*as_unit("jitgated"), f"{BUILD}/jitgated", "-c", str(agent.config_path))
    assert done.returncode == 1 and f"uid {NOBODY}, which it runs as, must be able to read" in done.stderr, done


def test_legacy_rules_are_learnt_of_without_root(users, world, agent):
    """Their tables' names are root's to read."""
    nat = KINDS["iptables-legacy"](world.vm, 2222, 22, world.container())
    nat.require(world.stranger)
    agent.configure(ports={"published": {"number": 2222}})
    give_agent(agent)
    agent.start()
    nat.publish()
    await_(lambda: agent.call("Status")["gate"]["destinationNat"], what="destination NAT")
    Listener(nat.container, "::", 22, dual_stack=True)
    agent.grant("2222/tcp", "192.0.2.7")
    assert is_open(world.requester, world.vm.v4, 2222)
    assert not is_open(world.stranger, world.vm.v4, 2222)


@pytest.mark.parametrize("is_given", [False, True])
def test_a_server_that_root_starts_keeps_what_a_low_port_takes(users, tmp_path, is_given):
    server = Server(tmp_path)
    server.port = 443
    server.configure(listen="127.0.0.1:443", state=tmp_path / "state" / "state.sqlite")
    if is_given:
        open_path(tmp_path)
        give(tmp_path / "state")
        os.chown(tmp_path / "signing.jwk", NOBODY, NOBODY)
    else:
        (tmp_path / "state").mkdir()
    server.start()
    try:
        assert_of(NOBODY if is_given else 0, server.process)
        assert_given_up(server.process, NET_BIND_SERVICE)
        assert server.get("/healthz").status == 200
    finally:
        server.close()


def test_who_reads_keys_by_hand_gives_up_too(world, tmp_path):
    """Nobody else of the same user looks into it, either."""
    open_path(tmp_path)
    program = shutil.copy(f"{BUILD}/jitgate", tmp_path)
    reading = world.vm.spawn("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", program,
                             "key", "public", "-", stdin=subprocess.PIPE)
    await_(lambda: status(reading)["NoNewPrivs"] == "1", what="no new privileges")
    await_(lambda: SANITIZED or os.stat(f"/proc/{reading.pid}/environ").st_uid == 0, what="it is root's to look into")
    reading.kill()
