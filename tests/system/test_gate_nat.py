# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports that destination NAT publishes: judged by the port the sender used.

The container's own port is 22 on its side, published as the VM's 2222, which is managed.
"""

import errno

import pytest

from harness import Listener, Session, Udp, await_, is_open
from nat import KINDS, NftNat

families = pytest.mark.parametrize("family", [4, 6])
kinds = pytest.mark.parametrize("kind", KINDS)
PUBLISHED = {"published": {"number": 2222, "protocol": "*"}}


def follows(agent, expected):
    await_(lambda: agent.call("Status")["gate"]["destinationNat"] == expected,
           what=f"destinationNat: {expected}")


@families
@kinds
def test_a_published_container_needs_a_grant_and_lives_on_without(world, agent, family, kind):
    container, vm = world.container(), world.vm
    address = vm.address(family)
    Listener(container, "::", 22, dual_stack=True)
    udp = Udp(container, "::" if family == 6 else "0.0.0.0", 22)
    client = Udp(world.requester, "::" if family == 6 else "0.0.0.0")
    nat = KINDS[kind](vm, 2222, 22, container)
    nat.publish()
    assert is_open(world.requester, address, 2222)
    agent.configure(ports=PUBLISHED)
    agent.start()
    assert agent.call("Status")["gate"]["destinationNat"]
    assert not is_open(world.requester, address, 2222)
    assert not udp.hears(client, address, 2222)
    agent.grant("2222/*", world.requester.address(family))
    assert is_open(world.requester, address, 2222)
    assert not is_open(world.stranger, address, 2222)
    assert udp.hears(client, address, 2222)


@families
@kinds
def test_auto_follows_rules_that_come_and_go(world, agent, family, kind):
    container, vm, requester = world.container(), world.vm, world.requester
    address = vm.address(family)
    local = Listener(vm, "::", 22, dual_stack=True)
    agent.configure(ports={**PUBLISHED, "ssh": {"number": 22}})
    nat = KINDS[kind](vm, 2222, 22, container)
    nat.require(world.stranger)
    older = Session(requester, address, local)
    agent.start()
    agent.grant("22/tcp", requester.address(family))
    granted = Session(requester, address, local)
    if kind != "iptables-legacy":
        follows(agent, False)
    Listener(container, "::", 22, dual_stack=True)
    nat.publish()
    follows(agent, True)
    assert older.works() and granted.works(), "a session did not survive the NAT rule"
    assert not is_open(requester, address, 2222)
    agent.grant("2222/tcp", requester.address(family))
    assert is_open(requester, address, 2222)
    assert not is_open(world.stranger, address, 2222)
    newer = Session(requester, address, local)
    nat.withdraw()
    if kind != "iptables-legacy":  # its table stays for as long as the namespace
        follows(agent, False)
    assert older.works() and granted.works() and newer.works()
    assert not is_open(world.stranger, address, 22)


@families
def test_auto_learns_of_the_first_legacy_rule(world, agent, family):
    nat = KINDS["iptables-legacy"](world.vm, 2222, 22, world.container())
    nat.require(world.stranger)
    agent.configure(ports=PUBLISHED)
    agent.start()
    follows(agent, False)
    nat.publish()
    follows(agent, True)
    Listener(nat.container, "::", 22, dual_stack=True)
    address = world.vm.address(family)
    agent.grant("2222/tcp", world.requester.address(family))
    assert is_open(world.requester, address, 2222)
    assert not is_open(world.stranger, address, 2222)


@pytest.mark.parametrize("command", ["iptables-legacy", "ip6tables-legacy"])
def test_legacy_nat_of_one_family_is_enough(world, agent, command):
    KINDS["iptables-legacy"](world.vm, 8022, 22).require(world.stranger)
    world.vm.run(command, "-w", "5", "-t", "nat", "-S")  # makes the table
    agent.start()
    assert agent.call("Status")["gate"]["destinationNat"]


@families
@pytest.mark.parametrize("error", ["EMFILE", "ENOMEM", "EIO"])
def test_legacy_nat_that_cannot_be_asked_for_is_taken_for_there(
        world, agent, family, unread_legacy, error):
    Listener(world.vm, "::", 22, dual_stack=True)
    KINDS["iptables-legacy"](world.vm, 8022, 22).publish()
    agent.environment.update(unread_legacy)
    agent.environment["JITGATE_ERRNO"] = str(getattr(errno, error))
    agent.start()
    assert not is_open(world.stranger, world.vm.address(family), 8022), "a stranger gets in"
    assert agent.call("Status")["gate"]["destinationNat"]


@families
@pytest.mark.parametrize("setting", ["yes", "no"])
def test_yes_and_no_stay_whatever_comes(world, agent, family, setting):
    container, vm = world.container(), world.vm
    address = vm.address(family)
    Listener(vm, "::", 22, dual_stack=True)
    agent.configure(destination_nat=setting)
    agent.start()
    assert agent.call("Status")["gate"]["destinationNat"] == (setting == "yes")
    nat = NftNat(vm, 2222, 22, container)
    nat.publish()
    nat.withdraw()
    assert agent.call("Status")["gate"]["destinationNat"] == (setting == "yes")
    assert not is_open(world.requester, address, 22)
    agent.grant("22/tcp", world.requester.address(family))
    assert is_open(world.requester, address, 22)


@families
@kinds
def test_a_redirect_is_no_way_round_a_managed_port(world, agent, family, kind):
    """From 8022, which is not managed, to 22, which is: judged when it arrives."""
    vm, requester, address = world.vm, world.requester, world.vm.address(family)
    listener = Listener(vm, "::", 22, dual_stack=True)
    server = Udp(vm, "::" if family == 6 else "0.0.0.0", 22)
    client = Udp(requester, "::" if family == 6 else "0.0.0.0")
    KINDS[kind](vm, 8022, 22).publish()
    agent.configure(ports={"ssh": {"number": 22, "protocol": "*"}})
    older = Session(requester, address, listener, 8022)
    agent.start()
    assert older.works()
    assert not is_open(requester, address, 8022)
    assert not server.hears(client, address, 8022)
    agent.grant("22/*", requester.address(family))
    assert is_open(requester, address, 8022)
    assert server.hears(client, address, 8022)
    assert not is_open(world.stranger, address, 8022)


@families
@kinds
def test_a_redirect_between_managed_ports_needs_the_grant_of_the_port_used(
        world, agent, family, kind):
    vm, requester, address = world.vm, world.requester, world.vm.address(family)
    listener = Listener(vm, "::", 22, dual_stack=True)
    KINDS[kind](vm, 2222, 22).publish()
    agent.configure(ports={**PUBLISHED, "ssh": {"number": 22}})
    agent.start()
    agent.grant("22/tcp", requester.address(family))
    assert is_open(requester, address, 22)
    assert not is_open(requester, address, 2222), "the target's grant opened the published port"
    grant = agent.grant("2222/tcp", requester.address(family))
    session = Session(requester, address, listener, 2222)
    agent.revoke(grant)
    assert session.works()
    assert not is_open(requester, address, 2222)
    agent.grant("2222/tcp", world.stranger.address(family))
    assert is_open(world.stranger, address, 2222)
    assert not is_open(world.stranger, address, 22)


@families
@kinds
def test_a_redirect_of_udp_needs_the_grant_of_the_port_used(world, agent, family, kind):
    vm, address, source = world.vm, world.vm.address(family), world.requester.address(family)
    anywhere = "::" if family == 6 else "0.0.0.0"
    server = Udp(vm, anywhere, 53)
    KINDS[kind](vm, 5353, 53).publish()
    agent.configure(ports={name: {"number": number, "protocol": "UDP"}
                           for name, number in (("dns", 53), ("published", 5353))})
    agent.start()
    target = agent.grant("53/udp", source)
    assert server.hears(Udp(world.requester, anywhere), address, 53)
    assert not server.hears(Udp(world.requester, anywhere), address, 5353), "the target's grant opened the published port"
    agent.grant("5353/udp", source)
    agent.revoke(target)
    assert server.hears(Udp(world.requester, anywhere), address, 5353)
    assert not server.hears(Udp(world.requester, anywhere), address, 53)
    assert not server.hears(Udp(world.stranger, anywhere), address, 5353)


@families
def test_flushing_connection_tracking_costs_no_local_session(world, agent, family):
    vm, address = world.vm, world.vm.address(family)
    listener = Listener(vm, "::", 22, dual_stack=True)
    NftNat(vm, 2222, 22, world.container()).publish()
    older = Session(world.requester, address, listener)
    agent.start()
    agent.grant("22/tcp", world.requester.address(family))
    granted = Session(world.requester, address, listener)
    if vm.call("conntrack", "-F").returncode != 0:
        pytest.skip("conntrack is missing")
    assert older.works() and granted.works()
