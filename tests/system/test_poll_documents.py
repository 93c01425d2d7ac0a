# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents reach the agent: each once it is there, whatever dies, is away or repeats itself."""

import random
import threading
import time

import pytest

from agent import new_key
from feed import quoted_vm
from forge import Forge, grant_claims
from harness import allowing, await_


@pytest.fixture
def running(agent, feed, poll):
    poll.configure(feed.url)
    agent.start()
    poll.start()
    feed.await_asked(2)
    return agent, feed, poll


def state_of(agent, id):
    grants = {g["id"]: g["state"] for g in agent.call("ListGrants", all=True)["grants"]}
    return grants.get(id)


def test_a_grant_opens_and_is_told(running):
    agent, feed, poll = running
    feed.add(agent.sign_grant("22/tcp", "192.0.2.7", jti="g"))
    begun = time.monotonic()
    agent.await_state("g", "active")
    event = feed.await_event("grant_active", grant="g")
    assert time.monotonic() - begun < allowing(2)
    assert (event["subject"], event["source"], event["port"]) == ("alice", "192.0.2.7", 22)
    # The next question is asked before the bound of the one before it.
    feed.await_asked(3)
    first, second, third = feed.asked_by()[:3]
    assert first["path"] == f"/v1/vms/{quoted_vm()}/documents?wait=1"
    assert second["query"] == {"after": "0", "wait": "20"}
    assert third["query"] == {"after": "1", "wait": "20"}
    assert "Authorization" not in first["headers"]
    poll.await_state("connected")


def test_many_pages_come_whole_and_in_order(running):
    agent, feed, poll = running
    feed.page = 7
    forge = Forge(agent.key)
    feed.add(*(forge.sign(grant_claims(jti=f"g-{i}")) for i in range(200)))
    agent.await_state("g-199", "active", 20)
    admitted = [r["grant"] for r in agent.audit("document_admitted")]
    assert admitted == [f"g-{i}" for i in range(200)]
    assert feed.count() < 40


def test_a_refused_document_is_over(running):
    agent, feed, poll = running
    forge = Forge(agent.key)
    feed.add("nonsense", forge.sign(grant_claims(aud="another", jti="wrong")),
             forge.sign(grant_claims(jti="right")))
    agent.await_state("right", "active")
    assert [r["code"] for r in agent.audit("document_refused")] == ["malformed", "wrong_audience"]
    poll.await_log("the agent refuses a document: wrong_audience")
    poll.stop()
    poll.start()
    feed.await_asked(feed.count() + 1)
    assert feed.asked_by()[-1]["query"]["after"] == "3"


def reload_agent(agent, poll):
    agent.reload()


def restart_agent(agent, poll):
    agent.kill()
    agent.start()


def reload_agent_alone(agent, poll):
    """The poll is away meanwhile, and begins from what it has noted."""
    path = poll.directory / "cursor.json"
    await_(lambda: path.exists() and '"1"' in path.read_text(), what="the cursor is saved")
    poll.kill()
    agent.reload()
    poll.start()


@pytest.mark.parametrize("take_up", [reload_agent, restart_agent, reload_agent_alone])
def test_what_was_not_believed_counts_when_its_key_is_trusted(running, take_up):
    agent, feed, poll = running
    other = new_key(agent.directory, "k2")
    feed.add(Forge(other).sign(grant_claims(jti="g")))
    poll.await_log("the agent refuses a document: unknown_key")
    feed.await_asked(3)
    agent.trust(agent.key, other)
    take_up(agent, poll)
    agent.await_state("g", "active", 10)
    # Asked for all once, and then no more.
    asked = [request["query"].get("after") for request in feed.asked_by()[2:]]
    assert asked.count(None) == 1
    await_(lambda: feed.asked_by()[-1]["query"].get("after") == "1")
    await_(lambda: "disbelieved" not in (poll.directory / "cursor.json").read_text())


@pytest.mark.parametrize("poll_is_away", [False, True])
@pytest.mark.parametrize("lost", ["ledger", "state"])
def test_what_the_agent_has_lost_is_brought_again(running, lost, poll_is_away):
    """Its audit log is there, which tells of it."""
    agent, feed, poll = running
    forge = Forge(agent.key)
    feed.add(forge.sign(grant_claims(jti="g")), forge.sign(grant_claims(jti="revoked")),
             forge.revocation("revoked"))
    agent.await_state("revoked", "revoked")
    await_(lambda: feed.asked_by()[-1]["query"].get("after") == "3")
    if poll_is_away:
        poll.stop()
    agent.stop()
    for directory in "state", "run":
        path = agent.directory / directory
        for file in [path / "ledger"] if lost == "ledger" or directory == "run" else list(path.iterdir()):
            file.unlink()
    n_asked = feed.count()
    agent.start()
    assert [r["details"] for r in agent.audit("ledger_damaged")] == [{"lost": True}]
    if poll_is_away:
        poll.start()
    agent.await_state("g", "active")
    agent.await_state("revoked", "revoked")
    # Asked for all once, and it is not lost at the next start.
    agent.kill()
    agent.start()
    feed.add(forge.sign(grant_claims(jti="h")))
    agent.await_state("h", "active")
    assert [r["query"].get("after") for r in feed.asked_by()[n_asked:]].count(None) == 1
    assert len(agent.audit("ledger_damaged")) == 1


def test_a_reload_asks_for_nothing_again_that_was_believed(running):
    agent, feed, poll = running
    feed.add(agent.sign_grant("22/tcp", "192.0.2.7", jti="g"))
    agent.await_state("g", "active")
    feed.await_asked(3)
    agent.reload()
    feed.await_event("configuration_reloaded")
    feed.add(agent.sign_grant("22/tcp", "192.0.2.8", jti="h"))
    agent.await_state("h", "active")
    assert [r["query"].get("after") for r in feed.asked_by()[:3]] == [None, "0", "1"]
    assert all("after" in request["query"] for request in feed.asked_by()[1:])


def test_what_is_refused_for_capacity_is_admitted_when_there_is_room(agent, feed, poll):
    agent.configure(max_grants=1)
    poll.configure(feed.url)
    agent.start()
    poll.start()
    forge = Forge(agent.key)
    feed.add(forge.sign(grant_claims(jti="first")), forge.sign(grant_claims(jti="second")))
    poll.await_log("the agent refuses a document: capacity")
    feed.add(forge.sign(grant_claims(jti="never")), forge.revocation("never"))
    await_(lambda: [r for r in agent.audit("document_admitted") if r["grant"] != "first"])
    # It is tried again a few times; neither log tells of each.
    feed.await_asked(3)
    await_(lambda: agent.call("Status")["grants"]["active"] == 1)
    feed.add(forge.revocation("first"))
    agent.await_state("second", "active", 20)
    refused = [(r["grant"], r["code"]) for r in agent.audit("document_refused")]
    assert refused.count(("second", "capacity")) == 1
    await_(lambda: ("never", "revoked") in
           [(r["grant"], r["code"]) for r in agent.audit("document_refused")], 20)
    assert state_of(agent, "never") is None
    assert poll.log().count("the agent refuses a document: capacity") == 2
    # The cursor was not kept as long as something was put aside.
    await_(lambda: '"5"' in (poll.directory / "cursor.json").read_text())


def test_what_came_while_the_clock_was_behind_counts_when_it_is_right(agent, feed, poll):
    agent.start()
    agent.stop()
    agent.write_clock(4)
    poll.configure(feed.url)
    agent.start()
    feed.add(agent.sign_grant("22/tcp", "192.0.2.7", jti="g"))
    poll.start()
    poll.await_log("the agent refuses a document: clock_behind")
    agent.await_state("g", "active", 30)
    assert [r["code"] for r in agent.audit("document_refused")] == ["clock_behind"]


def test_a_clock_that_is_set_is_noticed_at_once(running):
    """A grant that comes while the clock is wrong waits for the clock, not for the next try."""
    agent, feed, poll = running
    agent.kill()
    stand_in = FailingAgent(agent.socket_path, refuses={"early": "clock_behind"})
    try:
        feed.add("early")
        await_(lambda: stand_in.submitted.count("early") >= 5, 120)
        stand_in.refuses = {}
        stand_in.tell({"type": "clock_stepped"})
        begun, n = time.monotonic(), len(stand_in.submitted)
        await_(lambda: len(stand_in.submitted) > n, 30)
        assert time.monotonic() - begun < allowing(4)
    finally:
        stand_in.close()


def test_more_than_can_wait_is_not_lost(running):
    """Of a feed with thousands of documents, a clock that is behind loses none."""
    agent, feed, poll = running
    agent.kill()
    early = [f"early-{i}" for i in range(1100)]
    stand_in = FailingAgent(agent.socket_path, refuses=dict.fromkeys(early, "clock_behind"))
    try:
        feed.add(*early)
        await_(lambda: early[-1] in stand_in.submitted, 60)
        stand_in.refuses, taken = {}, len(stand_in.submitted)
        stand_in.tell({"type": "clock_stepped"})
        await_(lambda: set(stand_in.submitted[taken:]) == set(early), 60)
        await_(lambda: '"1100"' in (poll.directory / "cursor.json").read_text())
    finally:
        stand_in.close()


def test_a_revocation_overtakes_its_grant(running):
    agent, feed, poll = running
    forge = Forge(agent.key)
    feed.add(forge.revocation("late"), forge.sign(grant_claims(jti="late")),
             forge.sign(grant_claims(jti="other")))
    agent.await_state("other", "active")
    assert state_of(agent, "late") is None
    assert agent.audit("document_refused")[-1]["code"] == "revoked"


def test_replays_and_repeats_change_nothing(running):
    agent, feed, poll = running
    forge = Forge(agent.key)
    grant, revoked = forge.sign(grant_claims(jti="g")), forge.sign(grant_claims(jti="r"))
    feed.add(grant, revoked, grant, grant, forge.revocation("r"), revoked, grant, revoked)
    await_(lambda: len(agent.audit("document_refused")) == 2)
    assert state_of(agent, "g") == "active" and state_of(agent, "r") == "revoked"
    assert len([r for r in agent.audit("grant_active") if r["grant"] == "g"]) == 1


def test_a_cursor_that_does_not_move_is_not_asked_in_a_loop(running):
    agent, feed, poll = running
    grant = agent.sign_grant("22/tcp", "192.0.2.7", jti="g")
    feed.on_get = lambda handler: handler.answer(
        200, {"cursor": "same", "documents": [grant], "more": False})
    feed.add(grant)  # the question that is held is over
    agent.await_state("g", "active", 30)
    feed.await_asked(feed.count() + 2, bound=20)  # until then it had moved
    begun, before = time.monotonic(), feed.count()
    feed.await_asked(before + 1, bound=40)
    assert (feed.count() - before) / (time.monotonic() - begun) < 3


def test_a_feed_that_runs_away_is_held_back(running):
    agent, feed, poll = running
    numbers = iter(range(10 ** 9))
    feed.on_get = lambda handler: handler.answer(
        200, {"cursor": str(next(numbers)), "documents": [], "more": True})
    feed.add("x")
    feed.await_asked(400, bound=30)
    begun, before = time.monotonic(), feed.count()
    feed.await_asked(before + 200, bound=30)
    assert 200 / (time.monotonic() - begun) < 120


def test_the_agent_away_and_back(running):
    agent, feed, poll = running
    agent.kill()
    forge = Forge(agent.key)
    feed.add(*(forge.sign(grant_claims(jti=f"g-{i}")) for i in range(5)))
    poll.await_log("jitgated can't be reached")
    agent.start()
    agent.await_state("g-4", "active")
    poll.await_log("jitgated is there")
    poll.await_state("connected")
    for i in range(5):
        feed.await_event("grant_active", grant=f"g-{i}")


def test_the_poll_comes_before_the_agent(agent, feed, poll):
    poll.configure(feed.url).start()
    feed.add(agent.sign_grant("22/tcp", "192.0.2.7", jti="g"))
    poll.await_log("jitgated can't be reached")
    agent.start()
    agent.await_state("g", "active")


@pytest.mark.parametrize("damage", ["{", "", '{"url": "x"', "\0\1"])
def test_a_lost_cursor_means_all_that_is_live(running, damage):
    agent, feed, poll = running
    feed.add(agent.sign_grant("22/tcp", "192.0.2.7", jti="g"))
    agent.await_state("g", "active")
    poll.stop()
    assert (poll.directory / "cursor.json").exists()
    (poll.directory / "cursor.json").write_text(damage)
    before = feed.count()
    poll.start()
    feed.await_asked(before + 1)
    assert "after" not in feed.asked_by()[before]["query"]
    poll.await_log("all that is live is asked for")


@pytest.mark.parametrize("status", [400, 410])
def test_a_cursor_that_is_unknown_means_all_that_is_live(running, status):
    agent, feed, poll = running
    feed.add(agent.sign_grant("22/tcp", "192.0.2.7", jti="g"))
    agent.await_state("g", "active")
    poll.stop()
    well_behaved = feed.on_get
    error = {"error": {"code": "CursorGone", "message": "too \x1b[31mold"}}
    feed.on_get = lambda handler: (handler.answer(status, error) if "after" in handler.query
                                   else well_behaved(handler))
    poll.start()
    poll.await_log(f"HTTP {status}: CursorGone: too ?[31mold")
    await_(lambda: "after" not in feed.asked_by()[-1]["query"], what="asked for all")


def test_the_cursor_survives_a_restart(running):
    agent, feed, poll = running
    feed.add(agent.sign_grant("22/tcp", "192.0.2.7", jti="g"))
    agent.await_state("g", "active")
    last = feed.await_event("grant_active")["sequence"]
    # What is not acknowledged yet when it stops comes again.
    poll.await_noted(last)
    poll.stop()
    n_events, before = len(feed.events), feed.count()
    poll.start()
    feed.await_asked(before + 1)
    assert feed.asked_by()[before]["query"]["after"] == "1"
    feed.add(agent.sign_grant("22/tcp", "192.0.2.8", jti="h"))
    feed.await_event("grant_active", grant="h")
    assert not [e for e in feed.events[n_events:] if e.get("grant") == "g"]


def test_killed_at_any_point_nothing_is_lost(running):
    agent, feed, poll = running
    forge = Forge(agent.key)
    chance = random.Random(7)
    n = 120

    def add():
        for i in range(n):
            feed.add(forge.sign(grant_claims(jti=f"g-{i}", source=f"192.0.2.{i}")))
            threading.Event().wait(0.02)
    adding = threading.Thread(target=add)
    adding.start()
    for _ in range(20):
        threading.Event().wait(chance.random() * 0.2)
        poll.kill()
        poll.start(ready=False)
    adding.join()
    agent.await_state(f"g-{n - 1}", "active", 20)
    active = {g["id"] for g in agent.call("ListGrants")["grants"]}
    assert active == {f"g-{i}" for i in range(n)}
    await_(lambda: {r["sequence"] for r in agent.audit()} <= set(feed.sequences()), 20, "all events")
    assert_in_order(feed)


def assert_in_order(feed):
    """Each event's first coming is in order; what comes again begins again somewhere before."""
    seen = 0
    for sequence in feed.sequences():
        assert sequence <= seen + 1, f"{sequence} after {seen}"
        seen = max(seen, sequence)


def test_what_the_agent_can_not_do_holds_up_no_revocation(running):
    """A grant fails: the gate's table is another's. A revocation that comes after it does not wait."""
    agent, feed, poll = running
    forge = Forge(agent.key)
    feed.add(forge.sign(grant_claims(jti="before")))
    agent.await_state("before", "active")
    agent.kill()
    stand_in = FailingAgent(agent.socket_path, fails=["poison"])
    try:
        feed.add("poison", "revocation")
        await_(lambda: stand_in.submitted.count("poison") >= 3, 30, "tried again")
        assert stand_in.submitted[:2] == ["poison", "revocation"]
        assert stand_in.submitted.count("revocation") == 1
        # A restart begins with what is not done.
        poll.stop()
        stand_in.fails = []
        before = len(stand_in.submitted)
        poll.start()
        await_(lambda: stand_in.submitted[before:] == ["poison", "revocation"])
        # The cursor is kept now.
        await_(lambda: '"3"' in (poll.directory / "cursor.json").read_text())
    finally:
        stand_in.close()


def test_a_document_that_the_agent_dies_of_is_put_aside(running):
    agent, feed, poll = running
    agent.kill()
    stand_in = FailingAgent(agent.socket_path, hangs_up=["poison"])
    try:
        feed.add("poison", "next")
        await_(lambda: "next" in stand_in.submitted, 20)
        assert stand_in.submitted.index("next") == 3
    finally:
        stand_in.close()


class FailingAgent:
    """What jitgated does only when its kernel or clock fails it: answers Failed, or refuses for now."""

    def __init__(self, path, fails=(), hangs_up=(), refuses=None):
        import json
        import socket
        self.submitted, self.fails, self.hangs_up, self._json = [], fails, hangs_up, json
        self.refuses, self.monitors = refuses or {}, []
        if path.exists():
            path.unlink()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        path.chmod(0o666)
        self.socket.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        data = b""
        while True:
            while b"\0" not in data:
                received = connection.recv(65536)
                if not received:
                    return connection.close()
                data += received
            frame, data = data.split(b"\0", 1)
            call = self._json.loads(frame)
            reply = self._answer(call["method"].rsplit(".", 1)[1], call["parameters"])
            if reply is None:
                return connection.close()
            if reply.get("continues"):
                self.monitors.append(connection)
            connection.sendall(self._json.dumps(reply).encode() + b"\0")

    def tell(self, event):
        for connection in self.monitors:
            connection.sendall(self._json.dumps(
                {"parameters": {"event": event}, "continues": True}).encode() + b"\0")

    def _answer(self, method, parameters):
        if method == "Monitor":
            return {"parameters": {}, "continues": True}
        if method == "ListEvents":
            return {"parameters": {"events": [], "newest": parameters["after"]}}
        if method != "Submit":
            return {"parameters": {}}
        self.submitted.append(parameters["document"])
        if parameters["document"] in self.hangs_up:
            return None
        if parameters["document"] in self.fails:
            return {"error": "io.jitgate.Agent.Failed", "parameters": {"message": "the kernel"}}
        code = self.refuses.get(parameters["document"])
        if code:
            return {"error": "io.jitgate.Agent.Refused",
                    "parameters": {"code": code, "message": "not now"}}
        return {"parameters": {"kind": "grant", "id": "x", "state": "active", "durable": True}}

    def close(self):
        self.socket.close()


def test_a_static_feed(agent, feed, poll):
    first = agent.sign_grant("22/tcp", "192.0.2.7", jti="first")
    contents = {"documents": [first]}

    def get(handler):
        etag = f'"{len(contents["documents"])}"'
        if handler.headers.get("If-None-Match") == etag:
            handler.answer(304, ETag=etag)
        else:
            handler.answer(200, contents, content_type="text/plain", ETag=etag)
    feed.on_get = get
    poll.configure(feed.url + "/files/vm.json?signature=secret", kind="static", interval="PT1S")
    agent.start()
    poll.start()
    agent.await_state("first", "active")
    feed.await_asked(3)
    assert feed.requests[2]["headers"]["If-None-Match"] == '"1"'
    assert len(agent.audit("document_admitted")) == 1
    contents["documents"].append(agent.sign_grant("22/tcp", "192.0.2.8", jti="second"))
    agent.await_state("second", "active")
    assert {r["path"] for r in feed.requests} == {"/files/vm.json?signature=secret"}
    assert feed.count("POST") == 0
    # The query of a URL may be a secret: the status does not show it.
    assert agent.call("Status")["feed"]["url"] == feed.url + "/files/vm.json"
    assert "secret" not in poll.log()
    at = [r["at"] for r in feed.requests]
    assert all(0.8 < b - a < allowing(3) for a, b in zip(at, at[1:]))
    # It may have lost what it was brought.
    agent.stop()
    for directory in "state", "run":
        (agent.directory / directory / "ledger").unlink()
    agent.start()
    agent.await_state("first", "active")
    agent.await_state("second", "active")
