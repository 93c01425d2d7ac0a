# SPDX-License-Identifier: GPL-3.0-or-later
"""The activity log: every decision, with person, VM, port, source, reason, result."""

import signal
import urllib.parse

from control_plane import Held, ask, policy, policy_id, rule, vm_id

SECURITY = "Microsoft.Security/locations/jitNetworkAccessPolicies"


def test_the_story_of_a_request(server, admin, alice, bob):
    admin.put({"vm1": [rule(approvalRequired=True)]})
    agent = server.enroll("vm1")
    request = alice.request(justification="ticket 4711", duration="PT1H")
    bob.call("POST", f"/v1/requests/{request['id']}/approve", {"reason": "looks right"})
    grant = request["virtualMachines"][0]["ports"][0]["grant"]
    for kind in ("document_admitted", "grant_active", "session_opened"):
        agent.tell(kind, grant=grant, subject="alice@example.org", port=22, protocol="TCP",
                   source="127.0.0.1")
    alice.call("POST", f"/v1/requests/{request['id']}/revoke", {"reason": "done"})
    agent.tell("grant_revoked", grant=grant, subject="alice@example.org")
    told = admin.activity(request=request["id"])
    assert {entry["operation"] for entry in told} == {
        f"{SECURITY}/initiate/action", "jitgate/requests/approve/action",
        "jitgate/requests/revoke/action", "jitgate/agents/document_admitted",
        "jitgate/agents/grant_active", "jitgate/agents/session_opened",
        "jitgate/agents/grant_revoked"}
    by = {entry["operation"].rsplit("/", 1)[0].split("/")[-1]: entry for entry in told}
    asked, approved = by["initiate"], by["approve"]
    assert asked["principal"] == "alice@example.org" and asked["reason"] == "ticket 4711"
    assert asked["vm"] == vm_id("vm1") and asked["port"] == 22 and asked["protocol"] == "TCP"
    assert asked["source"] == "127.0.0.1" and asked["result"] == "Succeeded"
    assert asked["resource"] == policy_id()
    assert approved["principal"] == "bob@example.org" and approved["reason"] == "looks right"
    assert by["revoke"]["reason"] == "done"
    assert told[-1]["operation"] == f"{SECURITY}/initiate/action"


def test_what_is_refused_is_in_it(server, admin, alice):
    admin.put({"vm1": [rule(source="10.0.0.0/8")]})
    for body, code in ((ask(source="192.0.2.1"), "SourceNotAllowed"),
                       (ask(number=23), "PortNotInPolicy"), (ask("vm9"), "VirtualMachineNotInPolicy"),
                       (ask(seconds=86400, source="10.0.0.1"), "DurationTooLong"),
                       (ask(seconds=-5, source="10.0.0.1"), "EndTimeInThePast")):
        body["justification"] = "why not"
        answer = alice.call("POST", policy_id() + "/initiate", body)
        assert (answer.status, answer.code) == (400, code)
        entry = admin.activity(top=1)[0]
        assert entry["result"] == "Refused" and entry["code"] == code
        assert entry["principal"] == "alice@example.org" and entry["reason"] == "why not"
        assert entry["message"] == answer["error"]["message"]
        assert entry["port"] == body["virtualMachines"][0]["ports"][0]["number"]
    # What makes no sense is no decision.
    alice.call("POST", policy_id() + "/initiate", {})
    assert admin.activity(top=1)[0] == entry


def test_filters_and_pages(server, admin, alice):
    for i in range(30):
        admin.put({"vm1": [rule(1000 + i)]}, f"p{i:02}")
    hers = {"principal": "root@example.org"}
    whole = admin.activity(top=1000, **hers)
    times = [entry["time"] for entry in whole]
    assert len(whole) == 30 and times == sorted(times, reverse=True)
    path, seen = "/v1/activity?top=7&principal=root@example.org", []
    while path:
        page = admin.call("GET", path)
        assert len(page["value"]) <= 7
        seen += page["value"]
        path = page.body.get("nextLink", "").removeprefix(server.url)
    assert seen == whole
    middle = times[10]
    later = admin.activity(since=middle, **hers)
    earlier = admin.activity(until=middle, **hers)
    assert later == [entry for entry in whole if entry["time"] >= middle]
    assert earlier == [entry for entry in whole if entry["time"] < middle]
    assert admin.activity(since=middle, until=middle) == []
    assert admin.activity(principal="nobody") == []
    for query in ("since=yesterday", "until=1", "top=0", "top=x"):
        assert admin.call("GET", f"/v1/activity?{query}").status == 400, query
    # Whatever the token says, nothing outside the log is read.
    for token in ("~", "../policies", "\x00", "z" * 2000, "9999"):
        answer = admin.call("GET", "/v1/activity?skipToken=" + urllib.parse.quote(token))
        assert answer.status in (200, 400), token


def test_it_shows_what_one_may_read(server, admin, alice):
    other = "/subscriptions/s2/resourceGroups/rg"
    admin.put({"vm1": [rule()]})
    answer = admin.call("PUT", policy_id("default", other), policy({vm_id("x", other): [rule()]}))
    assert answer.status == 200
    dave = server.person("dave", "reader", "/subscriptions/s2")
    assert [entry["resource"] for entry in dave.activity()] == [policy_id("default", other)]


def test_who_reads_much_is_in_nobodys_way(server, admin, alice):
    """Of one principal a page is read at a time, and what it asks for besides waits, or is refused."""
    agent = server.enroll("vm1")
    for _ in range(4):
        assert agent.post(*(agent.event("session_opened", reason="r" * 200)
                            for _ in range(1000))).status == 202
    path = "/v1/activity?top=1000&request=none"
    connections = [alice.server.connect() for _ in range(40)]
    for connection in connections:
        connection.connect()
    server.process.send_signal(signal.SIGSTOP)  # so that all are there at once
    for connection in connections:
        connection.request("GET", path, headers={"Authorization": f"Bearer {alice.token}"})
    other = Held(admin.call, "GET", path)
    server.process.send_signal(signal.SIGCONT)
    assert other.result().status == 200
    answers = [connection.getresponse() for connection in connections]
    assert {answer.status for answer in answers} == {200, 429}
    assert len([answer for answer in answers if answer.status == 200]) >= 16
    assert all("Retry-After" in answer.headers for answer in answers if answer.status == 429)
    assert alice.call("GET", path).status == 200
