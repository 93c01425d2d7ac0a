# SPDX-License-Identifier: GPL-3.0-or-later
"""Joining a control plane: one command, all or nothing. The control plane has real TLS, the agent is a real one."""

import base64
import contextlib
import hashlib
import itertools
import json
import os
import pathlib
import pty
import pwd
import re
import select
import signal
import stat
import subprocess
import termios
import threading

import pytest

from harness import BUILD, await_, new_key, run_jitgate
from plane import VM, Plane, jwks

DONE, REFUSED, USAGE, UNREACHABLE = 0, 1, 2, 3
OTHER_VM = VM.replace("web-1", "web-2")


class Machine:
    """A machine that is to join: its configuration's directory, and the control plane."""

    def __init__(self, directory, plane, authority):
        self.directory = directory / "etc"
        self.directory.mkdir()
        self.config = self.directory / "agent.conf"
        self.trust = self.directory / "trust.jwks"
        self.credential = self.directory / "feed-token"
        self.plane = plane
        self.ca = authority.path
        self.token = plane.enrollment()

    def command(self, *arguments, url=None, token=None, ca=None):
        return [f"{BUILD}/jitgate", "enroll", *([url or self.plane.url] if url != "" else []),
                *(["--token", token or self.token] if token != "" else []), "--config",
                str(self.config), *(["--ca", str(ca or self.ca)] if ca != "" else []),
                *map(str, arguments)]

    def enroll(self, *arguments, status=DONE, input=None, **options):
        done = subprocess.run(self.command(*arguments, **options), input=input, text=True,
                              capture_output=True, timeout=30,
                              stdin=None if input else subprocess.DEVNULL)
        assert done.returncode == status, done
        assert self.plane.credential not in done.stdout + done.stderr
        assert self.token not in done.stdout + done.stderr
        return done

    def update(self, *arguments, status=DONE, url=""):
        return self.enroll("--update-trust", *arguments, status=status, token="", url=url, ca="")

    def files(self):
        """Everything there, as it is."""
        return {str(path.relative_to(self.directory)): (
                    path.lstat().st_mode, path.lstat().st_ino, path.lstat().st_uid,
                    os.readlink(path) if path.is_symlink() else
                    path.read_bytes() if path.is_file() else None)
                for path in sorted(self.directory.rglob("*"))}

    @contextlib.contextmanager
    def unchanged(self):
        before = self.files()
        yield
        assert self.files() == before

    def enrolled(self):
        """Whether the token was sent."""
        return "/v1/enroll" in self.plane.paths()

    def settings(self):
        """What agent.conf says, as a list of lines without comments."""
        lines = self.config.read_text().splitlines()
        return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture
def keys(tmp_path):
    return [new_key(tmp_path, kid) for kid in ("plane-1", "plane-2")]


@pytest.fixture
def plane(tmp_path, authority, keys):
    with Plane(tmp_path, authority.issue_file("localhost"), jwks(keys[0])) as made:
        yield made


@pytest.fixture
def machine(tmp_path, plane, authority):
    return Machine(tmp_path, plane, authority)


@pytest.fixture
def systemd():
    """As sd_booted(3) finds it out. /run is the tests' own."""
    path = "/run/systemd/system"
    os.makedirs(path)
    yield
    os.rmdir(path)


def thumbprint(jwk):
    """RFC 7638, by hand."""
    members = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    return hashlib.sha256(json.dumps(members, sort_keys=True, separators=(",", ":")).encode()).digest()


def text(digest):
    return "SHA256:" + base64.urlsafe_b64encode(digest).decode().rstrip("=")


def fingerprints(trust):
    """Of each key, and of all together."""
    each = [thumbprint(jwk) for jwk in trust["keys"]]
    return [text(one) for one in each], text(hashlib.sha256(b"".join(sorted(each))).digest())


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_one_command_joins(machine, plane, systemd):
    (pin,), _ = fingerprints(plane.trust)
    done = machine.enroll("--trust-fingerprint", pin)
    assert plane.calls[-1]["authorization"] == f"Bearer {machine.token}"
    assert [call["method"] for call in plane.calls] == ["GET", "POST"]
    assert plane.calls[0]["authorization"] == ""
    assert json.loads(machine.trust.read_text()) == plane.trust
    assert machine.credential.read_text() == plane.credential + "\n"
    assert (mode(machine.trust), mode(machine.config)) == (0o644, 0o644)
    assert mode(machine.credential) in (0o600, 0o640)  # jitgate-poll's, where there is that user
    ca = machine.directory / "feed-ca.pem"
    assert ca.read_text() == machine.ca.read_text()
    assert machine.settings() == [
        "[agent]", f"vm_id = {VM}", f"trust = {machine.trust}", "[feed]", f"url = {plane.url}",
        f"ca = {ca}", f"token = {machine.credential}"]
    assert sorted(machine.files()) == ["agent.conf", "feed-ca.pem", "feed-token", "trust.jwks"]
    checked = subprocess.run([f"{BUILD}/jitgated", "-n", "-c", machine.config], text=True,
                             capture_output=True)
    assert checked.returncode == 0, checked
    for told in VM, plane.url, pin, "systemctl enable --now jitgated jitgate-poll", \
            "jitgate status", "No port is guarded yet":
        assert told in done.stdout, told


def test_ports_are_watched_at_first(machine):
    done = machine.enroll("--yes", "--port", "22/tcp", "--port", "53/udp")
    assert "mode = audit" in machine.settings()
    assert machine.settings()[-6:] == ["[port tcp-22]", "number = 22", "protocol = TCP",
                                       "[port udp-53]", "number = 53", "protocol = UDP"]
    assert "jitgate enforce --confirm-within" in done.stdout


def test_json(machine, plane):
    (pin,), _ = fingerprints(plane.trust)
    told = json.loads(machine.enroll("--yes", "--json").stdout)
    assert told == {
        "vmId": VM, "url": plane.url, "configuration": str(machine.config),
        "trust": str(machine.trust), "credential": str(machine.credential), "fingerprint": pin,
        "keys": [{"kid": "plane-1", "alg": "ES256", "fingerprint": pin, "change": "added"}],
        "changed": True, "reloaded": False}


def test_the_token_may_come_from_standard_input(machine):
    machine.enroll("--yes", token="-", input=machine.token + "\n")
    assert machine.enrolled()


# Whose keys

def test_pins(machine, plane, keys):
    """Only what vouches for all of the keys lets the token go."""
    plane.trust = jwks(*keys)
    (first, second), whole = fingerprints(plane.trust)
    told = run_jitgate("key", "fingerprint", "-", input=json.dumps(plane.trust)).stdout
    assert first in told and second in told and whole in told
    told = json.loads(run_jitgate("key", "fingerprint", keys[0], "--json").stdout)
    assert told["fingerprint"] == told["keys"][0]["fingerprint"] == first
    wrong = text(hashlib.sha256(b"x").digest())
    for pins in [first], [second], [wrong], [first, wrong]:
        with machine.unchanged():
            done = machine.enroll(*(f"--trust-fingerprint={pin}" for pin in pins), status=REFUSED)
        assert whole in done.stderr
        # --yes is no way around a pin.
        machine.enroll("--yes", *(f"--trust-fingerprint={pin}" for pin in pins), status=REFUSED)
    assert not machine.enrolled()
    told = machine.enroll("--json", "--trust-fingerprint", wrong, status=REFUSED)
    assert json.loads(told.stdout)["code"] == "fingerprintMismatch"
    digest = base64.urlsafe_b64decode(whole.split(":")[1] + "=").hex()
    machine.enroll("--trust-fingerprint", digest)
    machine.token = plane.enrollment()
    machine.enroll("--trust-fingerprint", first, "--trust-fingerprint", second)


def test_without_a_pin_somebody_must_answer(machine):
    with machine.unchanged():
        done = machine.enroll(status=REFUSED)
    assert "--trust-fingerprint" in done.stderr and "--yes" in done.stderr
    assert not machine.enrolled()


def await_prompt(terminal, prompt):
    """What the terminal shows up to a prompt, with it."""
    shown = b""
    while prompt not in shown:
        shown += os.read(terminal, 4096)
    return shown


def at_terminal(machine, *arguments, token=None):
    """An enrollment, and a person's end of its terminal."""
    terminal, theirs = pty.openpty()
    # A shell that runs the tests in the background has them ignore ^C.
    command = ["setsid", "--ctty", "env", "--default-signal", *machine.command(*arguments, token=token)]
    client = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    return client, terminal


def await_end(client, terminal, status):
    """What the terminal shows until the client has ended, which is not asked for anything."""
    shown = b""
    with contextlib.suppress(OSError), os.fdopen(terminal, "rb", buffering=0) as screen:
        while select.select([screen], [], [], 20)[0]:
            shown += screen.read(4096)
    assert client.wait(10) == status, shown
    return shown


def ask(machine, *arguments):
    """An enrollment that waits for a person's answer, and the person's end of its terminal."""
    client, terminal = at_terminal(machine, *arguments)
    return client, terminal, await_prompt(terminal, b"[y/N]")


@pytest.mark.parametrize("answer, status", [("y", DONE), ("yes", DONE), ("n", REFUSED),
                                            ("", REFUSED), ("yellow", REFUSED), ("\x04", REFUSED)])
def test_a_person_is_asked(machine, plane, answer, status):
    (pin,), _ = fingerprints(plane.trust)
    client, terminal, shown = ask(machine)
    assert pin.encode() in shown and not machine.enrolled()
    os.write(terminal, answer.encode() + b"\n")
    with contextlib.suppress(OSError):
        while os.read(terminal, 4096):
            pass
    os.close(terminal)
    assert client.wait(10) == status
    assert machine.enrolled() == machine.config.exists() == (status == DONE)


def test_a_token_that_a_person_types_is_not_shown(machine):
    client, terminal = at_terminal(machine, token="-")
    await_prompt(terminal, b"Token: ")
    await_(lambda: not echoes(terminal), 10, "the terminal shows nothing")
    os.write(terminal, machine.token.encode() + b"\n")
    assert machine.token.encode() not in await_prompt(terminal, b"[y/N]") and echoes(terminal)
    os.write(terminal, b"yes\n")
    assert client.wait(10) == DONE and machine.enrolled()
    os.close(terminal)


def echoes(terminal):
    return bool(termios.tcgetattr(terminal)[3] & termios.ECHO)


@pytest.mark.parametrize("key, status", [(b"\x03", -signal.SIGINT), (b"\x1c", -signal.SIGQUIT), (b"\x04", REFUSED),
                                         (b"x" * 5000 + b"\n", REFUSED)], ids=["^C", "^\\", "^D", "too long"])
def test_who_types_no_token_has_the_terminal_back(machine, key, status):
    with machine.unchanged():
        client, terminal = at_terminal(machine, token="-")
        await_prompt(terminal, b"Token: ")
        await_(lambda: not echoes(terminal), 10, "the terminal shows nothing")
        os.write(terminal, key)
        assert client.wait(10) == status and echoes(terminal)
    assert not machine.enrolled()
    os.close(terminal)


def test_without_systemd_the_poll_reads_its_credential_itself(users, machine):
    done = machine.enroll("--yes")
    assert "There is no systemd here: start jitgated, and then jitgate-poll" in done.stdout
    assert mode(machine.credential) == 0o640
    assert machine.credential.stat().st_gid == pwd.getpwnam("jitgate-poll").pw_gid
    assert f"token = {machine.credential}" in machine.settings()
    # One that was there is as its owner wants it.
    os.chown(machine.credential, 0, 0)
    machine.credential.chmod(0o600)
    machine.token = machine.plane.enrollment()
    machine.enroll("--yes")
    assert mode(machine.credential) == 0o600 and machine.credential.stat().st_gid == 0


def test_without_its_user_it_is_said(machine, systemd):
    with open("/etc/passwd") as file:
        if re.search("(?m)^jitgate-poll:", file.read()):
            pytest.skip("there is a user jitgate-poll here")
    assert "There is no user jitgate-poll yet" in machine.enroll("--yes").stdout


def test_the_default_place_is_systemds_or_the_polls(machine, request):
    """Beside /etc/jitgate/agent.conf the credential is systemd's to show, where there is one."""
    directory = pathlib.Path("/etc/jitgate")
    if directory.exists():
        pytest.skip(f"{directory} is in use here")
    directory.mkdir()
    try:
        with mounted(directory, "-t", "tmpfs", "tmpfs"):
            machine.directory, machine.config = directory, directory / "agent.conf"
            machine.enroll("--yes")
            assert "token = /etc/jitgate/feed-token" in machine.settings()
            machine.config.unlink()
            request.getfixturevalue("systemd")
            machine.token = machine.plane.enrollment()
            machine.enroll("--yes")
            assert not [line for line in machine.settings() if line.startswith("token")]
    finally:
        directory.rmdir()


def test_no_two_at_once(machine):
    """Each would put a part of its own in place."""
    client, terminal, _ = ask(machine)
    with machine.unchanged():
        done = machine.enroll("--yes", status=REFUSED)
    assert "another jitgate is at work" in done.stderr and not machine.enrolled()
    client.kill()
    client.wait()
    os.close(terminal)
    machine.enroll("--yes")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_leaves_nothing_behind(machine, plane, number):
    """The control plane holds the answer; there are files for it by then."""
    go_on = threading.Event()
    plane.answers["POST", "/v1/enroll"] = lambda handler: go_on.wait(60)
    with machine.unchanged():
        client = subprocess.Popen(machine.command("--yes"), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL,
                                  # Whoever runs the tests may ignore it, as nohup(1) does.
                                  preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
        await_(machine.enrolled, 20, "the token is sent")
        assert list(machine.directory.glob("feed-token.*"))
        client.send_signal(number)
        assert client.wait(60) == -number
    go_on.set()


def test_killed_it_is_done_again(machine, plane):
    """Whenever it dies, it can be done again with a new token."""
    library = machine.directory.parent / "killer.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-D_GNU_SOURCE", "-x", "c", "-", "-o", library, "-ldl"],
                   input=KILLER, text=True, check=True)
    killed = 0
    machine.enroll("--yes")
    for call in itertools.count(1):
        existing(machine)
        environment = dict(os.environ, LD_PRELOAD=str(library), KILL_AT=str(call),
                           ASAN_OPTIONS="verify_asan_link_order=0")
        machine.token = plane.enrollment()
        done = subprocess.run(machine.command("--yes", "--replace"), env=environment,
                              capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
        config = run_jitgated_check(machine)
        assert config.returncode == 0, config
        machine.token = plane.enrollment()
        machine.enroll("--yes", "--replace")
        assert machine.trust.exists() and machine.credential.read_text().strip() == plane.credential
        if done.returncode == 0:
            break
        killed += 1
    assert killed > 6


# Dies at the n-th call that changes a name.
KILLER = """
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
static void count(void)
{
    static int n;
    const char *at = getenv("KILL_AT");

    if (at && ++n == atoi(at))
        raise(SIGKILL);
}
int rename(const char *from, const char *to)
{
    count();
    return ((int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename"))(from, to);
}
int link(const char *from, const char *to)
{
    count();
    return ((int (*)(const char *, const char *))dlsym(RTLD_NEXT, "link"))(from, to);
}
int unlink(const char *path)
{
    count();
    return ((int (*)(const char *))dlsym(RTLD_NEXT, "unlink"))(path);
}
"""


def run_jitgated_check(machine):
    return subprocess.run([f"{BUILD}/jitgated", "-n", "-c", machine.config], capture_output=True, text=True)


def private_key(keys):
    return {"keys": [json.loads(keys[0].read_text())]}


BAD_TRUST = {
    "no JSON": lambda keys: b"<html>", "a list": lambda keys: [], "no keys": lambda keys: {"keys": []},
    "not a set": lambda keys: {"key": 1}, "private": private_key,
    "symmetric": lambda keys: {"keys": [{"kty": "oct", "k": "AAAA", "kid": "a", "alg": "HS256"}]},
    "kid twice": lambda keys: {"keys": 2 * jwks(keys[0])["keys"]},
    "no kid": lambda keys: {"keys": [{k: v for k, v in jwks(keys[0])["keys"][0].items() if k != "kid"}]},
    "too many": lambda keys: {"keys": [{**jwks(keys[0])["keys"][0], "kid": str(i)} for i in range(65)]},
    "too large": lambda keys: {**jwks(keys[0]), "x": "x" * 300000},
    "empty": lambda keys: b"", "key twice": lambda keys: b'{"keys": [], "keys": []}',
}


@pytest.mark.parametrize("bad", BAD_TRUST)
def test_bad_keys_are_not_trusted(machine, plane, keys, bad):
    plane.answers["GET", "/.well-known/jwks.json"] = (200, BAD_TRUST[bad](keys))
    with machine.unchanged():
        done = machine.enroll("--yes", status=REFUSED)
    assert done.stderr.startswith("jitgate: ") and not machine.enrolled()


def test_keys_that_were_there_are_not_dropped_in_passing(machine, plane, keys, tmp_path):
    own = new_key(tmp_path, "own")
    machine.trust.write_text(json.dumps(jwks(own, keys[0])))
    with machine.unchanged():
        done = machine.enroll("--yes", status=REFUSED)
    assert "--replace" in done.stderr and not machine.enrolled()
    # What would be refused in any case is not asked; that the keys are not the plane's is said first.
    with machine.unchanged():
        client, terminal = at_terminal(machine)
        shown = await_end(client, terminal, REFUSED)
    assert b"goes" in shown and b"--replace" in shown and b"[y/N]" not in shown
    wrong = text(hashlib.sha256(b"x").digest())
    with machine.unchanged():
        done = machine.enroll("--trust-fingerprint", wrong, status=REFUSED)
    assert "fingerprintMismatch" in done.stderr and "--replace" not in done.stderr
    done = machine.enroll("--yes", "--replace")
    assert "own" in done.stdout and "goes" in done.stdout
    assert json.loads(machine.trust.read_text()) == plane.trust
    kept = json.loads((machine.directory / "trust.jwks.before-enroll").read_text())
    assert kept == jwks(own, keys[0])


# A control plane that lies, or is not there

LIES = {
    "no vmId": {"vmId": None}, "a number": {"vmId": 7}, "an empty vmId": {"vmId": ""},
    "a space": {"vmId": "/a b"}, "a line": {"vmId": "/a\n[port x]\nnumber = 22"},
    "a comment": {"vmId": ";x"}, "a long vmId": {"vmId": "/" + "x" * 513},
    "a control character": {"vmId": "/a\x1b[2J"}, "http": {"url": "http://localhost:1"},
    "elsewhere": {"url": "ftp://a"}, "no url": {"url": None}, "a query": {"url": "https://a/?b"},
    "a line in the url": {"url": "https://a\n"}, "a comment in the url": {"url": "https://a ;b"},
    "no credential": {"credential": None}, "an empty credential": {"credential": ""},
    "a line in the credential": {"credential": "a\nb"}, "a long credential": {"credential": "x" * 9000},
    "a credential that jitgate-poll would not send": {"credential": "a!b"},
}


@pytest.mark.parametrize("lie", LIES)
def test_an_answer_that_is_none_changes_nothing(machine, plane, lie):
    answer = {"vmId": VM, "url": plane.url, "credential": plane.credential, **LIES[lie]}
    plane.answers["POST", "/v1/enroll"] = (200, answer)
    with machine.unchanged():
        done = machine.enroll("--yes", status=REFUSED)
    assert "Nothing was changed" in done.stderr and "\x1b" not in done.stderr
    for body in b"", b"<html>", [], {}:
        plane.answers["POST", "/v1/enroll"] = (200, body)
        with machine.unchanged():
            machine.enroll("--yes", status=REFUSED)


def test_a_token_that_is_not_good(machine, plane):
    with machine.unchanged():
        done = machine.enroll("--yes", token="wrong", status=REFUSED)
    assert "does not accept the token" in done.stderr and "has been used" in done.stderr
    with machine.unchanged():
        machine.enroll("--yes", token="two words", status=USAGE)


def test_errors_of_the_server(machine, plane):
    for status, exit_code in (403, REFUSED), (429, REFUSED), (500, REFUSED), (503, UNREACHABLE):
        for call in ("GET", "/.well-known/jwks.json"), ("POST", "/v1/enroll"):
            plane.answers = {call: (status, {"error": {"code": "X", "message": "why"}})}
            with machine.unchanged():
                done = machine.enroll("--yes", status=exit_code)
            assert "why" in done.stderr
    plane.answers = {("GET", "/.well-known/jwks.json"): (302, b"", {"Location": plane.url + "/x"})}
    with machine.unchanged():
        assert "not followed" in machine.enroll("--yes", status=REFUSED).stderr
    with machine.unchanged():
        assert "--ca FILE" in machine.enroll("--yes", ca="", status=REFUSED).stderr
    plane.close()
    with machine.unchanged():
        assert "does not answer" in machine.enroll("--yes", status=UNREACHABLE).stderr
    assert not machine.enrolled() or plane.answers


@pytest.mark.parametrize("arguments, options", [
    ([], {"url": ""}), ([], {"token": ""}), ([], {"url": "http://jit.example.org"}),
    ([], {"url": "jit.example.org"}), (["--port", "0/tcp"], {}), (["--port", "22/icmp"], {}),
    (["--yes", "--port", "22", "--port", "22/tcp"], {}),
    (["--trust-fingerprint", "abc"], {}), (["--update-trust"], {}),
    (["--update-trust", "--replace"], {"token": ""}), (["extra"], {})])
def test_usage(machine, plane, arguments, options):
    with machine.unchanged():
        done = machine.enroll(*arguments, status=USAGE, **options)
    assert "See: jitgate enroll --help" in done.stderr and not plane.calls


# Files

EXISTING = """# Ours: do not touch.
[agent]
vm_id = {vm}    ; as in the portal
mode = audit
trust = {trust}
runtime_directory = {directory}/run

; ssh, for the team
[port ssh]
number = 22
always_allow = 10.0.0.0/8   ; the office
"""


def existing(machine, vm=VM, more=""):
    machine.config.write_text(EXISTING.format(vm=vm, trust=machine.trust,
                                              directory=machine.directory) + more)
    machine.config.chmod(0o640)
    os.chown(machine.config, 0, 0)
    return machine.config.read_text()


def test_an_existing_configuration_keeps_all_else(machine, plane):
    before = existing(machine)
    machine.enroll("--yes")
    assert machine.config.read_text() == before + (
        f"\n[feed]\nurl = {plane.url}\nca = {machine.directory}/feed-ca.pem\n"
        f"token = {machine.credential}\n")
    assert mode(machine.config) == 0o640
    backup = machine.directory / "agent.conf.before-enroll"
    assert backup.read_text() == before and mode(backup) == 0o640
    # Once more, for a new credential.
    plane.credential = "another"
    machine.token = plane.enrollment(VM.upper())
    with_feed = machine.config.read_text()
    machine.enroll("--yes", ca="")
    assert machine.config.read_text() == with_feed
    assert machine.credential.read_text() == "another\n"
    # The control plane is the one that the machine has joined.
    plane.credential = "third"
    machine.token = plane.enrollment()
    machine.enroll("--yes", url="", ca="")
    assert machine.config.read_text() == with_feed
    assert machine.credential.read_text() == "third\n"


def test_a_credential_stays_where_the_configuration_has_it(machine, plane):
    elsewhere = machine.directory / "own-token"
    elsewhere.write_text("old\n")
    elsewhere.chmod(0o644)
    existing(machine, more=f"\n[feed]\ntoken = {elsewhere}\n")
    machine.enroll("--yes")
    assert elsewhere.read_text() == plane.credential + "\n" and mode(elsewhere) == 0o640
    assert not machine.credential.exists()


def test_another_machine_or_control_plane_needs_to_be_meant(machine, plane, tmp_path):
    existing(machine, vm=OTHER_VM)
    with machine.unchanged():
        done = machine.enroll("--yes", status=REFUSED)
    assert OTHER_VM in done.stderr and "--replace" in done.stderr and "used up" in done.stderr
    machine.token = plane.enrollment()
    machine.enroll("--yes", "--replace")
    assert f"vm_id = {VM}    ; as in the portal" in machine.settings()

    plane.calls.clear()
    existing(machine, more="\n[feed]\nurl = https://old.example.org\nca = /old.pem\nkind = static\n")
    with machine.unchanged():
        done = machine.enroll("--yes", status=REFUSED)
    assert "https://old.example.org" in done.stderr and not plane.calls
    machine.token = plane.enrollment()
    # The old one's authority is not asked about the new one.
    done = machine.enroll("--yes", "--replace", ca="", status=REFUSED)
    assert "--ca FILE" in done.stderr
    with Plane(tmp_path, None, plane.trust) as plain:
        plain.enrollments = plane.enrollments
        machine.enroll("--yes", "--replace", url=plain.url, ca="")
        assert machine.settings()[-3:] == [f"url = {plain.url}", "kind = poll",
                                           f"token = {machine.credential}"]
    assert "#ca = /old.pem" in machine.config.read_text()


def test_a_bad_configuration_is_left_alone(machine):
    for bad in "[agent]\nfrob = 1\n", "[agent", "[agent]\nvm_id = a\nvm_id = b\n", "x" * 300000:
        machine.config.write_text(bad)
        with machine.unchanged():
            done = machine.enroll("--yes", status=REFUSED)
        assert str(machine.config) in done.stderr and not machine.enrolled()
    existing(machine)
    with machine.unchanged():
        machine.enroll("--yes", "--port", "22/tcp", status=USAGE)


def test_links_are_followed(machine, plane, tmp_path):
    real = tmp_path / "managed.conf"
    before = existing(machine)
    real.write_text(before)
    machine.config.unlink()
    machine.config.symlink_to(real)
    machine.enroll("--yes")
    assert machine.config.is_symlink() and real.read_text().startswith(before)
    assert (tmp_path / "managed.conf.before-enroll").read_text() == before


@pytest.mark.parametrize("name", ["agent.conf", "trust.jwks", "feed-token"])
def test_what_is_no_file_is_not_replaced(machine, name):
    path = machine.directory / name
    path.symlink_to(machine.directory / "nothing")
    with machine.unchanged():
        done = machine.enroll("--yes", status=REFUSED)
    assert name in done.stderr and not machine.enrolled()
    path.unlink()
    path.mkdir()
    with machine.unchanged():
        machine.enroll("--yes", status=REFUSED)
    path.rmdir()
    os.mkfifo(path)
    with machine.unchanged():
        machine.enroll("--yes", status=REFUSED)
    assert not machine.enrolled()


@contextlib.contextmanager
def mounted(directory, *options):
    subprocess.run(["mount", *options, directory], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", directory], check=True)


def test_a_read_only_directory(machine):
    with mounted(machine.directory, "-t", "tmpfs", "-o", "ro", "tmpfs"):
        with machine.unchanged():
            done = machine.enroll("--yes", status=REFUSED)
        assert "Read-only" in done.stderr and not machine.enrolled()


def test_a_full_disk_is_found_before_the_token_is_used(machine):
    with mounted(machine.directory, "-t", "tmpfs", "-o", "size=64k", "tmpfs"):
        existing(machine)
        for left in range(5):
            filler = machine.directory / "filler"
            with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
                while file.write(b"x" * 4096) == 4096:
                    pass
            os.truncate(filler, filler.stat().st_size - left * 4096)
            with machine.unchanged():
                done = machine.enroll("--yes", status=REFUSED)
            assert "No space left" in done.stderr
            assert not machine.enrolled()


def test_a_file_that_can_not_be_replaced_is_found_before_the_token_is_used(machine):
    existing(machine)
    with mounted(machine.config, "--bind", machine.config):
        with machine.unchanged():
            done = machine.enroll("--yes", status=REFUSED)
        assert "it is mounted there" in done.stderr and "needs root" not in done.stderr
        assert not machine.enrolled()


def test_a_directory_that_is_missing_is_made(machine):
    machine.directory.rmdir()
    machine.enroll("--yes", token="wrong", status=REFUSED)
    assert not machine.directory.exists()
    machine.enroll("--yes")
    assert mode(machine.directory) == 0o755 and machine.config.exists()
    machine.config = machine.directory / "no" / "where" / "agent.conf"
    assert "No such file" in machine.enroll("--yes", status=REFUSED).stderr


def test_a_user_is_told_that_it_takes_root(machine, tmp_path):
    ca = tmp_path / "authority.pem"
    ca.write_text(machine.ca.read_text())
    command = ["setpriv", "--reuid", "65534", "--clear-groups", *machine.command("--yes", ca=ca)]
    machine.directory.chmod(0o755)
    for path in machine.directory.parents:
        path.chmod(path.stat().st_mode | 0o011)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode == 126 or "Permission denied" not in done.stderr:
        pytest.skip(f"another user can't run what is built: {done.stderr}")
    assert done.returncode == REFUSED and "sudo" in done.stderr
    assert f"{machine.directory}: Permission denied" in done.stderr and not machine.plane.calls


# A running agent, and new keys

@pytest.fixture
def member(agent, machine):
    """A machine whose agent runs."""
    machine.config, machine.trust = agent.config_path, agent.trust_path
    machine.directory = agent.directory
    agent.configure(vm_id=VM)
    agent.start()
    return machine


def test_a_running_agent_takes_it_up(agent, member, plane, keys, systemd):
    own = agent.key
    agent.key = keys[0]
    document = agent.sign_grant("22/tcp", "192.0.2.7", aud=VM)
    assert agent.refusal(document) == "unknown_key"
    done = member.enroll("--yes", "--replace")
    assert "The running agent has taken it up" in done.stdout
    assert "restart jitgate-poll" in done.stdout
    assert agent.submit(document)["state"] == "active"
    agent.key = own
    assert agent.refusal(agent.sign_grant("22/tcp", "192.0.2.8", aud=VM)) == "unknown_key"


@pytest.mark.parametrize("existing_config", [False, True], ids=["", "existing"])
def test_an_agent_with_another_configuration_is_left_alone(agent, machine, keys, existing_config):
    """It would read its own file again, and nothing of what was written."""
    agent.configure(vm_id=VM)
    agent.start()
    if existing_config:
        machine.config.write_text(f"[agent]\ntrust = {machine.trust}\nsocket = {agent.socket_path}\n")
    options = [] if existing_config else ["--socket", agent.socket_path]
    done = machine.enroll("--yes", *options)
    assert f"goes by another configuration, {agent.config_path}" in done.stdout and "has taken it up" not in done.stdout
    assert not agent.audit("configuration_reloaded")
    machine.token = machine.plane.enrollment()
    assert json.loads(machine.enroll("--yes", "--json", *options).stdout)["reloaded"] is False


def test_keys_are_rotated(agent, member, plane, keys):
    member.enroll("--yes", "--replace")
    assert "already" in member.update("--yes").stdout
    plane.trust = jwks(*keys)
    agent.key = keys[1]
    document = agent.sign_grant("22/tcp", "192.0.2.7", aud=VM)
    assert agent.refusal(document) == "unknown_key"
    member.update(status=REFUSED)
    assert agent.refusal(document) == "unknown_key"
    done = member.update("--yes")
    assert "plane-1" in done.stdout and "trusted already" in done.stdout and "new" in done.stdout
    assert agent.submit(document)["state"] == "active"
    plane.trust = jwks(keys[1])
    (pin,), _ = fingerprints(plane.trust)
    told = json.loads(member.update("--json", "--trust-fingerprint", pin).stdout)
    assert told["changed"] and told["reloaded"]
    assert [(key["kid"], key["change"]) for key in told["keys"]] == [
        ("plane-2", "kept"), ("plane-1", "removed")]
    agent.key = keys[0]
    assert agent.refusal(agent.sign_grant("22/tcp", "192.0.2.9", aud=VM)) == "unknown_key"
    # Only the trust file is another.
    assert VM in member.config.read_text()
    assert len([path for path in plane.paths() if path == "/v1/enroll"]) == 1


def test_a_configuration_may_be_named_from_where_one_is(machine):
    """Its neighbours are named in it by whole paths, or the daemon could not read it."""
    command = machine.command("--yes")
    command[command.index(str(machine.config))] = machine.config.name
    subprocess.run(command, cwd=machine.directory, check=True, timeout=30, stdin=subprocess.DEVNULL)
    assert run_jitgated_check(machine).returncode == 0
    assert f"token = {machine.credential}" in machine.settings()
