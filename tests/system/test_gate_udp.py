# SPDX-License-Identifier: GPL-3.0-or-later
"""UDP: there is no session that the kernel knows; the gate remembers flows."""

import json
import math
import time

import pytest

from harness import Udp, allowing, await_, lasting

families = pytest.mark.parametrize("family", [4, 6])


def any_address(family):
    return "0.0.0.0" if family == 4 else "::"


@families
@pytest.mark.parametrize("bound", [False, True], ids=["wildcard", "bound"])
def test_only_what_is_granted_arrives_and_only_for_its_time(world, agent, family, bound):
    vm, address = world.vm, world.vm.address(family)
    at = address if bound else any_address(family)
    server, other_port = Udp(vm, at, 53), Udp(vm, at, 54)
    agent.configure(ports={"dns": {"number": "53-54", "protocol": "UDP"},
                           "tcp": {"number": 54}})
    requester = Udp(world.requester, any_address(family))
    stranger = Udp(world.stranger, any_address(family))
    assert server.hears(stranger, address, 53), "nothing arrives even without a gate"
    agent.start()
    assert not server.hears(requester, address, 53), "arrived before a grant"
    agent.grant("54/tcp", world.requester.address(family))
    grant = agent.grant("53/udp", world.requester.address(family), seconds=2)
    assert server.hears(requester, address, 53), "refused in spite of its grant"
    assert not other_port.hears(requester, address, 54), "another port opened"
    assert not server.hears(stranger, address, 53), "opened for another source"
    agent.await_expired(grant)
    fresh = Udp(world.requester, any_address(family))
    assert not server.hears(fresh, address, 53), "a new flow after the grant's end"


@families
def test_a_connected_socket_older_than_the_gate_goes_on(world, agent, family):
    """DTLS and VPN servers have a socket for each peer; it says that the two have met before."""
    vm, requester = world.vm, world.requester
    client = Udp(requester, requester.address(family), 5353)
    other = Udp(requester, requester.address(family), 5354)
    server = Udp(vm, vm.address(family), 53, connected_to=(requester.address(family), 5353))
    unconnected = Udp(vm, any_address(family), 53)
    agent.start()
    assert server.hears(client, vm.address(family), 53)
    agent.kill()
    agent.start()
    assert server.hears(client, vm.address(family), 53)
    assert not unconnected.hears(other, vm.address(family), 53)


@families
def test_a_socket_that_connects_behind_the_gate_hears_nothing_new(world, agent, family):
    """It is no permission: the gate was there first, and the socket has sent nothing."""
    vm, requester = world.vm, world.requester
    client = Udp(requester, requester.address(family), 5353)
    agent.start()
    server = Udp(vm, vm.address(family), 53, connected_to=(requester.address(family), 5353))
    assert not server.hears(client, vm.address(family), 53)
    agent.kill()
    agent.start()
    assert not server.hears(client, vm.address(family), 53)
    agent.grant("53/udp", requester.address(family))
    assert server.hears(client, vm.address(family), 53)


@families
def test_a_connected_socket_of_audit_mode_goes_on_when_it_ends(world, agent, family):
    """Nothing was refused then: what has met meanwhile is as old as what met before the gate."""
    vm, requester = world.vm, world.requester
    client = Udp(requester, requester.address(family), 5353)
    agent.configure(mode="audit")
    agent.start()
    server = Udp(vm, vm.address(family), 53, connected_to=(requester.address(family), 5353))
    assert server.hears(client, vm.address(family), 53)
    agent.configure(mode="enforce")
    agent.reload()
    assert server.hears(client, vm.address(family), 53)
    assert not server.hears(Udp(requester, requester.address(family), 5354), vm.address(family), 53)


@families
def test_a_grant_is_over_within_50_ms_of_its_end(world, agent, family):
    address = world.vm.address(family)
    server = Udp(world.vm, any_address(family), 53)
    agent.start()
    end = math.ceil(time.time() + lasting(0.5))
    agent.grant("53/udp", world.requester.address(family), exp=end)
    sent, arrived = {}, set()
    for port in range(10000, 60000):
        if time.time() > end + 0.3:
            break
        client = Udp(world.requester, any_address(family), port)
        sent[port] = time.time()
        client.send(address, 53)
        client.close()
        arrived.add(server.receive(0.001)[1])
    while (sender := server.receive(0.1)[1]):
        arrived.add(sender)
    arrived = {sender[1] for sender in arrived if sender}
    bound = allowing(0.05)
    early = [port for port, when in sent.items() if when < end - bound and port not in arrived]
    late = [port for port, when in sent.items() if when > end + bound and port in arrived]
    assert arrived and not early and not late


@families
def test_a_granted_flow_goes_on_after_the_grant_and_a_new_one_does_not(world, agent, family):
    vm, requester, address = world.vm, world.requester, world.vm.address(family)
    server = Udp(vm, any_address(family), 53)
    client = Udp(requester, any_address(family))
    agent.start()
    grant = agent.grant("53/udp", requester.address(family), seconds=2)
    assert server.hears(client, address, 53)
    agent.await_expired(grant)
    assert server.hears(client, address, 53), "the flow was cut"
    assert not server.hears(Udp(requester, any_address(family)), address, 53)
    agent.kill()
    agent.start()
    assert server.hears(client, address, 53), "a restart cut the flow"


def seconds_left(vm, family):
    """Of the one flow that the gate knows."""
    answer = json.loads(vm.run("nft", "-j", "list", "set", "inet", "jitgate", f"flows{family}"))
    flow, = next(one["set"] for one in answer["nftables"] if "set" in one)["elem"]
    return flow["elem"]["expires"]


@families
def test_each_packet_renews_a_flow_that_has_180_s(world, agent, family):
    """Whichever way it goes."""
    vm, source, address = world.vm, world.requester.address(family), world.vm.address(family)
    server, client = Udp(vm, any_address(family), 53), Udp(world.requester, any_address(family))
    agent.start()
    agent.grant("53/udp", source)
    assert server.hears(client, address, 53)
    for hears in (lambda: server.hears(client, address, 53), lambda: client.hears(server, source, client.port)):
        await_(lambda: 150 < seconds_left(vm, family) < 178, what="time passes")
        before = seconds_left(vm, family)
        assert hears()
        assert before < seconds_left(vm, family) <= 180


@families
def test_what_the_vm_sends_from_a_managed_port_is_answered_by_that_peer_only(world, agent, family):
    vm, address = world.vm, world.vm.address(family)
    agent.start()
    from_vm = Udp(vm, any_address(family), 53)
    peer = Udp(world.requester, any_address(family), 5353)
    same_host = Udp(world.requester, any_address(family), 5354)
    stranger = Udp(world.stranger, any_address(family), 5353)
    assert not from_vm.hears(peer, address, 53)
    assert peer.hears(from_vm, world.requester.address(family), 5353)
    assert from_vm.hears(peer, address, 53), "the answer was lost"
    assert not from_vm.hears(same_host, address, 53), "another port of the peer got in"
    assert not from_vm.hears(stranger, address, 53), "a stranger got in"


def test_broadcast_to_a_managed_port_is_judged(world, agent):
    server = Udp(world.vm, "0.0.0.0", 53)
    stranger, requester = Udp(world.stranger, "0.0.0.0"), Udp(world.requester, "0.0.0.0")
    broadcasts = "198.51.100.255", "255.255.255.255"
    world.stranger.ip("route add 255.255.255.255/32 dev eth0")
    for address in broadcasts:
        assert server.hears(stranger, address, 53), "nothing arrives even without a gate"
    agent.start()
    for address in broadcasts:
        assert not server.hears(stranger, address, 53)
    assert not server.hears(requester, "192.0.2.255", 53)
    agent.grant("53/udp", world.requester.v4)
    assert server.hears(requester, "192.0.2.255", 53)


@families
def test_multicast_to_a_managed_port_is_judged(world, agent, family):
    vm = world.vm
    group = "239.1.2.3" if family == 4 else "ff02::123"
    server = Udp(vm, any_address(family), 53)
    server.join(group, "198.51.100.1" if family == 4 else "eth2")
    stranger = Udp(world.stranger, any_address(family))
    stranger.send_multicast_by("198.51.100.66" if family == 4 else "eth0")
    # The group's queries are on their way first.
    await_(lambda: server.hears(stranger, group, 53), what="multicast arrives without a gate")
    agent.start()
    assert not server.hears(stranger, group, 53)
    agent.grant("53/udp", "0.0.0.0/0" if family == 4 else "::/0")
    assert server.hears(stranger, group, 53)
