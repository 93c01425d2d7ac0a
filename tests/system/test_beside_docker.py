# SPDX-License-Identifier: GPL-3.0-or-later
"""jitgate beside Docker: ports that it publishes are guarded as the host's own, whichever way it writes its rules, and
its coming and going opens nothing."""

import pytest

from docker import KINDS
from doctor import OK, UNKNOWN, doctor
from harness import Listener, Session, await_, is_open
from knocking import Accepting, Knocking

PORTS = {"ssh": {"number": 22}, "container": {"number": 2222}}

families = pytest.mark.parametrize("family", [4, 6])
kinds = pytest.mark.parametrize("kind", KINDS)
proxies = pytest.mark.parametrize("proxy", [False, True], ids=["", "userland-proxy"])


@families
@kinds
@proxies
def test_a_published_port_is_guarded_as_the_hosts_own(world, agent, family, kind, proxy):
    vm, requester, stranger, address = world.vm, world.requester, world.stranger, world.vm.address(family)
    docker = KINDS[kind](world, 2222)
    docker.start()
    held = docker.proxy() if proxy else None
    inner = Listener(docker.container, "::", 22, dual_stack=True)
    Listener(vm, "::", 22, dual_stack=True)
    older = Session(stranger, address, inner, 2222)
    agent.configure(ports=PORTS)
    agent.start()
    assert older.works()
    for port in 22, 2222:
        assert not is_open(requester, address, port)
    grant = agent.grant("2222/tcp", requester.address(family))
    session = Session(requester, address, inner, 2222)
    assert not is_open(requester, address, 22), "the container's grant opened the host"
    assert not is_open(stranger, address, 2222)
    agent.revoke(grant)
    assert older.works() and session.works()
    assert not is_open(requester, address, 2222)
    agent.grant("22/tcp", requester.address(family))
    assert is_open(requester, address, 22)
    assert not is_open(requester, address, 2222), "the host's grant opened the container"
    assert not held or held.accept(0.1) is None, "the proxy was reached from outside"


@families
@kinds
def test_host_and_container_reach_each_other_as_before(world, agent, family, kind):
    vm, address = world.vm, world.vm.address(family)
    docker = KINDS[kind](world, 2222)
    docker.start()
    gateway = "172.17.0.1" if family == 4 else "fd17::1"
    Listener(docker.container, "::", 22, dual_stack=True)
    Listener(world.stranger, "::", 22, dual_stack=True)
    Listener(vm, "::", 22, dual_stack=True)
    Listener(vm, "::", 8080, dual_stack=True)
    agent.configure(ports=PORTS)
    agent.start()
    assert is_open(vm, address, 2222) and is_open(vm, docker.container.address(family), 22)
    assert is_open(docker.container, world.stranger.address(family), 22), "masqueraded, to a port that is managed here"
    assert is_open(docker.container, gateway, 8080)
    assert not is_open(docker.container, gateway, 22), "a container is a stranger to the host"
    agent.configure(ports={**PORTS, "ssh": {"number": 22, "always_allow": "172.17.0.0/24 fd17::/64"}})
    agent.reload()
    assert is_open(docker.container, gateway, 22)
    assert not is_open(world.stranger, address, 22)


@families
@kinds
def test_a_containers_own_address_is_for_docker_to_guard(world, agent, family, kind):
    """What is forwarded is not this host's. Engines of 28 and on drop it; with one before, it is open to who routes there."""
    docker = KINDS[kind](world, 2222)
    docker.start()
    Listener(docker.container, "::", 22, dual_stack=True)
    agent.configure(ports=PORTS)
    agent.start()
    reached = is_open(world.stranger, docker.container.address(family), 22)
    assert reached == (kind in ("iptables-nft", "iptables-legacy"))


@families
@kinds
def test_a_restart_of_the_engine_opens_nothing(world, agent, family, kind):
    vm, requester, address = world.vm, world.requester, world.vm.address(family)
    docker = KINDS[kind](world, 2222)
    local = Listener(vm, "::", 22, dual_stack=True)
    inner = Listener(docker.container, "::", 22, dual_stack=True)
    agent.configure(ports=PORTS)
    agent.start()
    agent.grant("22/tcp", requester.address(family))
    agent.grant("2222/tcp", requester.address(family))
    session = Session(requester, address, local)
    with Accepting(local), Accepting(inner), Knocking(world.stranger, address, 22) as at_host, \
            Knocking(world.stranger, address, 2222) as at_container:
        for _ in range(2):
            docker.start()
            await_(lambda: agent.call("Status")["gate"]["destinationNat"], what="the gate follows")
            assert session.works()
            assert is_open(requester, address, 2222)
            docker.stop()
            assert session.works()
            assert is_open(requester, address, 22)
    assert at_host.refused and not at_host.let_in
    assert at_container.refused and not at_container.let_in


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "iptables-legacy"])
def test_doctor_finds_nothing_wrong(world, agent, kind):
    docker = KINDS[kind](world, 2222)
    docker.start()
    docker.proxy()
    Listener(world.vm, "::", 22, dual_stack=True)
    world.vm.ip("route add default via 198.51.100.66 dev eth2", "route add default via 2001:db8:51::66 dev eth2")
    agent.configure(ports=PORTS)
    for running in False, True:
        if running:
            agent.start()
        findings = doctor(agent)
        # Where a published port leads is not followed through the rules for forwarding.
        for finding in findings.of("firewall"):
            assert finding["verdict"] == OK or (finding["verdict"] == UNKNOWN
                                                and "leads 2222/tcp" in finding["message"]), finding
        assert findings.one("nat")["verdict"] == OK, findings
        assert findings.verdicts("ports") == {OK}, findings


def test_doctor_says_that_rules_of_iptables_legacy_are_not_read(world, agent):
    KINDS["iptables-legacy"](world, 2222).start()
    agent.configure(ports=PORTS)
    agent.start()
    findings = doctor(agent)
    assert "iptables-legacy" in findings.one("firewall")["message"]
    assert findings.one("nat")["verdict"] == OK
