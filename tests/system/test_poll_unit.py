# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd unit: as tight as it says, and not too tight to work."""

import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

from certificates import Authority
from feed import USER, Feed
from harness import BUILD, await_
from test_poll_tls import server_context

SYSTEMD = pathlib.Path(__file__).resolve().parents[2] / "packaging" / "systemd"
EXPOSURE_MAX = 1.5

pytestmark = pytest.mark.skipif(not shutil.which("systemd-analyze"),
                                reason="systemd-analyze is not here")


def unit_text():
    return (SYSTEMD / "jitgate-poll.service.in").read_text().replace("@PREFIX@", "/usr")


def test_its_exposure(tmp_path):
    unit = tmp_path / "jitgate-poll.service"
    unit.write_text(unit_text())
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", unit],
                          capture_output=True, text=True)
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    if not level:
        pytest.skip(f"this systemd does not judge units offline: {done.stderr}")
    assert float(level.group(1)) <= EXPOSURE_MAX


def test_its_users(tmp_path):
    if not shutil.which("systemd-sysusers"):
        pytest.skip("systemd-sysusers is not here")
    (tmp_path / "etc").mkdir()
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", SYSTEMD / "jitgate.sysusers"],
                   check=True, capture_output=True)
    assert USER in (tmp_path / "etc" / "passwd").read_text()
    assert re.search(f"^jitgate:.*:{USER}$", (tmp_path / "etc" / "group").read_text(), re.M)


def system_calls(group):
    text = subprocess.run(["systemd-analyze", "syscall-filter", group], check=True,
                          capture_output=True, text=True).stdout
    names = set()
    for line in map(str.strip, text.splitlines()):
        if line.startswith("@") and line != group:
            names |= system_calls(line)
        elif line and line[0] not in "@#":
            names.add(line)
    return names


def allowed_system_calls():
    """As the unit's SystemCallFilter= lines say, one after the other."""
    allowed = system_calls("@default")
    for line in re.findall(r"^SystemCallFilter=(.*)$", unit_text(), re.M):
        for group in line.lstrip("~").split():
            if line.startswith("~"):
                allowed -= system_calls(group)
            else:
                allowed |= system_calls(group)
    return allowed


def test_the_system_calls_that_it_makes_are_allowed(agent, poll, world, tmp_path):
    """Name lookup, TLS, documents, events, the cursor: all of it, seen by strace."""
    if not shutil.which("strace"):
        pytest.skip("strace is not here")
    authority = Authority(tmp_path)
    feed = Feed(world.vm, server_context(*authority.issue("server", "localhost")))
    poll.configure(feed.url.replace("127.0.0.1", "localhost"), ca=authority.path)
    agent.start()
    trace = tmp_path / "trace"
    trace.touch(0o666)
    trace.chmod(0o666)
    # The tree may be where only root gets to.
    program = shutil.copy(f"{BUILD}/jitgate-poll", tmp_path)
    # Sanitizers look for leaks by ptrace, too.
    options = os.environ["ASAN_OPTIONS"] + ":detect_leaks=0"
    with open(poll.log_path, "ab") as log:
        # Without capabilities to inherit, as systemd starts it: it calls capset() only to give some up.
        poll.process = agent.namespace.spawn(
            "setpriv", "--inh-caps=-all", "strace", "-E", f"ASAN_OPTIONS={options}", "-f", "-c", "-o", trace, "-u", USER, program, "-c",
            agent.config_path, stderr=log)
    feed.add(agent.sign_grant("22/tcp", "192.0.2.7", jti="g"))
    feed.await_event("grant_active", grant="g", bound=20)
    await_(lambda: (poll.directory / "cursor.json").exists(), what="the cursor is saved")
    children = pathlib.Path(f"/proc/{poll.process.pid}/task/{poll.process.pid}/children")
    os.kill(int(children.read_text().split()[0]), signal.SIGTERM)
    poll.process.wait(10)
    feed.close()
    made = {line.split()[-1] for line in trace.read_text().splitlines()[2:-2]}
    assert "connect" in made and "fdatasync" in made
    refused = made - allowed_system_calls()
    assert not refused
