# SPDX-License-Identifier: GPL-3.0-or-later
"""kill -9 at any moment while documents stream in: what was acknowledged holds, what was revoked is shut."""

import random
import threading
import time

import pytest

from forge import Forge, grant_claims
from harness import VarlinkError, await_
from kernel import assert_as_granted, granted

ROUNDS = 16
SENDERS = 3


class Book:
    """What was sent and what was answered, by grant id."""

    def __init__(self):
        self.lock = threading.Lock()
        self.acknowledged = {}  # id: source, of durable grants
        self.revoking = set()  # sent, maybe not answered
        self.revoked = set()  # answered
        self.refused = set()
        self.sent = set()


class Sender(threading.Thread):
    """Grants, renewals and revocations by a connection of its own, until the daemon dies."""

    def __init__(self, agent, forge, book, seed):
        super().__init__(daemon=True)
        self.agent, self.forge, self.book = agent, forge, book
        self.chance = random.Random(seed)
        self.connection = agent.connect()
        self.failure = None

    def run(self):
        try:
            while True:
                self.step()
        except (ConnectionError, OSError):
            pass
        except Exception as failure:  # told by the test, which waits for us
            self.failure = failure

    def step(self):
        kind = self.chance.random()
        with self.book.lock:
            live = sorted(set(self.book.acknowledged) - self.book.revoking)
        if kind < 0.3 and live:
            self.revoke(self.chance.choice(live))
        elif kind < 0.4:
            self.ask_too_much()
        else:
            self.grant()

    def grant(self):
        source = f"192.0.2.{self.chance.randrange(20)}"
        if self.chance.random() < 0.3:
            source = f"192.0.2.{self.chance.randrange(0, 256, 16)}/28"
        claims = grant_claims("22/tcp", source, self.chance.randrange(300, 3600))
        with self.book.lock:
            self.book.sent.add(claims["jti"])
        answer = self.connection.call("Submit", document=self.forge.sign(claims))
        assert answer["durable"]
        with self.book.lock:
            self.book.acknowledged[claims["jti"]] = source

    def revoke(self, id):
        with self.book.lock:
            self.book.revoking.add(id)
        answer = self.connection.call("Submit", document=self.forge.revocation(id))
        assert answer["durable"]
        with self.book.lock:
            self.book.revoked.add(id)

    def ask_too_much(self):
        claims = grant_claims("22/tcp", "192.0.2.7", 7200)
        with self.book.lock:
            self.book.refused.add(claims["jti"])
        with pytest.raises(VarlinkError):
            self.connection.call("Submit", document=self.forge.sign(claims))


def check(agent, book):
    assert_as_granted(agent)
    states = {g["id"]: g["state"] for g in agent.call("ListGrants", all=True)["grants"]}
    active = {id for id, state in states.items() if state == "active"}
    lost = set(book.acknowledged) - book.revoking - active
    assert not lost, f"acknowledged, and gone: {lost}"
    assert not active & book.revoked, "revoked, and open"
    assert not active & book.refused, "refused, and open"
    assert active <= book.sent
    assert {e.grant for e in granted(agent.namespace)} <= active


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_any_moment(agent, seed):
    print("seed", seed)
    chance, book, forge = random.Random(seed), Book(), Forge(agent.key)
    agent.start()
    for round in range(ROUNDS):
        senders = [Sender(agent, forge, book, 1000 * seed + 10 * round + i)
                   for i in range(SENDERS)]
        for sender in senders:
            sender.start()
        n_before = len(book.acknowledged)
        if round % 2:  # else it may be before any answer
            await_(lambda: len(book.acknowledged) > n_before + 4, what="documents stream in")
        threading.Event().wait(chance.uniform(0, 0.05))  # the moment: any will do
        agent.kill()
        for sender in senders:
            sender.join(10)
            assert not sender.is_alive()
            if sender.failure:
                raise sender.failure
        agent.start()
        check(agent, book)
    assert len(book.acknowledged) > 2 * ROUNDS and len(book.revoked) > ROUNDS / 4
    # A write may end between two pages.
    assert all(record["details"]["badLines"] == record["details"]["unverified"] == 0
               for record in agent.audit("ledger_damaged"))
    assert agent.cli("audit", "verify").returncode == 0


def test_killed_while_it_starts(agent):
    """Again and again, before it is ready: the gate stands as it was, and nothing gets lost."""
    chance = random.Random(3)
    agent.start()
    for i in range(30):
        agent.grant("22/tcp", f"192.0.2.{i}")
    agent.kill()
    began = time.monotonic()
    agent.start()
    duration = time.monotonic() - began
    for _ in range(25):
        agent.kill()
        agent.start(wait=False)
        threading.Event().wait(chance.uniform(0, 1.2 * duration))
        # Where there is a gate it has all grants: one that is made new comes with them or after the daemon's.
        assert len(granted(agent.namespace)) == 30
    agent.kill()
    agent.start()
    assert_as_granted(agent)
    assert len(granted(agent.namespace)) == 30


def test_two_daemons_do_not_share_a_ledger(agent):
    agent.start()
    agent.grant("22/tcp", "192.0.2.7")
    first, process = agent.process, None
    try:
        agent.start(wait=False)
        process = agent.process
        assert process.wait(60) == 1
    finally:
        agent.process = first
    assert "another jitgated uses" in agent.log()
    assert_as_granted(agent)
