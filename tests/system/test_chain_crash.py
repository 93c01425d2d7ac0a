# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs are killed at any moment, under load: each grant that was acknowledged arrives once, no event is lost."""

import random
import threading
import time

import pytest

from chain import grant_of
from control_plane import rule, vm_id
from harness import await_

N_KILLS = 6
SECONDS_BETWEEN = 0.5
NAMES = ("web-1", "web-2")


class Asking(threading.Thread):
    """Asks for one VM and then the other, each time for another source, until it is over."""

    def __init__(self, person, number):
        super().__init__(daemon=True)
        self.person, self.number = person, number
        self.over = threading.Event()
        self.granted = []  # (VM, grant)
        self.error = None

    def run(self):
        try:
            n = 0
            while not self.over.wait(0.005):
                n += 1
                self.ask(NAMES[n % len(NAMES)], f"10.{self.number}.{n // 256}.{n % 256}")
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def ask(self, name, source):
        try:
            answer = self.person.call("POST", "/v1/requests", {"vm": vm_id(name), "ports": [
                {"number": 22, "source": source}]}, timeout=10)
        except OSError:
            return
        except Exception as error:  # http.client: cut off in the middle of an answer
            if type(error).__module__ != "http.client":
                raise
            return
        assert answer.status in (201, 503), answer
        if answer.status == 201:
            self.granted.append((name, grant_of(answer)))


@pytest.fixture
def vms(chain, world):
    """Two that have joined."""
    chain.add(NAMES[1], world.stranger)
    for vm in chain.vms:
        vm.join()
    chain.admin.put({name: [rule()] for name in NAMES})
    for vm in chain.vms:
        await_(lambda: vm.agent.call("Status")["ports"], 10, "the policy is there")
    return chain.vms


def end_load(asking):
    for one in asking:
        one.over.set()
    for one in asking:
        one.join(30)
        assert not one.error, one.error
    return [granted for one in asking for granted in one.granted]


def check_grants(vm, granted):
    """Each is an element of the gate, and was admitted once and came into force once, by the audit log."""
    mine = [grant for name, grant in granted if name == vm.name]

    def recorded(kind):
        return [record["grant"] for record in vm.agent.audit(kind) if "grant" in record]

    # One whose answer was cut off may be there besides.
    await_(lambda: set(mine) <= set(recorded("grant_active")), 20, "the grants are there")
    held = vm.namespace.run("nft", "list", "table", "inet", "jitgate")
    assert all(held.count(f'"{grant}"') == 1 for grant in mine)
    for kind in ("document_admitted", "grant_active"):
        told = recorded(kind)
        assert len(told) == len(set(told)), kind
        assert set(mine) <= set(told), kind


def test_the_server_is_killed_under_load(chain, vms, measure):
    chance = random.Random(4711)
    asking = [Asking(chain.server.person(f"p{i}@example.org", "requester"), i) for i in range(3)]
    for one in asking:
        one.start()
    for _ in range(N_KILLS):
        time.sleep(chance.uniform(0.02, SECONDS_BETWEEN))
        chain.server.kill()
        chain.server.start()
    time.sleep(0.2)
    granted = end_load(asking)
    assert len(granted) > 20
    for vm in vms:
        check_grants(vm, granted)
        vm.await_all_told(30)
    measure("grants over kills of the server", len(granted))


def test_agents_and_polls_are_killed_under_load(chain, vms, measure):
    chance = random.Random(4712)
    asking = [Asking(chain.server.person("p@example.org", "requester"), 1)]
    asking[0].start()
    for i in range(2 * N_KILLS):
        time.sleep(chance.uniform(0.02, SECONDS_BETWEEN / 2))
        vm = vms[chance.randrange(2)]
        one = chance.choice((vm.agent, vm.poll))
        one.kill()
        time.sleep(chance.uniform(0, 0.2))
        one.start()
    granted = end_load(asking)
    assert len(granted) > 20
    for vm in vms:
        check_grants(vm, granted)
        vm.await_all_told(30)
    measure("grants over kills of agents and polls", len(granted))
