# SPDX-License-Identifier: GPL-3.0-or-later
"""What another firewall's steps must leave alone."""

from harness import Listener, Session, is_open
from knocking import Accepting, Knocking


def assert_undisturbed(world, agent, family, steps):
    """After each step sessions live, one from before the gate and one that was granted, and who was granted gets in; a
    stranger never does. The gate needs no repair."""
    requester, address = world.requester, world.vm.address(family)
    listener = Listener(world.vm, "::", 22, dual_stack=True)
    older = Session(world.stranger, address, listener)
    agent.start()
    agent.grant("22/tcp", requester.address(family))
    granted = Session(requester, address, listener)
    with Accepting(listener), Knocking(world.stranger, address, 22) as stranger:
        for step in steps:
            step()
            assert older.works() and granted.works(), step
            assert is_open(requester, address, 22), step
    assert stranger.refused and not stranger.let_in
    assert not agent.audit("gate_repaired")
