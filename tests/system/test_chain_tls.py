# SPDX-License-Identifier: GPL-3.0-or-later
"""The control plane's certificate goes wrong while agents run, and is mended."""

import json

import pytest

from chain import REFUSED, grant_of
from control_plane import rule
from harness import Listener, await_, is_open

BOUND = 20


@pytest.mark.parametrize("names, end, told", [
    ((), -0.1, "expired"), (("other.example",), 30, "certificate subject name")])
def test_a_bad_certificate_holds_up_what_is_new_and_nothing_else(chain, world, names, end, told):
    vm = chain.vms[0].join()
    chain.admin.put({"web-1": [rule(22), rule(23)]})
    await_(lambda: vm.agent.call("Status")["ports"], 10, "the policy is there")
    for port in 22, 23:
        Listener(vm.namespace, "::", port, dual_stack=True)
    made = chain.request()
    waiting = chain.request("alice", "web-1", "23", "--no-wait", seconds=900)
    vm.agent.await_state(grant_of(waiting), "active")
    chain.cli("alice", "requests", "revoke", waiting["id"])
    vm.agent.await_state(grant_of(waiting), "revoked")

    chain.write_certificate(*names, end=end)
    chain.server.stop()
    chain.server.start(checked=False)

    def feed():
        return json.loads(vm.agent.cli("status", "--json").stdout)["feed"]
    await_(lambda: told in feed().get("message", ""), BOUND, "status tells what is wrong")
    assert feed()["state"] == "backing_off"
    shown = vm.agent.cli("status").stdout
    assert told in shown and "certificate" in shown
    assert "certificate" in chain.cli("alice", "requests", status=REFUSED)
    assert is_open(world.requester, world.vm.v4, 22)
    assert not is_open(world.stranger, world.vm.v4, 22)
    vm.agent.await_state(grant_of(made), "active")

    # It is mended without a restart.
    chain.write_certificate()
    chain.server.reload()
    vm.poll.await_state("connected", 70)
    chain.request("alice", "web-1", "23")
    assert is_open(world.requester, world.vm.v4, 23)
    vm.await_all_told()
    assert told not in vm.agent.cli("status").stdout
