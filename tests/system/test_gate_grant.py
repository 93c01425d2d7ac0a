# SPDX-License-Identifier: GPL-3.0-or-later
"""New connections: who gets in, and when no more."""

import pytest

from harness import Listener, await_, is_open


@pytest.mark.parametrize("family", [4, 6])
def test_only_the_granted_source_gets_in_and_only_for_its_time(world, agent, family):
    vm, requester, stranger = world.vm, world.requester, world.stranger
    address = vm.address(family)
    listeners = [Listener(vm, "::", 22, dual_stack=True), Listener(vm, "::", 2022, dual_stack=True)]
    agent.configure(ports={"ssh": {"number": 22}, "other": {"number": 2022}})
    agent.start()
    assert not is_open(requester, address, 22)
    grant = agent.grant("22/tcp", requester.address(family), seconds=2)
    assert is_open(requester, address, 22)
    assert not is_open(requester, address, 2022)
    assert not is_open(stranger, address, 22)
    agent.await_state(grant, "expired")
    assert not is_open(requester, address, 22)
    for listener in listeners:
        listener.close()
