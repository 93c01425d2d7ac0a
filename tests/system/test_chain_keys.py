# SPDX-License-Identifier: GPL-3.0-or-later
"""The control plane's signing key is changed for another while agents and grants go on."""

from chain import grant_of
from control_plane import rule
from harness import Listener, await_, is_open


def test_the_signing_key_is_changed_for_another(chain, world):
    server = chain.server
    vm = chain.vms[0].join()
    chain.admin.put({"web-1": [rule(port) for port in (22, 23, 24)]})
    await_(lambda: vm.agent.call("Status")["ports"], 10, "the policy is there")
    for port in 22, 23, 24:
        Listener(vm.namespace, "::", port, dual_stack=True)

    def request(port):
        return chain.request("alice", "web-1", str(port))

    def opens(port):
        return is_open(world.requester, world.vm.v4, port)

    def kids():
        return [key["kid"] for key in server.call("GET", "/.well-known/jwks.json")["keys"]]

    def change_keys(*keys):
        server.write_keys(list(keys))
        server.reload()
        await_(lambda: kids() == [key["kid"] for key in keys], 10, "the keys are taken up")

    def update_trust():
        return vm.enroll("--update-trust", "--trust-fingerprint", chain.fingerprint())

    (old,), new = chain.keys(), server.new_key("k2")
    older = request(22)
    # The new one beside it: published, trusted, and only then the one that signs.
    change_keys(old, new)
    assert "k2" in update_trust()
    assert vm.trusted() == {"k1", "k2"}
    change_keys(new, old)
    request(23)
    assert opens(22) and opens(23)
    # The server publishes the old one no more: what it signed is in force, and lives as long as the VM trusts it.
    change_keys(new)
    assert opens(22) and opens(23)
    assert "k1" in update_trust()
    assert vm.trusted() == {"k2"}
    vm.agent.await_state(grant_of(older), "revoked")
    assert opens(23) and not opens(22)
    request(24)
    assert opens(23) and opens(24)
    # Its policy, signed with a key that is gone, is still in force.
    assert not is_open(world.stranger, world.vm.v4, 22)
    vm.await_all_told()


def test_who_joins_after_a_change_of_keys_has_the_policy_too(chain, world):
    """It was signed with a key that nobody trusts any more, before the VM was there."""
    server = chain.server
    chain.admin.put({"web-1": [rule(22)]})
    Listener(world.vm, "::", 22, dual_stack=True)
    server.write_keys([server.new_key("k2")])
    server.reload()
    await_(lambda: "k2" in str(server.call("GET", "/.well-known/jwks.json").body), 10)
    vm = chain.vms[0].join()
    await_(lambda: vm.agent.call("Status")["ports"], 10, "the policy is there")
    assert not is_open(world.stranger, world.vm.v4, 22)
    # So it is when the key changes while the server is away.
    server.stop()
    server.write_keys([server.new_key("k3")])
    server.start()
    # It comes before the VM knows the key, and again when it does.
    refused = await_(lambda: vm.agent.audit("document_refused"), 20, "the policy is not believed")
    assert refused[0]["code"] == "unknown_key"
    vm.enroll("--update-trust", "--trust-fingerprint", chain.fingerprint())
    await_(lambda: len(vm.agent.audit("document_admitted")) == 2, 20, "the policy, signed anew")
