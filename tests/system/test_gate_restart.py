# SPDX-License-Identifier: GPL-3.0-or-later
"""Restarts and reloads leave no gap: a stranger and a granted source knock all the while."""

import math
import signal
import time

import pytest

from harness import Listener, allowing, await_, is_open, lasting
from knocking import Accepting, Knocking
from nat import NftNat

families = pytest.mark.parametrize("family", [4, 6])
TIMES = 20


def knocked_all_the_while(stranger, granted, action):
    """Whether both have knocked between every two of the actions."""
    with stranger, granted:
        for n in range(TIMES):
            before = stranger.n_begun, granted.n_begun
            action(n)
            await_(lambda: stranger.n_begun > before[0] and granted.n_begun > before[1])
    assert not stranger.let_in, f"{len(stranger.let_in)} of a stranger's connections got in"
    assert not granted.refused, f"{len(granted.refused)} granted connections were refused"
    assert len(granted.let_in) >= TIMES and len(stranger.refused) >= TIMES


@families
@pytest.mark.parametrize("how", ["kill", "stop", "reload", "reload with NAT"])
def test_nobody_slips_in_and_nobody_granted_is_refused(world, agent, family, how):
    address = world.vm.address(family)
    listener = Listener(world.vm, "::", 22, dual_stack=True)
    agent.configure(on_stop="keep")
    agent.start()
    agent.grant("22/tcp", world.requester.address(family))
    ports = dict(agent.ports)

    def act(n):
        if how in ("kill", "stop"):
            getattr(agent, how)()
            agent.start()
            return
        other = {"other": {"number": 7000 + n, "protocol": "*", "always_allow": "10.0.0.0/8"}}
        agent.configure(ports={**ports, **(other if n % 3 else {})})
        if how == "reload with NAT":
            agent.configure(destination_nat="yes" if n % 2 else "no")
        agent.reload()

    with Accepting(listener):
        knocked_all_the_while(Knocking(world.stranger, address, 22),
                              Knocking(world.requester, address, 22), act)
    assert not agent.audit("reload_failed")


@families
@pytest.mark.parametrize("how", ["reload", "restart"])
def test_always_allow_goes_on_while_it_changes(world, agent, family, how):
    """Others are added and taken out again, many; who connects without end from one that stays is never refused."""
    address = world.vm.address(family)
    listener = Listener(world.vm, "::", 22, dual_stack=True)

    def allow(n):
        """Of two lists in turn, one is long: the kernel has to do with it."""
        ports = {"ssh": {"number": 22, "always_allow": "192.0.2.0/28 2001:db8:2::/64"}}
        for k in range(8 * (n % 2)):
            ports[f"other-{k}"] = {"number": 7000 + k, "always_allow": " ".join(
                f"10.{n}.{i}.0/24 fd00:{n}:{i}::/48" for i in range(30))}
        agent.configure(ports=ports)

    def act(n):
        allow(n)
        if how == "reload":
            agent.reload()
        else:
            agent.kill()
            agent.start()

    allow(0)
    agent.start()
    with Accepting(listener):
        knocked_all_the_while(Knocking(world.stranger, address, 22, 0.05),
                              Knocking(world.requester, address, 22, 0), act)
    assert not agent.audit("reload_failed")


@families
def test_a_restart_on_a_kernel_that_cannot_own_tables_leaves_no_gap(
        world, agent, family, older_kernel):
    """As after another kernel was booted: the table found is not as it would be made now."""
    address = world.vm.address(family)
    listener = Listener(world.vm, "::", 22, dual_stack=True)
    agent.start()
    agent.grant("22/tcp", world.requester.address(family))

    def act(n):
        agent.kill()
        agent.environment = dict(older_kernel if n % 2 else {})
        agent.start()

    with Accepting(listener):
        knocked_all_the_while(Knocking(world.stranger, address, 22),
                              Knocking(world.requester, address, 22), act)


@pytest.mark.parametrize("follows", ["yes", "no"])
def test_a_gate_that_changes_over_a_restart_stays_owned(world, agent, follows):
    """Its chains are others than those that stand: as when the host began with destination NAT meanwhile, or another
    version has another gate."""
    agent.configure(destination_nat="no" if follows == "yes" else "yes")
    agent.start()
    if not agent.call("Status")["gate"]["owned"]:
        pytest.skip("this kernel can't own tables (before 6.9)")
    agent.grant("22/tcp", world.requester.v4)
    agent.kill()
    agent.configure(destination_nat=follows)
    agent.start()
    gate = agent.call("Status")["gate"]
    assert gate["owned"] and gate["destinationNat"] == (follows == "yes")
    assert not agent.audit("gate_repaired")
    Listener(world.vm, "::", 22, dual_stack=True)
    assert is_open(world.requester, world.vm.v4, 22) and not is_open(world.stranger, world.vm.v4, 22)


def test_on_stop_remove_opens_what_was_managed(world, agent):
    Listener(world.vm, "::", 22, dual_stack=True)
    agent.configure(on_stop="remove")
    agent.start()
    assert not is_open(world.stranger, world.vm.v4, 22)
    assert agent.stop() == 0
    assert is_open(world.stranger, world.vm.v4, 22)
    assert "jitgate" not in world.vm.run("nft", "list", "tables")


def test_on_stop_remove_at_the_end_of_a_grant(agent):
    """To end its sessions the gate is looked at, and must not be put back: with no daemon behind it, it shuts all out."""
    agent.configure(on_stop="remove", ports={"ssh": {"number": 22, "on_expiry": "kill"}})
    for n in range(1, 6):  # the signal or the end, either may be dealt with first
        agent.start()
        ends = math.ceil(time.time() + lasting(0.3))
        agent.grant("22/tcp", "192.0.2.7", exp=ends)
        agent.process.send_signal(signal.SIGSTOP)
        agent.process.send_signal(signal.SIGTERM)
        await_(lambda: time.time() > ends + 0.05, what="its end")
        assert agent.stop(signal.SIGCONT) == 0
        assert "jitgate" not in agent.namespace.run("nft", "list", "tables")
        assert len(agent.audit("grant_expired")) == n


@families
def test_a_published_container_stays_shut_and_open_over_restarts(world, agent, family):
    container, address = world.container(), world.vm.address(family)
    listener = Listener(container, "::", 22, dual_stack=True)
    NftNat(world.vm, 2222, 22, container).publish()
    agent.configure(ports={"published": {"number": 2222}})
    agent.start()
    agent.grant("2222/tcp", world.requester.address(family))

    def act(n):
        agent.kill() if n % 2 else agent.stop()
        agent.start()

    with Accepting(listener):
        knocked_all_the_while(Knocking(world.stranger, address, 2222),
                              Knocking(world.requester, address, 2222), act)
