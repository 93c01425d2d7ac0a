# SPDX-License-Identifier: GPL-3.0-or-later
"""What people with a right, and agents of one VM, must not gain by it."""

import json
import re
import select
import socket
import subprocess
import time

import pytest

from control_plane import ask, claims, header, policy, policy_id, rule, utc, vm_id
from test_server_requests import port_of, status_of
from world import await_

NAT = "203.0.113.7"


def kinds(documents):
    return [header(document)["typ"].split("+")[0] for document in documents]


def from_source(person, source=NAT, **more):
    answer = person.call("POST", "/v1/requests", {
        "vm": vm_id("vm1"), "ports": [{"number": 22, "source": source}], **more})
    assert answer.status == 201, answer
    return answer.body


def test_nobody_ends_anothers_access_by_asking_for_the_same(server, admin, alice, bob):
    """To revoke takes a role; two people may sit behind one address."""
    admin.put({"vm1": [rule()]})
    agent = server.enroll("vm1")
    agent.fetch()
    mallory = server.person("mallory@example.org", "requester")
    first = from_source(alice, duration="PT2H")
    second = from_source(mallory, duration="PT5M")
    assert kinds(agent.fetch()) == ["jit-grant", "jit-grant"]
    assert status_of(alice.get(first["id"])) == ("Initiated", "UserRequested")
    assert status_of(alice.get(second["id"])) == ("Initiated", "UserRequested")
    # So with what an approver grants.
    admin.put({"vm1": [rule(approvalRequired=True)]})
    third = from_source(mallory, duration="PT5M")
    assert bob.call("POST", f"/v1/requests/{third['id']}/approve", {}).status == 200
    assert status_of(alice.get(first["id"])) == ("Initiated", "UserRequested")
    assert status_of(alice.get(second["id"])) == ("Revoked", "NewerRequestInitiated")


def test_what_is_replaced_is_in_the_log(server, admin, alice, bob):
    admin.put({"vm1": [rule()]})
    agent = server.enroll("vm1")
    older, newer = from_source(alice), from_source(alice, justification="again")
    (first, *_) = admin.activity(request=older["id"])
    assert newer["id"] in first["message"] and first["principal"] == "alice@example.org"
    assert first["source"] == NAT and first["port"] == 22
    *_, revocation = agent.fetch()
    assert claims(revocation)["reason"] == "a newer request took its place"


def test_a_revoked_grant_is_handed_out_no_more(server, admin, alice):
    """An agent that was away would open the port between the two, and a session would stay."""
    admin.put({"vm1": [rule()]})
    agent = server.enroll("vm1")
    agent.fetch()
    grant = port_of(alice.request())["grant"]
    request = grant.split(".")[0]
    assert alice.call("POST", f"/v1/requests/{request}/revoke", {}).status == 200
    (document,) = agent.fetch()
    assert claims(document)["revokes"] == [grant]
    agent.cursor = None
    assert kinds(agent.fetch()) == ["jit-policy", "jit-revocation"]


def test_whoever_rules_one_vm_of_a_request_shuts_it_there(server, admin, alice):
    admin.put({"vm1": [rule()], "vm2": [rule()]})
    agents = {name: server.enroll(name) for name in ("vm1", "vm2")}
    for agent in agents.values():
        agent.fetch()
    request = alice.call("POST", policy_id() + "/initiate", {"virtualMachines": [
        {"id": vm_id(name), "ports": [{"number": 22, "endTimeUtc": utc(600)}]}
        for name in ("vm1", "vm2")]})["id"]
    dave = server.person("dave", "approver", vm_id("vm1"))
    eve = server.person("eve", "reader", vm_id("vm1"))
    assert eve.call("POST", f"/v1/requests/{request}/revoke", {}).status == 403
    answer = dave.call("POST", f"/v1/requests/{request}/revoke", {"reason": "mine"})
    assert answer.status == 200, answer
    assert [vm["id"] for vm in answer["virtualMachines"]] == [vm_id("vm1")]
    assert status_of(answer.body) == ("Revoked", "UserRequested")
    assert kinds(agents["vm1"].fetch()) == ["jit-revocation"]
    assert kinds(agents["vm2"].fetch()) == ["jit-grant"]
    assert dave.call("POST", f"/v1/requests/{request}/revoke", {}).status == 409
    told = admin.activity(request=request, principal="dave")
    assert [entry["vm"] for entry in told if entry["result"] == "Succeeded"] == [vm_id("vm1")]
    # The rest is still its owner's to shut, and is told once.
    assert alice.call("POST", f"/v1/requests/{request}/revoke", {}).status == 200
    assert kinds(agents["vm2"].fetch()) == ["jit-revocation"] and agents["vm1"].fetch() == []
    (entry,) = [entry for entry in admin.activity(request=request, principal="alice@example.org")
                if entry["operation"] == "jitgate/requests/revoke/action"]
    assert entry["vm"] == vm_id("vm2")


def test_one_person_cannot_fill_a_vm(server, admin, alice):
    """An agent takes so many grants and no more: the next person would be refused there."""
    admin.put({"vm1": [rule(1000 + i) for i in range(64)]})
    bodies = [{"vm": "vm1", "ports": [{"number": 1000 + i, "source": f"198.51.100.{k}"}
                                      for i in range(64)]} for k in range(16)]
    answers = [alice.call("POST", "/v1/requests", body) for body in bodies]
    assert [answer.status for answer in answers] == 15 * [201] + [429]
    assert answers[-1].code == "TooManyRequests" and "1000" in answers[-1]["error"]["message"]
    # What takes the place of one's own is no more than there was.
    assert alice.call("POST", "/v1/requests", bodies[0]).status == 201
    carol = server.person("carol", "requester")
    assert carol.call("POST", "/v1/requests", bodies[15]).status == 201


def fill(server, person, n, machines):
    """n requests of a person, each in the place of the one before at its VM. Their ids."""
    headers = {"Authorization": f"Bearer {person.token}", "Content-Type": "application/json"}
    connections, ids = [server.connect() for _ in machines], []
    for _ in range(n // len(machines)):
        for connection, name in zip(connections, machines):
            body = json.dumps({"vm": vm_id(name), "ports": [{"number": 22}]})
            connection.request("POST", "/v1/requests", body, headers)
        for connection in connections:
            response = connection.getresponse()
            text = response.read()
            assert response.status == 201, text
            ids.append(json.loads(text)["id"])
    for connection in connections:
        connection.close()
    return ids


def test_one_persons_requests_are_not_in_the_way_of_others(server, admin, alice, measure):
    """What is kept is bounded: the oldest of one's own go, and nobody is locked out."""
    machines = [f"vm{i}" for i in range(24)]
    admin.put({name: [rule()] for name in machines})
    carol = server.person("carol", "requester")
    kept = carol.request()["id"]
    begun = time.monotonic()
    ids = fill(server, alice, 10_008, machines)
    measure("requests a second", round(len(ids) / (time.monotonic() - begun)))
    # Those that were under way at once have passed the bound; the next brings it back.
    ids.append(alice.request("vm0")["id"])
    ids.append(alice.request("vm0")["id"])
    assert server.metric("jitgate_server_requests") == 10_001
    ids.sort()
    assert alice.call("GET", f"/v1/requests/{ids[0]}").status == 404
    assert alice.get(ids[-1])["id"] == ids[-1] and carol.get(kept)["id"] == kept
    # It stays in the log.
    assert admin.activity(request=ids[-1])


def test_ones_own_requests_are_listed_under_me(server, admin, alice):
    admin.put({"vm1": [rule()]})
    carol = server.person("Carol", "requester")
    hers, mine = carol.request()["id"], alice.request()["id"]
    for query, wanted in (("me", mine), ("Alice@Example.org", mine), ("Carol", hers)):
        listed = alice.call("GET", f"/v1/requests?requestor={query}")["value"]
        assert [one["id"] for one in listed] == [wanted], query
    for query in ("", "carol", "nobody"):
        assert alice.call("GET", f"/v1/requests?requestor={query}")["value"] == []


def test_bodies_of_strangers_are_not_kept(server, admin):
    """All bodies together have a bound: who may not call at all must not fill it."""
    wrong = [("PUT", policy_id() + "?api-version=2020-01-01", "jgt_"),
             ("POST", "/v1/vms/x/events", "jga_")]
    strangers, answers = [], []
    for i in range(80):
        method, path, prefix = wrong[i % 2]
        stranger = socket.create_connection((server.host, server.port))
        stranger.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {prefix}"
                         f"{43 * 'A'}\r\nContent-Type: application/json\r\n"
                         "Content-Length: 1000000\r\n\r\n".encode())
        strangers.append(stranger)
    for stranger in strangers:
        readable, _, _ = select.select([stranger], [], [], 1 if not answers else 0.1)
        answers.append(stranger.recv(12) if readable else b"none")
        if not readable:
            stranger.sendall(999_000 * b" ")
    assert admin.put({"vm1": [rule()]}).status == 200
    assert answers == 80 * [b"HTTP/1.1 401"]
    for stranger in strangers:
        stranger.close()


def test_an_agent_puts_no_words_into_anyones_mouth(server, admin, alice):
    """Whose grant it is, the server knows; whom an agent names besides is not who called."""
    admin.put({"vm1": [rule()]})
    agent = server.enroll("vm1")
    grant = port_of(alice.request())["grant"]
    agent.tell("session_opened", grant=grant, subject="bob@example.org")
    agent.tell("session_opened", grant="local-1", subject="bob@example.org")
    local, ours = admin.activity(top=2)
    if "request" in local:
        local, ours = ours, local
    assert ours["principal"] == "alice@example.org" and "subject" not in ours
    assert local["principal"] == vm_id("vm1") and local["subject"] == "bob@example.org"
    assert admin.activity(principal="bob@example.org") == []


def test_an_agent_does_not_stand_before_what_comes(server, admin, alice):
    """Newest first: what is said to happen in a thousand years would be read for so long."""
    admin.put({"vm1": [rule()]})
    agent = server.enroll("vm1")
    agent.post({**agent.event("session_opened"), "time": "2999-01-01T00:00:00Z"})
    request = alice.request()
    assert admin.activity(top=1)[0]["request"] == request["id"]


def test_an_agent_fills_no_disk(server, admin):
    agent = server.enroll("vm1")
    other = server.enroll("vm2")
    answers = [agent.post(agent.event("session_opened", junk=1_000_000 * "x")) for _ in range(18)]
    assert [answer.status for answer in answers] == 16 * [202] + 2 * [429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 100
    assert other.post(other.event("session_opened")).status == 202


def test_tokens_are_made_and_revoked_in_the_log(server, admin, alice):
    """Who gives rights at the server's console decides as much as who approves."""
    token = server.person("mallory@example.org", "administrator").token
    identity = server.command("token", "list")
    (line,) = [line for line in identity.splitlines() if "mallory" in line]
    server.command("token", "revoke", line.split()[0])
    server.enrollment(vm_id("vm1"))
    end = time.monotonic() + 10
    while server.call("GET", "/v1/vms", token=token).status != 401:
        assert time.monotonic() < end
    told = admin.activity(top=3)
    assert [entry["operation"] for entry in told] == [
        "jitgate/vms/newEnrollment/action", "jitgate/tokens/revokeToken/action", "jitgate/tokens/newToken/action"]
    for entry in told:
        assert entry["principal"].startswith("local:") and entry["result"] == "Succeeded"
    assert told[0]["vm"] == vm_id("vm1")
    for entry in told[1:]:
        assert line.split()[0] in entry["message"] and "administrator in /" in entry["message"]
        assert token not in str(entry)
    # Who may read less than all reads nothing of it.
    dave = server.person("dave", "administrator", "/subscriptions/s1")
    assert {entry["operation"] for entry in dave.activity()} == {"jitgate/vms/newEnrollment/action"}


def test_an_enrollment_that_no_agent_could_use_is_none(server):
    for vm in ("web-1", vm_id("a|b"), vm_id("a/"), "/subscriptions/s1/../virtualMachines/x"):
        with pytest.raises(subprocess.CalledProcessError) as failed:
            server.enrollment(vm)
        assert failed.value.returncode == 2 and vm in failed.value.stderr


def test_what_is_approved_is_what_was_shown(server, admin, alice, bob):
    """A policy that is widened while a request waits does not widen the request."""
    admin.put({"vm1": [rule(approvalRequired=True)]})
    agent = server.enroll("vm1")
    requests = [from_source(alice, f"192.0.2.{i}") for i in range(2)]
    assert {port_of(request)["protocol"] for request in requests} == {"TCP"}
    admin.put({"vm1": [rule(protocol="*")]})
    assert bob.call("POST", f"/v1/requests/{requests[0]['id']}/approve", {}).status == 200
    said = claims(agent.fetch()[-1])
    assert said["jti"] == port_of(requests[0])["grant"] and said["ports"][0]["protocol"] == "TCP"
    admin.put({"vm1": [rule(protocol="UDP")]})
    refused = bob.call("POST", f"/v1/requests/{requests[1]['id']}/approve", {})
    assert (refused.status, refused.code) == (409, "Conflict")


def test_who_may_not_read_a_policy_does_not_learn_of_it(server, admin):
    other = "/subscriptions/s2/resourceGroups/rg"
    assert admin.call("PUT", policy_id("secret", other),
                      policy({vm_id("x", other): [rule()]})).status == 200
    dave = server.person("dave", "requester", vm_id("vm1"))
    answers = [dave.call("POST", policy_id(name, other) + "/initiate", ask("vm1"))
               for name in ("secret", "none")]
    assert [(answer.status, answer.code) for answer in answers] == 2 * [(404, "ResourceNotFound")]


def test_what_is_answered_is_kept_by_nobody(server):
    for path, token in (("/.well-known/jwks.json", None), ("/v1/enroll", server.enrollment(vm_id("vm1")))):
        answer = server.call("POST" if token else "GET", path, token=token)
        assert answer.status == 200 and answer.headers.get_all("Cache-Control") == ["no-store"]


def test_whose_vm_it_is_sees_who_tried(server, admin, alice):
    admin.put({"vm1": [rule(approvalRequired=True)]})
    request = alice.request()["id"]
    mallory = server.person("mallory", "approver", "/subscriptions/s2")
    for call in ("approve", "deny", "revoke"):
        assert mallory.call("POST", f"/v1/requests/{request}/{call}", {}).status == 403
    owner = server.person("owner", "reader", vm_id("vm1"))
    told = owner.activity(principal="mallory")
    assert [entry["result"] for entry in told] == 3 * ["Denied"]
    assert mallory.activity() == []


def call_text(method, path, token, body=""):
    return (f"{method} {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}")


@pytest.mark.parametrize("behind", ["the same", "a change"])
@pytest.mark.parametrize("what", ["request", "documents"])
def test_what_stands_behind_a_held_call_harms_no_stop(server, admin, alice, what, behind):
    """The connection is read on when the server ends what it held."""
    admin.put({"vm1": [rule()]})
    agent = server.enroll("vm1")
    agent.fetch()
    request = alice.request()
    agent.fetch()
    if what == "request":
        revision = alice.get(request["id"])["revision"] + 100
        held = call_text("GET", f"/v1/requests/{request['id']}?after={revision}&wait=60",
                         alice.token)
    else:
        held = call_text("GET", f"{agent.path}/documents?wait=60&after={agent.cursor}",
                         agent.credential)
    change = call_text("POST", "/v1/requests", alice.token, json.dumps(
        {"vm": vm_id("vm1"), "ports": [{"number": 22, "source": NAT}]}))
    with socket.create_connection((server.host, server.port), timeout=20) as connected:
        connected.sendall((held + 5 * (held if behind == "the same" else change)).encode())
        await_(lambda: server.metric("jitgate_server_held_requests") == 1, 10, "a held call")
        assert server.stop() == 0
        received = b""
        while more := connected.recv(65536):
            received += more
    assert set(re.findall(rb"HTTP/1.1 (\d+)", received)) == {b"503"}
