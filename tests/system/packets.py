# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets that no honest stack sends, and a wire to send them on and to see what comes back."""

import contextlib
import itertools
import os
import socket
import struct

from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP, IPOption_Timestamp
from scapy.layers.inet6 import (IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop,
                                IPv6ExtHdrRouting, PadN)
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from sockets import Udp
from world import host_mac, vm_mac

SPOOFED = {4: "198.51.100.99", 6: "2001:db8:51::99"}
ECHO_PORT = 7777
ETH_P_ALL = 3
PACKET_OUTGOING = 4
FRAGMENT, AUTHENTICATION, DESTINATION_OPTIONS = 44, 51, 60

_serial = itertools.count(1)


class Wire:
    """The stranger's card, raw. Its spoofed neighbour has no stack that would answer. device: the VRF that the VM's is in."""

    def __init__(self, world, device=None):
        self.world = world
        world.vm.ip(*(f"neigh replace {address} lladdr {host_mac(2)} dev eth2 nud permanent"
                      for address in SPOOFED.values()))
        with world.stranger.inside():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self.socket.bind(("eth0", ETH_P_ALL))
        world.stranger.sockets.append(self.socket)
        self.socket.settimeout(5)
        self.probe = Udp(world.stranger, "0.0.0.0")
        self.echo = Udp(world.vm, "0.0.0.0", ECHO_PORT, device=device)

    def exchange(self, packets):
        """Sends IP packets; returns the IP packets that the VM sends to the spoofed source."""
        with one_processor():
            for packet in packets:
                self.socket.send(bytes(Ether(src=host_mac(2), dst=vm_mac(2)) / packet))
            return self._answers_until_barrier()

    def _answers_until_barrier(self):
        """On one processor packets keep their order: when the echo is back, all else is done."""
        token = b"barrier %d" % next(_serial)
        self.probe.send(self.world.vm.v4, ECHO_PORT, token)
        _, sender = self.echo.receive(5)
        assert sender, "the VM is not there"
        self.echo.send(*sender, token)
        answers = []
        while True:
            frame, (_, _, kind, _, _) = self.socket.recvfrom(65535)
            if kind == PACKET_OUTGOING:
                continue
            if token in frame:
                return answers
            packet = Ether(frame)
            for layer in IP, IPv6:
                if layer in packet and packet[layer].dst in SPOOFED.values():
                    answers.append(packet[layer])


@contextlib.contextmanager
def one_processor():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Craft:
    """Builds the packets of one sender to one port: each from a source port of its own."""

    def __init__(self, family, destination, port):
        self.family, self.destination, self.port = family, destination, port
        self.source = SPOOFED[family]

    def _ip(self, **fields):
        make = IP if self.family == 4 else IPv6
        return make(src=self.source, dst=self.destination, **fields)

    def tcp(self, flags="S", port=None, options=(), data=b"", **ip):
        return (self._ip(**ip) / TCP(sport=20000 + next(_serial), dport=port or self.port, seq=4711,
                                     flags=flags, options=list(options)) / Raw(data))

    def acknowledge(self, syn, answer):
        """The third packet of the handshake."""
        return self._ip() / TCP(sport=syn[TCP].sport, dport=self.port, seq=syn[TCP].seq + 1,
                                ack=answer[TCP].seq + 1, flags="A")

    def udp(self, data=b"crafted", **fields):
        return self._ip() / UDP(sport=20000 + next(_serial), dport=self.port, **fields) / Raw(data)

    def transport(self, packet):
        """The bytes behind the IP header, checksum included."""
        return bytes(packet)[20 if self.family == 4 else 40:]

    def fragments(self, payload, cuts, protocol=6, identification=None):
        """Fragments that end at the given offsets, which are multiples of 8."""
        bounds = [0, *cuts, len(payload)]
        identification = identification or 1000 + next(_serial)
        return [self.fragment(payload[a:b], a, b < len(payload), protocol, identification)
                for a, b in zip(bounds, bounds[1:])]

    def fragment(self, part, offset, more, protocol, identification):
        if self.family == 4:
            return self._ip(id=identification, flags="MF" if more else 0, frag=offset // 8,
                            proto=protocol) / Raw(part)
        return (self._ip(nh=FRAGMENT) / IPv6ExtHdrFragment(nh=protocol, offset=offset // 8,
                                                          m=int(more), id=identification)
                / Raw(part))


LONG_OPTIONS = [("MSS", 1460), ("Timestamp", (1, 0)), ("WScale", 7), ("SAckOK", b"")]


def _bad_checksum(packet, layer):
    packet[layer].chksum = 0xBAD
    return packet


def _overlapping(craft):
    """The second fragment writes the managed port over the innocent one in the first."""
    innocent = craft.transport(craft.tcp(port=ECHO_PORT, options=LONG_OPTIONS))
    guilty = craft.transport(craft.tcp(options=LONG_OPTIONS))
    number = 1000 + next(_serial)
    return [craft.fragment(innocent[:16], 0, True, 6, number),
            craft.fragment(guilty[:16], 0, True, 6, number),
            craft.fragment(guilty[16:], 16, False, 6, number)]


def _overlapping_tail(craft):
    guilty = craft.transport(craft.tcp(options=LONG_OPTIONS))
    number = 1000 + next(_serial)
    return [craft.fragment(guilty[:24], 0, True, 6, number),
            craft.fragment(guilty[8:], 8, False, 6, number)]


# name: how it is made, whether a listener gets it without a gate (None: kernels differ).
TCP_PACKETS = {
    "SYN": (lambda c: [c.tcp()], True),
    "SYN with ECN": (lambda c: [c.tcp("SEC")], True),
    "SYN with ECE": (lambda c: [c.tcp("SE")], True),
    "SYN with CWR": (lambda c: [c.tcp("SC")], True),
    "SYN with PSH and URG": (lambda c: [c.tcp("SPU")], True),
    "SYN with data": (lambda c: [c.tcp(data=b"early")], True),
    "SYN with data and fast open": (
        lambda c: [c.tcp(options=[(34, b"12345678")], data=b"early")], True),
    "SYN with options": (lambda c: [c.tcp(options=LONG_OPTIONS)], True),
    "SYN with a wrong checksum": (lambda c: [_bad_checksum(c.tcp(), TCP)], False),
    "ACK": (lambda c: [c.tcp("A")], False),
    "FIN": (lambda c: [c.tcp("F")], False),
    "FIN ACK": (lambda c: [c.tcp("FA")], False),
    "SYN ACK": (lambda c: [c.tcp("SA")], False),
    "SYN FIN": (lambda c: [c.tcp("SF")], False),
    "SYN RST": (lambda c: [c.tcp("SR")], False),
    "RST": (lambda c: [c.tcp("R")], False),
    "NULL": (lambda c: [c.tcp("")], False),
    "XMAS": (lambda c: [c.tcp("FPU")], False),
    "data without a session": (lambda c: [c.tcp("PA", data=b"hello")], False),
    "SYN in two fragments": (
        lambda c: c.fragments(c.transport(c.tcp(options=LONG_OPTIONS)), [24]), True),
    "SYN in two fragments, last first": (
        lambda c: c.fragments(c.transport(c.tcp(options=LONG_OPTIONS)), [24])[::-1], True),
    "SYN cut within its options": (
        lambda c: c.fragments(c.transport(c.tcp(options=LONG_OPTIONS, data=b"x" * 40)), [32, 40]),
        True),
    "tiny first fragment": (lambda c: c.fragments(c.transport(c.tcp()), [8]), None),
    "tiny first fragment, last first": (
        lambda c: c.fragments(c.transport(c.tcp()), [8])[::-1], None),
    "first fragment that ends behind the flags": (
        lambda c: c.fragments(c.transport(c.tcp()), [16]), None),
    "overlapping fragments": (_overlapping, None),
    "overlapping tail": (_overlapping_tail, None),
}



def _with_ip_options(*options):
    def make(craft):
        return [IP(src=craft.source, dst=craft.destination,
                   options=[option() for option in options]) / craft.tcp()[TCP]]
    return make


TCP4_PACKETS = {
    "IP options": (_with_ip_options(*[IPOption_NOP] * 4), True),
    "IP timestamp option": (_with_ip_options(IPOption_Timestamp), None),
    "SYN with a lying fragment flag": (
        lambda c: [c.fragment(c.transport(c.tcp()), 0, True, 6, 77)], False),
}


def _chain(*headers):
    """A SYN behind IPv6 extension headers."""
    def make(craft):
        syn = craft.tcp()
        packet = IPv6(src=craft.source, dst=craft.destination)
        for header in headers:
            packet = packet / header()
        return [packet / syn[TCP]]
    return make


def _hop_by_hop():
    return IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0\0\0\0")])


def _destination_options():
    return IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0\0\0\0")])


def _routing():
    return IPv6ExtHdrRouting(type=0, segleft=0, addresses=["2001:db8:51::77"])


def _atomic():
    return IPv6ExtHdrFragment(offset=0, m=0, id=1000 + next(_serial))


def _authentication(craft):
    header = struct.pack("!BBHII12s", 6, 4, 0, 1, 1, bytes(12))
    return [IPv6(src=craft.source, dst=craft.destination, nh=AUTHENTICATION)
            / Raw(header + craft.transport(craft.tcp()))]


def _chain_split(cut):
    """Destination options fill the first fragment; ports and flags come in a later one."""
    def make(craft):
        options = bytes([6, 2]) + bytes([1, 20]) + bytes(20)
        return craft.fragments(options + craft.transport(craft.tcp()), [cut],
                               DESTINATION_OPTIONS)
    return make


TCP6_PACKETS = {
    "hop-by-hop options": (_chain(_hop_by_hop), True),
    "destination options": (_chain(_destination_options), True),
    "routing header": (_chain(_routing), None),
    "atomic fragment": (_chain(_atomic), True),
    "all extension headers": (
        _chain(_hop_by_hop, _destination_options, _routing, _atomic, _destination_options), None),
    "many destination options": (_chain(*[_destination_options] * 6), True),
    "authentication header": (_authentication, None),
    "first fragment with no upper header": (_chain_split(24), None),
    "first fragment with ports and no flags": (_chain_split(32), None),
    "first fragment of half the options": (_chain_split(8), None),
}

UDP_PACKETS = {
    "datagram": (lambda c: [c.udp()], True),
    "empty datagram": (lambda c: [c.udp(b"")], True),
    "datagram with a wrong checksum": (lambda c: [_bad_checksum(c.udp(), UDP)], False),
    "datagram in fragments": (
        lambda c: c.fragments(c.transport(c.udp(b"x" * 100)), [16, 64], 17), True),
    "datagram in fragments, last first": (
        lambda c: c.fragments(c.transport(c.udp(b"x" * 100)), [16, 64], 17)[::-1], True),
    "datagram whose first fragment is its header": (
        lambda c: c.fragments(c.transport(c.udp(b"x" * 100)), [8], 17), True),
}


def assert_portless_fragment_refused(agent, wire, craft):
    """It is answered as long as there is no gate: then the agent is started."""
    make, _ = TCP6_PACKETS["first fragment with no upper header"]
    assert wire.exchange(make(craft))[:1], "no answer even without a gate"
    agent.start()
    before = agent.call("Status")["refusedPackets"]
    assert not wire.exchange(make(craft))
    assert agent.call("Status")["refusedPackets"] > before
