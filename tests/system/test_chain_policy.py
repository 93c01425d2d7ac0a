# SPDX-License-Identifier: GPL-3.0-or-later
"""The control plane's policy on the VM, beside the owner's."""


import pytest

from chain import REFUSED, grant_of, port_of
from control_plane import policy_id, rule
from harness import Listener, await_, is_open


def ports(vm):
    return {port["first"] for port in vm.agent.call("Status")["ports"]}


def delete_policy(chain):
    assert chain.admin.call("DELETE", policy_id()).status == 200


def test_a_policy_manages_a_port_that_the_owner_does_not_name(chain, world):
    vm = chain.vms[0].join()
    Listener(vm.namespace, "::", 22, dual_stack=True)
    assert not ports(vm) and is_open(world.stranger, world.vm.v4, 22)
    chain.admin.put({"web-1": [rule(22)]})
    await_(lambda: ports(vm) == {22}, 10, "the port is managed")
    assert not is_open(world.stranger, world.vm.v4, 22)
    chain.request()
    assert is_open(world.requester, world.vm.v4, 22)
    # It holds over a restart without the control plane.
    chain.server.kill()
    vm.agent.kill()
    vm.agent.start()
    assert not is_open(world.stranger, world.vm.v4, 22)
    assert is_open(world.requester, world.vm.v4, 22)
    chain.server.start()
    delete_policy(chain)
    await_(lambda: not ports(vm), 20, "the port is nobody's")
    assert is_open(world.stranger, world.vm.v4, 22)
    vm.await_all_told()


OWNERS = {"ssh": {"number": 22, "allowed_source_address_prefixes": "192.0.2.0/24",
                  "max_request_access_duration": "PT1H"}}


@pytest.fixture
def vm(chain):
    """Its owner guards port 22 tighter than the control plane."""
    made = chain.vms[0].configure(ports=OWNERS).join()
    chain.admin.put({"web-1": [rule(22, longest="PT3H"), rule(23)]})
    await_(lambda: ports(made) == {22, 23}, 10, "the policy is there")
    Listener(made.namespace, "::", 22, dual_stack=True)
    return made


@pytest.mark.parametrize("options, code", [
    (["--for", "PT2H"], "duration_too_long"), (["--source", "198.51.100.66"], "source_not_allowed")])
def test_the_owners_tighter_policy_wins_and_the_requester_is_told(chain, vm, world, options, code):
    arguments = ["request", "web-1", "--port", "22", "--reason", "ticket 4711", *options]
    told = chain.cli("alice", *arguments, status=REFUSED)
    assert code in told, told
    made = next(iter(chain.requests("--all").values()))
    assert port_of(made)["progress"]["refused"]["code"] == code
    done = world.requester.call(*chain.command("alice", *arguments, "--json"))
    assert done.returncode == REFUSED and code in done.stdout + done.stderr
    assert not is_open(world.requester, world.vm.v4, 22)
    assert not is_open(world.stranger, world.vm.v4, 22)
    entry = chain.await_activity("document_refused", code=code)
    assert (entry["result"], entry["request"] in chain.requests("--all")) == ("Refused", True)
    # What both allow is granted.
    chain.request()
    assert is_open(world.requester, world.vm.v4, 22)


def test_a_deleted_policy_leaves_the_owners_ports_shut(chain, vm, world):
    Listener(vm.namespace, "::", 23, dual_stack=True)
    made = chain.request()
    assert not is_open(world.stranger, world.vm.v4, 23)
    delete_policy(chain)
    await_(lambda: ports(vm) == {22}, 10, "the owner's is left")
    assert is_open(world.stranger, world.vm.v4, 23)
    assert not is_open(world.stranger, world.vm.v4, 22)
    # What was granted under it goes on.
    vm.agent.await_state(grant_of(made), "active")
    assert is_open(world.requester, world.vm.v4, 22)
