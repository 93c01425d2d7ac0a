# SPDX-License-Identifier: GPL-3.0-or-later
"""The server is killed at any moment, under load: what it acknowledged is kept, and comes once."""

import random
import threading
import time

from control_plane import claims, header, rule, vm_id

N_AGENTS = 4
N_KILLS = 8
SECONDS_BETWEEN = 0.6


class Load:
    """People who ask, agents that fetch and tell, until it is over; each remembers what it was answered."""

    def __init__(self, server, people, agents):
        self.server, self.people, self.agents = server, people, agents
        self.over = threading.Event()
        self.settled = threading.Event()
        self.acknowledged = []  # (vm, jti, revoked)
        self.taken = {agent.vm: [] for agent in agents}
        self.events = {agent.vm: 0 for agent in agents}
        self.errors = []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.guard, args=(self.ask, person, i))
                        for i, person in enumerate(people)]
        self.threads += [threading.Thread(target=self.guard, args=(self.serve, agent))
                         for agent in agents]

    def guard(self, function, *arguments):
        try:
            function(*arguments)
        except Exception as error:  # pylint: disable=broad-except
            self.errors.append(repr(error))

    def ask(self, person, i):
        """Each request is for a source of its own, so that none takes another's place."""
        n = 0
        while not self.over.is_set():
            n += 1
            name = f"vm{n % N_AGENTS}"
            try:
                answer = person.call("POST", "/v1/requests", {"vm": vm_id(name), "ports": [
                    {"number": 22, "source": f"10.{i}.{n // 256}.{n % 256}"}]}, timeout=10)
            except OSError:
                time.sleep(0.01)
                continue
            except Exception as error:  # http.client: cut off in the middle of an answer
                if type(error).__module__ != "http.client":
                    raise
                continue
            assert answer.status in (201, 503), answer
            if answer.status == 201:
                grant = answer["virtualMachines"][0]["ports"][0]["grant"]
                with self.lock:
                    self.acknowledged.append((vm_id(name), grant))

    def serve(self, agent):
        """As jitgate-poll does: tells again what was not acknowledged, fetches from its cursor on."""
        unsent = []
        while not self.settled.is_set():
            try:
                for document in agent.fetch(wait=1):
                    grant = claims(document)["jti"]
                    if header(document)["typ"] == "jit-grant+jwt":
                        self.taken[agent.vm].append(grant)
                        unsent.append(agent.event("grant_active", grant=grant))
                while unsent:
                    batch = unsent[:50]
                    answer = agent.post(*batch)
                    assert answer.status in (202, 503), answer
                    if answer.status == 202:
                        assert answer["acknowledged"] == batch[-1]["sequence"]
                        self.events[agent.vm] += len(batch)
                        del unsent[:50]
            except OSError:
                time.sleep(0.01)
            except Exception as error:
                if type(error).__module__ != "http.client":
                    raise


def grants_told(admin):
    """Of all entries that agents told: their ids."""
    path, seen = "/v1/activity?top=1000", []
    while path:
        page = admin.call("GET", path)
        seen += [(entry["vm"], entry["id"]) for entry in page["value"]
                 if entry["operation"] == "jitgate/agents/grant_active"]
        path = page.body.get("nextLink", "").removeprefix(admin.server.url)
    return seen


def test_killed_at_any_moment_nothing_acknowledged_is_lost(server, admin, measure):
    admin.put({f"vm{i}": [rule()] for i in range(N_AGENTS)})
    agents = [server.enroll(f"vm{i}") for i in range(N_AGENTS)]
    people = [server.person(f"p{i}", "requester") for i in range(3)]
    load = Load(server, people, agents)
    for thread in load.threads:
        thread.start()
    chance = random.Random(4711)
    for _ in range(N_KILLS):
        time.sleep(chance.uniform(0.02, SECONDS_BETWEEN))
        server.kill()
        server.start()
    time.sleep(0.2)
    load.over.set()
    for thread in load.threads[:len(people)]:
        thread.join(30)
    end = time.monotonic() + 30
    while (missing := [one for one in load.acknowledged if one[1] not in load.taken[one[0]]]) or \
            sum(load.events.values()) < sum(map(len, load.taken.values())):
        assert not load.errors, load.errors
        assert time.monotonic() < end, (missing, load.events)
        time.sleep(0.05)
    load.settled.set()
    for thread in load.threads:
        thread.join(30)
    assert not load.errors, load.errors
    assert len(load.acknowledged) > 50
    for vm, taken in load.taken.items():
        assert len(taken) == len(set(taken)), f"{vm} was given a grant twice"
    told = grants_told(admin)
    assert len(told) == len(set(told)) == sum(load.events.values())
    # All progress is there, too.
    for vm, grant in random.sample(load.acknowledged, 20):
        request = admin.get(grant.split(".")[0])
        assert "installed" in request["virtualMachines"][0]["ports"][0]["progress"], (vm, grant)
    measure("grants over 8 kills", len(load.acknowledged))
