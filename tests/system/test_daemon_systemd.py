# SPDX-License-Identifier: GPL-3.0-or-later
"""A good service: says how it is, stops cleanly, and sleeps when there is nothing to do."""

import contextlib
import pathlib
import signal
import socket
import threading
import time

import pytest

from forge import Forge, grant_claims
from harness import BUILD, Listener, Session, allowing, await_, is_open
from kernel import assert_as_granted, granted, ruleset

IDLE_SECONDS = 4


def test_it_says_how_it_is(agent):
    agent.start(wait=False)
    assert agent.receive_notification(10) == ["READY=1"]
    # Ready is when the gate stands and the socket answers.
    assert agent.call("Status")["gate"]["installed"]
    agent.process.send_signal(signal.SIGHUP)
    reloading = agent.receive_notification(5)
    now = time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6
    assert reloading[0] == "RELOADING=1" and len(reloading) == 2
    assert 0 <= now - int(reloading[1].removeprefix("MONOTONIC_USEC=")) < 5e6
    assert agent.receive_notification(5) == ["READY=1"]
    agent.process.send_signal(signal.SIGTERM)
    assert agent.receive_notification(5) == ["STOPPING=1"]
    assert agent.process.wait(60) == 0


def test_a_reload_that_fails_is_over_too(agent):
    agent.start()
    agent.config_path.write_text("nonsense\n")
    agent.process.send_signal(signal.SIGHUP)
    assert agent.receive_notification(5)[0] == "RELOADING=1"
    assert agent.receive_notification(5) == ["READY=1"]


def test_it_keeps_the_watchdog_quiet(agent):
    watchdog = allowing(0.4)
    agent.environment["WATCHDOG_USEC"] = str(int(watchdog * 1e6))
    agent.start(wait=False)
    messages, begin = [], time.monotonic()
    while messages.count(["WATCHDOG=1"]) < 6:
        messages.append(agent.receive_notification(watchdog))
    assert ["READY=1"] in messages
    assert time.monotonic() - begin < 6 * watchdog


def fill(path):
    """Until there is no room for who sends there, as when systemd has crashed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, contextlib.suppress(BlockingIOError):
        sender.setblocking(False)
        sender.connect(str(path))
        while True:
            sender.send(b"STATUS=")


def test_ready_is_told_a_service_manager_that_is_busy(agent):
    """It would end a start that it has not heard the end of."""
    fill(agent.directory / "notify")
    agent.start(wait=False)
    await_(agent.socket_path.exists, what="it listens")
    await_(lambda: rests(agent), what="it has come to that")
    agent.await_ready()


def test_a_service_manager_that_reads_nothing_holds_nothing_up(world, agent):
    Listener(world.vm, "0.0.0.0", 22)
    agent.environment["WATCHDOG_USEC"] = "100000"
    agent.start()
    fill(agent.directory / "notify")
    agent.configure({"ssh": {"number": 22}, "rdp": {"number": 3389}})
    agent.process.send_signal(signal.SIGHUP)
    agent.await_audit("configuration_reloaded")
    agent.grant("22/tcp", "192.0.2.7")
    assert is_open(world.requester, "192.0.2.1", 22)
    while agent.receive_notification(10) != ["WATCHDOG=1"]:
        pass
    fill(agent.directory / "notify")
    assert agent.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_clean_stop_keeps_the_gate(world, agent, number):
    listener = Listener(world.vm, "0.0.0.0", 22)
    agent.start()
    agent.grant("22/tcp", "192.0.2.7")
    session = Session(world.requester, "192.0.2.1", listener)
    before = ruleset(agent.namespace)
    assert agent.stop(number) == 0
    # All but whose it is: that stands in front of the comment.
    assert ruleset(agent.namespace).split("comment", 1)[1] == before.split("comment", 1)[1]
    assert session.works()
    assert is_open(world.requester, "192.0.2.1", 22)
    assert not is_open(world.stranger, "192.0.2.1", 22)
    assert [r["type"] for r in agent.audit()][-1] == "agent_stopped"
    assert not agent.socket_path.exists()


def test_a_clean_stop_removes_the_gate_where_told(world, agent):
    Listener(world.vm, "0.0.0.0", 22)
    agent.configure(on_stop="remove")
    agent.start()
    agent.grant("22/tcp", "192.0.2.7", jti="g")
    assert agent.stop() == 0
    assert ruleset(agent.namespace).strip() == ""
    assert is_open(world.stranger, "192.0.2.1", 22)
    assert agent.audit("gate_removed")
    # Only a clean stop: a daemon that dies leaves it shut, and what was granted comes back.
    agent.start()
    assert [g["id"] for g in agent.call("ListGrants")["grants"]] == ["g"]
    assert_as_granted(agent)
    agent.kill()
    assert not is_open(world.stranger, "192.0.2.1", 22)


def test_a_start_that_fails_removes_nothing(agent):
    """on_stop = remove is for a clean stop."""
    agent.start()
    agent.grant("22/tcp", "192.0.2.7", jti="g")
    agent.kill()
    agent.configure(on_stop="remove", socket=agent.directory / "no" / "such" / "directory")
    agent.start(wait=False)
    assert agent.process.wait(60) == 1
    assert [e.grant for e in granted(agent.namespace)] == ["g"]


def counters(pid):
    """What says that a process has run: switches, and time on a processor."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    switches = [line for line in status.splitlines() if "ctxt_switches" in line]
    return switches, pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0]


def rests(agent):
    """Whether it does nothing for a moment."""
    before = counters(agent.process.pid)
    threading.Event().wait(0.1)
    return counters(agent.process.pid) == before


def test_it_sleeps_when_idle(world, agent):
    """No wake-up in seconds, with 100 grants in force, a session open and someone who watches."""
    listener = Listener(world.vm, "0.0.0.0", 22)
    agent.start()
    forge = Forge(agent.key)
    with agent.connect() as monitor, agent.connect() as connection:
        monitor.send("Monitor", more=True)
        monitor.receive()
        for i in range(100):
            connection.call("Submit", document=forge.sign(grant_claims(source=f"192.0.2.{i}")))
        session = Session(world.requester, "192.0.2.1", listener)
        agent.await_audit("session_opened")
        connection.socket.close()
        assert session.works() and len(granted(agent.namespace)) == 100
        await_(lambda: rests(agent), what="all is done")
        before = counters(agent.process.pid)
        threading.Event().wait(IDLE_SECONDS)
        assert counters(agent.process.pid) == before


def test_refused_packets_wake_nobody(world, agent):
    """A flood of them is the kernel's work."""
    Listener(world.vm, "0.0.0.0", 22)
    agent.start()
    assert agent.call("Status")["refusedPackets"] == 0
    await_(lambda: rests(agent), what="all is done")
    before = counters(agent.process.pid)
    for _ in range(5):
        assert not is_open(world.stranger, "192.0.2.1", 22)
    assert counters(agent.process.pid) == before
    assert agent.call("Status")["refusedPackets"] >= 5


def test_it_leaves_no_descriptor_behind(agent):
    agent.start()
    forge = Forge(agent.key)

    def work():
        for _ in range(50):
            with agent.connect() as connection:
                connection.call("Submit", document=forge.sign(grant_claims()))
                connection.call("ListGrants", all=True)
                connection.send("Monitor", more=True)
                connection.receive()
        agent.reload()
        agent.call("Status")

    def descriptors():
        return sorted(p.readlink().name.split(":")[0]
                      for p in pathlib.Path(f"/proc/{agent.process.pid}/fd").iterdir())
    work()
    await_(lambda: rests(agent), what="all is done")
    before = descriptors()
    work()
    await_(lambda: rests(agent), what="all is done")
    assert descriptors() == before


def test_a_record_names_what_happened(agent):
    """Sequence, time, boot, type; a start and a stop frame the others."""
    agent.start()
    agent.grant("22/tcp", "192.0.2.7", jti="g", justification="deploy")
    agent.stop()
    records = agent.audit()
    assert [r["sequence"] for r in records] == list(range(1, len(records) + 1))
    assert [r["type"] for r in records] == ["agent_started", "gate_installed",
                                            "document_admitted", "grant_active", "agent_stopped"]
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    assert {r["bootId"] for r in records} == {boot}
    active = records[3]
    assert (active["grant"], active["subject"], active["source"], active["port"],
            active["protocol"], active["reason"]) == ("g", "alice", "192.0.2.7", 22, "TCP", "deploy")


@pytest.mark.parametrize("arguments,status", [
    (["-n"], 0), (["--help"], 0), (["--version"], 0), (["--frob"], 2), (["-c"], 2), (["x"], 2),
    (["-n", "-c", "/nonexistent"], 1)])
def test_the_daemons_own_command_line(agent, arguments, status):
    if arguments == ["-n"]:
        arguments = ["-n", "-c", str(agent.config_path)]
    done = agent.namespace.call(f"{BUILD}/jitgated", *arguments)
    assert done.returncode == status
    assert done.stdout if status == 0 else done.stderr
    assert ruleset(agent.namespace).strip() == ""
    assert not (agent.directory / "state").exists()
