# SPDX-License-Identifier: GPL-3.0-or-later
"""From a requester's laptop: jitgate request, requests, approve, deny, activity against a control plane with real TLS."""

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import socket
import ssl
import struct
import subprocess
import termios
import warnings

import pytest

from certificates import Authority
from harness import BUILD, await_
from plane import VM, Plane

DONE, REFUSED, USAGE, UNREACHABLE = 0, 1, 2, 3
TOKEN = "alice-token"
REQUEST = ["request", "web-1", "--port", "22", "--reason", "ticket 4711"]
ASKING = [REQUEST, ["requests"], ["approve", "r-1"], ["deny", "r-1", "--reason", "no"],
          ["requests", "revoke", "r-1"], ["activity"]]


@pytest.fixture
def plane(tmp_path, authority):
    with Plane(tmp_path, authority.issue_file("localhost")) as made:
        yield made


class Laptop:
    """Where jitgate runs, with a home of its own."""

    def __init__(self, home, plane=None, ca=None, token=TOKEN):
        self.home = home
        self.environment = {"HOME": str(home), "PATH": os.environ["PATH"], "TZ": "UTC",
                            **{name: value for name, value in os.environ.items() if "SAN_" in name}}
        if plane:
            self.environment["JITGATE_SERVER"] = plane.url
        if token:
            self.environment["JITGATE_TOKEN"] = token
        self.ca = ["--ca", str(ca)] if ca else []

    def command(self, *arguments):
        return [f"{BUILD}/jitgate", *map(str, arguments), *self.ca]

    def start(self, *arguments, **options):
        return subprocess.Popen(self.command(*arguments), env=self.environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    def run(self, *arguments, status=DONE):
        done = subprocess.run(self.command(*arguments), env=self.environment, text=True,
                              capture_output=True, timeout=60)
        assert done.returncode == status, done
        assert TOKEN not in done.stdout + done.stderr
        return done

    def conf(self, text, mode=0o600):
        path = self.home / ".config" / "jitgate" / "client.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)


@pytest.fixture
def laptop(tmp_path, plane, authority):
    return Laptop(tmp_path, plane, authority.path)


def only_request(plane):
    await_(lambda: plane.requests, 5, "a request")
    return next(iter(plane.requests))


def await_held(plane, count):
    """Waits until the client asks for news for the count-th time."""
    await_(lambda: sum("wait" in call["query"] for call in plane.calls) >= count, 5, "a held call")


def test_waits_until_it_is_open_and_says_how_to_get_in(plane, laptop):
    client = laptop.start("request", "web-1", "--port", "22", "--port", "8443/tcp", "--source",
                          "192.0.2.7", "--for", "PT90M", "--reason", "ticket 4711")
    id = only_request(plane)
    await_held(plane, 1)
    plane.update(id, 0, delivered="2026-01-01T10:00:00Z")
    plane.update(id, 1, delivered="2026-01-01T10:00:00Z")
    plane.update(id, 0, installed="2026-01-01T10:00:00Z")
    await_held(plane, 2)
    assert client.poll() is None
    plane.update(id, 1, installed="2026-01-01T10:00:00Z")
    out, err = client.communicate(timeout=60)
    assert client.returncode == DONE, err
    assert plane.bodies("/v1/requests") == [{
        "vm": "web-1", "duration": "PT1H30M", "justification": "ticket 4711",
        "ports": [{"number": 22, "source": "192.0.2.7"},
                  {"number": 8443, "protocol": "TCP", "source": "192.0.2.7"}]}]
    assert plane.calls[0]["authorization"] == f"Bearer {TOKEN}"
    assert re.search(r"^web-1 22/TCP is open to 192\.0\.2\.7 until .* \(in (1 h|60 min|59 min)",
                     out, re.MULTILINE), out
    assert "\n  ssh web-1\n" in out and "web-1 8443/TCP is open" in out
    assert f"{id}: granted, waiting for web-1 to fetch it" in err
    assert "\x1b" not in out + err and "\r" not in err


def test_without_a_source_it_is_for_where_one_calls_from(plane, laptop):
    for source in [], ["--source", "me"]:
        laptop.run(*REQUEST, "--no-wait", *source)
        assert plane.calls[-1]["body"]["ports"] == [{"number": 22}]
        assert "duration" not in plane.calls[-1]["body"]


def test_json_is_the_request_and_nothing_else(plane, laptop):
    client = laptop.start(*REQUEST, "--json")
    plane.update(only_request(plane), installed="2026-01-01T10:00:00Z")
    out, err = client.communicate(timeout=60)
    assert client.returncode == DONE and err == ""
    assert json.loads(out)["virtualMachines"][0]["ports"][0]["progress"]["installed"]


def test_a_terminal_sees_one_line(plane, laptop):
    terminal, theirs = pty.openpty()
    client = subprocess.Popen(laptop.command(*REQUEST), env={**laptop.environment, "TERM": "xterm"},
                              stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    id = only_request(plane)
    await_held(plane, 1)
    plane.update(id, delivered="2026-01-01T10:00:00Z")
    await_held(plane, 2)
    plane.update(id, installed="2026-01-01T10:00:00Z")
    shown = b""
    try:
        while data := os.read(terminal, 4096):
            shown += data
    except OSError:
        pass
    os.close(terminal)
    assert client.wait(5) == DONE
    before, after = shown.split(b"\x1b[32m", 1)
    assert b"\n" not in before and before.count(b"\r\x1b[K") == 3 and b"delivered" in before
    assert b"ssh web-1" in after


@pytest.mark.parametrize("kind, between", [("xterm", "\x1b[2A\r\x1b[J"), ("dumb", "\r\n")])
def test_a_narrow_terminal_and_one_without_a_cursor(plane, laptop, kind, between):
    """What takes three rows is gone from all of them; where there is no going back, there are lines."""
    plane.approval_required = True
    terminal, theirs = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 50, 0, 0))
    client = subprocess.Popen(laptop.command(*REQUEST), env={**laptop.environment, "TERM": kind},
                              stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    id = only_request(plane)
    await_held(plane, 1)
    end_denied(plane, id)
    shown = b""
    with contextlib.suppress(OSError), os.fdopen(terminal, "rb", buffering=0) as screen:
        while data := screen.read(4096):
            shown += data
    assert client.wait(5) == REFUSED
    waiting = f"{id}: waiting for an approver of web-1 (jitgate approve {id})"
    assert 100 < len(waiting) <= 150
    assert waiting + between + "jitgate: refused (Denied)" in shown.decode()


def test_approval_is_waited_for(plane, laptop, authority):
    plane.approval_required = True
    client = laptop.start(*REQUEST)
    id = only_request(plane)
    await_held(plane, 1)
    bob = Laptop(laptop.home, plane, authority.path, "bob-token")
    assert f"approved {id}" in bob.run("approve", id, "--reason", "seen").stdout
    plane.update(id, delivered="2026-01-01T10:00:00Z", installed="2026-01-01T10:00:00Z")
    out, err = client.communicate(timeout=60)
    assert client.returncode == DONE and "is open" in out
    assert f"{id}: waiting for an approver of web-1 (jitgate approve {id})" in err
    assert plane.bodies(f"/v1/requests/{id}/approve") == [{"reason": "seen"}]


def end_denied(plane, id):
    plane.decide(id, "bob@example.org", "use staging",
                 {"status": "Revoked", "statusReason": "Denied"})


def end_refused(plane, id):
    plane.update(id, delivered="2026-01-01T10:00:00Z",
                 refused={"code": "duration_too_long", "message": "22/tcp is open for PT1H at most"})


ENDS = {
    "Denied": (end_denied, "denied by bob@example.org: use staging"),
    "duration_too_long": (end_refused, "22/tcp is open for PT1H at most"),
    "NewerRequestInitiated": (lambda plane, id: plane.update(
        id, status="Revoked", statusReason="NewerRequestInitiated"), "newer request"),
    "Expired": (lambda plane, id: plane.update(
        id, status="Revoked", statusReason="Expired"), "time is over"),
}


@pytest.mark.parametrize("code", ENDS)
@pytest.mark.parametrize("json_option", [[], ["--json"]], ids=["text", "json"])
def test_an_end_is_told_with_its_reason(plane, laptop, code, json_option):
    end, sentence = ENDS[code]
    client = laptop.start(*REQUEST, *json_option)
    id = only_request(plane)
    await_held(plane, 1)
    end(plane, id)
    out, err = client.communicate(timeout=60)
    assert client.returncode == REFUSED
    if json_option:
        told = json.loads(out)
        assert told["error"] == "refused" and told["code"] == code and sentence in told["message"]
    else:
        assert out == "" and f"({code})" in err and sentence in err


@pytest.mark.parametrize("ends", ["open", "timeout"])
def test_what_stands_in_the_way_for_now_is_waited_for(plane, laptop, ends):
    """The agent is asked again (its clock is wrong, or it has too many grants): the person waits, and knows."""
    client = laptop.start(*REQUEST, "--timeout", "PT60S" if ends == "open" else "PT2S")
    id = only_request(plane)
    await_held(plane, 1)
    plane.update(id, delivered="2026-01-01T10:00:00Z",
                 refused={"code": "clock_behind", "message": "this machine's clock says 1970\x1b[2J"})
    if ends == "open":
        await_held(plane, 2)
        assert "delivered" in laptop.run("requests").stdout
        plane.update(id, installed="2026-01-01T10:00:00Z", refused=None)
    out, err = client.communicate(timeout=60)
    assert client.returncode == (DONE if ends == "open" else REFUSED)
    assert "can't open the port yet: this machine's clock says 1970?[2J" in err
    assert "\x1b" not in err
    assert ("is open" in out) == (ends == "open")


def test_a_timeout_leaves_the_request(plane, laptop):
    done = laptop.run(*REQUEST, "--timeout", "PT1S", status=REFUSED)
    id = only_request(plane)
    assert "The request stands" in done.stderr and f"jitgate requests revoke {id}" in done.stderr
    assert "jitgate-poll" in done.stderr
    plane.approval_required = True
    done = laptop.run(*REQUEST, "--timeout", "PT1S", status=REFUSED)
    assert "nobody has approved" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_says_that_the_request_stands(plane, laptop, number):
    client = laptop.start(*REQUEST)
    id = only_request(plane)
    await_held(plane, 1)
    client.send_signal(number)
    _, err = client.communicate(timeout=60)
    assert client.returncode == -number
    assert f"the request stands. To take it back: jitgate requests revoke {id}\n" in err
    assert f"/v1/requests/{id}/revoke" not in plane.paths()


def test_a_control_plane_that_restarts_is_asked_again(plane, laptop):
    client = laptop.start(*REQUEST, "--timeout", "PT20S")
    id = only_request(plane)
    await_held(plane, 1)
    plane.stop()
    line = ""
    while "asking again" not in line:
        line = client.stderr.readline()
        assert line, "the client gave up"
    plane.start()
    plane.update(id, installed="2026-01-01T10:00:00Z")
    out, err = client.communicate(timeout=60)
    assert client.returncode == DONE, err
    assert "ssh web-1" in out
    assert len(plane.bodies("/v1/requests")) == 1


def test_a_control_plane_that_does_not_hold_calls_is_not_asked_in_a_circle(plane, laptop):
    plane.hold = lambda id, after, wait: plane.requests[id]
    laptop.run(*REQUEST, "--timeout", "PT2S", status=REFUSED)
    assert sum("wait" in call["query"] for call in plane.calls) <= 4


def error(code, message):
    return {"error": {"code": code, "message": message}}


REFUSALS = [
    (400, error("PortNotInPolicy", "no policy opens port 22"), {}, REFUSED, "PortNotInPolicy"),
    (401, error("AuthenticationFailed", "expired"), {}, REFUSED, "does not accept the token"),
    (403, error("AuthorizationFailed", "not yours"), {}, REFUSED, "not permitted"),
    (404, error("ResourceNotFound", "no such VM"), {}, REFUSED, "not found"),
    (409, error("Conflict", "it has ended"), {}, REFUSED, "it has ended"),
    (429, error("TooManyRequests", "slow down"), {"Retry-After": "30"}, REFUSED,
     "try again in 30 s"),
    (500, error("InternalError", "a bug"), {}, REFUSED, "can't do it now"),
    (502, b"<html>Bad Gateway</html>", {}, UNREACHABLE, "HTTP 502"),
    (503, error("ServiceUnavailable", "no store"), {}, UNREACHABLE, "no store"),
    (400, error("X\x1b[31m", "evil\x1b[2J\n"), {}, REFUSED, "evil?[2J?"),
]


@pytest.mark.parametrize("status, body, headers, code, told", REFUSALS,
                         ids=lambda value: str(value) if isinstance(value, int) else "")
def test_a_refusal_is_told_as_the_server_says_it(plane, laptop, status, body, headers, code, told):
    for method, path in ("POST", "/v1/requests"), ("GET", "/v1/requests"), ("GET", "/v1/activity"):
        plane.answers[method, path] = (status, body, headers)
    for command in REQUEST, ["requests"], ["activity"]:
        done = laptop.run(*command, status=code)
        assert done.stdout == "" and told in done.stderr, done
        assert "\x1b" not in done.stderr
    done = laptop.run(*REQUEST, "--json", status=code)
    assert json.loads(done.stdout)["error"] == "refused"


def redirect(handler):
    handler.send(302, b"", {"Location": handler.plane.url + "/elsewhere"})


def half_a_body(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"id": "r-1"')
    handler.close_connection = True


def endless_body(handler):
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" " * 65536)


def endless_header(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        handler.wfile.write(b"X-Header: " + b"x" * 1000 + b"\r\n")


LIES = {
    "redirect": redirect, "half a body": half_a_body, "endless body": endless_body,
    "endless header": endless_header, "no JSON": (200, b"<html>", {}), "empty": (200, b"", {}),
    "a list": (200, [], {}), "a wrong shape": (200, {"value": 1, "id": 2}, {}),
    "deep": (200, b'{"a":' + b"[" * 5000, {}), "twice": (200, b'{"id":"a","id":"b"}', {}),
    "wrong types": (201, {"id": 1, "virtualMachines": 7, "revision": "x"}, {}),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_server_that_lies_is_told_on(plane, laptop, lie):
    plane.answers["POST", "/v1/requests"] = plane.answers["GET", "/v1/requests"] = LIES[lie]
    for command in REQUEST, ["requests"]:
        done = laptop.run(*command, status=REFUSED)
        assert done.stderr.startswith("jitgate: ") and done.stdout == ""
    assert "/elsewhere" not in plane.paths()


@pytest.mark.parametrize("request_", [
    {"id": "r-1"}, {"id": "r-1", "virtualMachines": []},
    {"id": "r-1", "virtualMachines": [{"ports": [{}]}]},
    {"id": "r-1", "virtualMachines": [7, {"id": 7, "ports": [7, {"progress": 7, "status": 7}]}]}])
def test_a_request_of_a_wrong_shape_never_looks_open(plane, laptop, request_):
    plane.answers["POST", "/v1/requests"] = (201, request_)
    plane.answers["GET", "/v1/requests/r-1"] = (200, request_)
    laptop.run(*REQUEST, "--timeout", "PT1S", status=REFUSED)
    plane.answers["GET", "/v1/requests"] = (200, {"value": [request_, 7, {}]})
    laptop.run("requests")


def test_certificates(tmp_path, authority, plane):
    """Whom we do not trust gets no token, and the sentence says what to do."""
    stranger = Authority(tmp_path, "stranger")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    wrong = {
        "--ca FILE": Plane(tmp_path, stranger.issue_file("localhost")),
        "expired": Plane(tmp_path, authority.issue_file("localhost", begin=-2, end=-1)),
        "no alternative certificate": Plane(tmp_path, authority.issue_file("other.example.org")),
        "1.2": Plane(tmp_path, authority.issue_file("localhost"), context=context),
    }
    for told, server in wrong.items():
        with server:
            for command in ASKING:
                done = Laptop(tmp_path, server, authority.path).run(*command, status=REFUSED)
                assert told in done.stderr, (told, done)
                assert ("--ca" in done.stderr) == ("--ca" in told)
            assert server.calls == []
    # Without --ca, the system's authorities.
    assert "--ca FILE" in Laptop(tmp_path, plane).run("requests", status=REFUSED).stderr
    missing = Laptop(tmp_path, plane, tmp_path / "none.pem")
    assert "none.pem" in missing.run("requests", status=REFUSED).stderr


def test_nobody_there(tmp_path):
    laptop = Laptop(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    for url, told in ((f"https://127.0.0.1:{port}", "does not answer"),
                      ("https://jit.invalid", "no such host")):
        for command in ASKING:
            done = laptop.run(*command, "--server", url, status=UNREACHABLE)
            assert told in done.stderr and url in done.stderr, done


@pytest.mark.parametrize("arguments", [
    ["request"], ["request", "web-1", "--reason", "x"], ["request", "web-1", "--port", "22"],
    ["request", "web-1", "--port", "0", "--reason", "x"],
    ["request", "web-1", "--port", "22/icmp", "--reason", "x"], [*REQUEST, "--for", "1h"],
    [*REQUEST, "--timeout", "0"], [*REQUEST, "--source", "192.0.2.7/24"],
    ["request", "web-1", "--port", "22", "--reason", " "], [*REQUEST, "--token", "x"],
    ["requests", "a", "b"], ["requests", "--mine", "--by", "bob"], ["approve"], ["approve", "a b"],
    ["approve", "../policies"], ["deny", "r-1"], ["requests", "revoke"],
    ["requests", "revoke", "r-1", "--sessions", "murder"], ["activity", "--since", "yesterday"],
    ["activity", "--lines", "0"], ["requests", "--server", "http://jit.example.org"],
    ["requests", "--server", "https://a@b"], ["requests", "--server", "ftp://a"],
    ["requests", "--server", "https://a/?x=1"]], ids=" ".join)
def test_usage(plane, laptop, arguments):
    done = laptop.run(*arguments, status=USAGE)
    assert done.stdout == "" and "See: jitgate" in done.stderr
    assert plane.calls == []


def test_which_server_and_who(tmp_path, plane, authority):
    """Options before environment before client.conf; what client.conf has is for its own server."""
    laptop = Laptop(tmp_path, token=None)
    assert "which control plane" in laptop.run("requests", status=USAGE).stderr
    laptop.conf(f"[client]\nserver = {plane.url}/\nca = {authority.path}\n")
    assert "no token" in laptop.run("requests", status=USAGE).stderr
    laptop.conf(f"[client]\nserver = {plane.url}/\nca = {authority.path}\ntoken = {TOKEN}\n")
    laptop.run("requests")
    assert plane.calls[-1]["authorization"] == f"Bearer {TOKEN}"

    bob = tmp_path / "bob"
    bob.write_text("bob-token\n")
    bob.chmod(0o600)
    laptop.run("requests", "--token-file", bob)
    assert plane.calls[-1]["authorization"] == "Bearer bob-token"
    laptop.environment["JITGATE_TOKEN"] = "bob-token"
    laptop.run("requests")
    assert plane.calls[-1]["authorization"] == "Bearer bob-token"
    del laptop.environment["JITGATE_TOKEN"]

    with Plane(tmp_path, authority.issue_file("localhost")) as other:
        laptop.environment["JITGATE_SERVER"] = other.url
        assert "no token" in laptop.run("requests", "--ca", authority.path, status=USAGE).stderr
        assert other.calls == []
        laptop.run("requests", "--server", plane.url)


def test_a_token_that_others_can_read_is_refused(tmp_path, plane, laptop):
    loose = tmp_path / "token"
    loose.write_text(TOKEN)
    loose.chmod(0o644)
    done = laptop.run("requests", "--token-file", loose, status=REFUSED)
    assert f"chmod 600 {loose}" in done.stderr
    laptop.conf(f"[client]\ntoken = {TOKEN}\n", 0o640)
    assert "chmod 600" in laptop.run("requests", status=REFUSED).stderr
    laptop.conf("[client]\nfrob = 1\n")
    assert "client.conf:2: " in laptop.run("requests", status=REFUSED).stderr
    assert plane.calls == []


def test_a_proxy_never_sees_what_goes_without_tls(tmp_path, laptop):
    with Plane(tmp_path) as plain, socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        laptop.environment.update(http_proxy=address, all_proxy=address, JITGATE_SERVER=plain.url)
        laptop.run("requests")
        assert len(plain.calls) == 1
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_the_list_is_whole_over_many_pages(plane, laptop):
    for number in range(250):
        plane.make({"vm": f"vm-{number}", "ports": [{"number": 22}], "justification": "x"},
                   "bob@example.org", "::1")
    assert len(json.loads(laptop.run("requests", "--json").stdout)) == 250
    assert all(call["query"]["state"] == "active" for call in plane.calls)
    lines = laptop.run("requests", "web-1", "--all", "--mine").stdout.splitlines()
    assert len(lines) == 251 and lines[0].split()[:3] == ["ID", "WHO", "VM"]
    # An end that is not today's has its date.
    end = r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d"
    assert re.search(rf"bob@example.org +vm-249 +22/TCP +::1 +granted +{end} \(in", lines[1])
    assert plane.calls[-1]["query"] == {"state": "all", "vm": "web-1", "requestor": "me",
                                        "skipToken": "200"}


def test_requests_are_listed_by_how_far_they_are(plane, laptop):
    assert laptop.run("requests").stdout.startswith("No requests now")
    made = [plane.make({"vm": VM, "ports": [{"number": 22}, {"number": 53, "protocol": "UDP"}],
                        "justification": "ticket"}, "alice@example.org", "192.0.2.7")["id"]
            for _ in range(3)]
    plane.update(made[0], installed="2026-01-01T10:00:00Z")
    plane.update(made[0], 1, refused={"code": "port_not_managed", "message": "x"})
    end_denied(plane, made[1])
    told = laptop.run("requests").stdout
    assert re.search(rf"{made[0]} +alice@example.org +web-1 +22/TCP +192.0.2.7 +open ", told)
    assert re.search(r"^ +web-1 +53/UDP +192.0.2.7 +refused$", told, re.MULTILINE)
    assert re.search(rf"{made[1]} .* denied +ticket$", told, re.MULTILINE)


def test_deny_and_revoke(plane, laptop):
    made = [plane.make({"vm": VM, "ports": [{"number": 22}], "justification": "x"},
                       "alice@example.org", "::1")["id"] for _ in range(2)]
    assert f"denied {made[0]}" in laptop.run("deny", made[0], "--reason", "no").stdout
    assert plane.bodies(f"/v1/requests/{made[0]}/deny") == [{"reason": "no"}]
    done = laptop.run("requests", "revoke", made[1], "--sessions", "kill", "--reason", "left",
                      "--json")
    assert json.loads(done.stdout)["id"] == made[1]
    assert plane.bodies(f"/v1/requests/{made[1]}/revoke") == [
        {"sessions": "kill", "reason": "left"}]
    assert "not found" in laptop.run("approve", "r-0", status=REFUSED).stderr


def test_revoke_on_a_laptop_says_where_requests_are_revoked(plane, laptop):
    done = subprocess.run([f"{BUILD}/jitgate", "--socket", laptop.home / "none", "revoke", "r-0198",
                           "--reason", "x"], capture_output=True, text=True)
    assert done.returncode == UNREACHABLE and "jitgate requests revoke r-0198" in done.stderr


def test_activity_is_read_as_a_log_is(plane, laptop):
    operation = "Microsoft.Security/locations/jitNetworkAccessPolicies/initiate/action"
    plane.activity = [{
        "id": str(number), "time": f"2026-01-01T10:00:{59 - number:02}Z", "operation": operation,
        "principal": "alice@example.org", "vm": VM, "port": 22, "protocol": "TCP",
        "source": "192.0.2.7", "reason": "ticket", "result": "Denied" if number else "Succeeded",
        "code": None, "message": f"message {number}"} for number in range(3)]
    lines = laptop.run("activity", "--vm", "web-1", "--since", "PT3H", "--lines", "2").stdout
    lines = lines.splitlines()
    assert len(lines) == 3 and lines[-1].startswith("2026-01-01 10:00:59  alice@example.org  initiate")
    assert lines[-1].endswith("Succeeded  web-1  22/TCP  192.0.2.7  message 0: ticket")
    query = plane.calls[-1]["query"]
    assert query["vm"] == VM and query["top"] == "2"
    assert query["since"].endswith("Z")
    # A time without a zone is none.
    done = laptop.run("activity", "--since", "2026-01-01T10:00:00", status=USAGE)
    assert "like 2026-01-01T10:00:00Z" in done.stderr
    laptop.run("activity", "--vm", "web-9")
    assert plane.calls[-1]["query"]["vm"] == "web-9"
    plane.vms.append({"id": VM.replace("/rg/", "/other/")})
    assert "several" in laptop.run("activity", "--vm", "WEB-1", status=REFUSED).stderr
