# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of the chain are away while people ask and revoke: what was decided holds once they are back."""

import json

import pytest

from chain import REFUSED, grant_of, port_of
from control_plane import AgentOf, claims, rule
from harness import Listener, await_, is_open

BOUND = 15  # back, and what backs off has tried again


@pytest.fixture
def vm(chain):
    made = chain.vms[0].join()
    chain.admin.put({"web-1": [rule(22), rule(23), rule(24)]})
    await_(lambda: made.agent.call("Status")["ports"], 10, "the policy is there")
    for port in 22, 23, 24:
        Listener(made.namespace, "::", port, dual_stack=True)
    return made


def request(chain, port):
    return chain.request("alice", "web-1", str(port), "--no-wait")


def revoke(chain, made, *options):
    chain.cli("alice", "requests", "revoke", made["id"], *options)


def agent_away(vm):
    vm.agent.kill()
    return vm.agent.start


def poll_away(vm):
    vm.poll.kill()
    return vm.poll.start


def both_away(vm):
    vm.agent.kill()
    vm.poll.kill()

    def back():
        vm.poll.start()
        vm.agent.start()
    return back


def network_away(vm):
    vm.cut()
    return vm.mend


@pytest.mark.parametrize("go_away", [agent_away, poll_away, both_away, network_away])
def test_grants_and_revocations_of_the_meantime_count_afterwards(chain, vm, world, go_away):
    def opens(port):
        return is_open(world.requester, world.vm.v4, port)
    before = request(chain, 22)
    vm.agent.await_state(grant_of(before), "active")
    come_back = go_away(vm)
    # What was granted before goes on; what comes now comes later.
    assert opens(22)
    revoke(chain, before)
    kept = request(chain, 23)
    gone = request(chain, 24)
    revoke(chain, gone)
    assert opens(22) and not opens(23) and not opens(24)
    come_back()
    vm.agent.await_state(grant_of(kept), "active", BOUND)
    vm.agent.await_state(grant_of(before), "revoked", BOUND)
    await_(lambda: vm.agent.audit("grant_revoked"), BOUND)
    assert opens(23) and not opens(22) and not opens(24)
    # The one that was revoked in the meantime came and went, or never came; it is not open, and the log says why.
    chain.await_activity("revoke", request=gone["id"])
    vm.await_all_told()
    progress = port_of(chain.requests("--all")[kept["id"]])["progress"]
    assert {"delivered", "installed"} <= set(progress)


def test_a_revocation_overtakes_its_grant(chain, vm, world):
    """Someone carries both to the VM by hand, in the wrong order, while jitgate-poll is away."""
    vm.poll.kill()
    credential = (vm.agent.directory / "feed-token").read_text().strip()
    feed = AgentOf(chain.server, vm.id, credential)
    made = request(chain, 22)
    (grant,) = [document for document in feed.fetch() if claims(document)["jti"] == grant_of(made)]
    revoke(chain, made)
    (revocation,) = [document for document in feed.fetch() if "revokes" in claims(document)]
    assert claims(revocation)["revokes"] == [grant_of(made)]
    assert vm.agent.cli("submit", "-", input=revocation).returncode == 0
    assert vm.agent.cli("submit", "-", input=grant).returncode == REFUSED
    refused = vm.agent.await_audit("document_refused", BOUND)
    assert (refused["code"], refused["grant"]) == ("revoked", grant_of(made))
    vm.poll.start()
    entry = chain.await_activity("document_refused", request=made["id"])
    assert (entry["code"], entry["result"]) == ("revoked", "Refused")
    assert not vm.agent.audit("grant_active")
    assert not is_open(world.requester, world.vm.v4, 22)


def test_the_poll_dies_with_what_the_agent_has_not_taken(chain, vm, world):
    """It has fetched, the agent is away, and both come back: it has noted nothing that is not the agent's."""
    vm.agent.kill()
    made = request(chain, 22)
    await_(lambda: "delivered" in port_of(chain.requests()[made["id"]]).get("progress", {}), BOUND,
           "the poll has it")
    vm.poll.stop()
    vm.poll.start()
    vm.agent.start()
    vm.agent.await_state(grant_of(made), "active", BOUND)
    assert is_open(world.requester, world.vm.v4, 22)


def test_events_of_a_long_absence_come_afterwards(chain, vm):
    vm.await_all_told()
    chain.server.kill()
    vm.poll.await_state("backing_off", BOUND)
    for i in range(600):
        vm.agent.call("Grant", ports=[{"number": 22, "protocol": "TCP",
                                       "allowedSourceAddressPrefix": f"10.1.{i // 250}.{i % 250}"}],
                      seconds=600, reason=f"away {i}")
    vm.agent.stop()
    vm.agent.start()
    assert len(vm.records()) > 600
    chain.server.start()
    vm.await_all_told(30)
    vm.poll.await_state("connected", BOUND)


def test_what_the_audit_log_had_no_room_for_is_told(chain, world):
    vm = chain.vms[0].configure(ports={}, log_bytes_max="64K")
    vm.join()
    chain.admin.put({"web-1": [rule()]})
    await_(lambda: vm.agent.call("Status")["ports"], 10, "the policy is there")
    vm.await_all_told()
    n_told = len(vm.told())
    vm.poll.kill()
    for i in range(600):
        vm.agent.call("Grant", ports=[{"number": 22, "protocol": "TCP",
                                       "allowedSourceAddressPrefix": f"10.1.{i // 250}.{i % 250}"}],
                      seconds=600, reason=f"away {i}")
    log = vm.agent.directory / "log"
    kept = [json.loads(line)["sequence"] for name in ("audit.jsonl.1", "audit.jsonl")
            for line in (log / name).read_text().splitlines()]
    vm.poll.start()
    entry = chain.await_activity("events_lost", BOUND, vm=vm.id)
    # What it had sent and not yet noted when it was killed counts, too.
    n_lost = kept[0] - 1 - n_told
    assert 100 < n_lost <= int(entry["message"].split()[0]) <= n_lost + n_told

    def told():
        return [sequence for sequence, type in vm.told() if type != "events_lost"]
    await_(lambda: kept[-1] in told(), BOUND, "the others")
    assert told() == [*range(1, n_told + 1), *kept]
    assert entry["message"] in chain.cli("bob", "activity", "--vm", "web-1", "--lines", "1000")
