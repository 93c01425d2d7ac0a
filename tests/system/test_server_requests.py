# SPDX-License-Identifier: GPL-3.0-or-later
"""From a request to its grant, and what becomes of it."""

import json
import time

from control_plane import Held, Server, ask, claims, header, policy, policy_id, rule, vm_id
from harness import allowing


def port_of(request):
    return request["virtualMachines"][0]["ports"][0]


def status_of(request):
    port = port_of(request)
    return port["status"], port["statusReason"]


def kinds(documents):
    return [header(document)["typ"] for document in documents]


def test_the_life_of_a_policy_and_a_request(server, admin, alice):
    admin.put({"vm1": [rule()]})
    agent = server.enroll("vm1")
    (document,) = agent.fetch()
    assert header(document)["typ"] == "jit-policy+jwt"
    assert claims(document)["ports"] == [
        {"number": 22, "protocol": "TCP", "allowedSourceAddressPrefix": "*",
         "maxRequestAccessDuration": "PT3H"}]

    request = alice.request("vm1", duration="PT30M", justification="ticket 4711")
    assert request["requestor"] == "alice@example.org"
    assert request["policy"] == policy_id()
    assert status_of(request) == ("Initiated", "UserRequested")
    (document,) = agent.fetch()
    said = claims(document)
    assert said["jti"] == port_of(request)["grant"]
    assert said["aud"] == vm_id("vm1") and said["iss"] == server.url
    assert said["sub"] == "alice@example.org" and said["justification"] == "ticket 4711"
    assert said["exp"] - said["iat"] == 1800
    assert said["ports"] == [{"number": 22, "protocol": "TCP",
                              "allowedSourceAddressPrefix": "127.0.0.1"}]

    grant = said["jti"]
    agent.tell("document_admitted", grant=grant)
    agent.tell("grant_active", grant=grant)
    agent.tell("session_opened", grant=grant, source="127.0.0.1", port=22)
    agent.tell("grant_expired", grant=grant)
    progress = port_of(alice.get(request["id"]))["progress"]
    assert set(progress) == {"delivered", "installed", "firstConnection", "ended"}
    assert progress["delivered"] <= progress["installed"] <= progress["firstConnection"]

    assert admin.call("DELETE", policy_id()).status == 200
    (document,) = agent.fetch()
    assert claims(document)["ports"] == []
    assert claims(document)["version"] > 1_600_000_000_000
    refused = alice.call("POST", "/v1/requests", {"vm": vm_id("vm1"), "ports": [{"number": 22}]})
    assert (refused.status, refused.code) == (400, "VirtualMachineNotInPolicy")


def test_policy_versions_grow_and_say_all_policies(server, admin):
    agent = server.enroll("vm1")
    admin.put({"vm1": [rule()]}, "b")
    first = claims(agent.fetch()[0])
    admin.put({"vm1": [rule(3389)], "vm2": [rule()]}, "a")
    second = claims(agent.fetch()[0])
    assert second["version"] > first["version"]
    assert [port["number"] for port in second["ports"]] == [3389, 22]
    # What changes nothing for the VM signs nothing.
    admin.put({"vm1": [rule(3389)]}, "a")
    assert agent.fetch() == []
    admin.put({"vm2": [rule()]}, "a")
    assert [port["number"] for port in claims(agent.fetch()[0])["ports"]] == [22]
    many = [rule(number) for number in range(1000, 1064)]
    refused = admin.call("PUT", policy_id("c"), policy({"vm1": many}))
    assert refused.status == 400 and "65 port rules" in refused["error"]["message"]
    assert agent.fetch() == []


def test_a_newer_request_takes_the_place_of_the_older(server, admin, alice):
    admin.put({"vm1": [rule(), rule(3389)]})
    agent = server.enroll("vm1")
    older = alice.request(duration="PT10M")
    agent.fetch()
    other = alice.request(number=3389)
    agent.fetch()
    newer = alice.request(duration="PT2H")
    grant, revocation = agent.fetch()
    assert claims(grant)["jti"] == port_of(newer)["grant"]
    assert claims(grant)["exp"] - claims(grant)["iat"] == 7200
    assert claims(revocation)["revokes"] == [port_of(older)["grant"]]
    assert claims(revocation)["sessions"] == "keep"
    assert status_of(alice.get(older["id"])) == ("Revoked", "NewerRequestInitiated")
    assert status_of(alice.get(newer["id"])) == ("Initiated", "UserRequested")
    assert status_of(alice.get(other["id"])) == ("Initiated", "UserRequested")
    # From elsewhere it is another.
    elsewhere = alice.call("POST", "/v1/requests", {"vm": "vm1", "ports": [
        {"number": 22, "source": "198.51.100.1"}]}).body
    assert kinds(agent.fetch()) == ["jit-grant+jwt"]
    assert status_of(alice.get(newer["id"])) == ("Initiated", "UserRequested")
    assert status_of(elsewhere) == ("Initiated", "UserRequested")


def test_of_requests_at_once_one_is_left(server, admin, alice):
    """They are all sent before the first is answered, each over its own connection."""
    admin.put({"vm1": [rule()]})
    connections = [server.connect() for _ in range(24)]
    for connection in connections:
        connection.connect()
    body = json.dumps({"vm": "vm1", "ports": [{"number": 22}]})
    headers = {"Authorization": f"Bearer {alice.token}", "Content-Type": "application/json"}
    for _ in range(5):
        for connection in connections:
            connection.request("POST", "/v1/requests", body, headers)
        ids = [json.loads(connection.getresponse().read())["id"] for connection in connections]
        assert len(set(ids)) == len(connections)
        active = alice.call("GET", "/v1/requests?vm=vm1&state=active")["value"]
        assert len(active) == 1
    for connection in connections:
        connection.close()


def test_ipv6(tmp_path):
    server = Server(tmp_path, host="::1").start()
    try:
        admin = server.person("root", "administrator")
        alice = server.person("alice", "requester")
        admin.put({"vm1": [rule(source="::/0")]})
        request = alice.request()
        assert port_of(request)["allowedSourceAddressPrefix"] == "::1"
        answer = alice.initiate("vm1", source="2001:db8::/64")
        assert port_of(answer.body)["allowedSourceAddressPrefix"] == "2001:db8::/64"
        refused = alice.call("POST", policy_id() + "/initiate", ask(source="192.0.2.1"))
        assert refused.code == "SourceNotAllowed"
    finally:
        server.close()


def test_approval_by_a_second_person(server, admin, alice, bob):
    admin.put({"vm1": [rule(approvalRequired=True)]})
    agent = server.enroll("vm1")
    agent.fetch()
    request = alice.request(duration="PT20M")
    assert status_of(request) == ("PendingApproval", "ApprovalRequired")
    assert agent.fetch() == []
    path = f"/v1/requests/{request['id']}"
    assert alice.call("POST", path + "/approve", {}).code == "AuthorizationFailed"
    approved = bob.call("POST", path + "/approve", {"reason": "fine"})
    assert approved.status == 200
    assert approved["approval"]["by"] == "bob@example.org"
    assert approved["approval"]["reason"] == "fine"
    assert status_of(approved.body) == ("Initiated", "UserRequested")
    said = claims(agent.fetch()[0])
    assert said["sub"] == "alice@example.org" and said["exp"] - said["iat"] == 1200
    again = bob.call("POST", path + "/approve", {})
    assert (again.status, again.code) == (409, "Conflict")

    denied = alice.request(duration="PT10M")
    answer = bob.call("POST", f"/v1/requests/{denied['id']}/deny", {"reason": "no"})
    assert status_of(answer.body) == ("Revoked", "Denied")
    assert bob.call("POST", f"/v1/requests/{denied['id']}/approve").status == 409
    assert agent.fetch() == []
    # What waited took nothing from what was granted.
    assert status_of(alice.get(request["id"])) == ("Initiated", "UserRequested")


def test_nobody_approves_their_own(tmp_path):
    server = Server(tmp_path, assignments=[("alice@example.org", "approver", "/")]).start()
    try:
        server.person("root", "administrator").put({"vm1": [rule(approvalRequired=True)]})
        alice = server.person("alice@example.org", "requester")
        request = alice.request()
        refused = alice.call("POST", f"/v1/requests/{request['id']}/approve", {})
        assert (refused.status, refused.code) == (403, "SelfApprovalForbidden")
        # To deny or to take back one's own is no approval.
        assert alice.call("POST", f"/v1/requests/{request['id']}/revoke", {}).status == 200
    finally:
        server.close()


def test_a_policy_that_has_tightened_is_not_passed_by_approval(server, admin, alice, bob):
    admin.put({"vm1": [rule(approvalRequired=True)]})
    request = alice.request(duration="PT2H")
    admin.put({"vm1": [rule(longest="PT1H")]})
    refused = bob.call("POST", f"/v1/requests/{request['id']}/approve", {})
    assert refused.status == 409 and "PT1H" in refused["error"]["message"]
    admin.call("DELETE", policy_id())
    assert bob.call("POST", f"/v1/requests/{request['id']}/approve", {}).status == 409


def test_revoking_shuts_with_or_without_the_sessions(server, admin, alice, bob):
    admin.put({"vm1": [rule()]})
    agent = server.enroll("vm1")
    for body, sessions in (({"reason": "done"}, "keep"), ({"sessions": "kill"}, "kill")):
        request = alice.request()
        agent.fetch()
        answer = alice.call("POST", f"/v1/requests/{request['id']}/revoke", body)
        assert answer.status == 200 and status_of(answer.body) == ("Revoked", "UserRequested")
        assert answer["revocation"]["by"] == "alice@example.org"
        (document,) = agent.fetch()
        assert claims(document)["revokes"] == [port_of(request)["grant"]]
        assert claims(document)["sessions"] == sessions
        assert claims(document).get("reason") == body.get("reason")
        assert alice.call("POST", f"/v1/requests/{request['id']}/revoke", body).status == 409
    request = alice.request()
    answer = bob.call("POST", policy_id() + "/revoke", {"requestId": request["id"]})
    assert answer.status == 200 and status_of(answer.body) == ("Revoked", "UserRequested")
    refused = bob.call("POST", policy_id("other") + "/revoke", {"requestId": request["id"]})
    assert refused.status == 404
    refused = bob.call("POST", policy_id() + "/revoke",
                       {"requestId": request["id"], "sessions": "maim"})
    assert refused.status == 400


def test_someone_elses_request_is_not_theirs_to_revoke(server, admin, alice):
    mallory = server.person("mallory@example.org", "requester")
    admin.put({"vm1": [rule()]})
    request = alice.request()
    refused = mallory.call("POST", f"/v1/requests/{request['id']}/revoke", {})
    assert (refused.status, refused.code) == (403, "AuthorizationFailed")
    assert admin.call("POST", f"/v1/requests/{request['id']}/revoke", {}).status == 200


def test_who_watches_a_request_is_told_at_once(server, admin, alice, measure):
    admin.put({"vm1": [rule()]})
    agent = server.enroll("vm1")
    request = alice.request()
    agent.fetch()
    seen = alice.get(request["id"], request["revision"], 10)
    assert "delivered" in port_of(seen)["progress"]
    took = []
    for kind, member in (("grant_active", "installed"), ("session_opened", "firstConnection"),
                         ("grant_expired", "ended")):
        held = Held(alice.get, request["id"], seen["revision"], 30)
        await_held(server, 1)
        begun = time.monotonic()
        agent.tell(kind, grant=port_of(request)["grant"])
        seen = held.result()
        took.append(held.at - begun)
        assert member in port_of(seen)["progress"]
    measure("event to watcher (ms)", round(1000 * min(took), 1))
    assert min(took) < allowing(0.5)
    # Nothing changes: it comes when the time is up.
    begun = time.monotonic()
    assert alice.get(request["id"], seen["revision"], 1)["revision"] == seen["revision"]
    assert 0.9 < time.monotonic() - begun < allowing(10)


def await_held(server, n):
    """Until n calls are held (metrics), so that what follows is behind them."""
    end = time.monotonic() + 10
    while True:
        text = server.call("GET", "/metrics").body.decode()
        (line,) = [line for line in text.splitlines() if line.startswith("jitgate_server_held_requests ")]
        if float(line.split()[1]) >= n:
            return
        assert time.monotonic() < end, text
        time.sleep(0.01)


def test_a_principal_can_hold_only_so_many_calls(server, admin, alice):
    admin.put({"vm1": [rule()]})
    request = alice.request()
    held = [Held(alice.call, "GET", f"/v1/requests/{request['id']}?after=999&wait=2")
            for _ in range(40)]
    statuses = [call.result().status for call in held]
    assert statuses.count(200) == 32 and statuses.count(429) == 8


def test_vms_by_name(server, admin, alice):
    other = "/subscriptions/s2/resourceGroups/rg"
    admin.put({"vm1": [rule()], "web": [rule()]})
    admin.put({vm_id("web", other): [rule()]}, "second")
    assert alice.request("VM1")["virtualMachines"][0]["id"] == vm_id("vm1")
    refused = alice.call("POST", "/v1/requests", {"vm": "web", "ports": [{"number": 22}]})
    assert refused.status == 400
    assert vm_id("web") in refused["error"]["message"]
    assert vm_id("web", other) in refused["error"]["message"]
    # Only one that the caller may request counts.
    carol = server.person("carol", "requester", "/subscriptions/s2")
    assert carol.request("web")["virtualMachines"][0]["id"] == vm_id("web", other)
    refused = carol.call("POST", "/v1/requests", {"vm": "vm1", "ports": [{"number": 22}]})
    assert refused.status == 404


def test_requests_are_listed_newest_first_in_pages(server, admin, alice):
    admin.put({f"vm{i}": [rule()] for i in range(7)})
    made = [alice.request(f"vm{i}")["id"] for i in range(7)]
    alice.call("POST", f"/v1/requests/{made[3]}/revoke", {})
    path, seen = "/v1/requests?top=2&state=all", []
    while path:
        page = alice.call("GET", path)
        assert len(page["value"]) <= 2
        seen += [one["id"] for one in page["value"]]
        path = page.body.get("nextLink", "").removeprefix(server.url)
    assert seen == made[::-1]
    active = alice.call("GET", "/v1/requests")["value"]
    assert [one["id"] for one in active] == [one for one in made[::-1] if one != made[3]]
    assert [one["id"] for one in alice.call("GET", "/v1/requests?vm=vm5")["value"]] == [made[5]]
    assert alice.call("GET", "/v1/requests?requestor=bob")["value"] == []
    assert alice.call("GET", "/v1/requests?state=odd").status == 400
    assert alice.call("GET", "/v1/requests?top=0").status == 400
    narrow = server.person("dave", "reader", vm_id("vm2"))
    assert [one["id"] for one in narrow.call("GET", "/v1/requests")["value"]] == [made[2]]


def test_bodies_and_versions_that_make_no_sense(server, admin, alice):
    admin.put({"vm1": [rule()]})
    for path, body, code in (
            (policy_id() + "?api-version=1999-01-01", None, "InvalidApiVersionParameter"),
            (policy_id() + "?x=api-version", None, "MissingApiVersionParameter"),
            ("/v1/requests/r-1", None, "ResourceNotFound"),
            ("/v1/requests?top=x", None, "InvalidRequestContent")):
        answer = admin.call("GET", path, body)
        assert answer.code == code, path
    for body in ("", "{", "[]", '{"properties": {}}', '{"a": 1, "a": 2}'):
        answer = admin.call("PUT", policy_id("x"), body)
        assert (answer.status, answer.code) == (400, "InvalidRequestContent"), body
    for body in ("{", "[]", "{}", '{"virtualMachines": [{"id": "/x"}]}'):
        answer = alice.call("POST", policy_id() + "/initiate", body)
        assert (answer.status, answer.code) == (400, "InvalidRequestContent"), body
    big = policy({f"vm{i}": [rule()] for i in range(1001)})
    answer = admin.call("PUT", policy_id("big"), big)
    assert (answer.status, answer.code) == (400, "InvalidRequestContent")
    assert admin.call("PUT", policy_id("big"), policy({f"big{i}": [rule()] for i in range(1000)})
                      ).status == 200
