#!/usr/bin/python3 -u
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenes for tests that end or stop the machine meanwhile: scene.py NAME [ARGUMENTS]. Prints lines of JSON.

The agent's state is on the disk that outlives the machine, its runtime directory is not."""

import json
import math
import os
import pathlib
import random
import sys
import threading
import time

sys.path.insert(0, "/tree/tests/system")

from forge import Forge, grant_claims  # noqa: E402
from harness import Agent, Listener, VarlinkError, World, await_, is_open  # noqa: E402
from kernel import assert_as_granted, granted  # noqa: E402

SENDERS = 3
_print = threading.Lock()


def say(**message):
    with _print:
        print(json.dumps(message), flush=True)


def make_agent(world, name="agent"):
    directory = pathlib.Path("/state") / name
    directory.mkdir(exist_ok=True)
    (directory / "notify").unlink(missing_ok=True)
    runtime = pathlib.Path("/run/jitgate") / name
    runtime.mkdir(parents=True, exist_ok=True)
    made = Agent(world.vm, directory)
    made.socket_path = runtime / "agent.sock"
    made.configure(runtime_directory=runtime)
    os.sync()  # key and configuration are not what a reset may take
    return made


def grant_locally(agent, source):
    return agent.call("Grant", ports=[{"number": 22, "protocol": "TCP",
                                       "allowedSourceAddressPrefixes": [source]}],
                      seconds=3000, reason="break-glass")["id"]


class Sender(threading.Thread):
    """Grants and revocations without end, each told before and after."""

    def __init__(self, agent, seed):
        super().__init__(daemon=True)
        self.connection = agent.connect()
        self.forge, self.chance = Forge(agent.key), random.Random(seed)
        self.mine = []

    def run(self):
        while True:
            if len(self.mine) > 3 and self.chance.random() < 0.3:
                id = self.mine.pop(self.chance.randrange(len(self.mine)))
                document = self.forge.revocation(id)
                say(revoking=id)
                answer = self.connection.call("Submit", document=document)
                say(revoked=id, durable=answer["durable"])
            else:
                claims = grant_claims("22/tcp", f"192.0.2.{self.chance.randrange(50)}",
                                      self.chance.randrange(1800, 3600))
                document = self.forge.sign(claims)
                say(granting=claims["jti"])
                answer = self.connection.call("Submit", document=document)
                self.mine.append(claims["jti"])
                say(granted=claims["jti"], durable=answer["durable"])


class Reader(threading.Thread):
    """Tells the audit log's records as jitgate-poll brings them to the control plane."""

    def __init__(self, agent):
        super().__init__(daemon=True)
        self.connection = agent.connect()

    def run(self):
        after = 0
        while True:
            for event in self.connection.call("ListEvents", after=after)["events"]:
                after = event["sequence"]
                say(told=after, event=as_text(event))
            time.sleep(0.05)


def as_text(event):
    return json.dumps({**event, "previous": None}, sort_keys=True)


def stream(world, seed):
    """Until the machine ends."""
    agent = make_agent(world).start()
    Reader(agent).start()
    say(local=grant_locally(agent, "192.0.2.200"))
    senders = [Sender(agent, f"{seed} {i}") for i in range(SENDERS)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()


def tell(agent):
    """What the agent and the kernel hold now."""
    assert_as_granted(agent)
    say(grants={g["id"]: g["state"] for g in agent.call("ListGrants", all=True)["grants"]},
        elements=sorted({element.grant for element in granted(agent.namespace)}),
        behind="clockBehindUntil" in agent.call("Status"),
        damaged=len(agent.audit("ledger_damaged")), log=agent.log()[-2000:],
        verify=agent.cli("audit", "verify").returncode,
        records={event["sequence"]: as_text(event) for event in agent.audit()})


def look(world):
    tell(make_agent(world).start())


def prepare(world):
    """Grants of each kind, and a clean stop."""
    agent, now = make_agent(world).start(), int(time.time())
    agent.grant("22/tcp", "192.0.2.7", seconds=3000, jti="kept")
    agent.grant("22/tcp", "192.0.2.8", jti="scheduled", nbf=now + 3000, exp=now + 3500)
    agent.grant("22/tcp", "192.0.2.9", seconds=3000, jti="revoked")
    agent.revoke("revoked")
    local = grant_locally(agent, "192.0.2.200")
    say(local=local, document=agent.sign_grant("22/tcp", "192.0.2.11", seconds=3000, jti="brought"))
    assert agent.stop() == 0


class RightTime:
    """To which NTP would set the clock: what it was when somebody knew, and what has passed since."""

    def __init__(self, then):
        self.ahead = float(then) - time.clock_gettime(time.CLOCK_BOOTTIME)

    def set(self):
        time.clock_settime(time.CLOCK_REALTIME, self.ahead + time.clock_gettime(time.CLOCK_BOOTTIME))


def no_clock(world, document, wall_clock):
    """The machine began with a clock that is far behind; later it is set, as NTP does."""
    right = RightTime(wall_clock)
    agent, fresh = make_agent(world).start(), make_agent(world, "fresh")
    Listener(world.vm, "0.0.0.0", 22)
    records = agent.audit("clock_behind")
    assert records and "clockBehindUntil" in agent.call("Status")
    assert agent.call("ListGrants")["grants"] == [] and granted(agent.namespace) == []
    assert not is_open(world.requester, "192.0.2.1", 22)
    for submitted in document, agent.sign_grant("22/tcp", "192.0.2.12", jti="of-1970"):
        try:
            agent.submit(submitted)
            raise AssertionError("admitted")
        except VarlinkError as error:
            assert error.parameters["code"] == "clock_behind", error
    right.set()
    await_(lambda: "clockBehindUntil" not in agent.call("Status"), what="it caught up")
    agent.await_state("kept", "active")
    agent.submit(document)
    tell(agent)
    assert is_open(world.requester, "192.0.2.1", 22)
    agent.stop()
    # One that was never started before has no time to compare with, but documents have.
    world.vm.run("nft", "delete", "table", "inet", "jitgate")
    time.clock_settime(time.CLOCK_REALTIME, 86400.0)
    fresh.trust(agent.key)
    fresh.start()
    try:
        fresh.submit(document)
        raise AssertionError("admitted")
    except VarlinkError as error:
        assert error.parameters["code"] == "clock_behind", error
    assert granted(world.vm) == []
    fresh.stop()
    right.set()


def sleep(world, seconds):
    """Sleeps until it is woken, with a grant that ends meanwhile."""
    agent = make_agent(world, "sleeper").start()
    Listener(world.vm, "0.0.0.0", 22)
    agent.grant("22/tcp", "192.0.2.7", exp=math.ceil(time.time() + float(seconds)), jti="ends-asleep")
    agent.grant("22/tcp", "192.0.2.8", seconds=3000, jti="outlives")
    assert is_open(world.requester, "192.0.2.1", 22)
    before = time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic()
    say(sleeps=True)
    with open("/sys/power/state", "w", encoding="ascii") as file:
        file.write("mem")
    slept = (time.clock_gettime(time.CLOCK_BOOTTIME) - before[0]) - (time.monotonic() - before[1])
    woke = time.monotonic()
    await_(lambda: "ends-asleep" not in {e.grant for e in granted(agent.namespace)},
           what="shut after waking")
    say(slept=slept, shut_after=time.monotonic() - woke)
    assert not is_open(world.requester, "192.0.2.1", 22)
    tell(agent)


def main():
    os.chdir("/")
    with World() as world:
        globals()[sys.argv[1]](world, *sys.argv[2:])


if __name__ == "__main__":
    main()
