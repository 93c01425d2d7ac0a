# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line as scripts meet it: exit codes, JSON's shapes, files that somebody changed."""

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import time

import pytest

from forge import Forge, grant_claims
from harness import BUILD, Listener, Session, Udp, await_, is_open, run_jitgate

DONE, REFUSED, USAGE, NO_AGENT = 0, 1, 2, 3
COMMANDS = ["status", "grants", "sessions", "denied", "watch", "explain", "submit", "grant",
            "revoke", "enforce", "confirm", "doctor", "assess", "audit", "enroll", "request", "requests revoke",
            "requests", "approve", "deny",
            "activity", "key new", "key public", "key fingerprint", "sign", "verify"]
UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def run(*arguments, **options):
    return run_jitgate(*arguments, check=False, **options)


def printed(agent, *arguments, status=DONE):
    done = agent.cli(*arguments, "--json")
    assert done.returncode == status, done
    return json.loads(done.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command):
    words = command.split()
    done = run(*words, "--help")
    assert done.returncode == DONE and done.stderr == ""
    assert done.stdout.startswith(f"usage: jitgate {command}")
    assert "Example" in done.stdout or "example" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert run("help", *words).stdout == done.stdout
    assert f"  {command}" in run("--help").stdout


@pytest.mark.parametrize("arguments", [
    [], ["frob"], ["status", "--frob"], ["--frob"], ["status", "operand"], ["explain"],
    ["explain", "192.0.2.7"], ["explain", "192.0.2.0/24", "22/tcp"], ["explain", "x", "22/tcp"],
    ["explain", "192.0.2.7", ""], ["explain", "192.0.2.7", "22/*"],
    ["explain", "192.0.2.7", "65536/tcp"], ["submit"], ["submit", "a", "b"], ["revoke"],
    ["revoke", "g"], ["revoke", "a b", "--reason", "x"],
    ["revoke", "g", "--reason", "x", "--sessions", "murder"], ["key"], ["key", "frob"],
    ["grant", "--port", "22/tcp", "--source", "192.0.2.7", "--for", "10", "--reason", "x"],
    ["grant", "--port", "22/tcp", "--source", "192.0.2.7/24", "--for", "PT1M", "--reason", "x"],
    ["grant", "--port", "0/tcp", "--source", "192.0.2.7", "--for", "PT1M", "--reason", "x"],
    ["grant", "--source", "192.0.2.7", "--for", "PT1M", "--reason", "x"],
    *(["grant", "--port", "22/tcp", "--source", "192.0.2.7", "--for", "PT1M", "--reason", reason]
      for reason in ("", "two\nlines", 1025 * "x")), ["revoke", "g", "--reason", ""], ["revoke", "g", "--reason", "\x1b"],
    ["deny", "r-1", "--reason", ""],
    ["grant", "--port", "22/tcp", "--source", "192.0.2.7", "--for", "PT1M"],
    ["enforce", "x"], ["enforce", "--confirm-within"], ["enforce", "--confirm-within", "60"],
    ["enforce", "--confirm-within", "PT0S"], ["enforce", "--confirm-within", "P2D"], ["confirm", "x"],
    ["doctor", "x"], ["assess", "--config"],
    ["audit", "frob"], ["audit", "--lines", "0"], ["audit", "--lines", "x"],
    ["key", "new", "--kid", 257 * "k"],
    ["grants", "--socket"], ["status", "--json=1"]], ids=lambda arguments: ascii(" ".join(arguments))[:80])
def test_usage(arguments):
    """What is wrong is said, with where the help is; nobody is asked."""
    done = run(*arguments)
    assert done.returncode == USAGE, done
    assert done.stdout == "" and done.stderr.startswith("jitgate: ")
    assert re.search(r"^See: jitgate .*--help$", done.stderr, re.MULTILINE)


@pytest.mark.parametrize("typed, told", [
    (["stauts"], "status is one"), (["help", "stauts"], "status is one"), (["reqest", "web-1"], "request is one"),
    (["reqests"], "requests is one"), (["kye", "new"], "key is one"), (["grnat"], "grant is one"),
    (["key"], "there are key new, key public, key fingerprint"),
    (["kye", "--help"], "key is one"), (["key", "gen"], "key gen: there is no such command; there are"),
    (["grants", "--al"], "--all is one"), (["--josn", "status"], "--json is one")], ids=" ".join)
def test_a_slip_is_told_with_what_was_meant(typed, told):
    done = run(*typed)
    assert done.returncode == USAGE and told in done.stderr and done.stdout == ""


@pytest.mark.parametrize("typed", [["key", "--help"], ["help", "key"]], ids=" ".join)
def test_help_of_a_word_that_begins_several(typed):
    done = run(*typed)
    assert done.returncode == 0 and done.stderr == "" and done.stdout.startswith("usage: jitgate key COMMAND")
    assert all(f"\n  {name} " in done.stdout for name in ("key new", "key public", "key fingerprint"))
    assert "status" not in done.stdout


PORT = ["--port", "22/tcp", "--source", "192.0.2.7"]


@pytest.mark.parametrize("kind, given, missing", [
    ("grant", [], "aud is missing: --aud"), ("grant", ["--aud", "vm"], "sub is missing: --sub"),
    ("grant", ["--aud", "vm", "--sub", "alice"], "ports is missing: --port"),
    ("revocation", ["--aud", "vm"], "revokes is missing: --revokes"),
    ("policy", ["--aud", "vm"], "ports is missing: --port"),
    ("policy", ["--aud", "vm", *PORT], "--port of a policy goes with --for"),
    ("policy", ["--aud", "vm", *PORT, "--for", "PT1H"], "version is missing: --policy-version")])
def test_what_a_document_lacks_is_told_by_its_option(agent, kind, given, missing):
    done = run("sign", "--key", agent.key, "--type", kind, *given)
    assert done.returncode in (REFUSED, USAGE) and missing in done.stderr and done.stdout == ""


READING = [["submit", "-"], ["verify", "--trust", "TRUST"], ["key", "public"], ["key", "fingerprint", "-"],
           ["sign", "--key", "KEY", "--type", "grant", "-"], ["sign", "--key", "-", "--type", "grant"],
           ["audit", "--file", "-"]]


@pytest.mark.parametrize("words", READING, ids=lambda words: " ".join(words[:2]))
def test_a_person_who_is_waited_for_is_told(agent, words):
    agent.start()
    found = {"TRUST": str(agent.trust_path), "KEY": str(agent.key)}
    command = [f"{BUILD}/jitgate", "--socket", agent.socket_path, *(found.get(word, word) for word in words)]
    person, terminal = pty.openpty()
    shown = b""
    with subprocess.Popen(["setsid", "--ctty", *command], stdin=terminal, stdout=terminal, stderr=terminal) as client, \
            os.fdopen(person, "wb", buffering=0):
        os.close(terminal)
        while b"reading standard input (Enter and Ctrl-D end)\r\n" not in shown:
            assert select.select([person], [], [], 10)[0], shown
            shown += os.read(person, 4096)
        os.write(person, b"x\n\x04")
        client.wait(10)
    # It is for nobody else.
    assert "reading" not in run("--socket", agent.socket_path, *command[3:], input="x").stderr


ASKING = [["status"], ["grants"], ["sessions"], ["denied"], ["watch"], ["reload"],
          ["enforce"], ["enforce", "--confirm-within", "PT1M"], ["confirm"],
          ["explain", "192.0.2.7", "22/tcp"], ["submit", "/dev/null"],
          ["revoke", "g", "--reason", "x"],
          ["grant", "--port", "22/tcp", "--source", "::1", "--for", "PT1M", "--reason", "x"]]


@pytest.mark.parametrize("command", ASKING, ids=lambda command: command[0])
def test_no_agent(tmp_path, command):
    """Absent, or a socket that nobody listens on."""
    left = tmp_path / "left.sock"
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(left))
    for path in tmp_path / "none.sock", left, tmp_path:
        for json_option in [], ["--json"]:
            done = run("--socket", path, *command, *json_option)
            assert done.returncode == NO_AGENT, (path, done)
            assert str(path) in done.stderr and "Traceback" not in done.stderr


def test_an_agent_that_ends_meanwhile(agent):
    agent.start()
    watch = subprocess.Popen([f"{BUILD}/jitgate", "--socket", agent.socket_path, "watch"],
                             stderr=subprocess.PIPE, text=True)
    assert "watching" in watch.stderr.readline()
    agent.kill()
    assert watch.wait(5) == NO_AGENT
    assert "jitgate: " in watch.stderr.read()


def test_submit_json(agent):
    agent.start()
    document = agent.sign_grant("22/tcp", "192.0.2.7", jti="g")
    answer = json.loads(agent.cli("submit", "--json", "-", input=document).stdout)
    assert answer == {"kind": "grant", "id": "g", "state": "active", "durable": True}
    done = agent.cli("submit", "--json", "-", input=agent.sign_grant("23/tcp", "192.0.2.7"))
    assert done.returncode == REFUSED
    answer = json.loads(done.stdout)
    assert set(answer) == {"error", "code", "message"} and answer["error"] == "refused"
    done = agent.cli("submit", "-", input=agent.sign_grant("23/tcp", "192.0.2.7"))
    assert done.returncode == REFUSED and done.stdout == ""
    assert "refused (port_not_managed)" in done.stderr


def test_submit_several(agent, tmp_path):
    """One a line; all are tried; blank lines and ends of lines of other systems are passed over."""
    agent.start()
    forge = Forge(agent.key)
    documents = [forge.sign(grant_claims(jti=f"g-{i}")) for i in range(3)]
    file = tmp_path / "documents"
    file.write_text(f"\n{documents[0]}\r\n\nnonsense\n  {documents[1]}\t\n{documents[2]}")
    done = agent.cli("submit", "--json", file)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == REFUSED
    assert [a.get("id", a.get("code")) for a in answers] == ["g-0", "malformed", "g-1", "g-2"]
    done = agent.cli("submit", file)
    assert f"{file}:4: refused (malformed)" in done.stderr
    for empty in "", "\n \n":
        done = agent.cli("submit", "-", input=empty)
        assert done.returncode == REFUSED and done.stderr
    assert agent.cli("submit", tmp_path / "none").returncode == REFUSED
    assert agent.cli("submit", tmp_path).returncode == REFUSED


GRANT_KEYS = {"id", "state", "origin", "subject", "issuer", "notBefore", "expires",
              "remainingSeconds", "ports", "newConnections", "durable"}


def test_grants_json(agent):
    agent.start()
    agent.grant("22/tcp", ["192.0.2.7", "*"], seconds=600, jti="g", justification="deploy")
    agent.grant("53/udp", "2001:db8::/32", jti="later", nbf=int(time.time()) + 300)
    agent.grant("22/tcp", "192.0.2.8", jti="gone")
    agent.revoke("gone")
    done = agent.cli("grant", "--port", "22/tcp", "--source", "192.0.2.9", "--for", "PT10M",
                     "--reason", "the feed is down", "--json")
    given = json.loads(done.stdout)
    assert set(given) == {"id", "expires", "durable"} and given["durable"] is False
    grants = {g["id"]: g for g in printed(agent, "grants")}
    assert set(grants) == {"g", "later", given["id"]}
    assert set(grants["g"]) == GRANT_KEYS | {"justification"}
    assert set(grants["later"]) == GRANT_KEYS
    g = grants["g"]
    assert (g["state"], g["origin"], g["subject"], g["justification"], g["issuer"]) == (
        "active", "signed", "alice", "deploy", "k1")
    assert UTC.fullmatch(g["notBefore"]) and UTC.fullmatch(g["expires"])
    assert 595 <= g["remainingSeconds"] <= 601 and g["newConnections"] == 0 and g["durable"] is True
    assert g["ports"] == [{"number": 22, "protocol": "TCP",
                           "allowedSourceAddressPrefixes": ["192.0.2.7", "*"]}]
    assert grants["later"]["state"] == "scheduled"
    assert grants[given["id"]]["origin"] == "local"
    assert grants[given["id"]]["justification"] == "the feed is down"
    states = {g["id"]: g["state"] for g in printed(agent, "grants", "--all")}
    assert states["gone"] == "revoked" and len(states) == 4
    text = agent.cli("grants").stdout
    assert "alice" in text and "deploy" in text and "gone" not in text


def test_grants_that_ended(agent):
    agent.start()
    assert printed(agent, "grants") == []
    agent.grant("22/tcp", "192.0.2.7", seconds=1, jti="g")
    agent.await_state("g", "expired")
    grant, = printed(agent, "grants", "--all")
    assert grant["state"] == "expired" and grant["remainingSeconds"] == 0


def test_status_json(agent):
    agent.start()
    agent.grant("22/tcp", "192.0.2.7")
    status = printed(agent, "status")
    assert set(status) >= {"version", "vmId", "mode", "gate", "ports", "grants", "refusedPackets",
                           "feed"}
    assert status["vmId"] == "vm-under-test" and status["mode"] == "enforce"
    assert set(status["gate"]) == {"installed", "owned", "destinationNat"}
    assert status["gate"]["installed"] is True
    assert status["grants"] == {"active": 1, "scheduled": 0}
    assert status["refusedPackets"] == 0 and status["feed"] is None
    assert {(p["name"], p["first"], p["last"], p["protocol"]) for p in status["ports"]} == {
        ("ssh", 22, 22, "TCP"), ("dns", 53, 53, "UDP")}


def test_sessions_denied_and_explain(world, agent):
    listener = Listener(world.vm, "0.0.0.0", 22)
    agent.start()
    assert printed(agent, "sessions") == [] and printed(agent, "denied") == []
    agent.grant("22/tcp", "192.0.2.7", jti="g")
    session = Session(world.requester, "192.0.2.1", listener)
    assert not is_open(world.stranger, "192.0.2.1", 22)
    found, = await_(lambda: printed(agent, "sessions"), what="the session is known")
    assert UTC.fullmatch(found.pop("since"))
    assert found == {"grant": "g", "subject": "alice", "protocol": "TCP", "source": "192.0.2.7",
                     "sourcePort": session.client.getsockname()[1], "destination": "192.0.2.1",
                     "port": 22}
    denied, = printed(agent, "denied")
    assert denied.pop("packets") >= 1
    assert denied == {"source": "198.51.100.66", "port": 22, "protocol": "TCP"}
    for source, port, verdict, grant in (("192.0.2.7", "22/tcp", "allowed", "g"),
                                         ("198.51.100.66", "22/tcp", "refused", None),
                                         ("192.0.2.7", "53/udp", "refused", None),
                                         ("192.0.2.7", "80/tcp", "unmanaged", None),
                                         ("127.0.0.1", "22/tcp", "allowed", None), ("::1", "22/tcp", "allowed", None)):
        answer = printed(agent, "explain", source, port)
        assert (answer["verdict"], answer.get("grant")) == (verdict, grant)
        assert answer["wouldRefuse"] is (verdict == "refused") and answer["reason"]
    assert printed(agent, "grants")[0]["newConnections"] == 1


def test_revoke_and_reload(agent):
    agent.start()
    answer = printed(agent, "revoke", "never-came", "--reason", "x", status=REFUSED)
    assert answer == {"error": "noSuchGrant", "id": "never-came"}
    agent.grant("22/tcp", "192.0.2.7", jti="g")
    assert printed(agent, "revoke", "g", "--reason", "x") == {"sessionsEnded": 0}
    assert agent.cli("reload").returncode == DONE
    agent.config_path.write_text("nonsense\n")
    answer = printed(agent, "reload", status=REFUSED)
    assert answer["error"] == "reloadFailed" and f"{agent.config_path}:1: " in answer["message"]


def test_watch_streams(agent):
    """Each event as it happens, a JSON object a line; Ctrl-C ends it well."""
    agent.start()
    watch = subprocess.Popen(
        [f"{BUILD}/jitgate", "--socket", agent.socket_path, "watch", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "watching" in watch.stderr.readline()
    agent.grant("22/tcp", "192.0.2.7", jti="g")
    events = [json.loads(watch.stdout.readline()) for _ in range(2)]
    assert [e["type"] for e in events] == ["document_admitted", "grant_active"]
    agent.revoke("g")
    events += [json.loads(watch.stdout.readline()) for _ in range(2)]
    # What is told is what is on record, but for the chain.
    on_record = [{k: v for k, v in r.items() if k != "previous"} for r in agent.audit()[-4:]]
    assert [{k: v for k, v in e.items() if k != "previous"} for e in events] == on_record
    watch.send_signal(signal.SIGINT)
    assert watch.wait(5) == DONE


def test_who_and_why_are_told_once(agent):
    agent.start()
    granted = ["grant", "--port", "22/tcp", "--source", "192.0.2.7", "--for", "PT1H", "--reason", "feed is down", "--json"]
    id = json.loads(agent.cli(*granted).stdout)["id"]
    agent.cli("revoke", id, "--reason", "it is back")
    agent.refusal("x.y.z")
    *_, admitted, active, revoked, refused = agent.cli("audit").stdout.splitlines()
    for line, reason in (admitted, "feed is down"), (active, "feed is down"), (revoked, "it is back"):
        assert line.endswith(f": {reason}") and line.count(reason) == 1, line
    assert refused.count(agent.audit("document_refused")[-1]["reason"]) == 1


def test_one_is_no_plural(world, agent, tmp_path):
    agent.start()
    one = tmp_path / "one.jsonl"
    one.write_text((agent.directory / "log/audit.jsonl").read_text().splitlines()[0] + "\n")
    assert "is intact: 1 record, 1 to 1" in agent.cli("audit", "verify", "--file", one).stdout
    Udp(world.stranger, "0.0.0.0").socket.sendto(b"x", ("192.0.2.1", 53))
    await_(lambda: printed(agent, "status")["refusedPackets"] == 1, 5, "the datagram is refused")
    assert re.search(r"^Refused +1 packet$", agent.cli("status").stdout, re.MULTILINE)


def test_a_grant_that_was_revoked_has_no_end_to_come(agent):
    agent.start()
    agent.grant("22/tcp", "192.0.2.7", jti="gone", seconds=600)
    agent.grant("22/tcp", "192.0.2.7", jti="there", seconds=600)
    agent.revoke("gone")
    rows = {line.split()[0]: line for line in agent.cli("grants", "--all").stdout.splitlines()}
    assert "(in " in rows["there"] and "revoked" in rows["gone"] and "(in " not in rows["gone"]


def test_a_broken_pipe(agent):
    """`jitgate … | head -1` ends, without a word."""
    agent.start()
    with agent.connect() as connection:
        forge = Forge(agent.key)
        for i in range(300):
            connection.call("Submit", document=forge.sign(grant_claims(source=f"10.0.0.{i % 256}")))
    for command in ["grants", "--json"], ["grants"], ["audit", "--json", "--lines", "10000"]:
        process = subprocess.Popen(
            [f"{BUILD}/jitgate", "--socket", agent.socket_path, *command],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, pipesize=4096)
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(60) == -signal.SIGPIPE, command
        assert process.stderr.read() == b""


def test_a_full_disk_is_no_success(agent):
    agent.start()
    for command in ["status"], ["status", "--json"], ["grants"], ["audit"], ["help"]:
        with open("/dev/full", "w") as full:
            done = subprocess.run([f"{BUILD}/jitgate", "--socket", agent.socket_path, *command],
                                  stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == REFUSED and "standard output" in done.stderr, command


def test_terminal_escapes_do_not_get_through(tmp_path):
    """What others wrote is shown, not obeyed."""
    path = tmp_path / "audit.jsonl"
    path.write_text('{"type":"x","message":"\\u001b]0;evil\\u0007"}\n\x1b[2J\n')
    done = run("audit", "--file", path)
    assert done.returncode == DONE and "evil" in done.stdout and "[2J" in done.stdout
    assert "\x1b" not in done.stdout and "\x07" not in done.stdout


@pytest.fixture
def audited(agent):
    """An audit file of a dozen records, its lines, and a way to have them verified."""
    agent.start()
    for i in range(5):
        agent.grant("22/tcp", f"192.0.2.{i}")
    agent.stop()
    path = agent.directory / "log" / "audit.jsonl"
    agent.lines = path.read_bytes().splitlines(keepends=True)

    def verify(lines):
        path.write_bytes(b"".join(lines))
        done = run("--socket", "/nonexistent", "audit", "verify", "--json", "--file", path)
        answer = json.loads(done.stdout)
        assert (done.returncode == DONE) == answer["intact"]
        return None if answer["intact"] else answer["line"]
    agent.verify = verify
    return agent


def test_audit_verify_finds_what_was_changed(audited):
    lines, verify = audited.lines, audited.verify
    n = len(lines)
    assert n == 13 and verify(lines) is None
    for i in range(n):
        # Removed from the middle: the line that follows it tells. From the front: an earlier file's.
        if 0 < i < n - 1:
            assert verify(lines[:i] + lines[i + 1:]) == i + 1
        # Edited: the next one tells. (The last is vouched for by none.)
        edited = lines[:i] + [lines[i].replace(b'"time":"2', b'"time":"3')] + lines[i + 1:]
        if i < n - 1:
            assert verify(edited) == i + 2
        # Torn.
        torn = lines[:i] + [lines[i][:len(lines[i]) // 2]]
        assert verify(torn) == i + 1
        assert verify(torn + [b"\n"] + lines[i + 1:]) == i + 1
        # Doubled, and something in between.
        assert verify(lines[:i + 1] + lines[i:]) == i + 2
        assert verify(lines[:i] + [b"{}\n"] + lines[i:]) == i + 1
    for i in range(n - 1):
        swapped = lines[:i] + [lines[i + 1], lines[i]] + lines[i + 2:]
        assert verify(swapped) in (i + 1, i + 2)
    assert verify(lines[:-1]) is None, "what is cut at the end nobody can tell by the file alone"


def test_the_chain_goes_on(audited):
    """Over restarts and kill -9, and after a torn line, which stays visible."""
    agent = audited
    for _ in range(3):
        agent.start()
        agent.grant("22/tcp", "192.0.2.7")
        assert agent.cli("audit", "verify").returncode == DONE
        agent.kill()
    path = agent.directory / "log" / "audit.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    agent.start()
    agent.grant("22/tcp", "192.0.2.7")
    done = agent.cli("audit", "verify")
    assert done.returncode == REFUSED and "line" in done.stderr
    assert agent.cli("audit", "--lines", "3").returncode == DONE
    path.unlink()


@pytest.mark.parametrize("n_zeros", [1, 700, 200000])
def test_the_chain_goes_on_after_a_power_failure(audited, n_zeros):
    """It may leave zeros where a file had grown and nothing was written yet."""
    agent = audited
    path = agent.directory / "log" / "audit.jsonl"
    with open(path, "ab") as file:
        file.write(bytes(n_zeros))
    agent.start()
    assert agent.cli("audit", "verify").returncode == DONE
    assert b"\0" not in path.read_bytes()


def test_audit_shows_the_last_records(agent):
    agent.start()
    for i in range(60):
        agent.grant("22/tcp", "192.0.2.7", jti=f"g-{i}")
    assert len(agent.cli("audit").stdout.splitlines()) == 50
    done = agent.cli("audit", "--lines", "2", "--json")
    assert [json.loads(line)["type"] for line in done.stdout.splitlines()] == [
        "document_admitted", "grant_active"]
    assert "g-59" in agent.cli("audit", "--lines", "1").stdout
