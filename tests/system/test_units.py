# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd units: as tight as they say, and not too tight to work."""

import json
import os
import re
import shutil
import stat
import subprocess

import pytest

from certificates import Authority
from confined import NOBODY, as_unit, give, give_agent, open_path
from feed import USER, Feed
from harness import BUILD, Listener, Session, await_, is_open
from server import Server
from test_poll_tls import server_context
from units import APPARMOR, PROGRAMS, SYSTEMD, allowed_calls, calls_made, tracing, unit_text

EXPOSURE_MAX = 1.5
GROUP = NOBODY - 1

needs_analyze = pytest.mark.skipif(not shutil.which("systemd-analyze"),
                                   reason="systemd-analyze is not here")
needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not here")
every_program = pytest.mark.parametrize("program", PROGRAMS)


def judge(directory, program, *options):
    unit = directory / f"{program}.service"
    unit.write_text(unit_text(program))
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", *options, unit],
                          capture_output=True, text=True)
    if not done.stdout:
        pytest.skip(f"this systemd does not judge units offline: {done.stderr}")
    return done.stdout


@needs_analyze
@every_program
def test_its_exposure(tmp_path, program):
    text = judge(tmp_path, program)
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", text)
    assert float(level.group(1)) <= EXPOSURE_MAX, text


@needs_analyze
@every_program
def test_what_stays_allowed_is_explained(tmp_path, program):
    """Each that systemd marks with a twentieth of a point or more, in a comment that names it."""
    marked = [item["name"] for item in json.loads(judge(tmp_path, program, "--json=short"))
              if float(item["exposure"] or 0) >= 0.1]
    comments = " ".join(re.findall(r"^#(.*)$", unit_text(program), re.M))
    assert marked
    for name in marked:
        # "PrivateUsers=", "RootDirectory=/RootImage=", "RestrictAddressFamilies=~AF_(INET|INET6)"
        words = re.findall(r"(?:AF|CAP)_[A-Z_(|0-9]+\)?|^\w+", name)[-1]
        head, _, choice = words.partition("(")
        assert any(re.search(rf"\b{head}{one}\b", comments)
                   for one in choice.rstrip(")").split("|")), name


@every_program
def test_it_says_nothing_that_the_oldest_systemd_does_not_know(program):
    """247, Debian 11's: it would pass over the line, with a warning each time."""
    newer = {"PrivateIPC", "ExecPaths", "NoExecPaths", "RestrictFileSystems", "RestartSteps",
             "RestartMaxDelaySec", "LoadCredentialEncrypted", "ImportCredential", "ProtectSystemd",
             "MemoryKSM", "RestartMode", "StartLimitInterval"}
    keys = set(re.findall(r"^(\w+)=", unit_text(program), re.M))
    assert "SystemCallFilter" in keys and not keys & newer
    assert "Type=notify\n" in unit_text(program)


def test_its_users(tmp_path):
    if not shutil.which("systemd-sysusers"):
        pytest.skip("systemd-sysusers is not here")
    (tmp_path / "etc").mkdir()
    for name in "jitgate", "jitgate-server":
        subprocess.run(["systemd-sysusers", f"--root={tmp_path}", SYSTEMD / f"{name}.sysusers"],
                       check=True, capture_output=True)
    made = (tmp_path / "etc" / "passwd").read_text()
    for program in PROGRAMS:
        user = re.search(r"^User=(.*)$", unit_text(program), re.M).group(1)
        assert re.search(f"^{user}:", made, re.M)
    readers = re.search("^jitgate:.*:(.*)$", (tmp_path / "etc" / "group").read_text(), re.M).group(1)
    assert set(readers.split(",")) == {USER, "jitgated"}


@pytest.fixture
def confined(users, agent):
    """The agent as its unit starts it, once start() is called."""
    give_agent(agent)
    agent.wrapper = as_unit("jitgated")
    return agent


@every_program
def test_its_profile(tmp_path, program):
    """It is enforced where AppArmor is: a profile that is wrong would be left out without a word."""
    if not shutil.which("apparmor_parser"):
        pytest.skip("apparmor_parser is not here")
    assert f"AppArmorProfile=-{program}\n" in unit_text(program)
    profile = tmp_path / program
    profile.write_text((APPARMOR / f"{program}.in").read_text().replace("@PREFIX@", "/usr"))
    subprocess.run(["apparmor_parser", "--skip-kernel-load", "--skip-cache", profile], check=True)
    assert f"profile {program} {{" in profile.read_text()


def life(world, agent):
    """A grant's, and what others ask meanwhile."""
    listener = Listener(world.vm, "0.0.0.0", 22)
    agent.start()
    assert not is_open(world.requester, world.vm.v4, 22)
    with agent.connect() as monitor:
        monitor.send("Monitor", more=True)
        monitor.receive()
        agent.grant("22/tcp", "192.0.2.7", jti="g")
        session = Session(world.requester, world.vm.v4, listener)
        agent.await_audit("session_opened")
        agent.call("Grant", ports=[{"number": 22, "protocol": "TCP",
                                    "allowedSourceAddressPrefixes": ["192.0.2.9"]}],
                   seconds=60, reason="test")
        # Whoever is not root is looked up.
        agent.namespace.call("setpriv", "--reuid", str(NOBODY - 1), "--clear-groups", "--regid",
                             str(NOBODY - 1), f"{BUILD}/jitgate", "--socket", agent.socket_path,
                             "status")
        for command in "status", "grants", "sessions", "denied", "audit":
            assert agent.cli(command).returncode == 0
        agent.reload()
        agent.namespace.nft("delete chain inet jitgate prerouting", check=False)
        agent.call("Revoke", id="g", sessions="kill", reason="test")
        await_(lambda: not session.works(), what="the session has ended")
    agent.kill()
    agent.start()
    assert "g" not in [grant["id"] for grant in agent.call("ListGrants")["grants"]]
    assert not is_open(world.requester, world.vm.v4, 22)
    assert agent.stop() == 0


def test_the_agent_needs_to_be_no_more_than_its_unit_says(world, confined):
    life(world, confined)
    assert "can't" not in confined.log()
    for path in confined.directory.glob("*/*"):
        assert path.stat().st_uid == NOBODY


def make_directories(root):
    """What systemd runs as root before jitgated; below another root, and for users that there need not be."""
    for line in re.findall(r"^ExecStartPre=\+-(.*)$", unit_text("jitgated"), re.M):
        line = line.replace("-o jitgated -g jitgate", f"-o {NOBODY} -g {GROUP}").replace("jitgated:jitgate", f"{NOBODY}:{GROUP}")
        subprocess.run(line.replace("/var/", f"{root}/var/"), shell=True, umask=0o027)


def ownership(path):
    status = path.lstat()
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


def test_the_directories_of_the_agent_are_made(tmp_path):
    """Also where nothing is below /var; and those of another system's jitgated, whose files are for root to give."""
    (tmp_path / "var").mkdir()
    make_directories(tmp_path)
    state, log = tmp_path / "var/lib/jitgate", tmp_path / "var/log/jitgate"
    assert ownership(state) == (NOBODY, GROUP, 0o700) and ownership(log) == (NOBODY, GROUP, 0o750)
    assert ownership(state.parent) == ownership(log.parent) == (0, 0, 0o755)
    (state / "ledger").touch(0o640)
    for path in state, state / "ledger":
        os.chown(path, 4711, 4711)
    log.parent.chmod(0o775)
    make_directories(tmp_path)
    assert ownership(state) == (NOBODY, GROUP, 0o700) and ownership(state / "ledger") == (4711, 4711, 0o640)
    assert ownership(log.parent) == (0, 0, 0o775)


def test_a_symbolic_link_in_place_of_a_directory_gives_nothing_away(tmp_path):
    """Where others than root may write to /var/log."""
    (tmp_path / "var/log").mkdir(parents=True)
    secret = tmp_path / "secret"
    secret.mkdir(0o711)
    (secret / "of root").touch(0o600)
    before = ownership(secret), ownership(secret / "of root")
    (tmp_path / "var/log/jitgate").symlink_to(secret)
    make_directories(tmp_path)
    assert (ownership(secret), ownership(secret / "of root")) == before


@needs_analyze
@needs_strace
def test_the_system_calls_that_jitgated_makes_are_allowed(world, confined, tmp_path):
    confined.configure(on_stop="remove")
    trace = tmp_path / "trace"
    trace.touch(0o666)
    trace.chmod(0o666)
    confined.wrapper += tracing(trace)
    life(world, confined)
    await_(lambda: "total" in trace.read_text(), what="strace has counted")
    made = calls_made(trace)
    assert {"sendto", "timerfd_settime", "fdatasync"} <= made
    assert not made - allowed_calls("jitgated")


@needs_analyze
@needs_strace
def test_the_system_calls_that_jitgate_poll_makes_are_allowed(agent, poll, world, tmp_path):
    """Name lookup, TLS, documents, events, the cursor: all of it, seen by strace."""
    authority = Authority(tmp_path)
    feed = Feed(world.vm, server_context(*authority.issue("server", "localhost")))
    poll.configure(feed.url.replace("127.0.0.1", "localhost"), ca=authority.path)
    agent.start()
    trace = tmp_path / "trace"
    trace.touch(0o666)
    trace.chmod(0o666)
    # The tree may be where only root gets to.
    program = shutil.copy(f"{BUILD}/jitgate-poll", tmp_path)
    with open(poll.log_path, "ab") as log:
        # Without capabilities to inherit, as systemd starts it: it calls capset() only to give some up.
        poll.process = agent.namespace.spawn(
            "setpriv", "--reuid", USER, "--regid", USER, "--init-groups", "--inh-caps=-all",
            *tracing(trace), program, "-c", agent.config_path, stderr=log)
    feed.add(agent.sign_grant("22/tcp", "192.0.2.7", jti="g"))
    feed.await_event("grant_active", grant="g", bound=20)
    await_(lambda: (poll.directory / "cursor.json").exists(), what="the cursor is saved")
    poll.stop()
    feed.close()
    await_(lambda: "total" in trace.read_text(), what="strace has counted")
    made = calls_made(trace)
    assert "connect" in made and "fdatasync" in made
    assert not made - allowed_calls("jitgate-poll")


@needs_analyze
@needs_strace
def test_the_system_calls_that_jitgate_server_makes_are_allowed(users, tmp_path):
    """A port below 1024 and TLS, a person's request, an agent's question, a reload."""
    server = Server(tmp_path)
    server.port = 443
    server.use_tls()
    server.configure(listen="127.0.0.1:443", state=tmp_path / "state" / "state.sqlite")
    open_path(tmp_path)
    give(tmp_path / "state")
    for path in tmp_path.glob("*"):
        os.chown(path, NOBODY, NOBODY)
    trace = tmp_path / "trace"
    trace.touch(0o666)
    trace.chmod(0o666)
    server.start(prefix=[*as_unit("jitgate-server"), *tracing(trace)])
    try:
        token = server.token(role="administrator")
        assert server.get("/subscriptions/s/providers/Microsoft.Security/jitNetworkAccessPolicies"
                          "?api-version=2020-01-01", Authorization=f"Bearer {token}").status == 200
        assert server.get("/.well-known/jwks.json").status == 200
        server.reload()
        assert server.stop() == 0
    finally:
        server.close()
    await_(lambda: "total" in trace.read_text(), what="strace has counted")
    made = calls_made(trace)
    assert {"accept4", "fdatasync"} <= made
    assert not made - allowed_calls("jitgate-server")
