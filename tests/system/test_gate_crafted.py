# SPDX-License-Identifier: GPL-3.0-or-later
"""A stranger who crafts packets gets none of them to a listener.

Each packet is sent twice: without a gate, which shows that it would get in, and with it. The gate
stands before connection tracking puts fragments together, or behind it (destination_nat): both are
tried.
"""

import pytest
from scapy.layers.inet import TCP

from harness import Listener, Udp, await_
from packets import (TCP4_PACKETS, TCP6_PACKETS, TCP_PACKETS, UDP_PACKETS, Craft, Wire,
                     assert_portless_fragment_refused)

families = pytest.mark.parametrize("family", [4, 6])
bindings = pytest.mark.parametrize("bound", [False, True], ids=["wildcard", "bound"])
tracking = pytest.mark.parametrize("tracked", [False, True], ids=["untracked", "tracked"])
RST, SYN_ACK = 0x04, 0x12


def tcp_packets(family):
    return {**TCP_PACKETS, **(TCP4_PACKETS if family == 4 else TCP6_PACKETS)}


def half_open(vm):
    return vm.run("ss", "-Htan", "state", "syn-recv").strip()


def tcp_answers(answers):
    """The flags of TCP's answers; an ICMP error that quotes a packet is none."""
    return [int(answer[TCP].flags) & 0x3F for answer in answers if type(answer.payload) is TCP]


def set_up(world, agent, tracked):
    if tracked:
        world.track_connections()
        agent.configure(destination_nat="yes")
    return Wire(world)


@families
@bindings
@tracking
def test_no_crafted_packet_reaches_a_tcp_listener(world, agent, family, bound, tracked):
    address = world.vm.address(family)
    wire = set_up(world, agent, tracked)
    listener = Listener(world.vm, address if bound else "::", 22, dual_stack=not bound)
    craft = Craft(family, address, 22)
    packets = tcp_packets(family)
    arrived = {name for name, (make, _) in packets.items()
               if SYN_ACK in tcp_answers(wire.exchange(make(craft)))}
    assert arrived >= {name for name, (_, arrives) in packets.items() if arrives}
    listener.close()
    await_(lambda: not half_open(world.vm))
    listener = Listener(world.vm, address if bound else "::", 22, dual_stack=not bound)

    agent.start()
    answered = {}
    for name, (make, _) in packets.items():
        answers = wire.exchange(make(craft))
        assert not half_open(world.vm), f"{name}: a handshake began"
        assert SYN_ACK not in tcp_answers(answers), f"{name}: answered with SYN-ACK"
        answered[name] = tcp_answers(answers)
    assert listener.accept(0) is None
    answered = {name: flags for name, flags in answered.items() if flags}
    if not bound:
        assert not answered
    # A listener that is bound to one address looks as a session does to the gate: what is no bare
    # SYN gets to it, and the kernel refuses it with a reset. Nothing more may come of it.
    for name, flags in answered.items():
        assert "ACK" in name or name == "data without a session", name
        assert all(one & RST for one in flags), name


def test_first_fragments_without_ports_are_refused(world, agent):
    """Later fragments bring the ports, and nothing judges them. An older kernel puts such a packet
    together; a newer one answers that its headers are incomplete: so it had got through."""
    assert_portless_fragment_refused(agent, Wire(world), Craft(6, world.vm.v6, 22))


@families
@bindings
@tracking
def test_no_crafted_datagram_reaches_a_udp_server(world, agent, family, bound, tracked):
    address = world.vm.address(family)
    wire = set_up(world, agent, tracked)
    server = Udp(world.vm, address if bound else "::" if family == 6 else "0.0.0.0", 53)
    craft = Craft(family, address, 53)
    for name, (make, arrives) in UDP_PACKETS.items():
        wire.exchange(make(craft))
        assert (server.receive(0)[0] is not None) == arrives, f"without a gate: {name}"
    agent.start()
    for name, (make, _) in UDP_PACKETS.items():
        assert not wire.exchange(make(craft)), f"{name}: answered"
        assert server.receive(0)[0] is None, f"{name}: arrived"


@families
@tracking
def test_large_datagrams_of_a_granted_source_arrive(world, agent, family, tracked):
    address = world.vm.address(family)
    set_up(world, agent, tracked)
    server = Udp(world.vm, "::" if family == 6 else "0.0.0.0", 53)
    client = Udp(world.requester, "::" if family == 6 else "0.0.0.0")
    agent.start()
    agent.grant("53/udp", world.requester.address(family))
    client.send(address, 53, b"x" * 8000)
    assert server.receive(5)[0] == b"x" * 8000
