# SPDX-License-Identifier: GPL-3.0-or-later
"""The socket: who may call what, what it bears, and what it says of itself."""

import array
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import time

import pytest

from doctor import OK, doctor
from forge import Forge, grant_claims
from harness import BUILD, Listener, Session, Varlink, VarlinkError, allowing, await_, port_claim
from idl import Interface

READERS_GID, STRANGER = 47110, 47111
REPLIES = {"ReportFeed": {"url": "https://feed.example", "state": "backing_off", "message": "HTTP 503",
                          "lastContact": "2026-01-01T10:00:00Z"},
           "ListEvents": {"after": 1, "limit": 5}, "Status": {}, "ListGrants": {"all": True}, "ListSessions": {}, "ListDenied": {},
           "Explain": {"source": "192.0.2.7", "port": 22, "protocol": "TCP"}}


@pytest.fixture
def people(agent, tmp_path):
    """A group jitgate, a socket that all can reach, and a function that runs jitgate as someone."""
    if len(open("/proc/self/uid_map").read().split()) != 3 or "4294967295" not in open(
            "/proc/self/uid_map").read():
        pytest.skip("this user namespace has root only")
    group = tmp_path / "group"
    group.write_text(f"root:x:0:\njitgate:x:{READERS_GID}:\n")
    subprocess.run(["mount", "--bind", group, "/etc/group"], check=True)
    place = f"/run/open-{os.getpid()}"
    os.mkdir(place, 0o755)
    shutil.copy(f"{BUILD}/jitgate", place)
    agent.socket_path = f"{place}/agent.sock"
    agent.configure(socket=agent.socket_path)

    def run(person, *arguments, input=None):
        identity = {"root": [], "reader": ["--reuid", "47112", "--regid", str(READERS_GID)],
                    "second": ["--reuid", "47113", "--regid", "47113", "--groups",
                               str(READERS_GID)],
                    "stranger": ["--reuid", str(STRANGER), "--regid", str(STRANGER)]}[person]
        if identity and "--groups" not in identity:
            identity.append("--clear-groups")
        return subprocess.run(["setpriv", *identity, f"{place}/jitgate", "--socket",
                               agent.socket_path, *arguments], input=input, text=True,
                              capture_output=True, timeout=60)
    yield run
    subprocess.run(["umount", "/etc/group"], check=True)
    shutil.rmtree(place)


READING = [["status"], ["grants"], ["sessions"], ["denied"], ["explain", "192.0.2.7", "22/tcp"]]
CHANGING = [["revoke", "g", "--reason", "x"], ["reload"], ["enforce", "--confirm-within", "PT1M"],
            ["confirm"], ["enforce"],
            ["grant", "--port", "22/tcp", "--source", "192.0.2.7", "--for", "PT1M", "--reason", "x"]]


def test_who_may_call_what(agent, people):
    agent.configure(mode="audit")
    agent.start()
    agent.grant("22/tcp", "192.0.2.7", jti="g")
    for person in "stranger", "reader", "second", "root":
        for command in READING:
            done = people(person, *command, "--json")
            may = person != "stranger"
            assert (done.returncode == 0) == may, (person, command, done)
            if not may:
                assert json.loads(done.stdout)["error"] == "notPermitted"
                assert "jitgate" in people(person, *command).stderr
        for command in CHANGING:
            if person == "root":
                continue
            done = people(person, *command, "--json")
            assert done.returncode == 1 and "notPermitted" in done.stdout, (person, done)
        document = agent.sign_grant("22/tcp", "192.0.2.8")
        assert people(person, "submit", "-", input=document + "\n").returncode == 0
    assert len(agent.call("ListGrants")["grants"]) == 5
    for command in CHANGING:
        assert people("root", *command).returncode == 0


def test_a_stranger_does_not_watch(agent, people):
    agent.start()
    done = people("stranger", "watch", "--json")
    assert done.returncode == 1 and "notPermitted" in done.stdout


def test_what_is_in_the_directories_is_not_for_all(agent):
    agent.start()
    agent.grant("22/tcp", "192.0.2.7")
    modes = {name: oct((agent.directory / name).stat().st_mode & 0o7777) for name in (
        "state", "state/ledger", "run", "run/ledger", "run/agent.sock", "log", "log/audit.jsonl")}
    assert modes == {"state": "0o700", "state/ledger": "0o600", "run": "0o755",
                     "run/ledger": "0o600", "run/agent.sock": "0o666", "log": "0o750",
                     "log/audit.jsonl": "0o640"}


def answers(agent):
    return agent.call("Status")["mode"] == "enforce"


MESSAGES = [b"\0", b"{}\0", b"[]\0", b"null\0", b'"x"\0', b"{\0", b'{"method": 5}\0',
            b'{"method": "x"}\0', b'{"method": "io.jitgate.Agent.Status", "parameters": []}\0',
            b'{"method": "io.jitgate.Agent.Nothing"}\0', b'{"method": "org.varlink.service."}\0',
            b'{"method": "io.jitgate.Agent.Submit"}\0', b"\xff\xfe\0", b"[" * 60000 + b"\0",
            b'{"method": "io.jitgate.Agent.Status", "method": "io.jitgate.Agent.Reload"}\0',
            b'{"method": "io.jitgate.Agent.Submit", "parameters": {"document": 7}}\0',
            b'{"method": "io.jitgate.Agent.Monitor"}\0', b"x" * 200_000 + b"\0",
            b'{"method": "io.jitgate.Agent.Status", "upgrade": true}\0']


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: repr(message[:48]))
def test_nonsense_is_answered_or_hung_up_on(agent, message):
    agent.start()
    with Varlink(agent.socket_path, timeout=5) as connection:
        try:
            connection.socket.sendall(message)
            connection.receive()
            raise AssertionError("it was done")
        except (VarlinkError, ConnectionError):
            pass
    assert answers(agent)
    assert agent.audit("configuration_reloaded") == []


def test_a_message_in_pieces(agent):
    agent.start()
    with agent.connect() as connection:
        for byte in b'{"method": "io.jitgate.Agent.Status"}\0':
            connection.socket.sendall(bytes([byte]))
        assert connection.receive()["mode"] == "enforce"
        connection.socket.sendall(b'{"method": "io.jitgate.Agent.Status"}\0' * 20)
        assert all(connection.receive()["mode"] == "enforce" for _ in range(20))


def test_oneway_gets_no_answer(agent):
    agent.start()
    document = agent.sign_grant("22/tcp", "192.0.2.7", jti="g")
    with agent.connect() as connection:
        connection.socket.sendall(json.dumps({
            "method": "io.jitgate.Agent.Submit", "oneway": True,
            "parameters": {"document": document}}).encode() + b"\0")
        assert connection.call("ListGrants")["grants"][0]["id"] == "g"


def _largest_grant(prefix):
    """A call of Grant that fills the longest message there may be with what prefix() makes of two numbers."""
    def text(numbers):
        ports = [{"number": 22, "protocol": "TCP", "allowedSourceAddressPrefixes": [
            prefix(0xa0 + number // 64, 0xa0 + number % 64) for number in numbers[first:first + 64]]}
            for first in range(0, len(numbers), 64)]
        return json.dumps({"method": "io.jitgate.Agent.Grant", "parameters": {
            "ports": ports, "seconds": 600, "reason": "x"}}, separators=(",", ":")).encode()

    n = min(64 * 64, 65536 // len(json.dumps(prefix(0xa0, 0xa0))))
    while len(text(range(n))) > 65536:
        n -= 1
    return text(range(n)) + b"\0"


@pytest.mark.parametrize("prefix", [lambda a, b: f"::{a:x}:{b:x}", lambda a, b: f"2001:db8:1:1:1:1:{a:x}:{b:x}"],
                         ids=["written longer than asked for", "long"])
def test_the_largest_grant_is_kept_and_told(agent, prefix):
    agent.start()
    with agent.connect() as connection:
        connection.socket.sendall(_largest_grant(prefix))
        id = connection.receive()["id"]
    agent.grant("22/tcp", "192.0.2.7", jti="after")
    told = [event.get("grant") for event in agent.call("ListEvents")["events"]]
    assert told[-4:] == [id, id, "after", "after"]
    agent.kill()
    agent.start()
    assert {grant["id"] for grant in agent.call("ListGrants")["grants"]} == {id, "after"}
    assert agent.cli("audit", "verify", "--file", agent.directory / "log" / "audit.jsonl").returncode == 0
    assert doctor(agent).one("audit")["verdict"] == OK


def _connect(agent):
    """None where the daemon's queue of those who want in is full."""
    try:
        return agent.connect()
    except BlockingIOError:
        return None


def test_silent_clients_hold_up_nobody(agent):
    agent.start()
    silent = [await_(lambda: _connect(agent), what="a connection") for _ in range(100)]
    for number, connection in enumerate(silent):
        connection.socket.sendall(b'{"method": "io.jitgate.Ag'[:number % 25])
    for _ in range(5):
        assert answers(agent)
        agent.grant("22/tcp", "192.0.2.7")
    for connection in silent:
        connection.socket.close()
    assert answers(agent)


def _lingering(n):
    """TCP sockets whose close waits a minute for a peer that does not read; and what keeps these peers."""
    listener = socket.create_server(("127.0.0.1", 0))
    senders, kept = [], [listener]
    for _ in range(n):
        sender = socket.socket()
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 60))
        sender.connect(listener.getsockname())
        sender.setblocking(False)
        senders.append(sender)
        kept.append(listener.accept()[0])
    while ready := select.select([], senders, [], allowing(0.2))[1]:
        for sender in ready:
            sender.send(b"x" * 65536)
    for sender in senders:
        sender.setblocking(True)
    return senders, kept


SO_PASSRIGHTS = 83  # <asm-generic/socket.h>


def _may_refuse_descriptors():
    """Since Linux 6.16."""
    with socket.socket(socket.AF_UNIX) as asked:
        try:
            asked.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 0)
        except OSError:
            return False
    return True


@pytest.mark.parametrize("before", [b"", b'{"method": "io.jitgate.Agent.Status"}\0'],
                         ids=["first", "behind a call"])
@pytest.mark.parametrize("kernel", ["today", "before 6.16"])
def test_what_is_sent_along_holds_up_nobody(request, agent, kernel, before):
    """The last of a socket that lingers: whoever lets go of it waits."""
    if kernel != "today":
        agent.environment.update(request.getfixturevalue("older_kernel"))
    agent.start()
    senders, kept = _lingering(3)
    connections = [agent.connect() for _ in senders]
    agent.process.send_signal(signal.SIGSTOP)
    for sender, connection in zip(senders, connections):
        try:
            connection.socket.sendall(before)
            connection.socket.sendmsg(
                [b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sender.fileno()]))])
            assert kernel != "today" or not _may_refuse_descriptors()
        except PermissionError:
            assert kernel == "today"
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
        sender.close()
    agent.process.send_signal(signal.SIGCONT)
    with Varlink(agent.socket_path, timeout=5) as connection:
        assert connection.call("Status")["mode"] == "enforce"
    agent.stop()
    for connection in kept:
        connection.close()


AS_A_CROWD = """
import array, socket, struct, sys
def connect():
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(sys.argv[1])
    return connection
senders = []
for fd in map(int, sys.argv[2:]):
    senders.append(socket.socket(fileno=fd))
held = [connect() for _ in range(130)]
print("here", flush=True)
sys.stdin.readline()
for sender in senders:
    held.append(connect())
    held[-1].sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sender.fileno()]))])
    sender.close()
print("sent", flush=True)
sys.stdin.readline()
"""


def test_what_many_send_along_who_are_turned_away_holds_up_nobody(older_kernel, agent, people):
    """Each is waited for so short a moment that who comes behind all of them does not notice."""
    agent.environment.update(older_kernel)
    agent.start()
    senders, kept = _lingering(50)  # the daemon's queue of those who want in has room for them
    fds = [sender.fileno() for sender in senders]
    crowd = subprocess.Popen(
        ["setpriv", "--reuid", str(STRANGER), "--regid", str(STRANGER), "--clear-groups", "/usr/bin/python3",
         "-c", AS_A_CROWD, agent.socket_path, *map(str, fds)],
        pass_fds=fds, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert crowd.stdout.readline() == "here\n"
    for sender in senders:
        sender.close()
    assert answers(agent)
    agent.process.send_signal(signal.SIGSTOP)
    crowd.stdin.write("\n")
    crowd.stdin.flush()
    assert crowd.stdout.readline() == "sent\n"
    with Varlink(agent.socket_path, timeout=5) as connection:
        agent.process.send_signal(signal.SIGCONT)
        begun = time.monotonic()
        connection.call("Status")
        took = time.monotonic() - begun
    crowd.communicate("")
    for connection in kept:
        connection.close()
    assert took < allowing(0.2)


def test_connections_are_bounded(agent, people):
    """One user can't take them all: root still gets in."""
    agent.start()
    hold = ("import socket, sys, time\n"
            "held = []\n"
            "for _ in range(200):\n"
            "    s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(sys.argv[1])\n"
            "    try:\n"
            "        s.sendall(b'{\"method\": \"org.varlink.service.GetInfo\"}\\0')\n"
            "        ok = s.recv(100)\n"
            "    except OSError: ok = b''\n"
            "    if ok: held.append(s)\n"
            "print(len(held), flush=True); sys.stdin.read()\n")
    process = subprocess.Popen(
        ["setpriv", "--reuid", str(STRANGER), "--regid", str(STRANGER), "--clear-groups",
         "/usr/bin/python3", "-c", hold, agent.socket_path], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True)
    try:
        assert int(process.stdout.readline()) == 32
        assert answers(agent)
        assert people("reader", "status").returncode == 0
    finally:
        process.communicate("")


AS_MANY = """
import os, socket, sys, time
for uid in range(200000, 200000 + int(sys.argv[2])):
    if os.fork() == 0:
        os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(sys.argv[1])
                while connection.send(b'{"method": "org.varlink.service.GetInfo"}\\0') and connection.recv(4096):
                    time.sleep(1)
            except OSError:
                time.sleep(0.1)
time.sleep(600)
"""


def test_one_person_as_many_users_keeps_nobody_out(agent, people):
    """Who has user ids of his own (subuid(5)) holds a connection as each of them, and comes again when it is closed."""
    agent.start()
    crowd = subprocess.Popen(["/usr/bin/python3", "-c", AS_MANY, agent.socket_path, "130"], start_new_session=True)
    try:
        await_(lambda: len(os.listdir(f"/proc/{agent.process.pid}/fd")) > 120, what="all places are taken")
        for _ in range(10):
            assert people("reader", "status").returncode == 0
            assert people("stranger", "submit", "-",
                          input=agent.sign_grant("22/tcp", "192.0.2.7") + "\n").returncode == 0
    finally:
        os.killpg(crowd.pid, signal.SIGKILL)
        crowd.wait()


def test_root_can_take_all_connections_and_give_them_back(agent):
    agent.start()
    held = []
    with pytest.raises(ConnectionError):
        for _ in range(200):
            connection = agent.connect()
            connection.call("org.varlink.service.GetInfo")
            held.append(connection)
    assert len(held) == 128
    for connection in held:
        connection.socket.close()
    await_(lambda: _answers_at_all(agent), what="it has room again")


def _answers_at_all(agent):
    try:
        return answers(agent)
    except ConnectionError:
        return False


def test_a_slow_reader_holds_up_nobody(agent):
    """It is cut off at a bound; who reads gets every event."""
    agent.start()
    forge = Forge(agent.key)
    slow, quick = agent.connect(), agent.connect()
    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for subscriber in slow, quick:
        subscriber.send("Monitor", more=True)
        assert subscriber.receive() == {}
    pipelined = agent.connect()
    for _ in range(50):
        pipelined.send("ListGrants", all=True)  # and never reads
    seen, n = [], 1200
    with agent.connect() as connection:
        for i in range(n):
            claims = grant_claims(source=f"10.0.{i >> 8}.{i & 255}", jti=f"g-{i}",
                                  justification="x" * 300)
            connection.call("Submit", document=forge.sign(claims))
            while sum(type == "document_admitted" for type, _ in seen) <= i:
                event = quick.receive()["event"]
                seen.append((event["type"], event["sequence"]))
    sequences = [sequence for _, sequence in seen]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
    with pytest.raises(ConnectionError):
        for _ in range(3 * n):
            slow.receive()
    pipelined.socket.close()
    assert answers(agent)


# Asks on as many connections as one user may have: over and over, or without ever reading an answer.
GREEDY = """
import select, socket, sys, threading
path, call, reads = sys.argv[1], sys.argv[2].encode() + b"\\0", sys.argv[3] == "reads"
held = [socket.socket(socket.AF_UNIX) for _ in range(32)]
def ask(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.connect(path)
    s.sendall(call)
    while reads:
        while not s.recv(1 << 20).endswith(b"\\0"):
            pass
        s.sendall(call)
    poll = select.poll()
    poll.register(s, 0)  # a hang-up alone
    poll.poll()
    print("is cut off", flush=True)
for s in held:
    threading.Thread(target=ask, args=(s,), daemon=True).start()
print("asks", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def greedy(agent, people):
    """A reader (jitgate-poll taken over) who asks for all that there is; 1000 long grants are there."""
    agent.start()
    forge, started = Forge(agent.key), []
    with agent.connect() as connection:
        for i in range(1000):
            connection.call("Submit", document=forge.sign(grant_claims(
                source=f"10.0.{i >> 8}.{i & 255}", jti=f"g-{i}", justification="x" * 1000)))

    def start(method, reads):
        started.append(subprocess.Popen(
            ["setpriv", "--reuid", "47112", "--regid", str(READERS_GID), "--clear-groups",
             "/usr/bin/python3", "-c", GREEDY, agent.socket_path,
             json.dumps({"method": f"io.jitgate.Agent.{method}", "parameters": {}}),
             "reads" if reads else ""], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            stderr=subprocess.DEVNULL))
        started[-1].stdout.readline()
        return started[-1]
    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("method", ["ListGrants", "ListEvents"])
def test_who_asks_without_end_starves_nobody(agent, greedy, measure, method):
    """Its calls are worked off when nobody else has any: others wait for one of them, not for all."""
    begun = time.monotonic()
    agent.call(method)
    one = time.monotonic() - begun
    greedy(method, reads=True)
    took = []
    await_(lambda: _answers_at_all(agent))
    for i in range(100):
        begun = time.monotonic()
        agent.grant("22/tcp", f"192.0.2.{i}")
        took.append(time.monotonic() - begun)
    measure(f"root's Submit while a reader asks for {method} on 32 connections, of {1000 * one:.1f} ms each",
            f"median {1000 * sorted(took)[50]:.1f} ms")
    assert sorted(took)[50] < 16 * one


def test_a_list_that_no_answer_holds_is_told(agent):
    agent.start()
    forge = Forge(agent.key)
    long = {name: "x" * 1024 for name in ("iss", "sub", "justification")}
    with agent.connect() as connection:
        for i in range(5000):
            connection.call("Submit", document=forge.sign(
                {**grant_claims(source=f"10.0.{i >> 8}.{i & 255}", jti=f"g-{i}"), **long}))
        with pytest.raises(VarlinkError, match="more than an answer holds"):
            connection.call("ListGrants")
        assert connection.call("Status")["grants"]["active"] == 5000


def test_answers_that_nobody_reads_are_bounded(agent, greedy):
    """32 of them would come to more than a user's connections may leave unread together."""
    process = greedy("ListGrants", reads=False)
    readable, _, _ = select.select([process.stdout], [], [], 20)
    assert readable and process.stdout.readline() == "is cut off\n"
    assert answers(agent)


def test_it_tells_of_itself(agent):
    agent.start()
    with agent.connect() as connection:
        info = connection.call("org.varlink.service.GetInfo")
        assert info["product"] == "jitgated" and info["version"]
        assert set(info["interfaces"]) == {"io.jitgate.Agent", "org.varlink.service"}
        for name in info["interfaces"]:
            text = connection.call("org.varlink.service.GetInterfaceDescription",
                                   interface=name)["description"]
            assert Interface(text).name == name
        with pytest.raises(VarlinkError, match="InterfaceNotFound"):
            connection.call("org.varlink.service.GetInterfaceDescription", interface="a.b")


def test_answers_are_as_declared(world, agent):
    """Each reply has the members of the interface's text, of their types, and no others."""
    agent.configure(ports={**agent.ports, "web": {
        "number": "80-81", "protocol": "*", "always_allow": "10.0.0.0/8", "on_expiry": "kill"}})
    agent.start()
    with agent.connect() as connection:
        text = connection.call("org.varlink.service.GetInterfaceDescription",
                               interface="io.jitgate.Agent")["description"]
        interface = Interface(text)
        connection.send("Monitor", more=True)
        interface.check(connection.receive(), interface.methods["Monitor"][1])
        listener = Listener(world.vm, "0.0.0.0", 22)
        answer = agent.submit(agent.sign_grant("22/tcp", "192.0.2.7", justification="deploy"))
        interface.check(answer, interface.methods["Submit"][1])
        session = Session(world.requester, "192.0.2.1", listener)
        local = agent.call("Grant", ports=[port_claim("80/*", "*", "192.0.2.0/24")], seconds=60,
                           reason="test")
        interface.check(local, interface.methods["Grant"][1])
        await_(lambda: agent.call("ListSessions")["sessions"], what="the session is known")
        with pytest.raises(VarlinkError) as refused:
            agent.submit("nonsense")
        interface.check(refused.value.parameters, interface.errors["Refused"])
        for method, parameters in REPLIES.items():
            interface.check(agent.call(method, **parameters), interface.methods[method][1], method)
        revoked = agent.call("Revoke", id=answer["id"], reason="test", sessions="kill")
        interface.check(revoked, interface.methods["Revoke"][1])
        assert revoked == {"sessionsEnded": 1} and session.is_dead()
        interface.check(agent.call("Reload"), interface.methods["Reload"][1])
        types = set()
        while "configuration_reloaded" not in types:
            reply = connection.receive()
            interface.check(reply, interface.methods["Monitor"][1])
            types.add(reply["event"]["type"])
        assert types >= {"document_admitted", "grant_active", "session_opened", "session_ended",
                         "document_refused", "grant_revoked"}


@pytest.mark.skipif("JITGATE_TEST_VARLINKCTL" not in os.environ, reason=(
    "JITGATE_TEST_VARLINKCTL names no root with varlinkctl (tests/system/varlinkctl makes one)"))
def test_varlinkctl_understands_it(agent):
    """systemd's own client, of Debian 13: another implementation than ours on both sides."""
    root = os.environ["JITGATE_TEST_VARLINKCTL"]
    agent.start()
    agent.grant("22/tcp", "192.0.2.7", jti="g")
    place = f"{root}/run/jitgate-{os.getpid()}"
    os.mkdir(place)
    subprocess.run(["mount", "--bind", agent.directory / "run", place], check=True)
    subprocess.run(["mount", "--rbind", "/proc", f"{root}/proc"], check=True)
    address = f"/run/jitgate-{os.getpid()}/agent.sock"

    def varlinkctl(*arguments, check=True):
        done = subprocess.run(["chroot", root, "varlinkctl", *arguments], text=True,
                              capture_output=True, timeout=60)
        print("$ varlinkctl", *arguments, "\n" + done.stdout + done.stderr)
        assert not check or done.returncode == 0, done
        return done.stdout + done.stderr
    try:
        assert "jitgated" in varlinkctl("info", address)
        assert "io.jitgate.Agent" in varlinkctl("list-interfaces", address)
        text = varlinkctl("introspect", address, "io.jitgate.Agent")
        declared = Interface(text)
        assert set(declared.methods) >= set(REPLIES) | {"Submit", "Monitor"}
        for method, parameters in REPLIES.items():
            reply = json.loads(varlinkctl("call", "--json=short", address,
                                          f"io.jitgate.Agent.{method}", json.dumps(parameters)))
            declared.check(reply, declared.methods[method][1], method)
        refused = varlinkctl("call", address, "io.jitgate.Agent.Submit", '{"document": "x"}',
                             check=False)
        assert "io.jitgate.Agent.Refused" in refused
    finally:
        subprocess.run(["umount", "--recursive", f"{root}/proc"], check=True)
        subprocess.run(["umount", place], check=True)
        os.rmdir(place)
