# SPDX-License-Identifier: GPL-3.0-or-later
"""Killed between what it does and what it tells of it: the next start tells the rest, and nothing twice."""

import contextlib
import itertools
import json
import math
import pathlib
import time
import uuid

import pytest

from agent import VM_ID
from faults import Fault
from forge import Forge, grant_claims, revocation_claims
from harness import allowing, await_, lasting, port_claim
from kernel import assert_as_granted, parse_time

CALLS_MAX = 200
BOOT_ID = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")

# Each grant is of another: the kernel has nothing to do for one that another covers.
SOURCES = (f"192.0.{i // 256}.{i % 256}" for i in itertools.count(1))


class Told:
    """How often the audit log tells of what."""

    def __init__(self, agent):
        self.records = [(record["type"], record.get("grant")) for record in agent.audit()]

    def n(self, type, id):
        return self.records.count((type, id))

    def assert_once(self, *expected):
        for type, id in expected:
            assert self.n(type, id) == 1, (type, id, self.records)


def is_active(agent, id):
    return any(grant["id"] == id and grant["state"] == "active"
               for grant in agent.call("ListGrants")["grants"])


class Submitting:
    """A grant by document."""

    def __init__(self, agent):
        self.agent = agent
        self.id = str(uuid.uuid4())
        self.document = Forge(agent.key).sign(grant_claims(source=next(SOURCES), jti=self.id))
        self.tells = ("document_admitted", self.id), ("grant_active", self.id)

    def act(self, connection):
        connection.call("Submit", document=self.document)

    def is_done(self):
        return is_active(self.agent, self.id)


class Granting:
    """A grant by local root."""

    def __init__(self, agent):
        self.agent = agent
        self.before = self.ids()
        self.tells = ()

    def ids(self):
        return {grant["id"] for grant in self.agent.call("ListGrants")["grants"]}

    def act(self, connection):
        connection.call("Grant", ports=[port_claim("22/tcp", next(SOURCES))], seconds=600,
                        reason="test")

    def is_done(self):
        new = self.ids() - self.before
        self.tells = tuple((type, id) for id in new
                           for type in ("document_admitted", "grant_active"))
        return bool(new)


class Revoking:
    """A revocation by local root."""

    def __init__(self, agent):
        self.agent = agent
        self.id = agent.submit(Forge(agent.key).sign(grant_claims(source=next(SOURCES))))["id"]
        self.tells = (("grant_revoked", self.id),)

    def act(self, connection):
        connection.call("Revoke", id=self.id, reason="because")

    def is_done(self):
        return not is_active(self.agent, self.id)


class RevokingByDocument(Revoking):
    def __init__(self, agent):
        super().__init__(agent)
        claims = revocation_claims(self.id, reason="because")
        forge = Forge(agent.key)
        self.document = forge.sign(claims, forge.header("revocation"))
        self.tells = ("document_admitted", claims["jti"]), ("grant_revoked", self.id)

    def act(self, connection):
        connection.call("Submit", document=self.document)


class Ruling:
    """A policy by document."""

    versions = itertools.count(1)

    def __init__(self, agent):
        self.agent = agent
        self.id = str(uuid.uuid4())
        forge = Forge(agent.key)
        self.document = forge.sign(
            {"iss": "forge", "aud": VM_ID, "jti": self.id, "iat": int(time.time()),
             "version": next(self.versions),
             "ports": [{"number": 22, "protocol": "TCP", "allowedSourceAddressPrefix": "*",
                        "maxRequestAccessDuration": "PT1H"}]}, forge.header("policy"))
        self.tells = (("document_admitted", self.id),)

    def act(self, connection):
        connection.call("Submit", document=self.document)

    def is_done(self):
        ledger = (self.agent.directory / "state" / "ledger").read_text()
        return f'"{self.id}"' in ledger


def was_killed(agent, faults, at, act):
    """Does it, and is killed before that call; returns whether there was one. The connection is made before: what
    is counted is what it does for the one who asks, always in the same order."""
    with agent.connect() as connection:
        connection.call("org.varlink.service.GetInfo")
        with faults.armed(Fault("system", at, kills=True)), contextlib.suppress(OSError):
            act(connection)
    try:
        agent.call("org.varlink.service.GetInfo")
    except OSError:
        assert agent.process.wait(allowing(5)) == -9
        agent._forget_notifications()
        return True
    return False


DEEDS = [Submitting, Granting, Revoking, RevokingByDocument, Ruling]


@pytest.mark.parametrize("deed", DEEDS)
def test_killed_at_each_call(agent, faults, deed, measure):
    agent.start()
    tells, n_mended = [], 0
    for at in range(1, CALLS_MAX):
        one = deed(agent)
        killed = was_killed(agent, faults, at, one.act)
        if killed:
            before = Told(agent)
            agent.start()
            done = one.is_done()
            print(at, faults.where, done, [before.n(*tell) for tell in one.tells])
            told = Told(agent)
            if done:
                told.assert_once(*one.tells)
                n_mended += any(before.n(*tell) == 0 for tell in one.tells)
            else:
                assert all(told.n(*tell) == 0 for tell in one.tells), told.records
                with agent.connect() as connection:
                    one.act(connection)  # whoever asked asks again
        assert one.is_done()
        tells += one.tells
        if not killed:
            break
    assert not killed and (n_mended > 1 or deed is Ruling)  # of whose many calls the number varies
    agent.stop()
    agent.start()
    Told(agent).assert_once(*tells)
    assert agent.cli("audit", "verify").returncode == 0
    measure(f"kills of {deed.__name__}, and with something untold", f"{at - 1}, {n_mended}")


def test_killed_at_each_call_of_a_beginning(agent, faults):
    """Also where it begins while no daemon is there."""
    agent.start()
    forge, ids = Forge(agent.key), []
    for at in range(1, CALLS_MAX):
        begins = int(time.time()) + 2
        ids.append(agent.submit(forge.sign(grant_claims(nbf=begins)))["id"])
        killed = was_killed(agent, faults, at, lambda _: await_(
            lambda: agent.process.poll() is not None or time.time() > begins + 0.2, 3))
        if not killed:
            break
        agent.start()
        agent.await_state(ids[-1], "active")
        agent.kill()
        agent.start()
        Told(agent).assert_once(("grant_active", ids[-1]))
    assert not killed and len(ids) > 3
    Told(agent).assert_once(*[(type, id) for id in ids
                              for type in ("document_admitted", "grant_active")])


def test_begun_while_no_daemon_was_there(agent):
    agent.start()
    begins = int(time.time()) + 2
    id = agent.submit(Forge(agent.key).sign(grant_claims(nbf=begins)))["id"]
    assert agent.stop() == 0
    await_(lambda: time.time() > begins + 0.1, 5)
    for _ in range(3):
        agent.start()
        Told(agent).assert_once(("grant_active", id))
        agent.kill()


def test_killed_at_each_call_of_an_end(agent, faults):
    """Of three at one moment."""
    agent.start()
    forge, n_mended = Forge(agent.key), 0
    for at in range(1, CALLS_MAX):
        ends = math.ceil(time.time() + lasting(1))
        ids = [agent.submit(forge.sign(grant_claims(source=next(SOURCES), exp=ends)))["id"] for _ in range(3)]
        killed = was_killed(agent, faults, at, lambda _: await_(
            lambda: agent.process.poll() is not None or time.time() > ends + 0.3, allowing(5)))
        before = Told(agent)
        if killed:
            agent.start()
        await_(lambda: all(Told(agent).n("grant_expired", id) for id in ids), allowing(3), "all ends are told")
        Told(agent).assert_once(*[("grant_expired", id) for id in ids])
        n_mended += any(before.n("grant_expired", id) == 0 for id in ids)
        if not killed:
            break
    assert not killed and n_mended > 3


def test_killed_amid_many_ends(agent, faults):
    """Of one moment: what is told is compared with the log, however much that is."""
    agent.start()
    forge, ends = Forge(agent.key), math.ceil(time.time() + lasting(4))
    ids = []
    with agent.connect() as connection:
        for _ in range(400):
            document = forge.sign(grant_claims(source=next(SOURCES), exp=ends))
            ids.append(connection.call("Submit", document=document)["id"])
    assert time.time() < ends, "too late to tell"
    assert was_killed(agent, faults, 750, lambda _: await_(
        lambda: agent.process.poll() is not None or time.time() > ends + 1, allowing(9)))
    told = Told(agent)
    n_told = sum(told.n("grant_expired", id) for id in ids)
    assert 260 < n_told < 400, "that is not amid"
    agent.start()
    Told(agent).assert_once(*[("grant_expired", id) for id in ids])


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_an_end_that_the_wall_clock_has_passed_by_itself(agent, faults, how):
    """It is slewed, and comes to the end before CLOCK_BOOTTIME does: what is noted then does not say that it was told."""
    agent.start()
    ledger = agent.directory / "state" / "ledger"
    ends = math.ceil(time.time() + lasting(1))
    other = agent.submit(Forge(agent.key).sign(grant_claims(source=next(SOURCES), exp=ends)))["id"]
    id = agent.submit(Forge(agent.key).sign(grant_claims(source=next(SOURCES), exp=ends + 1)))["id"]
    n_noted = ledger.read_text().count('"clock"')
    faults.slew_clock(1)
    if how == "killed":
        await_(lambda: ledger.read_text().count('"clock"') > n_noted, allowing(5), "the other's end is noted")
        agent.kill()
    else:
        await_(lambda: time.time() > ends + 0.05, allowing(5), "the other's end")
        agent.stop()
    assert not Told(agent).n("grant_expired", id), "too late to tell"
    agent.start()
    await_(lambda: Told(agent).n("grant_expired", id), allowing(3), "its end is told")
    Told(agent).assert_once(("grant_expired", id), ("grant_expired", other))


@pytest.mark.parametrize("reboots", [False, True], ids=["restart", "reboot"])
def test_an_end_that_another_admission_has_passed(agent, faults, reboots):
    """Its record says a time at which the other has ended by the wall clock, and was not told of."""
    agent.start()
    forge, ends = Forge(agent.key), math.ceil(time.time() + lasting(1))
    id = agent.submit(forge.sign(grant_claims(source=next(SOURCES), exp=ends)))["id"]
    await_(lambda: time.time() > ends - 0.3, allowing(5), "it is about to end")
    faults.slew_clock(0.4)
    other = agent.submit(forge.sign(grant_claims(source=next(SOURCES))))["id"]
    agent.kill()
    assert not Told(agent).n("grant_expired", id), "too late to tell"
    for _ in range(3):
        if reboots:
            agent.namespace.call("nft", "delete", "table", "inet", "jitgate")
            (agent.directory / "run" / "ledger").unlink()
            ledger = agent.directory / "state" / "ledger"
            ledger.write_text(ledger.read_text().replace(BOOT_ID, "0" * len(BOOT_ID)))
        agent.start()
        await_(lambda: Told(agent).n("grant_expired", id), allowing(3), "its end is told")
        Told(agent).assert_once(("grant_expired", id), ("grant_active", other))
        assert is_active(agent, other)
        agent.kill()


@pytest.mark.parametrize("slewed", [0.3, 0.02])
def test_an_end_that_the_wall_clock_came_to_later(agent, faults, slewed):
    """CLOCK_BOOTTIME came there first, and it was told; what is noted behind it is of others."""
    faults.slew_clock(1)
    agent.start()
    forge, ends = Forge(agent.key), 1 + math.ceil(time.time() + lasting(1))
    id = agent.submit(forge.sign(grant_claims(source=next(SOURCES), exp=ends)))["id"]
    faults.slew_clock(-slewed)
    await_(lambda: Told(agent).n("grant_expired", id), allowing(5), "its end is told")
    await_(lambda: time.time() > ends, what="the wall clock is there")
    for _ in range(2):
        agent.submit(forge.sign(grant_claims(source=next(SOURCES))))
    for _ in range(2):
        agent.kill()
        agent.start()
        Told(agent).assert_once(("grant_expired", id))


def test_the_end_of_a_local_grant(agent):
    agent.start()
    given = agent.call("Grant", ports=[port_claim("22/tcp", "192.0.2.7")], seconds=1 + math.ceil(lasting(1)),
                       reason="test")
    id = given["id"]
    agent.kill()
    assert not agent.audit("grant_expired"), "too late to tell"
    await_(lambda: time.time() > parse_time(given["expires"]), what="its end")
    for _ in range(3):
        agent.start()
        agent.await_audit("grant_expired")
        Told(agent).assert_once(("grant_expired", id))
        agent.kill()


def log_path(agent):
    return agent.directory / "log" / "audit.jsonl"


def cut_log(agent, n):
    """Takes its last lines away; returns their types."""
    lines = log_path(agent).read_text().splitlines(keepends=True)
    log_path(agent).write_text("".join(lines[:-n]))
    return [json.loads(line)["type"] for line in lines[-n:]]


@pytest.mark.parametrize("deed", DEEDS)
def test_what_is_untold_is_told_by_the_next_start(agent, deed):
    agent.start()
    for n in itertools.count(1):
        one = deed(agent)
        with agent.connect() as connection:
            one.act(connection)
        assert one.is_done()
        agent.kill()
        assert cut_log(agent, n) == [type for type, _ in one.tells][-n:]
        for _ in range(3):
            agent.start()
            Told(agent).assert_once(*one.tells)
            agent.kill()
        if n == len(one.tells):
            break
        agent.start()


def test_a_log_that_lost_its_end_with_the_power(agent):
    agent.start()
    grants = [agent.grant("22/tcp", f"192.0.2.{i}") for i in range(8)]
    agent.revoke(grants[0])
    agent.kill()
    lines = log_path(agent).read_text().splitlines(keepends=True)
    where = [i for i, line in enumerate(lines) if json.loads(line).get("grant") == grants[3]]
    log_path(agent).write_text("".join(lines[:where[0] + 1]))
    for _ in range(3):
        agent.start()
        told = Told(agent)
        told.assert_once(("grant_revoked", grants[0]),
                         *[(type, id) for id in grants[1:]
                           for type in ("document_admitted", "grant_active")])
        assert told.n("document_admitted", grants[0]) == 1
        assert agent.cli("audit", "verify").returncode == 0
        agent.kill()


def test_starts_that_are_killed_too(agent):
    """It stays untold until one gets as far, and is not told again by the next."""
    agent.start()
    id = agent.grant("22/tcp", "192.0.2.7")
    agent.kill()
    assert cut_log(agent, 1) == ["grant_active"]
    for n in range(2, 12):
        agent.start(wait=False)
        agent.await_audit("agent_started", count=n)
        agent.kill()
        assert Told(agent).n("grant_active", id) <= 1
    agent.start()
    Told(agent).assert_once(("document_admitted", id), ("grant_active", id))


def test_a_log_that_is_gone_is_not_told_again(agent):
    agent.start()
    id = agent.grant("22/tcp", "192.0.2.7")
    agent.kill()
    log_path(agent).unlink()
    for _ in range(3):
        agent.start()
        assert Told(agent).n("grant_active", id) == 0
        agent.kill()


def test_a_revocation_that_changed_nothing_is_not_told(agent):
    agent.start()
    id = agent.grant("22/tcp", "192.0.2.7")
    agent.call("Revoke", id=id, reason="because")
    agent.revoke(id)
    for _ in range(2):
        agent.kill()
        agent.start()
        Told(agent).assert_once(("grant_revoked", id))


def test_a_reason_is_told_after_all(agent):
    agent.start()
    id = agent.grant("22/tcp", "192.0.2.7")
    agent.call("Revoke", id=id, reason="because")
    agent.kill()
    assert cut_log(agent, 1) == ["grant_revoked"]
    agent.start()
    record = agent.await_audit("grant_revoked")
    assert record["grant"] == id and record["reason"] == "because"
    assert record["subject"] == "alice" and record["port"] == 22


NARROW = {"ssh": {"number": 22, "max_request_access_duration": "PT1H",
                  "allowed_source_address_prefixes": "192.0.2.0/24"}}


def by_root(agent):
    return agent.call("Grant", ports=[port_claim("53/udp", "192.0.2.7")], seconds=600,
                      reason="test")["id"]


@pytest.mark.parametrize("reboots", [False, True], ids=["restart", "reboot"])
def test_what_a_start_does_not_allow_any_more_has_ended(world, agent, reboots):
    """As after a reload: on disk before anything opens, told once, and not undone by another configuration."""
    def start(ports):
        agent.kill()
        if reboots:
            agent.namespace.call("nft", "delete", "table", "inet", "jitgate")
            (agent.directory / "run" / "ledger").unlink()
        agent.configure(ports=ports)
        agent.start()
    agent.start()
    wide, begins = agent.ports, int(time.time()) + 60
    documents = {id: agent.sign_grant("22/tcp", source, jti=id, **claims)
                 for id, source, claims in (("kept", "192.0.2.7", {}), ("wide", "198.51.100.7", {}),
                                            ("later", "198.51.100.8", {"nbf": begins}))}
    for document in documents.values():
        agent.submit(document)
    ended = ["wide", "later"] + ([] if reboots else [by_root(agent)])
    start(NARROW)
    for ports in NARROW, wide, wide:
        told = Told(agent)
        told.assert_once(*[("grant_revoked", id) for id in ended])
        assert told.n("grant_revoked", "kept") == 0
        assert is_active(agent, "kept") and not any(is_active(agent, id) for id in ended)
        assert_as_granted(agent)
        assert agent.refusal(documents["wide"]) == "revoked"
        start(ports)
    reasons = {record["grant"]: record["reason"] for record in agent.audit("grant_revoked")}
    assert "198.51.100.7" in reasons["wide"] and agent.cli("audit", "verify").returncode == 0


def test_what_a_start_ends_is_told_though_it_is_killed(agent, faults):
    """Whenever it is killed: what is on disk is told by the next."""
    agent.start()
    wide = agent.ports
    for at in range(1, CALLS_MAX):
        id = agent.grant("22/tcp", f"198.51.100.{at}")
        agent.kill()
        agent.configure(ports=NARROW)
        with faults.armed(Fault("system", at, kills=True, only="write")):
            agent.start(wait=False)
            await_(lambda: agent.process.poll() is not None or is_up(agent), allowing(5))
        killed = agent.process.poll() is not None
        if not killed:
            agent.kill()
        agent._forget_notifications()
        agent.start()
        Told(agent).assert_once(("grant_revoked", id))
        agent.configure(ports=wide)
        agent.kill()
        agent.start()
        Told(agent).assert_once(("grant_revoked", id))
        assert not is_active(agent, id)
        if not killed:
            break
    assert not killed and at > 3


def is_up(agent):
    with contextlib.suppress(OSError):
        agent.call("org.varlink.service.GetInfo")
        return True
