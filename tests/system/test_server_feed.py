# SPDX-License-Identifier: GPL-3.0-or-later
"""What agents are given, in which order and how fast; and what they tell."""

import time

from control_plane import Held, Server, claims, header, policy_id, rule, vm_id
from harness import allowing, await_
from test_server_requests import await_held, port_of, status_of


def kinds(documents):
    return [header(document)["typ"].split("+")[0] for document in documents]


def test_a_document_leaves_as_soon_as_it_is_signed(server, admin, alice, measure):
    admin.put({f"vm{i}": [rule()] for i in range(6)})
    agents = [server.enroll(f"vm{i}") for i in range(6)]
    took = []
    for i, agent in enumerate(agents):
        agent.fetch()
        held = Held(agent.fetch, 30)
        await_held(server, 1)
        begun = time.monotonic()
        request = alice.request(f"vm{i}")
        (document,) = held.result()
        took.append(held.at - begun)
        assert claims(document)["jti"] == port_of(request)["grant"]
    measure("request to document (ms)", round(1000 * min(took), 1))
    assert min(took) < allowing(0.25)


def test_without_news_it_ends_when_the_time_is_up(server):
    agent = server.enroll("vm1")
    assert agent.fetch() == []
    assert agent.cursor
    begun = time.monotonic()
    answer = server.call("GET", f"{agent.path}/documents?after={agent.cursor}&wait=1",
                         token=agent.credential)
    assert answer.status == 204 and 0.9 < time.monotonic() - begun < 10
    for wait in ("x", "-1", "1.5"):
        answer = server.call("GET", f"{agent.path}/documents?wait={wait}", token=agent.credential)
        assert answer.status == 400


def test_a_newer_call_ends_the_one_before(server, admin):
    agent = server.enroll("vm1")
    agent.fetch()
    first = Held(agent.fetch, 60)
    await_held(server, 1)
    second = Held(agent.fetch, 60)
    assert first.result(10) == []
    admin.put({"vm1": [rule()]})
    assert kinds(second.result(10)) == ["jit-policy"]


def test_an_agent_that_hangs_up_holds_nothing(server, admin):
    agent = server.enroll("vm1")
    agent.fetch()
    connection = server.connect()
    connection.request("GET", f"{agent.path}/documents?after={agent.cursor}&wait=300", None,
                       {"Authorization": f"Bearer {agent.credential}"})
    await_held(server, 1)
    connection.close()
    admin.put({"vm1": [rule()]})
    # It was never told: no cursor has moved.
    assert kinds(agent.fetch()) == ["jit-policy"]


def test_the_cursor_holds_over_a_restart_and_means_nothing_elsewhere(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    servers = [Server(tmp_path / name).start() for name in ("one", "two")]
    try:
        agents = []
        for server in servers:
            server.person("root", "administrator").put({"vm1": [rule()]})
            agents.append(server.enroll("vm1"))
        assert kinds(agents[0].fetch()) == ["jit-policy"]
        assert kinds(agents[1].fetch()) == ["jit-policy"]
        cursor = agents[0].cursor
        assert servers[0].stop() == 0
        servers[0].start()
        assert agents[0].fetch() == []
        # Another store's cursor, or none that anyone ever gave, gives all that is live.
        for odd in (agents[1].cursor, "x", "", f"{cursor}0000", cursor + "x", "-1"):
            agents[0].cursor = odd
            assert kinds(agents[0].fetch()) == ["jit-policy"], odd
        assert agents[0].cursor == cursor
    finally:
        for server in servers:
            server.close()


def test_a_replay_is_the_same_in_the_same_order(server, admin, alice):
    agent = server.enroll("vm1")
    admin.put({"vm1": [rule(), rule(3389)]})
    first = alice.request()
    alice.request(number=3389)
    alice.request(duration="PT2H")
    alice.call("POST", f"/v1/requests/{first['id']}/revoke", {})
    documents = agent.fetch()
    # The first was revoked: it is handed out no more.
    assert kinds(documents) == ["jit-policy", "jit-grant", "jit-grant", "jit-revocation"]
    agent.cursor = None
    assert agent.fetch() == documents
    # A policy that changes moves behind what was signed before it.
    admin.put({"vm1": [rule()]})
    agent.cursor = None
    assert kinds(agent.fetch()) == ["jit-grant"] * 2 + ["jit-revocation", "jit-policy"]


def test_many_documents_come_in_pages(server, admin, alice):
    rules = [rule(1000 + i) for i in range(64)]
    admin.put({"vm1": rules})
    agent = server.enroll("vm1")
    for batch in range(8):
        answer = alice.call("POST", "/v1/requests", {"vm": "vm1", "ports": [
            {"number": 1000 + i, "source": f"198.51.100.{batch}"} for i in range(64)]})
        assert answer.status == 201, answer
    pages, more = [], True
    while more:
        after = f"&after={agent.cursor}" if agent.cursor else ""
        answer = server.call("GET", f"{agent.path}/documents?wait=0{after}",
                             token=agent.credential)
        assert answer.status == 200
        agent.cursor, more = answer["cursor"], answer["more"]
        pages.append(answer["documents"])
    assert len(pages) > 1 and max(map(len, pages)) < 400
    ids = [claims(document)["jti"] for page in pages for document in page]
    assert len(ids) == len(set(ids)) == 1 + 8 * 64
    # Requests that ask for too much at once are one clear error.
    answer = alice.call("POST", "/v1/requests", {"vm": "vm1", "ports": [
        {"number": 1000 + i % 64} for i in range(65)]})
    assert answer.status == 400


def store_revision(server):
    text = server.call("GET", "/metrics").body.decode()
    return next(line.split()[1] for line in text.splitlines()
                if line.startswith("jitgate_server_store_revision "))


def test_the_same_event_again_is_the_same_event(server, admin, alice):
    admin.put({"vm1": [rule()]})
    agent = server.enroll("vm1")
    grant = port_of(alice.request())["grant"]
    events = [agent.event(kind, grant=grant) for kind in
              ("document_admitted", "grant_active", "session_opened")]
    assert agent.post(*events[:2])["acknowledged"] == 2
    assert agent.post(*events)["acknowledged"] == 3
    revision = store_revision(server)
    assert agent.post(*events, *events)["acknowledged"] == 3
    assert agent.post(*events[:1])["acknowledged"] == 1
    assert store_revision(server) == revision  # nothing was written again
    held = [Held(agent.post, *events, agent.event("grant_expired", grant=grant)),
            Held(agent.post, *events)]
    assert {call.result().status for call in held} == {202}
    told = [entry["operation"] for entry in admin.activity(vm=vm_id("vm1"))
            if entry["operation"].startswith("jitgate/agents/")]
    assert sorted(told) == sorted("jitgate/agents/" + kind for kind in (
        "document_admitted", "grant_active", "session_opened", "grant_expired"))
    # Another with the same number (the agent's log began anew) is another.
    agent.sequence = 0
    agent.tell("agent_started")
    assert "jitgate/agents/agent_started" in [
        entry["operation"] for entry in admin.activity(vm=vm_id("vm1"))]


def test_the_first_time_is_what_counts(server, admin, alice):
    admin.put({"vm1": [rule()]})
    agent = server.enroll("vm1")
    request = alice.request()
    grant = port_of(request)["grant"]
    agent.tell("session_opened", grant=grant)
    first = port_of(alice.get(request["id"]))["progress"]["firstConnection"]
    event = agent.event("session_opened", grant=grant)
    event["time"] = "2039-01-01T00:00:00Z"
    assert agent.post(event).status == 202
    assert port_of(alice.get(request["id"]))["progress"]["firstConnection"] == first


def test_a_refusal_is_told_to_who_asked(server, admin, alice):
    admin.put({"vm1": [rule()]})
    agent = server.enroll("vm1")
    request = alice.request()
    agent.tell("document_refused", grant=port_of(request)["grant"], code="source_not_allowed",
               message="source 127.0.0.1 is not within what the owner allows")
    refused = port_of(alice.get(request["id"]))["progress"]["refused"]
    assert refused["code"] == "source_not_allowed" and "owner" in refused["message"]
    assert status_of(alice.get(request["id"]))[0] == "Initiated"
    assert admin.activity(top=1)[0]["result"] == "Refused"


def test_a_refusal_that_passed_is_told_no_more(server, admin, alice):
    """The machine's clock was behind; and a grant that comes again when it is over was not refused."""
    admin.put({"vm1": [rule()]})
    agent = server.enroll("vm1")
    request = alice.request()
    grant = port_of(request)["grant"]

    def progress():
        return port_of(alice.get(request["id"]))["progress"]
    agent.tell("document_refused", grant=grant, code="clock_behind", message="set the clock")
    assert progress()["refused"]["code"] == "clock_behind"
    agent.tell("grant_active", grant=grant)
    assert "refused" not in progress() and "installed" in progress()
    agent.tell("grant_expired", grant=grant)
    agent.tell("document_refused", grant=grant, code="expired", message="it ended")
    assert "refused" not in progress() and "ended" in progress()


def test_an_agent_speaks_of_its_own_grants_only(server, admin, alice):
    admin.put({"vm1": [rule()], "vm2": [rule()]})
    request = alice.request("vm1")
    agent = server.enroll("vm2")
    agent.tell("grant_active", grant=port_of(request)["grant"])
    assert port_of(alice.get(request["id"]))["progress"] == {}
    assert "request" not in admin.activity(top=1)[0]


def test_odd_events_hold_up_nothing(server, admin):
    agent = server.enroll("vm1")
    answer = agent.post({"sequence": 1, "time": "2026-01-01T00:00:00Z", "type": "new_kind",
                         "message": "x" * 5000, "grant": 7, "port": "22", "subject": None,
                         "source": "\x1b[31m", "nested": {"a": [1]}})
    assert answer["acknowledged"] == 1
    entry = admin.activity(vm=vm_id("vm1"))[-1]
    assert entry["operation"] == "jitgate/agents/new_kind"
    assert len(entry["message"]) == 1024 and "\x1b" not in entry["source"]
    for events in (None, {}, [], [5], [{}], [{"sequence": 1}], [{"sequence": -1}],
                   [{"sequence": 1, "time": "now", "type": "x"}],
                   [{"sequence": 1, "time": "2026-01-01T00:00:00Z", "type": "No Word"}],
                   [{"sequence": i, "time": "2026-01-01T00:00:00Z", "type": "x"}
                    for i in range(1001)]):
        answer = server.call("POST", f"{agent.path}/events", {"events": events}, agent.credential)
        assert (answer.status, answer.code) == (400, "InvalidRequestContent"), events


def test_events_of_a_clock_ahead_are_taken_once(server, admin):
    """Also where the server's own time has come so near meanwhile that they count as of their own."""
    agent = server.enroll("vm1")
    begun = time.time()
    events = [{"sequence": i, "type": "x", "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begun + ahead))}
              for i, ahead in enumerate((3600, 302))]
    for _ in range(2):
        assert agent.post(*events)["acknowledged"] == 1
    await_(lambda: time.time() > begun + 3, 10, "the second is less than five minutes ahead")
    assert agent.post(*events, {"sequence": 2, "type": "x", "time": "2026-01-01T00:00:00Z"})["acknowledged"] == 2
    shown = [entry for entry in admin.activity(vm=vm_id("vm1")) if entry["operation"] == "jitgate/agents/x"]
    assert len(shown) == 3


def test_an_enrollment_is_good_once(server, admin):
    token = server.enrollment(vm_id("vm1"))
    calls = [Held(server.call, "POST", "/v1/enroll", None, token) for _ in range(8)]
    answers = [call.result() for call in calls]
    assert sorted(answer.status for answer in answers) == [200] + 7 * [401]
    (good,) = [answer for answer in answers if answer.status == 200]
    assert good["vmId"] == vm_id("vm1") and good["url"] == server.url
    assert good["credential"].startswith("jga_")
    assert server.call("POST", "/v1/enroll", token=token).status == 401
    assert admin.activity(top=1)[0]["operation"] == "jitgate/vms/enroll/action"
    with open(server.state, "rb") as file:
        assert good["credential"].encode() not in file.read()


def test_enrolling_again_replaces_the_credential(server, admin):
    old = server.enroll("vm1")
    old.fetch()
    new = server.enroll(vm_id("VM1"))
    assert server.call("GET", old.path + "/documents", token=old.credential).status == 401
    admin.put({"vm1": [rule()]})
    assert kinds(new.fetch()) == ["jit-policy"]


def test_vms_and_their_last_contact(server, admin):
    admin.put({"vm1": [rule()], "vm3": [rule()]})
    agent = server.enroll("vm2")
    (first, second, third) = admin.call("GET", "/v1/vms")["value"]
    assert [one["name"] for one in (first, second, third)] == ["vm1", "vm2", "vm3"]
    assert first["enrolled"] is False and first["policies"] == [policy_id()]
    assert second["enrolled"] is True and "lastContact" not in second
    agent.fetch()
    second = admin.call("GET", "/v1/vms")["value"][1]
    assert second["agentVersion"] == "9.9.9" and second["lastContact"].startswith("20")
    path, seen = "/v1/vms?top=1", []
    while path:
        page = admin.call("GET", path)
        seen += [one["name"] for one in page["value"]]
        path = page.body.get("nextLink", "").removeprefix(server.url)
    assert seen == ["vm1", "vm2", "vm3"]


def test_several_vms_get_an_enrollment_each_in_their_order(server):
    vms = [vm_id(f"vm{i}") for i in range(3)]
    tokens = server.command("enrollment", "new", *(w for vm in vms for w in ("--vm", vm))).split()
    answers = [server.call("POST", "/v1/enroll", token=token) for token in tokens]
    assert [answer["vmId"] for answer in answers] == vms
