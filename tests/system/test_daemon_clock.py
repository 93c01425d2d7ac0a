# SPDX-License-Identifier: GPL-3.0-or-later
"""Grants begin and end when they say; a clock that is behind, or was, opens nothing and extends nothing."""

import json
import math
import os
import re
import signal
import socket
import time

import pytest

from faults import Faults, clock_watch, start_with_unread_ledger
from forge import Forge, grant_claims
from harness import Listener, allowing, await_, connect, is_open, lasting, later
from kernel import assert_as_granted, granted

LATE_SECONDS = allowing(0.1)  # how long after its end a grant may let someone in
RETRY_SECONDS = 0.02
NETLINK_NETFILTER, NFNLGRP_NFTABLES = 12, 7  # <linux/netlink.h>, <linux/netfilter/nfnetlink.h>


def successes(namespace, listener, until):
    """When the first and the last of many connection attempts in a row succeeded."""
    first = last = None
    while time.time() < until:
        made = connect(namespace, "192.0.2.1", 22, timeout=RETRY_SECONDS)
        if made:
            last = time.time()
            first = first or last
            listener.accept().close()
            made.close()
    return first, last


@pytest.mark.parametrize("alive", [True, False], ids=["daemon runs", "daemon is dead"])
def test_a_grant_ends_on_time(world, agent, alive):
    agent.start()
    listener = Listener(world.vm, "0.0.0.0", 22)
    end = math.ceil(time.time() + lasting(1))
    document = agent.sign_grant("22/tcp", "192.0.2.7", jti="g", exp=end)
    agent.submit(document)
    if not alive:
        agent.kill()
    _, last = successes(world.requester, listener, end + 0.5)
    print(f"the last connection came {1000 * (last - end):.1f} ms after the end")
    assert end - LATE_SECONDS < last < end + LATE_SECONDS
    if not alive:
        agent.start()
    else:
        agent.await_state("g", "expired")
    assert granted(agent.namespace) == []
    assert agent.refusal(document) == "expired"


def test_a_scheduled_grant_begins_and_ends_on_time(world, agent):
    agent.start()
    listener = Listener(world.vm, "0.0.0.0", 22)
    begin = math.ceil(time.time() + lasting(0.5))
    agent.grant("22/tcp", "192.0.2.7", jti="g", nbf=begin, exp=begin + 1)
    grant, = agent.call("ListGrants")["grants"]
    assert grant["state"] == "scheduled" and granted(agent.namespace) == []
    assert agent.call("Status")["grants"] == {"active": 0, "scheduled": 1}
    first, last = successes(world.requester, listener, begin + 1.5)
    assert begin <= first < begin + LATE_SECONDS
    assert begin + 1 - LATE_SECONDS < last < begin + 1 + LATE_SECONDS
    types = [r["type"] for r in agent.audit() if r.get("grant") == "g"]
    assert types[:2] == ["document_admitted", "grant_active"]
    assert types.count("grant_active") == types.count("grant_expired") == 1


def test_a_scheduled_grant_survives_the_daemon(agent):
    agent.start()
    begin = math.ceil(time.time() + lasting(1))
    agent.grant("22/tcp", "192.0.2.7", jti="g", nbf=begin, exp=begin + 60)
    agent.grant("22/tcp", "192.0.2.8", jti="revoked", nbf=begin, exp=begin + 60)
    agent.revoke("revoked")
    agent.kill()
    agent.start()
    assert [g["state"] for g in agent.call("ListGrants")["grants"]] == ["scheduled"]
    agent.await_state("g", "active")
    assert time.time() >= begin
    assert_as_granted(agent)
    assert [e.grant for e in granted(agent.namespace)] == ["g"]


def test_a_scheduled_grant_that_began_while_no_daemon_ran(agent):
    agent.start()
    begin = math.ceil(time.time() + lasting(0.5))
    document = agent.sign_grant("22/tcp", "192.0.2.7", jti="g", nbf=begin, exp=begin + 60)
    assert agent.submit(document)["state"] == "scheduled"
    agent.kill()
    assert not agent.audit("grant_active"), "too late to tell"
    await_(lambda: time.time() > begin, what="its beginning")
    agent.start()
    agent.await_state("g", "active")
    assert_as_granted(agent)
    assert len(agent.audit("grant_active")) == 1


def test_a_scheduled_grant_that_passed_while_the_daemon_stood_still(agent):
    """As when the machine sleeps through it: it opens nothing, not for a moment, and no record says so."""
    agent.start()
    begin = math.ceil(time.time() + lasting(0.5))
    agent.grant("22/tcp", "192.0.2.7", jti="g", nbf=begin, exp=begin + 1)
    agent.process.send_signal(signal.SIGSTOP)
    await_(lambda: time.time() > begin + 1.1, what="its end")
    agent.process.send_signal(signal.SIGCONT)
    agent.await_state("g", "expired")
    assert [r["type"] for r in agent.audit() if r.get("grant") == "g"] == ["document_admitted", "grant_expired"]


@pytest.mark.parametrize("scheduled", [False, True], ids=["active", "scheduled"])
def test_a_grant_that_ended_while_no_daemon_ran(agent, scheduled):
    """The kernel is told of no element for it, not for a millisecond; nor is it recorded as in force."""
    agent.start()
    now = math.ceil(time.time() + lasting(0.5))
    agent.grant("22/tcp", "192.0.2.7", jti="over-and-out", exp=now + 1, **({"nbf": now} if scheduled else {}))
    agent.kill()
    agent.namespace.call("nft", "delete", "table", "inet", "jitgate")
    await_(lambda: time.time() > now + 1, what="its end")
    with agent.namespace.inside():
        heard = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    heard.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    heard.bind((0, 1 << (NFNLGRP_NFTABLES - 1)))
    heard.setblocking(False)
    agent.start()
    agent.await_audit("grant_expired")
    agent.grant("22/tcp", "192.0.2.8", jti="told-of-in-the-end")
    told = b""
    while b"told-of-in-the-end" not in told:
        told += heard.recv(1 << 16)
    heard.close()
    assert b"over-and-out" not in told
    types = [r["type"] for r in agent.audit() if r.get("grant") == "over-and-out"]
    assert types.count("grant_active") == (0 if scheduled else 1) and types[-1] == "grant_expired"


def test_times_of_documents(agent):
    """In the past and in the future, each as the manual says."""
    agent.start()
    forge, now = Forge(agent.key), int(time.time())
    for code, claims in (
            ("expired", dict(iat=now - 7200, exp=now - 3600)),
            ("expired", dict(iat=now - 100, exp=now)),
            ("clock_behind", dict(iat=now + 3600, exp=now + 3700)),
            ("clock_behind", dict(iat=now + 90, exp=now + 1000)),
            ("duration_too_long", dict(iat=now - 3600, exp=now + 100)),
            ("duration_too_long", dict(nbf=now + 3000, exp=now + 4000)),
            ("malformed", dict(iat=now, exp=now)),
            ("malformed", dict(nbf=now + 100, exp=now + 100)),
            ("malformed", dict(iat=now + 10, exp=now + 5))):
        assert agent.refusal(forge.sign(grant_claims(**claims))) == code, claims
    for state, claims in (
            ("active", dict(iat=now - 3000, exp=now + 100)),
            ("active", dict(iat=now + 50, exp=now + 100)),
            ("active", dict(iat=now - 10, nbf=now - 5, exp=now + 100)),
            ("active", dict(iat=now, nbf=now - 100000, exp=now + 100)),
            ("scheduled", dict(iat=now - 10, nbf=now + 60, exp=now + 100))):
        assert agent.submit(forge.sign(grant_claims(**claims)))["state"] == state, claims
    assert_as_granted(agent)


def test_a_clock_that_is_behind(world, agent):
    """Admits nothing, restores nothing of another boot, but closes; and says so."""
    agent.start()
    Listener(world.vm, "0.0.0.0", 22)
    agent.grant("22/tcp", "192.0.2.7", jti="g")
    agent.grant("22/tcp", "192.0.2.8", jti="to-revoke")
    agent.stop()
    ledger = agent.directory / "state" / "ledger"
    ledger.write_bytes(ledger.read_bytes().replace(b'"boot":"', b'"boot":"0'))
    agent.namespace.run("nft", "delete", "table", "inet", "jitgate", check=False)
    agent.write_clock(300)
    agent.start()
    assert "clockBehindUntil" in agent.call("Status")
    assert len(agent.audit("clock_behind")) == 1
    assert not is_open(world.requester, "192.0.2.1", 22)
    assert granted(agent.namespace) == []
    assert agent.refusal(agent.sign_grant("22/tcp", "192.0.2.9")) == "clock_behind"
    done = agent.cli("status")
    assert "behind" in (done.stdout + done.stderr).lower()
    assert agent.revoke("to-revoke")["durable"]
    # Root is not locked out.
    agent.call("Grant", ports=[{"number": 22, "protocol": "TCP",
                                "allowedSourceAddressPrefixes": ["192.0.2.7"]}],
               seconds=60, reason="the clock is wrong")
    assert is_open(world.requester, "192.0.2.1", 22)


def test_a_clock_that_catches_up(agent):
    """What it kept from coming back comes back then, without a restart."""
    agent.start()
    agent.grant("22/tcp", "192.0.2.7", jti="g")
    agent.grant("22/tcp", "192.0.2.8", jti="r")
    agent.revoke("r")
    agent.stop()
    ledger = agent.directory / "state" / "ledger"
    ledger.write_bytes(ledger.read_bytes().replace(b'"boot":"', b'"boot":"0'))
    agent.write_clock(lasting(1.5))
    agent.start()
    assert agent.call("ListGrants")["grants"] == [] and granted(agent.namespace) == []
    agent.await_state("g", "active")
    assert [e.grant for e in granted(agent.namespace)] == ["g"]
    assert "clockBehindUntil" not in agent.call("Status")
    agent.grant("22/tcp", "192.0.2.9")
    assert_as_granted(agent)


@pytest.mark.parametrize("set_right", [False, True], ids=["catches up", "is set right"])
def test_a_clock_that_a_ledger_read_late_finds_behind(agent, fault_library, tmp_path, set_right):
    """It is told, and waited for, as at a start: what it keeps from coming back comes then."""
    faults = Faults(tmp_path, fault_library)
    agent.environment.update(faults.environment)
    agent.start()
    agent.grant("22/tcp", "192.0.2.7", jti="g", seconds=3000)
    agent.kill()
    path = agent.directory / "state" / "ledger"
    path.write_text(re.sub(r'"boot":"[0-9a-f]*"', f'"boot":"{32 * "0"}"', path.read_text()))
    (agent.directory / "run" / "ledger").write_bytes(b"")
    agent.write_clock(300 if set_right else lasting(15))
    start_with_unread_ledger(agent, faults)
    assert not agent.audit("clock_behind")
    await_(lambda: "clockBehindUntil" in agent.call("Status"), allowing(14), "the ledger is read")
    assert agent.call("ListGrants")["grants"] == []
    if set_right:
        watch = clock_watch(agent.process.pid)
        faults.step_clock(watch, 301)
        os.close(watch)
    agent.await_state("g", "active", allowing(10))
    assert len(agent.audit("clock_behind")) == 1
    assert [element.grant for element in granted(agent.namespace)] == ["g"]


@pytest.mark.parametrize("early_msec", [0.6, 1, 3])
def test_a_clock_that_catches_up_while_its_step_is_worked_out(agent, fault_library, tmp_path, early_msec):
    """Behind when that begins, and no more when it is asked whether to wait: grants come back all the same."""
    faults = Faults(tmp_path, fault_library)
    agent.environment.update(faults.environment)
    agent.start()
    for i in range(50):
        agent.grant("22/tcp", f"192.0.2.{i}", seconds=3000)
    agent.kill()
    path = agent.directory / "state" / "ledger"
    path.write_text(re.sub(r'"boot":"[0-9a-f]*"', f'"boot":"{32 * "0"}"', path.read_text()))
    (agent.directory / "run" / "ledger").write_bytes(b"")
    agent.write_clock(ahead := 302)
    agent.start()
    assert agent.call("ListGrants")["grants"] == []
    latest, = re.findall(r'"clock":(\d+)', path.read_text().replace(" ", ""))[-1:]
    watch = clock_watch(agent.process.pid)
    when = int(latest) / 1e6 - (ahead - 2) - early_msec / 1000
    assert time.time() < when
    time.sleep(max(0, when - time.time() - 0.01))
    while time.time() < when:
        pass
    faults.step_clock(watch, ahead - 2)
    os.close(watch)
    await_(lambda: len(agent.call("ListGrants")["grants"]) == 50, what="what could not come back is there")


def test_the_clock_is_remembered(agent):
    """The latest time seen is on disk when the daemon stops, and when a grant ends."""
    agent.start()
    agent.grant("22/tcp", "192.0.2.7", seconds=1, jti="g")
    agent.await_state("g", "expired")
    ended = time.time()
    agent.kill()
    text = (agent.directory / "state" / "ledger").read_text()
    clocks = [json.loads(line).get("clock", 0) for line in text.splitlines() if line]
    assert ended - 2 < max(clocks) / 1e6 <= ended


@pytest.mark.parametrize("shift,survives", [(7200, False), (-600, True)],
                         ids=["slept past the deadline", "less uptime than thought"])
def test_the_earlier_of_two_clocks_ends_a_grant(agent, shift, survives):
    """CLOCK_BOOTTIME of another time namespace: as if the wall clock had been set back meanwhile."""
    agent.start()
    agent.grant("22/tcp", "192.0.2.7", jti="g")
    agent.kill()
    agent.wrapper = later(max(shift, -int(time.clock_gettime(time.CLOCK_BOOTTIME)) // 2))
    agent.start()
    if survives:
        assert [g["state"] for g in agent.call("ListGrants")["grants"]] == ["active"]
        assert_as_granted(agent)
    else:
        await_(lambda: granted(agent.namespace) == [], what="it is shut")
        assert agent.call("ListGrants")["grants"] == []
        assert agent.audit("grant_expired")


def test_a_clock_that_is_slewed_extends_nothing(agent, fault_library, tmp_path):
    """Nobody is told then; what it comes to shows when the next grant does."""
    faults = Faults(tmp_path, fault_library)
    agent.environment.update(faults.environment)
    agent.start()
    agent.grant("22/tcp", "192.0.2.7", seconds=600, jti="g")
    faults.slew_clock(700)
    agent.grant("22/tcp", "192.0.2.9", seconds=3000, jti="h")
    assert agent.await_audit("grant_expired")["grant"] == "g"
    assert [e.grant for e in granted(agent.namespace)] == ["h"]
    assert not agent.audit("clock_stepped")


def test_a_clock_that_was_ahead_brings_no_revoked_grant_back(agent, fault_library, tmp_path):
    """Of a thousand that have ended the oldest are forgotten; not by a time that nothing has noted."""
    faults = Faults(tmp_path, fault_library)
    agent.environment.update(faults.environment)
    agent.start()
    forge = Forge(agent.key)
    document = forge.sign(grant_claims(source="192.0.2.7", jti="g", seconds=600))
    with agent.connect() as connection:
        connection.call("Submit", document=document)
        connection.call("Revoke", id="g", reason="over")
        for i in range(1001):
            connection.call("Submit", document=forge.sign(
                grant_claims(source="192.0.2.8", jti=f"h{i}", seconds=3500)))
            if i < 1000:
                connection.call("Revoke", id=f"h{i}", reason="over")
    faults.slew_clock(700)
    agent.call("Revoke", id="h1000", reason="over")
    faults.slew_clock(-700)
    assert agent.refusal(document) == "revoked"


def test_after_a_step_the_next_is_watched_for(agent, faults):
    """What the kernel cancels once tells of no second step until it is armed anew."""
    agent.start()
    watch = clock_watch(agent.process.pid)
    faults.step_clock(watch, 5)
    agent.await_audit("clock_stepped")
    with open(f"/proc/self/fdinfo/{watch}") as info:
        left, = re.findall(r"it_value: \((\d+),", info.read())
    os.close(watch)
    assert int(left) > 0


def test_what_the_other_clock_has_ended_outlasts_the_ledger_that_told_it(agent):
    """Its end stands in the ledger alone: the time noted there is before it. Written anew, the ledger still has it."""
    agent.start()
    document = agent.sign_grant("22/tcp", "192.0.2.7", jti="g")
    agent.submit(document)
    agent.kill()
    ledger = agent.directory / "state" / "ledger"
    ledger.write_bytes(ledger.read_bytes().rstrip(b"\n") + b"\n" + 600 * b'{"clock":1}\n')
    agent.wrapper = later(7200)
    agent.start()
    assert agent.await_audit("grant_expired")["grant"] == "g"
    await_(lambda: ledger.read_bytes().count(b'"clock"') < 10, what="the ledger is written anew")
    agent.kill()
    agent.wrapper = []  # as after a reboot: this clock has not been as far
    (agent.directory / "run" / "ledger").unlink()
    agent.start()
    assert agent.call("ListGrants")["grants"] == [] and granted(agent.namespace) == []
    assert agent.refusal(document) in ("revoked", "expired")
