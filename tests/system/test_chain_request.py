# SPDX-License-Identifier: GPL-3.0-or-later
"""A person asks, and gets in; the whole way, on real parts."""

import json
import subprocess
import time

import pytest

from chain import PLANE, REFUSED, grant_of, port_of
from control_plane import rule
from harness import Listener, Session, await_, is_open, lasting
from knocking import Accepting, Knocking

RULES = [rule(22), rule(443, approvalRequired=True)]


@pytest.fixture
def vm(chain):
    """Joined, with a policy of the control plane alone."""
    made = chain.vms[0].join()
    chain.admin.put({"web-1": RULES})
    await_(lambda: made.agent.call("Status")["ports"], 10, "the policy is there")
    return made


def listen(vm, port=22):
    return Listener(vm.namespace, "::", port, dual_stack=True)


def test_a_request_opens_the_port_for_who_asked_and_until_then(chain, vm, world):
    listen(vm)
    assert not is_open(world.requester, world.vm.v4, 22)
    made = chain.request(seconds=4)
    assert port_of(made)["allowedSourceAddressPrefix"] == world.requester.v4
    assert is_open(world.requester, world.vm.v4, 22)
    assert not is_open(world.stranger, world.vm.v4, 22)
    assert port_of(chain.requests()[made["id"]])["status"] == "Initiated"
    vm.agent.await_expired(grant_of(made), 6)
    assert not is_open(world.requester, world.vm.v4, 22)
    entry = chain.await_activity("grant_expired", request=made["id"])
    assert (entry["port"], entry["vm"]) == (22, vm.id)
    assert made["id"] not in chain.requests()
    assert port_of(chain.requests("--all")[made["id"]])["status"] == "Revoked"
    listed = chain.cli("alice", "activity", "--request", made["id"])
    for told in "alice@example.org", "initiate", "ticket 4711", world.requester.v4, "has ended":
        assert told in listed, listed
    vm.await_all_told()


def test_a_renewal_extends_without_a_gap(chain, vm, world):
    with Accepting(listen(vm)):
        older = chain.request(seconds=3)
        ends = time.monotonic() + lasting(4)
        with Knocking(world.requester, world.vm.v4, 22) as knocking:
            newer = chain.request(seconds=600)
            vm.agent.await_state(grant_of(older), "revoked")
            await_(lambda: time.monotonic() > ends and knocking.n_begun > 100, 10)
    assert not knocking.refused and len(knocking.let_in) > 100
    assert [made for made in chain.requests()] == [newer["id"]]
    assert port_of(chain.requests("--all")[older["id"]])["statusReason"] == "NewerRequestInitiated"


def test_a_newer_request_that_is_shorter_takes_the_place_of_the_older(chain, vm, world):
    listen(vm)
    older = chain.request(seconds=3600)
    newer = chain.request(seconds=3)
    assert is_open(world.requester, world.vm.v4, 22)
    vm.agent.await_state(grant_of(older), "revoked")
    vm.agent.await_expired(grant_of(newer), 5)
    assert not is_open(world.requester, world.vm.v4, 22)
    chain.await_activity("grant_expired", request=newer["id"])


def test_ipv6_from_the_laptop_to_the_port(chain, vm, world):
    listen(vm)
    made = chain.request(url=f"https://[{PLANE[1]}]:{chain.server.port}")
    assert port_of(made)["allowedSourceAddressPrefix"] == world.requester.v6
    assert is_open(world.requester, world.vm.v6, 22)
    assert not is_open(world.stranger, world.vm.v6, 22)
    assert not is_open(world.requester, world.vm.v4, 22)


def test_a_second_person_approves(chain, vm, world):
    listen(vm, 443)
    waiting = world.requester.spawn(*chain.command(
        "alice", "request", "web-1", "--port", "443", "--reason", "ticket 4711", "--json"),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    id = await_(lambda: list(chain.requests()), 10, "the request")[0]
    assert "approve" in chain.cli("alice", "approve", id, status=REFUSED)
    assert not is_open(world.requester, world.vm.v4, 443)
    chain.cli("bob", "approve", id, "--reason", "on call")
    output, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 0 and json.loads(output)["approval"]["by"] == "bob@example.org"
    assert is_open(world.requester, world.vm.v4, 443)
    entry = chain.await_activity("approve", request=id)
    assert (entry["principal"], entry["reason"]) == ("bob@example.org", "on call")


def test_a_revocation_ends_the_sessions_that_it_let_in_and_no_others(chain, vm, world):
    listener = listen(vm)
    alices = chain.request("alice")
    carols = chain.request("carol", "web-1", "22", "--source", world.stranger.v4)
    ended = Session(world.requester, world.vm.v4, listener)
    kept = Session(world.stranger, world.vm.v4, listener)
    assert ended.works() and kept.works()
    chain.cli("bob", "requests", "revoke", alices["id"], "--sessions", "kill", "--reason", "left")
    vm.agent.await_state(grant_of(alices), "revoked")
    await_(ended.is_closed, 5, "the session ended")
    assert kept.works() and is_open(world.stranger, world.vm.v4, 22)
    assert not is_open(world.requester, world.vm.v4, 22)
    entry = chain.await_activity("grant_revoked", request=alices["id"])
    assert entry["reason"] == "left"
    # Without it, sessions live on.
    chain.cli("carol", "requests", "revoke", carols["id"])
    vm.agent.await_state(grant_of(carols), "revoked")
    assert kept.works() and not is_open(world.stranger, world.vm.v4, 22)
    vm.await_all_told()
