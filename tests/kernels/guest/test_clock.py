# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine's clock is set while grants live: nothing is extended, and what is over ends at once."""

import time

import pytest

from harness import Listener, allowing, await_, is_open, lasting
from kernel import granted

HOUR = 3600


class Clock:
    """The wall clock, and how far it is from where it was."""

    def __init__(self):
        self._right = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)

    def step(self, seconds):
        time.clock_settime(time.CLOCK_REALTIME, time.time() + seconds)

    def set_right(self):
        time.clock_settime(time.CLOCK_REALTIME,
                           self._right + time.clock_gettime(time.CLOCK_BOOTTIME))


@pytest.fixture
def clock():
    made = Clock()
    yield made
    made.set_right()


def states(agent):
    return {g["id"]: g["state"] for g in agent.call("ListGrants", all=True)["grants"]}


def elements(agent):
    return {element.grant for element in granted(agent.namespace)}


def test_set_forward(world, agent, clock):
    """What is over then is shut, what has begun is open, what lasts longer ends as much earlier."""
    agent.start()
    Listener(world.vm, "0.0.0.0", 22)
    now = int(time.time())
    agent.grant("22/tcp", "192.0.2.7", seconds=600, jti="over")
    agent.grant("22/tcp", "192.0.2.8", seconds=2400, jti="lasts")
    agent.grant("22/tcp", "192.0.2.9", jti="later", nbf=now + 900, exp=now + 2400)
    agent.grant("22/tcp", "192.0.2.10", jti="never", nbf=now + 300, exp=now + 800)
    assert is_open(world.requester, "192.0.2.1", 22)
    clock.step(1000)
    await_(lambda: elements(agent) == {"lasts", "later"}, what="worked out again")
    assert not is_open(world.requester, "192.0.2.1", 22)
    assert states(agent) == {"over": "expired", "lasts": "active", "later": "active",
                             "never": "expired"}
    assert len(agent.audit("clock_stepped")) == 1
    for element in granted(agent.namespace):
        assert element.expires - time.time() < 1405, "the kernel's own deadline came nearer too"
    clock.step(2000)
    await_(lambda: elements(agent) == set(), what="all of it ended")


def test_set_back(world, agent, clock):
    """A grant lasts as long as it was given for; while the clock is behind none is admitted."""
    agent.start()
    Listener(world.vm, "0.0.0.0", 22)
    agent.grant("22/tcp", "192.0.2.7", seconds=4, jti="short")
    begun = time.clock_gettime(time.CLOCK_BOOTTIME)
    document = agent.sign_grant("22/tcp", "192.0.2.9", jti="new")
    clock.step(-HOUR)
    agent.await_audit("clock_stepped")
    assert "clockBehindUntil" in agent.call("Status")
    assert agent.refusal(document) == "clock_behind"
    assert agent.refusal(agent.sign_grant("22/tcp", "192.0.2.10", jti="of-then")) == "clock_behind"
    assert is_open(world.requester, "192.0.2.1", 22), "what was granted is not taken back"
    agent.await_expired("short", 10)
    assert time.clock_gettime(time.CLOCK_BOOTTIME) - begun < lasting(4) + allowing(10)
    assert not is_open(world.requester, "192.0.2.1", 22)
    # Nor does a restart believe that its end is still to come.
    agent.kill()
    agent.start()
    assert elements(agent) == set()
    clock.set_right()
    await_(lambda: "clockBehindUntil" not in agent.call("Status"), what="it caught up")
    assert states(agent).get("short", "expired") == "expired"
    assert elements(agent) == set()
    agent.submit(document)
    assert elements(agent) == {"new"}


def test_set_back_while_no_daemon_runs(agent, clock):
    """The daemon that comes then knows the grant's deadline by the clock that nobody sets."""
    agent.start()
    agent.grant("22/tcp", "192.0.2.7", seconds=600, jti="lives")
    agent.grant("22/tcp", "192.0.2.8", seconds=900, jti="revoked")
    agent.revoke("revoked")
    before, = granted(agent.namespace)
    left = before.expires - time.time()
    agent.kill()
    clock.step(-HOUR)
    agent.start()
    after, = granted(agent.namespace)
    assert after.grant == "lives" and after.expires - time.time() < left + 1
    assert "clockBehindUntil" in agent.call("Status")


def test_set_forward_and_right_again(agent, clock):
    """A clock that was a day ahead is behind what was seen then, until it has caught up; root can still open."""
    agent.start()
    clock.step(24 * HOUR)
    agent.await_audit("clock_stepped")
    agent.grant("22/tcp", "192.0.2.7", seconds=600, jti="of-tomorrow")
    clock.set_right()
    agent.await_audit("clock_stepped", count=2)
    assert "clockBehindUntil" in agent.call("Status")
    assert agent.refusal(agent.sign_grant("22/tcp", "192.0.2.8", jti="of-today")) == "clock_behind"
    agent.call("Grant", ports=[{"number": 22, "protocol": "TCP",
                                "allowedSourceAddressPrefixes": ["192.0.2.9"]}],
               seconds=60, reason="the clock was wrong")
    assert len(granted(agent.namespace)) == 2
