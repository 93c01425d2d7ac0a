# SPDX-License-Identifier: GPL-3.0-or-later
"""jitgate-server's HTTP: whatever comes in, it answers or closes, stays small, and goes on."""

import os
import pathlib
import resource
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import time

import pytest

from agent import BUILD, SANITIZED
from server import Connection, Server, make_certificate
from world import await_

HEALTH = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def server(tmp_path):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    made = Server(tmp_path)
    yield made
    made.close()
    print(made.log())


@pytest.fixture
def many_descriptors():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(params=["plain", "tls", "unix"])
def reached(server, request, tmp_path):
    if request.param == "tls":
        server.use_tls()
    if request.param == "unix":
        # Its address has room for 107 bytes.
        directory = f"/run/server-{os.getpid()}"
        os.makedirs(directory, exist_ok=True)
        server.configure(listen=f"{directory}/socket", url="https://jitgate.example")
    return server.start()


def test_each_way_in_serves_the_same(reached):
    answer = reached.get("/healthz")
    assert answer.status == 200 and answer.body == b"ok\n"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert ("strict-transport-security" in answer.headers) == bool(reached.certificate)
    assert reached.get("/metrics").status == 200
    assert reached.get("/nothing").status == 404
    assert reached.stop() == 0


def test_a_socket_is_for_its_group_and_replaced_when_stale(server, tmp_path):
    path = f"/run/server-{os.getpid()}.sock"
    server.configure(listen=path, url="https://jitgate.example")
    server.start()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
    second = server.run(check=False)
    assert second.returncode == 1 and "another server listens there" in second.stderr
    server.kill()
    assert os.path.exists(path)
    server.start()
    assert server.get("/healthz").status == 200
    assert server.stop() == 0
    assert not os.path.exists(path)


def test_a_socket_that_systemd_passes_is_taken(server):
    with socket.create_server(("127.0.0.1", 18444)) as passed:
        os.set_inheritable(passed.fileno(), True)
        script = f'exec 3<&{passed.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
        server.start(prefix=["bash", "-c", script, "bash"], pass_fds=[passed.fileno()])
    server.port = 18444
    assert server.get("/healthz").status == 200


POST = "POST /healthz HTTP/1.1\r\nHost: localhost\r\n"
ODD = [
    ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n", None),
    ("a version", "GET /healthz HTTP/9.9\r\nHost: a\r\n\r\n", (400, 505, None)),
    ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 405, 505, None)),
    ("a long path", f"GET /{'a' * 5000} HTTP/1.1\r\nHost: a\r\n\r\n", (414,)),
    ("an endless path", "GET /" + "a" * 1000000, (414, None)),
    ("a long header", f"GET /healthz HTTP/1.1\r\nHost: a\r\nX: {'a' * 20000}\r\n\r\n", (431,)),
    ("many headers", "GET /healthz HTTP/1.1\r\nHost: a\r\n" + "X: a\r\n" * 5000 + "\r\n", (431,)),
    ("no header's end", "GET /healthz HTTP/1.1\r\nHost: a\r\n" + "X: a\r\n" * 200000, (431, None)),
    ("a space in front of a colon", "GET /healthz HTTP/1.1\r\nHost : a\r\n\r\n", (400,)),
    ("no host", "GET /healthz HTTP/1.1\r\n\r\n", (400,)),
    ("two hosts", "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", (400,)),
    ("two lengths", POST + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", (400,)),
    ("length and chunks",
     POST + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (400,)),
    ("a length that is none", POST + "Content-Length: 1x\r\n\r\nab", (400,)),
    ("a length beyond numbers", POST + f"Content-Length: {'9' * 40}\r\n\r\n", (400, 413)),
    ("a path with NUL", "GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n", (400,)),
    ("a bad escape", "GET /a%2 HTTP/1.1\r\nHost: a\r\n\r\n", (400,)),
    ("a method unknown", "BREW /healthz HTTP/1.1\r\nHost: a\r\n\r\n", (405,)),
    ("a body unasked", POST + "Content-Length: 2\r\n\r\n{}", (405,)),
    ("a gigabyte told", POST + "Content-Length: 1073741824\r\n\r\n", (405, 413)),
    ("bad chunks", POST + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", (400, 405, None)),
]


@pytest.mark.parametrize("what, request_, wanted", ODD, ids=[odd[0] for odd in ODD])
def test_odd_requests_are_refused_and_harm_nobody(server, what, request_, wanted):
    server.start()
    neighbour = server.connect()
    neighbour.send(HEALTH[:20])
    answer = server.ask(request_)
    assert answer.status in (wanted or (400, None)), answer.body
    neighbour.send(HEALTH[20:])
    assert neighbour.answer().status == 200
    assert server.metric("jitgate_server_held_requests") == 0


def test_half_requests_leave_nothing_behind(reached):
    text = HEALTH.replace("GET", "POST").encode() + b"{}"
    for end in range(0, len(text), 3):
        connection = reached.connect()
        connection.send(text[:end])
        connection.close()
        assert reached.get("/healthz").status == 200
    assert reached.metric("jitgate_server_held_requests") == 0


def test_pipelined_requests_are_answered_in_order(reached):
    connection = reached.connect()
    connection.send((HEALTH + HEALTH.replace("healthz", "nothing")) * 10)
    assert [connection.answer().status for _ in range(20)] == [200, 404] * 10


def test_slow_clients_are_shut_out(server):
    server.use_tls()
    server.start()
    raw = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
    hello = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
    for connected in hello:
        connected.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
    head, body, idle, left = (server.connect() for _ in range(4))
    left.send(HEALTH[:20])
    left.close()
    body.send("POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")
    idle.send(HEALTH)
    assert idle.answer().status == 200
    begun, drops = time.monotonic(), 0
    # A byte now and then buys no time.
    while drops < 30 * 60:
        drops += 1
        try:
            head.socket.sendall(b"GET /healthz HTTP/1.1\r\n"[drops - 1:drops] or b"x")
        except OSError:
            break
        time.sleep(0.5)
        assert time.monotonic() < begun + 75
    assert time.monotonic() > begun + 50
    for connected in raw + hello:
        assert Connection(connected).ends()
    assert body.ends() and idle.ends()
    await_(lambda: server.metric("jitgate_server_connections") == 1, 10, "closed connections")


@pytest.mark.skipif(SANITIZED, reason="sanitizers take memory of their own")
@pytest.mark.parametrize("tls, n, kib", [(False, 5000, 15), (True, 1000, 70)])
def test_many_connections_take_little(server, many_descriptors, measure, tls, n, kib):
    if tls:
        server.use_tls()
    server.start()
    assert server.get("/healthz").status == 200
    before = server.memory_kib()
    connections = [server.connect() for _ in range(n)]
    # The second on the same connection takes the whole pool.
    for _ in range(2):
        for connection in connections:
            connection.send(HEALTH)
        for connection in connections:
            assert connection.answer().status == 200
    each = (server.memory_kib() - before) / n
    measure(f"server: KiB for each of {n} connections{', TLS' if tls else ''}", f"{each:.1f}")
    assert each <= kib
    assert server.metric("jitgate_server_connections") == n + 1
    ticks = server.cpu_ticks()
    time.sleep(1)  # nothing happens: that is what is measured
    assert server.cpu_ticks() - ticks <= 5
    for connection in connections:
        connection.close()
    await_(lambda: server.metric("jitgate_server_connections") == 1, 20, "closed connections")


def test_one_address_can_not_take_all_connections(server):
    server.configure(max_connections_per_address=5)
    server.start()
    connections = [server.connect() for _ in range(5)]
    assert server.connect().ends()
    for connection in connections:
        connection.send(HEALTH)
        assert connection.answer().status == 200
    connections.pop().close()
    await_(lambda: server.get("/healthz").status == 200, 10)


def test_who_calls_too_often_is_told_when_to_come_back(server):
    server.configure(rate_limit=1)
    server.start()
    answers = [server.get("/healthz") for _ in range(40)]
    late = [answer for answer in answers if answer.status == 429]
    assert late and answers[0].status == 200
    assert int(late[0].headers["retry-after"]) >= 1
    assert b"TooManyRequests" in late[0].body
    await_(lambda: server.get("/healthz").status == 200, 10)


def test_tokens_outlive_a_kill(server):
    server.start()
    server.token("alice", "reader", "/")
    kept = server.run("token", "list").stdout
    assert "alice  reader  /  until" in kept
    await_(lambda: server.metric("jitgate_server_tokens") == 1, 10)
    server.kill()
    assert server.run("token", "list").stdout == kept
    server.start()
    assert server.metric("jitgate_server_tokens") == 1
    assert server.run("token", "revoke", kept[:12]).stdout.startswith("revoked")
    await_(lambda: server.metric("jitgate_server_tokens") == 0, 10)
    assert server.run("token", "list").stdout == ""
    assert server.run("token", "revoke", kept[:12], check=False).returncode == 1


def test_a_token_is_good_and_gone_when_its_command_says_so(server):
    """Also where the server learns of it and of its use in the same moment."""
    server.start()
    connection = server.connect()
    for _ in range(5):
        server.process.send_signal(signal.SIGSTOP)
        token = server.token()
        request = f"GET /v1/vms HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        connection.send(request)
        server.process.send_signal(signal.SIGCONT)
        assert connection.answer().status == 200
        server.process.send_signal(signal.SIGSTOP)
        server.run("token", "revoke", server.run("token", "list").stdout[:12])
        connection.send(request)
        server.process.send_signal(signal.SIGCONT)
        assert connection.answer().status == 401


def test_a_token_is_nowhere_in_the_state(server):
    server.start()
    secrets = [server.token(), server.run("enrollment", "new", "--vm", "/subscriptions/s/virtualMachines/web-1").stdout.strip()]
    assert secrets[0].startswith("jgt_") and secrets[1].startswith("jge_")
    for name in os.listdir(server.directory):
        content = (server.directory / name).read_bytes()
        assert not any(secret.encode() in content for secret in secrets)


def test_a_renewed_certificate_counts_for_new_connections(server):
    server.use_tls("first")
    server.start()
    old = server.connect()
    old.send(HEALTH)
    assert old.answer().status == 200
    server.use_tls("second")
    server.reload()
    assert server.get("/healthz").status == 200  # verifies the second
    old.send(HEALTH)
    answer = old.answer()
    assert answer.status == 200 and answer.headers["connection"].lower() == "close"
    assert old.ends()
    # One that is broken, or not its key's, changes nothing.
    good = server.certificate
    server.certificate.write_text("no certificate")
    server.reload("there is no certificate (PEM) in it")
    server.certificate, _ = make_certificate(server.directory, "third")
    server.configure(tls_certificate=server.certificate)
    server.reload("not the key of the certificate in")
    server.path.write_text("[server]\nlisten = nowhere\n")
    server.reload("not reloaded")
    with socket.create_connection(("127.0.0.1", server.port)) as connected:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(connected) as wrapped:
            assert b"second" in wrapped.getpeercert(binary_form=True)
    assert good != server.certificate


def test_tls_that_comes_or_goes_waits_for_a_restart_and_stops_no_reload(server):
    server.start()
    files = {}
    for name in "first", "second":
        certificate, key = make_certificate(server.directory, name)
        files[name] = {"tls_certificate": certificate, "tls_key": key}
    assignment = "[assignment a]\nprincipal = p\nrole = reader\nscope = /\n"
    for text, told in (assignment, "assignments: 1"), ("", "assignments: 0"):
        server.configure(text, **files["first"])
        server.reload(told)
        assert server.get("/healthz").status == 200  # as it was, without
    assert server.log().count("another key has changed") == 2
    server.kill()
    server.certificate = files["first"]["tls_certificate"]
    server.start()
    server.configure(tls_certificate=None, tls_key=None, url=f"https://localhost:{server.port}")
    server.reload()
    server.certificate = files["second"]["tls_certificate"]
    server.configure(**files["second"])
    server.reload()
    assert server.get("/healthz").status == 200  # verifies the second


WRONG = [
    ({"listen": "localhost"}, "", "5: listen must be"),
    ({"listen": "0.0.0.0:8443"}, "", "is reached from elsewhere: set tls_certificate"),
    ({"listen": "[::]:8443"}, "", "is reached from elsewhere"),
    ({"listen": "/run/x.sock"}, "", "url must say"),
    ({"url": "https://a/"}, "", "url must be as https://"),
    ({"tls_certificate": "/x"}, "", "set both"),
    ({"state": "etcd://localhost:2379"}, "", "state must be an absolute path"),
    ({"rate_limit": "fast"}, "", "rate_limit must"),
    ({"color": "red"}, "", "color"),
    ({}, "[issuer a]\nissuer = x\naudience = y\njwks = /nowhere", "/nowhere: No such file"),
    ({}, "[issuer a]\nissuer = x\njwks = /nowhere", "audience"),
    ({}, "[assignment a]\nrole = reader\nscope = /", "either principal or group"),
    ({}, "[assignment a]\nprincipal = p\ngroup = g\nrole = reader\nscope = /", "either"),
    ({}, "[assignment a]\nprincipal = p\nrole = king\nscope = /", "role must be reader"),
    ({}, "[assignment a]\nprincipal = p\nrole = reader\nscope = S", "scope must be"),
]


@pytest.mark.parametrize("listen", ["0.0.0.0:18443", "[::]:18443"])
def test_all_addresses_are_none_that_agents_could_be_told(server, listen):
    server.use_tls()
    server.configure(listen=listen)
    done = server.run("-n", check=False)
    assert done.returncode == 1 and f"listen = {listen} names no address: url must say" in done.stderr
    server.configure(url=f"https://localhost:{server.port}")
    assert server.run("-n").returncode == 0


@pytest.mark.parametrize("keys, text, message", WRONG)
def test_a_wrong_configuration_is_told_with_its_place(server, keys, text, message):
    server.configure(text, **keys)
    for arguments in [["-n"], []]:
        done = server.run(*arguments, check=False)
        assert done.returncode == 1 and message in done.stderr, done.stderr
        assert str(server.path) in done.stderr


def test_a_certificate_that_can_not_serve_is_told_before_it_must(server):
    server.use_tls("other")
    other = server.sections["server"]["tls_key"]
    server.use_tls("ours")
    certificate, key = (server.sections["server"][name] for name in ("tls_certificate", "tls_key"))
    shut, broken = server.directory / "shut.key", server.directory / "broken"
    subprocess.run(["openssl", "pkey", "-in", key, "-aes256", "-passout", "pass:x", "-out", shut],
                   check=True)
    broken.write_text(certificate.read_text()[:200])
    for keys, message in [
            ({"tls_key": other}, f"{other}: not the key of the certificate in {certificate}"),
            ({"tls_key": broken}, f"{broken}: there is no private key"),
            ({"tls_key": shut}, f"{shut}: there is no private key (PEM) in it, or it takes a"),
            ({"tls_certificate": broken, "tls_key": key}, f"{broken}: there is no certificate")]:
        server.configure(**keys)
        for arguments in [["-n"], []]:
            done = server.run(*arguments, check=False)
            assert done.returncode == 1 and message in done.stderr, done.stderr
    server.configure(tls_certificate=certificate, tls_key=key)
    assert server.run("-n").returncode == 0


def test_root_is_told_what_the_service_can_not_read(users, server):
    server.use_tls()
    paths = [server.path] + [pathlib.Path(server.sections["server"][name]) for name in
                             ("signing_key", "tls_certificate", "tls_key")]
    for directory in [server.directory, *server.directory.parents]:
        directory.chmod(directory.stat().st_mode | 0o055)
    for path in paths:
        path.chmod(0o640)
        shutil.chown(path, "root", "jitgate-server")
    assert server.run("-n").stderr == ""
    for path in paths:
        shutil.chown(path, "root", "root")
        (told,) = server.run("-n").stderr.splitlines()
        assert f"{path} can't be read by the user jitgate-server" in told
        assert ("LoadCredential=" in told) == (path.suffix == ".jwk")
        path.chmod(0o644)
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    done = subprocess.run([*nobody, f"{BUILD}/jitgate-server", "-c", server.path, "-n"],
                          capture_output=True, check=True)
    assert done.stderr == b""


def test_the_example_is_accepted(server):
    """Only the key that signs must be there. That it shows the defaults, server_config_test.c says."""
    here = os.path.dirname(os.path.abspath(__file__))
    with open(f"{here}/../../contrib/control-plane/server.conf.example") as file:
        example = file.read()
    if not os.path.exists("/etc/jitgate-server/signing.jwk"):
        server.path.write_text(example)
        done = server.run("-n", check=False)
        assert done.returncode == 1 and "/etc/jitgate-server/signing.jwk" in done.stderr
    key = server.sections["server"]["signing_key"]
    server.path.write_text(example.replace("#signing_key = /etc/jitgate-server/signing.jwk",
                                           f"signing_key = {key}"))
    assert server.run("-n").returncode == 0


USAGE = [["token"], ["token", "old"], ["token", "new"], ["enrollment", "new"],
         ["token", "new", "--principal", "a", "--role", "king", "--scope", "/"],
         ["token", "new", "--principal", "a", "--role", "reader", "--scope", "x"],
         ["token", "new", "--principal", "a", "--role", "reader", "--scope", "/subscription/S"],
         ["token", "new", "--principal", "a", "--role", "reader", "--scope", "/", "--for", "1"],
         ["token", "new", "--principal", "a", "--role", "reader", "--scope", "/", "--vm", "x"],
         ["token", "list", "x"], ["token", "revoke"], ["token", "revoke", "x"],
         ["enrollment", "new", "--vm", "a b"], ["-n", "token", "list"],
         ["token", "new", "--principal", "a", "--principal", "b", "--role", "reader", "--scope", "/"]]


@pytest.mark.parametrize("option, told", [
    (["--princpal", "a"], "token new has no option --princpal"),
    (["--vm", "a"], "token new has no option --vm"), (["-x"], "token new has no option -x"),
    (["--principal"], "token new: --principal needs a value"),
    (["--role", "reader", "--role", "approver"], "token new: --role is given twice")], ids=lambda value: str(value[0]))
def test_what_is_wrong_with_an_option_is_told_once(server, option, told):
    done = server.run("token", "new", *option, check=False)
    assert done.returncode == 2 and told in done.stderr.splitlines()[0]
    assert len(done.stderr.splitlines()) == 2, done.stderr


def test_what_the_server_says_of_itself_fits_and_names_its_commands(server):
    for words in [], ["token", "new"], ["token", "list"], ["token", "revoke"], ["enrollment", "new"]:
        help_ = server.run(*words, "--help").stdout
        assert max(map(len, help_.splitlines())) <= (80 if words != ["enrollment", "new"] else 100), help_
    assert server.run("--help").stdout.count("Usage:") == 1
    for wrong in ["token"], ["enrollment", "list"], ["tokn", "new"]:
        assert "token new, token list, token revoke and enrollment new" in server.run(*wrong, check=False).stderr
    assert server.run("-n").stdout == f"{server.path}: ok (issuers: 0, assignments: 0)\n"


@pytest.mark.parametrize("arguments", USAGE)
def test_a_wrong_command_is_told_and_does_nothing(server, arguments):
    done = server.run(*arguments, check=False)
    assert done.returncode == 2 and done.stderr.startswith("jitgate-server: "), done.stderr
    assert not (server.directory / "state.sqlite").exists()


def test_each_command_has_help_with_an_example(server):
    for arguments in [], ["token", "new"], ["token", "list"], ["token", "revoke"], [
            "enrollment", "new"]:
        assert "Example: jitgate-server" in server.run(*arguments, "--help").stdout
