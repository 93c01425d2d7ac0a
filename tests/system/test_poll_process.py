# SPDX-License-Identifier: GPL-3.0-or-later
"""The process: without privilege, small, asleep when idle, and a good service."""

import contextlib
import json
import os
import pwd
import select
import signal
import subprocess
import threading

import pytest

from feed import USER, Between
from harness import BUILD, SANITIZED, VarlinkError, await_
from test_daemon_systemd import counters, fill


@pytest.fixture
def running(agent, feed, poll):
    poll.configure(feed.url)
    agent.start()
    poll.start()
    feed.await_asked(2)
    return agent, feed, poll


def status_of(pid):
    with open(f"/proc/{pid}/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


@pytest.mark.parametrize("as_root", [False, True])
def test_it_runs_without_any_privilege(agent, feed, poll, as_root):
    poll.configure(feed.url)
    agent.start()
    poll.start(as_root=as_root)
    feed.add(agent.sign_grant("22/tcp", "192.0.2.7", jti="g"))
    agent.await_state("g", "active")
    feed.await_event("grant_active", grant="g")
    status = status_of(poll.process.pid)
    user = pwd.getpwnam(USER)
    assert status["Uid"].split() == [str(user.pw_uid)] * 4
    assert status["Gid"].split() == [str(user.pw_gid)] * 4
    assert set(status["Groups"].split()) == {str(user.pw_gid), "64501"}
    assert status["NoNewPrivs"].strip() == "1"
    for name in "CapInh", "CapPrm", "CapEff", "CapAmb":
        assert int(status[name], 16) == 0, name
    # Nobody but root looks into it: not dumpable, and so root's in /proc.
    assert SANITIZED or os.stat(f"/proc/{poll.process.pid}/environ").st_uid == 0


def test_who_may_not_read_events_brings_documents_nevertheless(agent, feed, poll):
    poll.configure(feed.url)
    agent.start()
    poll.start(groups=["--clear-groups"])
    feed.add(agent.sign_grant("22/tcp", "192.0.2.7", jti="g"))
    agent.await_state("g", "active")
    poll.await_log("it must be in the group jitgate")
    poll.await_state("connected")
    assert feed.events == []


def test_capabilities_that_it_is_given_go(agent, feed, poll):
    poll.configure(feed.url)
    agent.start()
    command = ["setpriv", "--reuid", USER, "--regid", USER, "--init-groups",
               "--inh-caps", "+net_admin", "--ambient-caps", "+net_admin", "--pdeathsig", "KILL",
               f"{BUILD}/jitgate-poll", "-c", str(agent.config_path)]
    poll.process = agent.namespace.spawn(*command)
    feed.await_asked(1)
    status = status_of(poll.process.pid)
    assert all(int(status[name], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"))


def test_it_can_not_read_what_is_the_daemons(running):
    agent, feed, poll = running

    def as_poll(*command):
        return subprocess.run(["setpriv", "--reuid", USER, "--regid", USER, "--init-groups",
                               *map(str, command)], capture_output=True, text=True)
    for directory in agent.directory / "state", agent.directory / "log":
        assert directory.exists()
        assert as_poll("ls", directory).returncode != 0
    assert as_poll("ls", poll.directory).returncode == 0
    # Over the socket: read, submit and report, no more.
    cli = [f"{BUILD}/jitgate", "--socket", agent.socket_path]
    assert as_poll(*cli, "status").returncode == 0
    assert as_poll(*cli, "grant", "--port", "22/tcp", "--source", "192.0.2.7", "--for", "PT1M",
                   "--reason", "x").returncode != 0
    assert as_poll(*cli, "reload").returncode != 0


CALL = """
import json, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
connection.sendall(json.dumps({"method": "io.jitgate.Agent." + sys.argv[2],
                               "parameters": json.loads(sys.argv[3])}).encode() + b"\\0")
print(json.loads(connection.recv(65536).split(b"\\0")[0]).get("error", "done").rsplit(".", 1)[-1])
"""
REPORT = {"url": "https://feed.example", "state": "connected"}


@pytest.mark.parametrize("who,events,report", [
    (["--reuid", USER, "--regid", USER, "--init-groups"], "done", "done"),
    (["--reuid", "64599", "--regid", "64599", "--groups", "64501"], "done", "NotPermitted"),
    (["--reuid", "64599", "--regid", "64599", "--clear-groups"], "NotPermitted", "NotPermitted"),
    (["--reuid", USER, "--regid", USER, "--clear-groups"], "NotPermitted", "done"),
    ([], "done", "done")])
def test_who_may_read_events_and_report(poll, agent, who, events, report):
    agent.start()
    for method, parameters, expected in (("ListEvents", {}, events), ("ReportFeed", REPORT, report)):
        done = subprocess.run(
            ["setpriv", *who, "/usr/bin/python3", "-c", CALL, agent.socket_path, method,
             json.dumps(parameters)], capture_output=True, text=True)
        assert done.stdout.strip() == expected, done.stderr


def test_without_its_user_root_is_told(users, agent, feed, poll):
    """In a mount namespace where there is no such user."""
    poll.configure(feed.url)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c",
         'grep -v jitgate-poll /etc/passwd >"$1/passwd"; mount --bind "$1/passwd" /etc/passwd;'
         f' exec {BUILD}/jitgate-poll -c "$2"', "sh", str(agent.directory), str(agent.config_path)],
        capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "must not run as root" in done.stderr and "jitgate-poll" in done.stderr


def test_no_feed_is_nothing_to_do(agent, poll):
    poll.start()
    assert poll.process.wait(60) == 0
    poll.await_log("has no [feed] with a url: there is nothing to do")


@pytest.mark.parametrize("arguments,status", [
    (["-n"], 0), (["--help"], 0), (["--version"], 0), (["--frob"], 2), (["-c"], 2), (["x"], 2),
    (["-n", "-c", "/nonexistent"], 1)])
def test_the_command_line(agent, arguments, status):
    if arguments == ["-n"]:
        arguments = ["-n", "-c", str(agent.config_path)]
    done = agent.namespace.call(f"{BUILD}/jitgate-poll", *arguments)
    assert done.returncode == status
    assert done.stdout if status == 0 else done.stderr


def test_a_bad_feed_is_an_error_for_both(agent, poll):
    poll.configure("http://192.0.2.1/")
    for program in "jitgated", "jitgate-poll":
        done = agent.namespace.call(f"{BUILD}/{program}", "-n", "-c", str(agent.config_path))
        assert done.returncode == 1 and "loopback addresses only" in done.stderr


def start_with(agent, poll, text, **options):
    """Again, with that file, and the directory that systemd names."""
    if poll.process and poll.process.poll() is None:
        poll.stop()
    agent.config_path.write_text(text)
    poll.environment["STATE_DIRECTORY"] = str(poll.directory)
    return poll.start(**options)


def test_a_bad_file_does_not_keep_grants_away(agent, feed, poll):
    """The daemon has its last good configuration then; without one here nobody could be let in."""
    poll.configure(feed.url)
    agent.start()
    good = agent.config_path.read_text()
    start_with(agent, poll, good)
    feed.await_asked(1)
    for bad in "[agent]\nmood = enforce\n", good + "[feed]\n", "\0":
        start_with(agent, poll, bad)
        id = f"g{len(feed.documents)}"
        feed.add(agent.sign_grant("22/tcp", "192.0.2.7", jti=id))
        agent.await_state(id, "active")
    assert f"{agent.config_path}:2: " in poll.log()
    assert poll.log().count("the last good configuration is in force; mend it, then systemctl restart jitgate-poll") == 3
    start_with(agent, poll, good)
    assert poll.log().count("last good") == 3


def test_what_was_last_good_follows_the_file(agent, feed, poll):
    """A feed that was given up does not come back by a file that is bad, nor by one that was taken away."""
    good = poll.configure(feed.url).agent.config_path.read_text()
    bad = "[agent]\nmood = enforce\n"
    without = good.split("[feed]")[0]
    start_with(agent, poll, bad, ready=False)
    assert poll.process.wait(60) == 1
    for text, status in (good, None), (without, 0), (bad, 0):
        start_with(agent, poll, text)
        assert status is None or poll.process.wait(60) == status
    kept = poll.directory / "agent.conf"
    assert kept.read_text().endswith(without) and kept.stat().st_mode & 0o777 == 0o600
    agent.config_path.unlink()
    poll.start(ready=False)
    assert poll.process.wait(60) == 1
    agent.config_path.write_text(bad)
    del poll.environment["STATE_DIRECTORY"]
    poll.start(ready=False)
    assert poll.process.wait(60) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_clean_stop(running, number):
    agent, feed, poll = running
    assert poll.stop(number) == 0
    assert poll.state() == "stopped"
    assert json.loads((poll.directory / "cursor.json").read_text())["documents"] == "0"


def test_it_keeps_the_watchdog_quiet(agent, feed, poll):
    poll.environment["WATCHDOG_USEC"] = "1000000"
    poll.configure(feed.url)
    agent.start()
    poll.start()
    poll._notify.settimeout(1)
    n = 0
    while n < 5:
        n += poll._notify.recv(4096) == b"WATCHDOG=1"


def test_a_service_manager_that_reads_nothing_holds_nothing_up(running):
    agent, feed, poll = running
    fill(agent.directory / "notify-poll")
    feed.close()
    poll.await_state("backing_off")
    feed.open()
    feed.add(agent.sign_grant("22/tcp", "192.0.2.7", jti="g"))
    agent.await_state("g", "active", 20)


def test_a_log_that_nobody_reads_holds_nothing_up(agent, feed, poll):
    """It goes on where somebody reads again, and tells that some is lost."""
    os.mkfifo(poll.log_path)
    reader = os.open(poll.log_path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(poll.log_path, os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.close(writer)
    poll.configure(feed.url)
    agent.start()
    poll.start()
    feed.add(agent.sign_grant("22/tcp", "192.0.2.7", jti="g"))
    agent.await_state("g", "active")
    with contextlib.suppress(BlockingIOError):
        while os.read(reader, 65536):
            pass
    feed.close()
    await_(lambda: select.select([reader], [], [], 0)[0], what="a line")
    assert b"(1 line before it was lost)\n" in os.read(reader, 65536)
    poll.stop()
    os.close(reader)
    poll.log_path.unlink()


def rests(*pids):
    before = [counters(pid) for pid in pids]
    threading.Event().wait(0.1)
    return [counters(pid) for pid in pids] == before


def test_both_sleep_while_a_question_is_held(running, measure):
    agent, feed, poll = running
    pids = agent.process.pid, poll.process.pid
    last = agent.audit()[-1]["sequence"]
    # All is sent, and the cursor is saved.
    poll.await_noted(last)
    await_(lambda: '"documents"' in (poll.directory / "cursor.json").read_text(), what="the cursor")
    await_(lambda: rests(*pids), what="all is done")
    before = [counters(pid) for pid in pids]
    asked = feed.count()
    threading.Event().wait(4)
    assert feed.count() == asked
    assert [counters(pid) for pid in pids] == before
    with open(f"/proc/{poll.process.pid}/smaps_rollup") as file:
        sizes = {line.split(":")[0]: line.split()[1] for line in file if line.endswith(" kB\n")}
    for name in "Rss", "Private_Dirty":
        measure(f"jitgate-poll when idle: {name}, KiB", sizes[name])
    with open(f"/proc/{agent.process.pid}/smaps_rollup") as file:
        sizes = {line.split(":")[0]: line.split()[1] for line in file if line.endswith(" kB\n")}
    for name in "Rss", "Private_Dirty":
        measure(f"jitgated with a poll: {name}, KiB", sizes[name])


def test_it_leaves_no_descriptor_behind(running):
    agent, feed, poll = running

    def descriptors():
        return len(os.listdir(f"/proc/{poll.process.pid}/fd"))

    def work(name):
        for i in range(30):
            feed.add(agent.sign_grant("22/tcp", "192.0.2.7", jti=f"{name}-{i}"))
        feed.await_event("grant_active", grant=f"{name}-29")
        feed.close()
        poll.await_state("backing_off")
        feed.open()
        poll.await_state("connected")
        await_(lambda: rests(poll.process.pid), what="all is done")
    work("a")
    before = descriptors()
    work("b")
    assert descriptors() <= before


@pytest.mark.parametrize("wrong", [
    {"url": 7}, {"url": None}, {"url": "x" * 2000}, {"state": "stopped"}, {"state": None},
    {"lastContact": "yesterday"}, {"message": "a\nb"}, {"message": "x" * 2000}])
def test_a_report_that_is_wrong(agent, wrong):
    agent.start()
    good = {"url": "https://feed.example", "state": "connected"}
    with agent.connect() as connection:
        assert connection.call("ReportFeed", **good) == {}
        with pytest.raises(VarlinkError) as caught:
            connection.call("ReportFeed", **{**good, **wrong})
        assert caught.value.name == "InvalidParameter"
        assert connection.call("Status")["feed"] == good


def test_status_shows_the_feed(running):
    agent, feed, poll = running
    poll.await_state("connected")
    shown = agent.cli("status").stdout
    assert f"{feed.url}, connected, last contact " in shown and " ago)" in shown
    status = json.loads(agent.cli("status", "--json").stdout)["feed"]
    assert (status["url"], status["state"]) == (feed.url, "connected") and status["lastContact"]
    poll.kill()
    shown = agent.cli("status").stdout
    assert "jitgate-poll does not run" in shown and "systemctl enable --now jitgate-poll" in shown


def test_once_it_is_ready_the_status_knows_of_it(agent, feed, poll):
    """An agent that is slow, or away, holds it up no longer than a second."""
    poll.configure(feed.url)
    agent.start()
    agent.process.send_signal(signal.SIGSTOP)
    poll.start(ready=False)
    with pytest.raises(TimeoutError):
        poll.await_ready(0.3)
    agent.process.send_signal(signal.SIGCONT)
    poll.await_ready()
    assert "jitgate-poll does not run" not in agent.cli("status").stdout
    poll.stop()
    agent.process.send_signal(signal.SIGSTOP)
    poll.start()
    agent.process.send_signal(signal.SIGCONT)
    poll.stop()
    agent.stop()
    poll.start()


def test_a_report_that_did_not_arrive_is_made_again(agent, feed, poll):
    """Or the status would tell of a feed that answers, for as long as it does not."""
    poll.configure(feed.url)
    agent.start()
    between = Between(agent)
    poll.start()
    poll.await_state("connected")
    between.lost = "ReportFeed"
    feed.on_get = lambda handler: handler.answer(503)
    feed.add("")  # what is held is answered
    await_(lambda: between.n_lost, 20, "a report")
    between.lost = None
    poll.await_state("backing_off", 20)


def test_status_says_what_to_do_about_the_feed(agent, feed, poll):
    agent.start()
    assert "jitgate enroll" in agent.cli("status").stdout  # there is no feed
    agent.stop()
    poll.configure(feed.url)
    agent.start()
    never = agent.cli("status").stdout
    assert f"{feed.url}, jitgate-poll does not run, last contact never" in never
    assert "systemctl enable --now jitgate-poll" in never
    feed.on_get = lambda handler: handler.answer(
        401, {"error": {"code": "Unauthorized", "message": "no such token"}})
    poll.start()
    poll.await_state("unauthorized")
    shown = agent.cli("status").stdout
    assert "jitgate-poll says: HTTP 401: Unauthorized: no such token" in shown
    assert "jitgate enroll --token -" in shown and "systemctl restart jitgate-poll" in shown
