# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts whose interfaces are in a VRF, with servers bound to it, as network appliances have them.

    requester ── eth1 192.0.2.1 ────┐
                                    ├ mgmt 203.0.113.1
    stranger ─── eth2 198.51.100.1 ─┘
"""

import socket
import subprocess

import pytest

from harness import Listener, Session, Udp, await_, is_open
from nat import NftNat
from packets import Craft, Wire, assert_portless_fragment_refused

VRF, TABLE = "mgmt", 100
SECOND = {4: "198.51.100.1", 6: "2001:db8:51::1"}
VRFS_OWN = {4: "203.0.113.1", 6: "2001:db8:203::1"}
ANY = {4: "0.0.0.0", 6: "::"}

FAMILIES = 4, 6


def addresses(world):
    """Of the interface that the requester comes in by, of another one, and of the VRF."""
    return [address for family in FAMILIES
            for address in (world.vm.address(family), SECOND[family], VRFS_OWN[family])]


def make_vrf(vm, *cards):
    if subprocess.run(["modprobe", "vrf"], check=False).returncode != 0:
        pytest.skip("this kernel has no VRFs")
    vm.ip(f"link add {VRF} type vrf table {TABLE}", f"link set {VRF} up",
          f"route add unreachable default table {TABLE} metric 4278198272",
          f"route add unreachable ::/0 table {TABLE} metric 4278198272",
          f"addr add {VRFS_OWN[4]}/32 dev {VRF}", f"addr add {VRFS_OWN[6]}/128 dev {VRF} nodad")
    # The kernel takes an interface's IPv6 addresses away when it joins.
    own6 = {"eth1": "2001:db8:2::1/64", "eth2": "2001:db8:51::1/64", "eth3": "fd17::1/64"}
    for card in cards:
        vm.ip(f"link set {card} master {VRF}", f"addr replace {own6[card]} dev {card} nodad")


def forward(vm, on):
    for setting in "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding":
        vm.sysctl(setting, int(on))


@pytest.fixture(params=["host", "router", "NAT"])
def vm(world, request):
    make_vrf(world.vm, "eth1", "eth2")
    forward(world.vm, request.param != "host")
    if request.param == "NAT":
        NftNat(world.vm, 8022, 22).publish()
    return world.vm


def test_a_vrf_opens_to_whom_it_is_granted_and_its_sessions_live(world, agent, vm):
    requester, stranger = world.requester, world.stranger
    listener = Listener(vm, "::", 22, dual_stack=True, device=VRF)
    older = [Session(stranger, address, listener) for address in addresses(world)]
    agent.start()
    assert [session.works() for session in older] == 6 * [True], "cut by the installation"
    grants = [agent.grant("22/tcp", requester.address(family)) for family in FAMILIES]
    granted = [Session(requester, address, listener) for address in addresses(world)]
    assert not [address for address in addresses(world) if is_open(stranger, address, 22)]
    for grant in grants:
        agent.revoke(grant)
    assert [session.works() for session in granted] == 6 * [True], "cut by the grant's end"
    assert [session.works(server_first=True) for session in older] == 6 * [True]
    assert not [family for family in FAMILIES if is_open(requester, vm.address(family), 22)]
    agent.kill()
    agent.start()
    assert [session.works() for session in older + granted] == 12 * [True], "cut by a restart"


def test_udp_by_a_vrf(world, agent, vm):
    servers = {family: Udp(vm, ANY[family], 53, device=VRF) for family in FAMILIES}
    clients = {family: Udp(world.requester, ANY[family]) for family in FAMILIES}
    others = {family: Udp(world.stranger, ANY[family]) for family in FAMILIES}

    def heard(sources):
        return [address for address in addresses(world)
                for family in [6 if ":" in address else 4]
                if servers[family].hears(sources[family], address, 53)]

    assert heard(others) == addresses(world), "not even without a gate"
    agent.start()
    grants = [agent.grant("53/udp", world.requester.address(family)) for family in FAMILIES]
    assert heard(clients) == addresses(world) and heard(others) == []
    for grant in grants:
        agent.revoke(grant)
    assert heard(clients) == addresses(world), "a flow goes on"
    assert heard({family: Udp(world.requester, ANY[family]) for family in FAMILIES}) == []
    # What is sent from here gets its answers.
    for family in FAMILIES:
        servers[family].send(world.stranger.address(family), others[family].port)
        assert servers[family].hears(others[family], SECOND[family], 53)


@pytest.mark.parametrize("vm", ["router"], indirect=True)
def test_a_vrf_reaches_its_own_ports_where_it_is_allowed(world, agent, vm):
    Listener(vm, "::", 22, dual_stack=True, device=VRF)
    agent.configure(ports={"ssh": {"number": 22, "always_allow": ", ".join(VRFS_OWN.values())}})
    agent.start()
    for family in FAMILIES:
        assert is_open(vm, VRFS_OWN[family], 22, device=VRF)
        assert not is_open(vm, SECOND[family], 22, device=VRF)


def test_a_neighbour_needs_a_grant_in_a_vrf(world, agent, vm):
    """By a link-local address: the one kind that the kernel looks up by the interface."""
    with world.stranger.inside():
        scope = socket.if_nametoindex("eth0")
    address = f"fe80::ff:fe00:102%{scope}"  # of eth2, by its number
    listener = Listener(vm, "::", 22, device=VRF)
    older = Session(world.stranger, address, listener)
    agent.start()
    assert older.works()
    assert not is_open(world.stranger, address, 22)
    agent.grant("22/tcp", "fe80::/64")
    assert Session(world.stranger, address, listener).works()


def test_what_is_routed_into_a_vrf_needs_a_grant(world, agent):
    """From an interface that belongs to none: it comes to the VRF as what this host itself sends."""
    vm, stranger = world.vm, world.stranger
    make_vrf(vm, "eth1")
    forward(vm, True)
    vm.ip(*(f"route add {own} dev {VRF}" for own in VRFS_OWN.values()),
          *(f"route add {network} dev eth2 table {TABLE}" for network in ("198.51.100.0/24", "2001:db8:51::/64")))
    listener = Listener(vm, "::", 22, dual_stack=True, device=VRF)
    older = [Session(stranger, address, listener) for address in VRFS_OWN.values()]
    agent.start()
    assert [session.works() for session in older] == 2 * [True]
    assert not [address for address in VRFS_OWN.values() if is_open(stranger, address, 22)]
    for family in FAMILIES:
        agent.grant("22/tcp", stranger.address(family))
        assert Session(stranger, VRFS_OWN[family], listener).works()


def test_what_a_vrf_forwards_is_not_judged(world, agent):
    container = world.container()
    make_vrf(world.vm, "eth1", "eth2", "eth3")
    listener = Listener(container, "::", 22, dual_stack=True)
    older = [Session(world.stranger, container.address(family), listener) for family in FAMILIES]
    agent.start()
    assert [session.works() for session in older] == 2 * [True]
    assert all(is_open(world.stranger, container.address(family), 22) for family in FAMILIES)


@pytest.mark.parametrize("forwarding", [False, True], ids=["host", "router"])
def test_a_vrf_that_comes_later_and_goes(world, agent, forwarding):
    vm, requester, stranger = world.vm, world.requester, world.stranger
    forward(vm, forwarding)
    listener = Listener(vm, "::", 22, dual_stack=True)
    older = [Session(stranger, SECOND[family], listener) for family in FAMILIES]
    agent.start()
    make_vrf(vm, "eth1")  # not eth2
    in_vrf = Listener(vm, "::", 22, dual_stack=True, device=VRF)
    await_(lambda: "by a VRF" in chain(vm, "established"), what="the gate knows it")
    grants = [agent.grant("22/tcp", requester.address(family)) for family in FAMILIES]
    sessions = [Session(requester, VRFS_OWN[family], in_vrf) for family in FAMILIES]
    assert [session.works() for session in older] == 2 * [True], "a session outside the VRF was cut"
    assert not [family for family in FAMILIES if is_open(stranger, SECOND[family], 22)]
    for grant in grants:
        agent.revoke(grant)
    assert [session.works() for session in sessions] == 2 * [True]
    vm.ip(f"link del {VRF}")
    await_(lambda: "vrf" not in chain(vm, "gate"), what="the gate has forgotten it")
    assert [session.works() for session in older] == 2 * [True]
    assert not [family for family in FAMILIES if is_open(stranger, SECOND[family], 22)]


def chain(vm, name):
    return vm.run("nft", "list", "chain", "inet", "jitgate", name)


@pytest.mark.parametrize("vm", ["router"], indirect=True)
def test_first_fragments_without_ports_are_refused_in_a_vrf(world, agent, vm):
    assert_portless_fragment_refused(agent, Wire(world, device=VRF), Craft(6, SECOND[6], 22))
