# SPDX-License-Identifier: GPL-3.0-or-later
"""Only the feed itself is listened to, and only this machine is let in."""

import os
import shutil
import ssl
import subprocess

import pytest

from certificates import Authority
from feed import USER, Feed
from harness import await_


def server_context(certificate, key, client_authority=None, maximum=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if maximum:
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.maximum_version = maximum
    if client_authority:
        context.load_verify_locations(client_authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.fixture
def authority(poll, tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def serve(world):
    made = []

    def make(context):
        made.append(Feed(world.vm, context))
        return made[-1]
    yield make
    for feed in made:
        feed.close()


def begin(agent, poll, feed, url=None, **settings):
    poll.configure(url or feed.url, **settings)
    agent.start()
    poll.start()
    feed.add(agent.sign_grant("22/tcp", "192.0.2.7", jti="g"))


def assert_refused(agent, poll, feed, *told):
    poll.await_state("backing_off", 20)
    message = agent.call("Status")["feed"]["message"]
    assert any(text in message for text in told), message
    assert feed.requests == []
    assert agent.call("ListGrants")["grants"] == []


def test_a_feed_over_tls(agent, poll, authority, serve):
    feed = serve(server_context(*authority.issue("server", "127.0.0.1")))
    begin(agent, poll, feed, ca=authority.path)
    agent.await_state("g", "active")
    feed.await_event("grant_active", grant="g")
    poll.await_state("connected")


@pytest.mark.parametrize("what,told", [
    ("expired", "expired"), ("not yet", "not yet valid"), ("other host", "no alternative"),
    ("self-signed", "self-signed"), ("other authority", "unable to get local issuer"),
    ("system", "unable to get local issuer")])
def test_a_certificate_that_is_wrong(agent, poll, authority, serve, tmp_path, what, told):
    ca = {"ca": authority.path}
    if what == "expired":
        issued = authority.issue("server", "127.0.0.1", begin=-30, end=-1)
    elif what == "not yet":
        issued = authority.issue("server", "127.0.0.1", begin=1)
    elif what == "other host":
        issued = authority.issue("server", "192.0.2.99", "feed.example")
    elif what == "self-signed":
        other = Authority(tmp_path, "127.0.0.1")
        issued = other.path, tmp_path / "127.0.0.1.key"
    elif what == "other authority":
        issued = Authority(tmp_path, "other").issue("server", "127.0.0.1")
    else:
        issued, ca = authority.issue("server", "127.0.0.1"), {}
    feed = serve(server_context(*issued))
    begin(agent, poll, feed, **ca)
    assert_refused(agent, poll, feed, told, told.replace("-", " "), "self signed",
                   "no alternative certificate", "does not match")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2,
                                     ssl.TLSVersion.TLSv1_3])
def test_versions_of_tls(agent, poll, authority, serve, version):
    feed = serve(server_context(*authority.issue("server", "127.0.0.1"), maximum=version))
    begin(agent, poll, feed, ca=authority.path)
    if version < ssl.TLSVersion.TLSv1_2:
        assert_refused(agent, poll, feed, "version", "protocol", "SSL")
    else:
        agent.await_state("g", "active")


def readable(path):
    shutil.chown(path, USER, USER)
    path.chmod(0o400)


@pytest.mark.parametrize("way", ["configured", "credentials", "none"])
def test_a_client_certificate(agent, poll, authority, serve, tmp_path, way):
    feed = serve(server_context(*authority.issue("server", "127.0.0.1"),
                                client_authority=authority.path))
    certificate, key = authority.issue("client")
    readable(key)
    settings = {}
    if way == "configured":
        settings = {"certificate": certificate, "key": key}
    elif way == "credentials":
        directory = tmp_path / "credentials"
        directory.mkdir(mode=0o755)
        for name, path in ("feed-certificate", certificate), ("feed-key", key):
            shutil.copy(path, directory / name)
            readable(directory / name)
        poll.environment["CREDENTIALS_DIRECTORY"] = str(directory)
    begin(agent, poll, feed, ca=authority.path, **settings)
    if way == "none":
        poll.await_state("backing_off")
        assert feed.requests == []
    else:
        agent.await_state("g", "active")


@pytest.mark.parametrize("way", ["configured", "credential"])
def test_a_bearer_token(agent, poll, feed, tmp_path, way):
    directory = tmp_path / "credentials"
    directory.mkdir(mode=0o755)
    token = directory / "feed-token"
    token.write_text("first-token\n")
    readable(token)
    settings = {"token": token} if way == "configured" else {}
    if way == "credential":
        poll.environment["CREDENTIALS_DIRECTORY"] = str(directory)
    begin(agent, poll, feed, **settings)
    feed.await_event("grant_active", grant="g")
    assert {r["headers"]["Authorization"] for r in feed.requests} == {"Bearer first-token"}
    # A new one counts from the next question on.
    token.write_text("second-token")
    feed.add("nudge")
    feed.await_asked(feed.count() + 1)
    assert feed.requests[-1]["headers"]["Authorization"] == "Bearer second-token"
    assert "-token" not in poll.log().replace("feed-token", "")


def test_the_longest_token_is_sent(agent, poll, feed, tmp_path):
    """In a line, as enroll writes it."""
    token = tmp_path / "token"
    token.write_text("x" * 8192 + "\n")
    readable(token)
    begin(agent, poll, feed, token=token)
    feed.await_event("grant_active", grant="g")
    assert {r["headers"]["Authorization"] for r in feed.requests} == {"Bearer " + "x" * 8192}


@pytest.mark.parametrize("content,told", [
    (None, "No such file"), ("", "no bearer token"), ("a b", "no bearer token"),
    ("a\nX-Header: b", "no bearer token"), ("x" * 9000, "File too large"), ("secret", "Permission")])
def test_a_token_that_can_not_be_used(agent, poll, feed, tmp_path, content, told):
    token = tmp_path / "token"
    if content is not None:
        token.write_text(content)
        token.chmod(0o600 if content == "secret" else 0o644)
    begin(agent, poll, feed, token=token)
    poll.await_state("backing_off")
    assert told in agent.call("Status")["feed"]["message"]
    assert feed.requests == []


def test_a_credential_of_a_newline_is_none(agent, poll, feed, tmp_path):
    """So the unit says that there is no file."""
    for name in "feed-token", "feed-certificate", "feed-key":
        (tmp_path / name).write_text("\n")
    poll.environment["CREDENTIALS_DIRECTORY"] = str(tmp_path)
    begin(agent, poll, feed)
    agent.await_state("g", "active")
    assert "Authorization" not in feed.requests[0]["headers"]


def test_no_proxy_stands_between_it_and_loopback(agent, poll, feed):
    poll.environment.update({"http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"})
    begin(agent, poll, feed)
    agent.await_state("g", "active")


def test_http_2_where_the_feed_has_it(agent, poll, authority, world, feed, tmp_path):
    proxy = shutil.which("nghttpx")
    if not proxy:
        pytest.skip("nghttpx is not here (Debian: nghttp2-proxy)")
    certificate, key = authority.issue("server", "127.0.0.1")
    log = tmp_path / "access.log"
    world.vm.spawn(proxy, "--conf=/dev/null", "-f127.0.0.1,9443", f"-b127.0.0.1,{feed.port}",
                   f"--accesslog-file={log}", "--accesslog-format=$alpn $request", "--workers=1",
                   str(key), str(certificate), stderr=subprocess.DEVNULL,
                   env=dict(os.environ))
    begin(agent, poll, feed, url="https://127.0.0.1:9443", ca=authority.path)
    agent.await_state("g", "active", 20)
    await_(lambda: "POST" in log.read_text(), what="the proxy's log")
    lines = log.read_text().splitlines()
    assert {line.split()[1] for line in lines} == {"GET", "POST"}
    assert all(line.startswith("h2 ") for line in lines)
