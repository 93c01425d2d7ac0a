# SPDX-License-Identifier: GPL-3.0-or-later
"""Events reach the control plane at least once and in order, or it is told how many are lost."""

import json
import subprocess
import threading
import time

import pytest

from feed import Between
from forge import Forge, grant_claims
from harness import VarlinkError, allowing, await_


@pytest.fixture
def running(agent, feed, poll):
    poll.configure(feed.url)
    agent.start()
    poll.start()
    feed.await_asked(2)
    return agent, feed, poll


def await_all(agent, feed, bound=20):
    await_(lambda: feed.events and feed.events[-1]["sequence"] == agent.audit()[-1]["sequence"],
           bound, "all events")


def submit_many(agent, n, name="g"):
    forge = Forge(agent.key)
    with agent.connect() as connection:
        for i in range(n):
            connection.call("Submit", document=forge.sign(
                grant_claims(jti=f"{name}-{i}", source=f"192.0.2.{i % 250}")))


def test_each_event_comes_once_as_it_was_recorded(running):
    agent, feed, poll = running
    submit_many(agent, 100)
    await_all(agent, feed)
    records = [{k: v for k, v in record.items() if k != "previous"} for record in agent.audit()]
    assert feed.events == records
    assert feed.sequences() == list(range(1, len(records) + 1))


def test_an_event_is_sent_at_once(running):
    agent, feed, poll = running
    await_all(agent, feed)
    took = []
    for i in range(20):
        begun = time.monotonic()
        agent.grant("22/tcp", "192.0.2.7", jti=f"quick-{i}")
        feed.await_event("grant_active", grant=f"quick-{i}")
        took.append(time.monotonic() - begun)
    assert sorted(took)[10] < allowing(0.2)


def test_the_control_plane_away_while_things_happen(running, measure):
    agent, feed, poll = running
    await_all(agent, feed)
    poll.await_noted(feed.events[-1]["sequence"])
    feed.close()
    submit_many(agent, 600, "away")
    poll.await_state("backing_off")
    assert "away-599" not in json.dumps(feed.events)
    n_lines = len(poll.log().splitlines())
    feed.open()
    await_all(agent, feed, 30)
    assert feed.sequences() == list(range(1, len(feed.events) + 1))
    poll.await_state("connected")
    # A few lines, however long it takes.
    assert n_lines <= 6 and len(poll.log().splitlines()) <= 12


def test_what_is_not_acknowledged_comes_again(running):
    agent, feed, poll = running
    await_all(agent, feed)

    def acknowledge_some(handler):
        events = json.loads(handler.body)["events"]
        feed.events += events
        handler.answer(202, {"acknowledged": events[min(2, len(events) - 1)]["sequence"]})
    feed.on_post = acknowledge_some
    feed.events.clear()
    submit_many(agent, 8)
    await_all(agent, feed)
    first = feed.sequences()[0]
    assert sorted(set(feed.sequences())) == list(range(first, agent.audit()[-1]["sequence"] + 1))
    seen = first - 1
    for sequence in feed.sequences():
        assert sequence <= seen + 1
        seen = max(seen, sequence)


@pytest.mark.parametrize("body", [{"acknowledged": 0}, {"acknowledged": "9"}, {}, [], b"{", b"",
                                  {"acknowledged": -5}, {"acknowledged": 1.5}])
def test_a_bad_acknowledgement_acknowledges_nothing(running, body):
    agent, feed, poll = running
    await_all(agent, feed)
    feed.on_post = lambda handler: handler.answer(202, body)
    agent.grant("22/tcp", "192.0.2.7", jti="g")
    poll.await_log("events can't be sent")
    feed.on_post = feed.well_behaved_post
    feed.await_event("grant_active", grant="g")
    assert feed.sequences() == list(range(1, len(feed.events) + 1))


def test_more_than_was_sent_is_not_acknowledged(running):
    agent, feed, poll = running
    await_all(agent, feed)

    def lie(handler):
        feed.events += json.loads(handler.body)["events"]
        handler.answer(202, {"acknowledged": 10 ** 15})
    feed.on_post = lie
    for i in range(3):
        agent.grant("22/tcp", "192.0.2.7", jti=f"g-{i}")
        feed.await_event("grant_active", grant=f"g-{i}")
    assert feed.sequences() == list(range(1, len(feed.events) + 1))


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_poison_event_is_found_and_passed_over(running, status):
    agent, feed, poll = running
    await_all(agent, feed)

    def refuse_poison(handler):
        if any(e.get("grant") == "g-70" for e in json.loads(handler.body)["events"]):
            handler.answer(status, {"error": {"code": "BadEvent", "message": "no"}})
        else:
            feed.well_behaved_post(handler)
    feed.on_post = refuse_poison
    submit_many(agent, 120)
    await_all(agent, feed)
    expected = [r["sequence"] for r in agent.audit() if r.get("grant") != "g-70"]
    assert sorted(set(feed.sequences())) == expected
    assert poll.log().count("is passed over") == 2


@pytest.mark.parametrize("status", [401, 403, 404, 408, 429, 500, 503])
def test_who_refuses_everything_gets_it_later(running, status):
    agent, feed, poll = running
    await_all(agent, feed)
    feed.on_post = lambda handler: handler.answer(status)
    agent.grant("22/tcp", "192.0.2.7", jti="g")
    poll.await_log("events can't be sent")
    feed.on_post = feed.well_behaved_post
    await_all(agent, feed)
    assert feed.sequences() == list(range(1, len(feed.events) + 1))
    assert "passed over" not in poll.log()


def test_an_agent_that_did_not_answer_is_asked_again(agent, feed, poll):
    """It has not gone, and nothing else may happen for long that would have them fetched."""
    poll.configure(feed.url)
    agent.start()
    between = Between(agent)
    poll.start()
    await_all(agent, feed)
    between.lost = "ListEvents"
    agent.grant("22/tcp", "192.0.2.7")
    await_(lambda: between.n_lost, 10, "it is asked for events")
    between.lost = None
    await_all(agent, feed)


def test_killed_in_the_middle_of_sending(running):
    agent, feed, poll = running
    await_all(agent, feed)

    def answer_late(handler):
        feed.well_behaved_post(handler)
        threading.Event().wait(0.05)
    feed.on_post = answer_late
    submitting = threading.Thread(target=submit_many, args=(agent, 300))
    submitting.start()
    for _ in range(10):
        threading.Event().wait(0.07)
        poll.kill()
        poll.start(ready=False)
    submitting.join()
    await_all(agent, feed, 30)
    assert sorted(set(feed.sequences())) == list(range(1, agent.audit()[-1]["sequence"] + 1))


def test_the_log_is_bounded_and_what_it_drops_is_told(agent, feed, poll):
    agent.configure(log_bytes_max="64K")
    poll.configure(feed.url)
    agent.start()
    poll.start()
    feed.await_asked(2)
    await_all(agent, feed)
    last = feed.events[-1]["sequence"]
    poll.await_noted(last)
    feed.close()
    submit_many(agent, 600)
    log = agent.directory / "log"
    sizes = {path.name: path.stat().st_size for path in log.iterdir()}
    assert set(sizes) == {"audit.jsonl", "audit.jsonl.1"}
    assert all(size <= 65536 for size in sizes.values())
    assert agent.cli("audit", "verify").returncode == 0
    feed.open()
    await_all(agent, feed, 30)
    lost = feed.await_event("events_lost")
    details = lost["details"]
    kept = [json.loads(line)["sequence"] for name in ("audit.jsonl.1", "audit.jsonl")
            for line in (log / name).read_text().splitlines()]
    assert (details["first"], details["last"]) == (last + 1, kept[0] - 1)
    assert details["count"] == kept[0] - 1 - last > 500
    assert lost["sequence"] == kept[0] - 1
    after = [e["sequence"] for e in feed.events if e["sequence"] > last]
    assert sorted(set(after)) == [lost["sequence"], *kept]
    poll.await_log(f"{details['count']} events were lost")
    # The command line tells the tail over both files, and finds what was changed in the older one.
    tail = agent.cli("audit", "--lines", "10000", "--json").stdout.splitlines()
    assert [json.loads(line)["sequence"] for line in tail] == kept
    older = log / "audit.jsonl.1"
    changed = older.read_text().replace("mallory", "alice", 1)
    assert changed != older.read_text()
    older.write_text(changed)
    assert agent.cli("audit", "verify").returncode == 1


def test_a_log_that_is_gone_begins_anew(running):
    """Its numbers do not: what was kept of them beside the ledger goes on."""
    agent, feed, poll = running
    await_all(agent, feed)
    agent.stop()
    last = agent.audit()[-1]["sequence"]
    for path in (agent.directory / "log").iterdir():
        path.unlink()
    agent.start()
    assert agent.audit()[0]["sequence"] > last
    await_all(agent, feed)
    assert feed.sequences() == sorted(set(feed.sequences()))
    # The newer of its files alone, once it has two: what is left tells less than the note.
    agent.stop()
    (agent.directory / "log" / "audit.jsonl").rename(agent.directory / "log" / "audit.jsonl.1")
    agent.start()
    agent.stop()
    last = agent.audit()[-1]["sequence"]
    (agent.directory / "log" / "audit.jsonl").unlink()
    agent.start()
    assert agent.audit()[0]["sequence"] > last
    await_all(agent, feed)
    assert feed.sequences() == sorted(set(feed.sequences()))
    # The note is gone, too: then numbers come again, and the poll sends them.
    agent.stop()
    for path in (agent.directory / "log").iterdir():
        path.unlink()
    (agent.directory / "state" / "audit.sequence").unlink()
    feed.events.clear()
    before = feed.count()
    agent.start()
    await_all(agent, feed)
    assert feed.sequences()[0] == 1
    poll.await_log("audit log was lost")
    feed.add(agent.sign_grant("22/tcp", "192.0.2.7", jti="g"))
    agent.await_state("g", "active")
    await_(lambda: any("after" not in r["query"] for r in feed.asked_by()[before:]),
           what="asked for all that is live")


def test_records_that_the_log_could_not_take_are_told(agent, feed, poll):
    """A full disk: they went to the journal only."""
    log = agent.directory / "log"
    log.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "small", log], check=True)
    try:
        poll.configure(feed.url)
        agent.start()
        poll.start()
        await_all(agent, feed)
        last = feed.events[-1]["sequence"]
        with open(log / "filler", "ab", buffering=0) as file:
            try:
                while file.write(b"x" * 256):
                    pass
            except OSError:
                pass
        submit_many(agent, 30)
        (log / "filler").unlink()
        agent.grant("22/tcp", "192.0.2.7", jti="after")
        feed.await_event("grant_active", grant="after")
        lost = sum(e["details"]["count"] for e in feed.events if e["type"] == "events_lost")
        assert 0 < lost <= 60
        real = len({e["sequence"] for e in feed.events if e["type"] != "events_lost"})
        assert real + lost == feed.events[-1]["sequence"] and last < feed.events[-1]["sequence"]
    finally:
        subprocess.run(["umount", "--lazy", log], check=True)


def test_list_events(agent):
    """The method itself: bounds, and who may."""
    agent.start()
    submit_many(agent, 50)
    with agent.connect() as connection:
        newest = connection.call("ListEvents")["newest"]
        assert newest == agent.audit()[-1]["sequence"]
        for after in range(0, newest + 2):
            answer = connection.call("ListEvents", after=after, limit=3)
            assert [e["sequence"] for e in answer["events"]] == list(
                range(after + 1, min(after + 3, newest) + 1))
        assert len(connection.call("ListEvents", after=None, limit=None)["events"]) == newest
        for wrong in {"after": -1}, {"after": "1"}, {"limit": 0}, {"limit": True}:
            with pytest.raises(VarlinkError) as caught:
                connection.call("ListEvents", **wrong)
            assert caught.value.name == "InvalidParameter"
