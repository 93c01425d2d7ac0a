# SPDX-License-Identifier: GPL-3.0-or-later
"""A feed that is slow, broken, lying or away: nothing blocks, grows or crashes, and it goes on after."""

import json
import os
import socket
import subprocess
import threading
import time

import pytest

from harness import SANITIZED, allowing, await_

RSS_GROWTH_KIB = 6 * 1024  # but sanitizers keep for a while what is freed


@pytest.fixture
def running(agent, feed, poll):
    poll.configure(feed.url, wait="PT1S", interval="PT1S")
    agent.start()
    poll.start()
    feed.await_asked(2)
    return agent, feed, poll


def assert_recovers(agent, feed, poll, id="after"):
    """What was wrong is over: the next document arrives, and it is still the same poll."""
    feed.on_get = lambda handler: handler.answer(200, {
        "cursor": "end", "more": False,
        "documents": [agent.sign_grant("22/tcp", "192.0.2.7", jti=id)]})
    agent.await_state(id, "active", 90)
    poll.await_state("connected")
    assert poll.alive()


GOOD = {"cursor": "1", "documents": [], "more": False}
DEEP = b'{"cursor":"1","documents":' + b"[" * 5000 + b"]" * 5000 + b"}"


@pytest.mark.parametrize("body,told", [
    (b"", "not JSON"), (b"{", "not JSON"), (b"null", "expected near"), ([], "not an object"),
    (b'{"cursor":"1","documents":[]}x', "not JSON"), (b"\0" * 9, "NUL"), (lambda: DEEP, "nested deeper"),
    (b'{"cursor":"1","cursor":"2","documents":[]}', "duplicate"),
    ({**GOOD, "cursor": 7}, "cursor"), ({**GOOD, "cursor": ""}, "cursor"),
    ({**GOOD, "cursor": "x" * 129}, "cursor"), ({**GOOD, "cursor": "a\nb"}, "cursor"),
    ({**GOOD, "cursor": None}, "cursor"), ({"documents": []}, "cursor"),
    ({**GOOD, "documents": {}}, "no list"), ({**GOOD, "documents": None}, "no list"),
    ({"cursor": "1"}, "no list"), ({**GOOD, "more": "yes"}, "more"), ({**GOOD, "more": 1}, "more"),
    (lambda: {**GOOD, "documents": ["x"] * 9000}, "more than 8192"),
    (lambda: b'{"cursor":"1","documents":[' + b"[]," * 1000000 + b"0]}", "more than 8192"),
    (lambda: b'{"cursor":"1","documents":[' + b"[]," * 2000000 + b"0]}", "larger than any should")])
def test_an_answer_of_wrong_types(running, body, told):
    agent, feed, poll = running
    before = poll.rss()
    body = body() if callable(body) else body
    feed.on_get = lambda handler: handler.answer(200, body)
    poll.await_state("backing_off")
    assert told in agent.call("Status")["feed"]["message"]
    assert SANITIZED or poll.rss() - before < RSS_GROWTH_KIB
    assert_recovers(agent, feed, poll)


def test_something_else_among_the_documents(running):
    agent, feed, poll = running
    grant = agent.sign_grant("22/tcp", "192.0.2.7", jti="g")
    feed.on_get = lambda handler: handler.answer(200, {
        "cursor": "1", "documents": [7, None, {"a": [1]}, [[]], True, "x" * 70000, grant]})
    agent.await_state("g", "active")
    poll.await_log("no text")
    poll.await_log("larger than the agent takes")
    assert_recovers(agent, feed, poll)


@pytest.mark.parametrize("content_type", ["text/html", "application/jsonp", "", "application/jso"])
def test_a_page_that_is_no_feed(running, content_type):
    """As a captive portal's."""
    agent, feed, poll = running
    feed.on_get = lambda handler: handler.answer(200, GOOD, content_type=content_type)
    poll.await_state("backing_off")
    assert "not JSON" in agent.call("Status")["feed"]["message"]
    assert_recovers(agent, feed, poll)


def test_a_redirect_is_not_followed(running):
    agent, feed, poll = running
    feed.on_get = lambda handler: handler.answer(302, Location=feed.url + "/elsewhere")
    poll.await_state("backing_off")
    message = agent.call("Status")["feed"]["message"]
    assert "HTTP 302" in message and "/elsewhere" in message
    assert not any("/elsewhere" in r["path"] for r in feed.requests)
    assert_recovers(agent, feed, poll)


@pytest.mark.parametrize("status", [500, 503, 404, 418, 100, 201, 206, 304])
def test_another_status(running, status):
    agent, feed, poll = running
    feed.on_get = lambda handler: handler.answer(status)
    poll.await_state("backing_off", 20)
    assert_recovers(agent, feed, poll)


@pytest.mark.parametrize("status", [401, 403])
def test_unauthorized_is_said(running, status):
    agent, feed, poll = running
    feed.on_get = lambda handler: handler.answer(
        status, {"error": {"code": "InvalidToken", "message": "who are you?"}})
    poll.await_state("unauthorized")
    assert agent.call("Status")["feed"]["message"] == f"HTTP {status}: InvalidToken: who are you?"
    shown = agent.cli("status").stdout
    assert "does not accept this machine's credential" in shown and "who are you?" in shown
    n, lines = feed.count(), len(poll.log().splitlines())
    # Asked seldom: it takes a person to put it right.
    threading.Event().wait(2)
    assert feed.count() - n <= 1 and len(poll.log().splitlines()) == lines


@pytest.mark.parametrize("retry_after", [
    "3", lambda: time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 4))])
def test_retry_after_is_honoured(running, retry_after):
    agent, feed, poll = running
    asked = []

    def busy(handler):
        asked.append(time.monotonic())
        feed.on_get = feed.well_behaved_get
        handler.answer(429, Retry_After=retry_after if isinstance(retry_after, str)
                       else retry_after())
    feed.on_get = busy
    await_(lambda: asked)
    feed.await_asked(feed.count() + 1, bound=20)
    assert 2.9 < feed.asked_by()[-1]["at"] - asked[0] < allowing(9)


def raw(handler, *pieces, pause=0.0, bound=60):
    """Writes bytes as they are, until the other side has enough."""
    handler.close_connection = True
    deadline = time.monotonic() + bound
    for piece in pieces:
        for part in [piece] if isinstance(piece, bytes) else piece:
            handler.wfile.write(part)
            threading.Event().wait(pause)
            if time.monotonic() > deadline:
                return


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def repeat(part, n):
    return (part for _ in range(n))


@pytest.mark.parametrize("name", ["half a body", "half a chunk", "no header", "nonsense", "nothing"])
def test_a_broken_answer(running, name):
    agent, feed, poll = running
    whole = json.dumps(GOOD).encode()
    answers = {
        "half a body": HEAD + b"Content-Length: %d\r\n\r\n" % len(whole) + whole[:20],
        "half a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\n" + whole[:20],
        "no header": b"HTTP/1.1 200 OK\r\n", "nonsense": b"\x16\x03\x01\x02" * 100, "nothing": b""}
    feed.on_get = lambda handler: raw(handler, answers[name])
    poll.await_state("backing_off")
    assert_recovers(agent, feed, poll)


@pytest.mark.parametrize("name", ["told", "untold", "chunked", "header", "one header", "headers 100"])
def test_an_answer_without_end(running, name, measure):
    """A gigabyte of it: it is let go at its bound, and memory stays."""
    agent, feed, poll = running
    block = b'{"cursor":"' + b"x" * 65525
    gigabyte = 1 << 30
    answers = {
        "told": (HEAD + b"Content-Length: %d\r\n\r\n" % gigabyte, repeat(block, 16384)),
        "untold": (HEAD + b"\r\n", repeat(block, 16384)),
        "chunked": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
                    repeat(b"%x\r\n" % len(block) + block + b"\r\n", 16384)),
        "header": (HEAD, repeat(b"X-More: " + b"x" * 1000 + b"\r\n", 1 << 20)),
        "one header": (HEAD + b"X-More: ", repeat(b"x" * 65536, 16384)),
        "headers 100": (b"", repeat(b"HTTP/1.1 100 Continue\r\n\r\n", 1 << 25))}
    before = poll.rss("VmHWM")
    feed.on_get = lambda handler: raw(handler, *answers[name])
    poll.await_state("backing_off", 20)
    grown = poll.rss("VmHWM") - before
    measure(f"peak memory grows with a gigabyte ({name}), KiB", grown)
    assert SANITIZED or grown < RSS_GROWTH_KIB
    assert_recovers(agent, feed, poll)


@pytest.mark.parametrize("name", ["never", "drip", "drip header"])
def test_a_slow_answer(running, name):
    """It ends at the bound: the hold asked for, half of it again, and 10 s."""
    agent, feed, poll = running
    answers = {"never": (b"", repeat(b"", 600)),
               "drip": (HEAD + b"Content-Length: 5000\r\n\r\n", repeat(b"x", 600)),
               "drip header": (HEAD, repeat(b"x", 600))}
    begun = []

    def slow(handler):
        begun.append(time.monotonic())
        raw(handler, *answers[name], pause=0.1)
    feed.on_get = slow
    await_(lambda: begun)
    # The agent is served meanwhile, and events go up.
    agent.grant("22/tcp", "192.0.2.7", jti="meanwhile")
    feed.await_event("grant_active", grant="meanwhile")
    poll.await_state("backing_off", 20)
    assert 9 < time.monotonic() - begun[0] < allowing(16)
    assert_recovers(agent, feed, poll)


def test_a_feed_that_does_not_hold_is_asked_at_intervals(agent, feed, poll):
    poll.configure(feed.url, interval="PT3S")
    feed.on_get = lambda handler: handler.answer(204)
    agent.start()
    poll.start()
    feed.await_asked(7, bound=40)
    at = [r["at"] for r in feed.asked_by()]
    assert all(b - a > 2.5 for a, b in zip(at[5:], at[6:]))


def test_days_away_are_a_few_lines(agent, feed, poll):
    """Told when it changes, not at each try."""
    poll.configure(feed.url)
    agent.start()
    feed.on_get = lambda handler: handler.answer(503)
    poll.start()
    feed.await_asked(4, bound=40)
    assert poll.log().count("HTTP 503") == 1


def test_a_name_server_that_is_silent(agent, feed, poll, tmp_path):
    """Looking up a name takes a thread, which may take half a minute: nobody waits for it."""
    if not os.path.isfile("/etc/resolv.conf") or os.path.islink("/etc/resolv.conf"):
        pytest.skip("/etc/resolv.conf can't be replaced here")
    mine = tmp_path / "resolv.conf"
    mine.write_text("nameserver 127.0.0.5\noptions timeout:15 attempts:2\n")
    subprocess.run(["mount", "--bind", mine, "/etc/resolv.conf"], check=True)
    try:
        poll.configure("https://feed.example")
        agent.start()
        with agent.namespace.inside():
            server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            server.bind(("127.0.0.5", 53))
        poll.start()
        poll.await_state("backing_off", 16)
        assert "timed out" in agent.call("Status")["feed"]["message"]
        # Another lookup has begun by now.
        threading.Event().wait(2)
        assert poll.stop() == 0
        server.close()
    finally:
        subprocess.run(["umount", "/etc/resolv.conf"], check=True)
