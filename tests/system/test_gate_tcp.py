# SPDX-License-Identifier: GPL-3.0-or-later
"""New TCP connections: who gets in where, and when no more."""

import pytest

from harness import Listener, await_, is_open, port_claim

families = pytest.mark.parametrize("family", [4, 6])


@families
@pytest.mark.parametrize("bound", [False, True], ids=["wildcard", "bound"])
def test_only_what_is_granted_opens_and_only_for_its_time(world, agent, family, bound):
    vm, requester, stranger = world.vm, world.requester, world.stranger
    address = vm.address(family)
    at = address if bound else "::"
    for port in 22, 2022, 53:
        Listener(vm, at, port, dual_stack=not bound)
    agent.configure(ports={"ssh": {"number": 22}, "other": {"number": 2022},
                           "dns": {"number": 53, "protocol": "*"}})
    agent.start()
    assert not is_open(requester, address, 22), "open before a grant"
    agent.grant("53/udp", requester.address(family))
    grant = agent.grant("22/tcp", requester.address(family), seconds=2)
    assert is_open(requester, address, 22), "refused in spite of its grant"
    assert not is_open(requester, address, 2022), "another port opened"
    assert not is_open(requester, address, 53), "another protocol opened"
    assert not is_open(stranger, address, 22), "opened for another source"
    agent.await_expired(grant)
    assert not is_open(requester, address, 22), "open after its end"


@families
def test_revoking_a_grant_shuts_its_port_at_once(world, agent, family):
    requester, address = world.requester, world.vm.address(family)
    Listener(world.vm, "::", 22, dual_stack=True)
    agent.start()
    grant = agent.grant("22/tcp", requester.address(family))
    assert is_open(requester, address, 22)
    agent.revoke(grant)
    assert not is_open(requester, address, 22)


@families
def test_a_grant_ends_on_time_though_the_daemon_is_dead(world, agent, family):
    requester, address = world.requester, world.vm.address(family)
    Listener(world.vm, "::", 22, dual_stack=True)
    agent.start()
    agent.grant("22/tcp", requester.address(family), seconds=1)
    assert is_open(requester, address, 22)
    agent.kill()
    await_(lambda: not is_open(requester, address, 22), 3, "refused after the grant's end")


@families
def test_what_another_grant_covers_stays_open_until_its_own_end(world, agent, family):
    requester, address = world.requester, world.vm.address(family)
    Listener(world.vm, "::", 22, dual_stack=True)
    agent.start()
    network = "192.0.2.0/24" if family == 4 else "2001:db8:2::/64"
    wide = agent.grant("22/tcp", network)
    narrow = agent.grant("22/tcp", requester.address(family))
    agent.revoke(narrow)
    assert is_open(requester, address, 22)
    agent.revoke(wide)
    assert not is_open(requester, address, 22)


@families
def test_always_allow_prefixes_need_no_grant(world, agent, family):
    address = world.vm.address(family)
    Listener(world.vm, "::", 22, dual_stack=True)
    agent.configure(ports={"ssh": {"number": 22, "always_allow": "192.0.2.0/24 2001:db8:2::/48"}})
    agent.start()
    assert is_open(world.requester, address, 22)
    assert not is_open(world.stranger, address, 22)
    agent.configure(ports={"ssh": {"number": 22}})
    agent.reload()
    assert not is_open(world.requester, address, 22)


@families
def test_a_range_is_managed_from_its_first_port_to_its_last(world, agent, family):
    requester, address = world.requester, world.vm.address(family)
    listeners = [Listener(world.vm, "::", port, dual_stack=True)
                 for port in (4999, 5000, 5005, 5010, 5011)]
    agent.configure(ports={"range": {"number": "5000-5010", "protocol": "*"}})
    agent.start()
    agent.grant("5005/tcp", requester.address(family))
    is_open_at = {listener.port: is_open(requester, address, listener.port)
                  for listener in listeners}
    assert is_open_at == {4999: True, 5000: False, 5005: True, 5010: False, 5011: True}


@families
def test_a_prefix_is_granted_from_its_first_address_to_its_last(world, agent, family):
    """192.0.2.7 is the last of /29 that begins with .0; the next prefix begins with .8."""
    vm, requester = world.vm, world.requester
    prefix, outside = {4: ("192.0.2.0/29", "192.0.2.8/24"),
                       6: ("2001:db8:2::/125", "2001:db8:2::8/64")}[family]
    requester.ip(f"addr add {outside} dev eth0" + (" nodad" if family == 6 else ""))
    Listener(vm, "::", 22, dual_stack=True)
    agent.start()
    agent.grant("22/tcp", prefix)
    address = vm.address(family)
    assert is_open(requester, address, 22, source=requester.address(family))
    assert not is_open(requester, address, 22, source=outside.split("/")[0])


def test_a_grant_for_several_ports_and_both_families_opens_them_all(world, agent):
    vm, requester = world.vm, world.requester
    listeners = [Listener(vm, "::", port, dual_stack=True) for port in (22, 443)]
    agent.configure(ports={"ssh": {"number": 22}, "web": {"number": 443, "protocol": "*"}})
    agent.start()
    sources = [requester.v4, requester.v6]
    agent.submit(agent.sign_grant("22/tcp", sources, ports=[
        port_claim("22/tcp", *sources), port_claim("443/*", *sources)]))
    for listener in listeners:
        for address in vm.v4, vm.v6:
            assert is_open(requester, address, listener.port)
            assert not is_open(world.stranger, address, listener.port)


def test_a_star_grant_opens_for_every_source(world, agent):
    Listener(world.vm, "::", 22, dual_stack=True)
    agent.start()
    agent.grant("22/tcp", "*")
    for address in world.vm.v4, world.vm.v6:
        assert is_open(world.stranger, address, 22)


def test_the_vm_reaches_its_own_ports_and_others_reach_unmanaged_ones(world, agent):
    for port in 22, 80:
        Listener(world.vm, "::", port, dual_stack=True)
    agent.start()
    for address in world.vm.v4, world.vm.v6:
        assert is_open(world.vm, address, 22)
        assert is_open(world.stranger, address, 80)


@families
@pytest.mark.parametrize("begins", ["before", "meanwhile"])
def test_traffic_that_the_vm_forwards_is_not_judged(world, agent, family, begins):
    """Also where it began to forward while the agent ran."""
    if begins == "meanwhile":
        agent.start()
    container = world.container()
    Listener(container, "::", 22, dual_stack=True)
    if begins == "before":
        agent.start()
        assert is_open(world.stranger, container.address(family), 22)
    await_(lambda: is_open(world.stranger, container.address(family), 22), what="it goes through")
