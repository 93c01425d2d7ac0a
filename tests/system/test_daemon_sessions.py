# SPDX-License-Identifier: GPL-3.0-or-later
"""`sessions: kill` and `on_expiry = kill` end what that grant let in, and nobody else's session."""

import contextlib
import itertools
import json
import os
import pathlib
import socket
import time

import pytest

from faults import Fault, clock_watch, start_with_unread_ledger
from harness import Listener, Session, Udp, VarlinkError, allowing, await_, is_open

KILLING_PORTS = {"ssh": {"number": 22, "on_expiry": "kill", "max_request_access_duration": "PT1H",
                         "always_allow": "198.51.100.66"},
                 "web": {"number": 80, "max_request_access_duration": "PT1H"}}


def opened(agent):
    """How many sessions the agent knows of, by grant."""
    sessions = agent.call("ListSessions")["sessions"]
    return sorted(session["grant"] for session in sessions if "grant" in session)


class Crowd:
    """A session of each kind that must survive, and two of the grant that is to end."""

    def __init__(self, world, agent):
        requester, stranger = world.requester, world.stranger
        ssh, web = Listener(world.vm, "0.0.0.0", 22), Listener(world.vm, "0.0.0.0", 80)
        requester.ip("addr add 192.0.2.8/24 dev eth0")
        self.others = {"older than the gate": Session(requester, "192.0.2.1", ssh)}
        agent.configure(ports=KILLING_PORTS)
        agent.start()
        self.others["always_allow"] = Session(stranger, "192.0.2.1", ssh)
        self.others["another port"] = None
        agent.grant("80/tcp", "192.0.2.7", jti="of-web")
        self.others["another port"] = Session(requester, "192.0.2.1", web)
        before = agent.grant("22/tcp", "192.0.2.7", jti="before")
        self.others["a grant before"] = Session(requester, "192.0.2.1", ssh)
        await_(lambda: opened(agent) == ["before", "of-web"], what="sessions are known")
        agent.revoke(before)
        self.grants = len(opened(agent))
        self.ssh, self.web = ssh, web

    def come_in(self, world, agent, **claims):
        grant = agent.grant("22/tcp", "192.0.2.7", jti="g", **claims)
        self.mine = [Session(world.requester, "192.0.2.1", self.ssh) for _ in range(2)]
        await_(lambda: opened(agent).count("g") == 2, what="the grant's sessions are known")
        return grant

    def assert_only_mine_died(self):
        assert all(session.is_dead() for session in self.mine)
        assert {name: s.works() for name, s in self.others.items()} == dict.fromkeys(
            self.others, True)


@pytest.fixture
def crowd(world, agent):
    return Crowd(world, agent)


BETWEEN = {"": lambda agent: None, "restart": lambda agent: (agent.stop(), agent.start()),
           "kill -9": lambda agent: (agent.kill(), agent.start())}


@pytest.mark.parametrize("between", BETWEEN.values(), ids=[name or "at once" for name in BETWEEN])
def test_a_revocation_ends_the_sessions_of_its_grant(world, agent, crowd, between):
    grant = crowd.come_in(world, agent)
    between(agent)
    agent.revoke(grant, sessions="kill")
    crowd.assert_only_mine_died()
    await_(lambda: "g" not in opened(agent), what="its sessions are gone from the list")
    killed = [r for r in agent.audit("session_ended") if r["grant"] == "g"]
    assert len(killed) == 2 and {r["reason"] for r in killed} == {"killed"}
    assert {r["subject"] for r in killed} == {"alice"}


def test_sessions_of_no_daemon_are_known_by_their_grant(world, agent, crowd):
    """Let in while the daemon was dead: the kernel's sets remember them."""
    grant = agent.grant("22/tcp", "192.0.2.7", jti="g")
    agent.kill()
    crowd.mine = [Session(world.requester, "192.0.2.1", crowd.ssh) for _ in range(2)]
    agent.start()
    await_(lambda: opened(agent).count("g") == 2, what="sessions are taken up")
    agent.revoke(grant, sessions="kill")
    crowd.assert_only_mine_died()


@pytest.mark.parametrize("sessions", [None, "keep"])
def test_a_revocation_keeps_sessions_unless_told(world, agent, crowd, sessions):
    """The port's on_expiry = kill is for expiry."""
    grant = crowd.come_in(world, agent)
    agent.revoke(grant, sessions=sessions)
    assert all(session.works() for session in crowd.mine)
    assert not is_open(world.requester, "192.0.2.1", 22)


def test_root_ends_sessions(world, agent, crowd):
    grant = crowd.come_in(world, agent)
    done = agent.cli("revoke", grant, "--sessions", "kill", "--reason", "stolen laptop", "--json")
    assert done.returncode == 0 and '"sessionsEnded": 2' in done.stdout
    crowd.assert_only_mine_died()


@pytest.mark.parametrize("between", ["", "kill -9"], ids=["running", "kill -9"])
def test_expiry_ends_sessions_where_the_port_says_so(world, agent, crowd, between):
    crowd.come_in(world, agent, seconds=2)
    BETWEEN[between](agent)
    agent.await_state("g", "expired")
    crowd.assert_only_mine_died()


@pytest.mark.parametrize("by", ["a document", "root"])
def test_a_crash_over_ending_sessions_spares_none(world, agent, crowd, by):
    """Killed when the revocation is on disk and the first sessions have ended: its start ends the rest, known by
    the daemon or not, and no others; and once."""
    grant = crowd.come_in(world, agent)
    agent.kill()
    unheard = [Session(world.requester, "192.0.2.1", crowd.ssh) for _ in range(2)]
    agent.start()
    await_(lambda: opened(agent).count("g") == 4, what="those that began meanwhile are known")
    many = [Session(world.requester, "192.0.2.1", crowd.ssh) for _ in range(300)]
    await_(lambda: opened(agent).count("g") == 304, what="all are known")
    document = agent.sign("revocation", jti="r", revokes=[grant], sessions="kill")
    connection = agent.connect()
    if by == "root":
        connection.send("Revoke", id=grant, sessions="kill", reason="stolen laptop")
    else:
        connection.send("Submit", document=document)
    ended = agent.directory / "log" / "audit.jsonl"
    while b"session_ended" not in ended.read_bytes()[-4096:]:
        pass
    agent.kill()
    crowd.mine += unheard + many
    spared = sum(not session.is_closed() for session in crowd.mine)
    assert spared > 100, "killed too late to tell"
    agent.start()
    crowd.assert_only_mine_died()
    if by == "a document":
        assert agent.submit(document)["id"] == "r"
    assert "g" not in opened(agent)
    # What another grant lets in later is none of its sessions, whatever is restarted.
    agent.grant("22/tcp", "192.0.2.7", jti="h")
    again = Session(world.requester, "192.0.2.1", crowd.ssh)
    for _ in range(2):
        agent.kill()
        agent.start()
    assert again.works()
    crowd.assert_only_mine_died()


def test_a_crash_before_any_session_is_ended_spares_none(world, agent, crowd):
    """Nor those that came between it and the start: the kernel still had the grant."""
    grant = crowd.come_in(world, agent)
    document = agent.sign("revocation", jti="r", revokes=[grant], sessions="kill")
    agent.kill()
    with open(agent.directory / "state" / "ledger", "r+") as ledger:
        records = ledger.read().rstrip("\n")
        record = {"document": document, "id": "r", "at": int(time.time() * 1e6),
                  "revokes": [grant], "sessions": "kill"}
        ledger.seek(0)
        ledger.write(records + "\n" + json.dumps(record) + "\n")
    crowd.mine.append(Session(world.requester, "192.0.2.1", crowd.ssh))
    agent.start()
    crowd.assert_only_mine_died()
    assert not is_open(world.requester, "192.0.2.1", 22)


def test_connections_are_counted_through_a_restart(world, agent):
    """The kernel's elements name their grants; the longest name is one."""
    listener = Listener(world.vm, "0.0.0.0", 22)
    agent.start()
    grant = agent.grant("22/tcp", "192.0.2.7", jti="g" * 128)
    session = Session(world.requester, "192.0.2.1", listener)
    await_(lambda: opened(agent) == [grant], what="the session is known")
    agent.kill()
    agent.start()
    assert session.works()
    assert [grant["newConnections"] for grant in agent.call("ListGrants")["grants"]] == [1]


def test_a_ledger_that_is_read_late_spares_none(world, agent, crowd, faults):
    """It tells of what a daemon before this one was to end, once it can be read."""
    grant = crowd.come_in(world, agent)
    agent.kill()
    ledger = agent.directory / "state" / "ledger"
    ledger.write_text(ledger.read_text().rstrip("\n") + "\n" + json.dumps(
        {"revoked": grant, "reason": "over", "sessions": "kill", "at": int(time.time() * 1e6)}) + "\n")
    start_with_unread_ledger(agent, faults)
    assert all(session.works() for session in crowd.mine)
    crowd.others.pop("a grant before").close()
    await_(lambda: opened(agent) == ["of-web"] and agent.audit("session_ended"), allowing(20), "it is read")
    assert sorted(record["grant"] for record in agent.audit("session_ended")) == ["before", "g", "g"]
    crowd.assert_only_mine_died()


def test_one_that_could_not_be_closed_yet_spares_none(world, agent, faults, crowd):
    """A clock that is set right in between has what came before looked at again; not what is under way."""
    watch = clock_watch(agent.process.pid)
    faults.step_clock(watch, 100)
    grant = crowd.come_in(world, agent)
    with faults.armed(Fault("memory", 1, lasting=True, only="grant_covers")):
        with pytest.raises(VarlinkError):
            agent.call("Revoke", id=grant, sessions="kill", reason="over")
        faults.step_clock(watch, -50)
        await_(lambda: "clockBehindUntil" in agent.call("Status"), what="the clock is behind")
        faults.step_clock(watch, 51)
        await_(lambda: "clockBehindUntil" not in agent.call("Status"), what="it is right")
        crowd.mine.append(Session(world.requester, "192.0.2.1", crowd.ssh))
    os.close(watch)
    await_(lambda: agent.audit("grant_revoked")[-1]["grant"] == grant, what="it is closed")
    await_(lambda: "g" not in opened(agent), what="all have ended")
    crowd.assert_only_mine_died()


def test_sessions_that_outlived_their_grant_can_be_ended(world, agent, crowd):
    """By a document and by root, when the grant has ended long since."""
    agent.grant("80/tcp", "192.0.2.7", jti="w", seconds=1)
    agent.revoke("of-web")
    session = Session(world.requester, "192.0.2.1", crowd.web)
    await_(lambda: "w" in opened(agent), what="it is known")
    agent.await_state("w", "expired")
    assert session.works()
    assert agent.cli("revoke", "of-web", "--sessions", "kill", "--reason", "x").returncode == 0
    agent.revoke("w", sessions="kill")
    assert session.is_dead() and crowd.others["another port"].is_dead()
    assert crowd.others["always_allow"].works() and crowd.others["a grant before"].works()
    assert agent.cli("revoke", "of-web", "--sessions", "kill", "--reason", "x").returncode == 1


def test_expiry_while_no_daemon_runs(world, agent, crowd):
    """What ends then is ended when it is back."""
    crowd.come_in(world, agent, seconds=1)
    agent.kill()
    await_(lambda: not is_open(world.requester, "192.0.2.1", 22), what="the kernel ends it")
    assert all(session.works() for session in crowd.mine)
    agent.start()
    crowd.assert_only_mine_died()


def test_sessions_belong_to_the_grant_that_lasts_longest(world, agent, crowd):
    """Where two cover a source, ending the shorter kills nobody."""
    short = agent.grant("22/tcp", "192.0.2.7", seconds=300, jti="short")
    crowd.come_in(world, agent, seconds=600)
    agent.revoke(short, sessions="kill")
    assert all(session.works() for session in crowd.mine)
    agent.revoke("g", sessions="kill")
    crowd.assert_only_mine_died()


def test_ipv6_sessions_end(world, agent):
    agent.configure(ports=KILLING_PORTS)
    agent.start()
    listener = Listener(world.vm, "::", 22, dual_stack=True)
    grant = agent.grant("22/tcp", ["2001:db8:2::7", "192.0.2.7"])
    sessions = [Session(world.requester, address, listener)
                for address in ("2001:db8:2::1", "192.0.2.1")]
    await_(lambda: len(opened(agent)) == 2, what="sessions are known")
    agent.revoke(grant, sessions="kill")
    assert all(session.is_dead() for session in sessions)


@pytest.mark.parametrize("to", ["container", "redirect"])
@pytest.mark.parametrize("between", ["", "kill -9"], ids=["at once", "kill -9"])
def test_sessions_through_destination_nat_end(world, agent, to, between):
    """Those to a container have no socket here: their way is cut, nobody else's."""
    container = world.container() if to == "container" else None
    target = "dnat ip to 172.17.0.2:2222" if container else "redirect to :2222"
    world.vm.nft("table inet published { chain prerouting {"
                 " type nat hook prerouting priority dstnat;"
                 f" meta nfproto ipv4 tcp dport 22 {target}; }}; }}")
    listener = Listener(container or world.vm, "0.0.0.0", 2222)
    agent.start()
    world.requester.ip("addr add 192.0.2.8/24 dev eth0")
    mine = agent.grant("22/tcp", "192.0.2.7", jti="g")
    session = Session(world.requester, "192.0.2.1", listener, port=22)
    agent.grant("22/tcp", "198.51.100.66", jti="other")
    other = Session(world.stranger, "192.0.2.1", listener, port=22)
    await_(lambda: opened(agent) == ["g", "other"], what="sessions are known")
    BETWEEN[between](agent)
    agent.revoke(mine, sessions="kill")
    session.client.settimeout(0.5)
    session.server.settimeout(0.5)
    assert not session.works()
    assert other.works()
    assert opened(agent) == ["other"]


@pytest.mark.parametrize("between", ["", "kill -9"], ids=["at once", "kill -9"])
def test_the_end_of_a_redirected_session_is_told(world, agent, between):
    """Its socket is at a port that is not managed."""
    world.vm.nft("table inet published { chain prerouting { type nat hook prerouting priority dstnat;"
                 " tcp dport 22 redirect to :2222; }; }")
    listener = Listener(world.vm, "0.0.0.0", 2222)
    agent.start()
    agent.grant("22/tcp", "192.0.2.7", jti="g")
    session = Session(world.requester, "192.0.2.1", listener, port=22)
    await_(lambda: opened(agent) == ["g"], what="it is known")
    BETWEEN[between](agent)
    session.close()
    assert agent.await_audit("session_ended")["grant"] == "g"
    assert opened(agent) == []


def test_the_end_of_a_session_at_a_port_that_is_managed_no_more_is_told(world, agent):
    agent.configure(ports={**KILLING_PORTS, "old": {"number": 2222, "max_request_access_duration": "PT1H"}})
    listener = Listener(world.vm, "0.0.0.0", 2222)
    agent.start()
    agent.grant("2222/tcp", "192.0.2.7", jti="g")
    session = Session(world.requester, "192.0.2.1", listener)
    await_(lambda: opened(agent) == ["g"], what="it is known")
    agent.configure(ports=KILLING_PORTS)
    agent.reload()
    assert opened(agent) == ["g"]
    session.close()
    assert agent.await_audit("session_ended")["grant"] == "g"


def flood(world, first, n):
    """A source speaks from this many ports to one."""
    world.requester.run("/usr/bin/python3", "-c", (
        "import socket\n"
        f"for port in range({first}, {first + n}):\n"
        "    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:\n"
        "        s.bind(('192.0.2.7', port)); s.sendto(b'x', ('192.0.2.1', 53))\n"))


def start_after_kill(agent):
    """Returns what the start took of a processor, in seconds: that other programs run beside it does not matter."""
    agent.kill()
    agent.start()
    return int(pathlib.Path(f"/proc/{agent.process.pid}/schedstat").read_text().split()[0]) / 1e9


def test_a_flood_of_udp_sessions_does_not_delay_a_start(world, agent, measure):
    """A granted source speaks from every port it has; the daemon is killed, and is back at once: ten times the
    sessions take it about ten times as long, whether a daemon had recorded them or not."""
    Udp(world.vm, "192.0.2.1", 53)
    agent.start()
    agent.grant("53/udp", "192.0.2.0/24", jti="g")

    def told():
        return len(agent.call("ListSessions")["sessions"])
    n, few, new, recorded = 20000, 2000, [], []
    for first, last in (0, few), (few, n):
        flood(world, 20000 + first, last - first)
        new.append(start_after_kill(agent))
        await_(lambda: told() >= last, 20, "all are known")
        recorded.append(start_after_kill(agent))
    measure(f"seconds of a processor to start with {few} and {n} UDP sessions, new and recorded",
            " ".join(f"{seconds:.3f}" for seconds in new + recorded))
    for small, large in new, recorded:
        assert large < 2 * n / few * small
    assert told() >= n
    agent.revoke("g", sessions="kill")
    await_(lambda: told() == 0, 20, "they are ended")


def test_a_restart_with_many_sessions_where_tables_can_not_be_owned(world, agent, older_kernel):
    """The kernel refuses so much then that its answers have no room, the first one for the reason has."""
    Udp(world.vm, "192.0.2.1", 53)
    agent.environment.update(older_kernel)
    agent.start()
    agent.grant("53/udp", "192.0.2.0/24")
    flood(world, 20000, 6000)
    start_after_kill(agent)
    await_(lambda: len(agent.call("ListSessions")["sessions"]) == 6000, 20, "all are known")


def test_a_flood_of_sessions_hides_none(world, agent):
    """The kernel tells of so many a second; the rest is found in its sets, by a daemon that goes on."""
    Udp(world.vm, "192.0.2.1", 53)
    agent.start()
    agent.grant("53/udp", "192.0.2.0/24")
    flood(world, 20000, 2000)
    await_(lambda: len(agent.call("ListSessions")["sessions"]) == 2000, 20, "all are known")


def test_a_session_that_was_not_told_of_yet(world, agent):
    """A connection is looked for a moment after its first packet; the daemon is killed in that moment."""
    agent.start()
    agent.grant("22/tcp", "192.0.2.7")
    listener, ports = Listener(world.vm, "0.0.0.0", 22), []
    for _ in range(4):
        session = Session(world.requester, world.vm.v4, listener)
        ports.append(session.client.getsockname()[1])
        ledger = agent.directory / "run" / "ledger"
        await_(lambda: f'"remotePort":{ports[-1]},' in ledger.read_text().replace(" ", ""))
        agent.kill()
        agent.start()

        def told():
            return [record["details"]["sourcePort"] for record in agent.audit("session_opened")]
        await_(lambda: ports[-1] in told(), what="it is told")
        assert told() == ports
    agent.stop()
    agent.start()
    assert told() == ports


def link_local(world):
    """The VM's and the requester's addresses on the cable between them, as the requester names them."""
    def of(namespace, card):
        shown = json.loads(namespace.run("ip", "-json", "-6", "addr", "show", "dev", card))[0]
        return next(a["local"] for a in shown["addr_info"] if a["scope"] == "link"), shown["ifindex"]
    (vm, _), (requester, index) = of(world.vm, "eth1"), of(world.requester, "eth0")
    return f"{vm}%{index}", requester


@pytest.mark.parametrize("how", ["link-local", "to a device"])
def test_sessions_of_sockets_bound_to_an_interface_end(world, agent, how):
    """The kernel finds such a socket by its interface only."""
    agent.configure(ports=KILLING_PORTS)
    agent.start()
    address, source = link_local(world) if how == "link-local" else ("192.0.2.1", "192.0.2.7")
    listener = Listener(world.vm, "::" if how == "link-local" else "0.0.0.0", 22)
    if how == "to a device":
        listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth1\0")
    grant = agent.grant("22/tcp", source, jti="g")
    session = Session(world.requester, address, listener)
    await_(lambda: opened(agent) == ["g"], what="it is known")
    agent.revoke(grant, sessions="kill")
    assert session.is_dead()
    assert [r["reason"] for r in agent.audit("session_ended")] == ["killed"]


def test_a_session_that_can_t_be_asked_for_goes_on(world, agent, faults):
    """Each question of a start fails in turn."""
    listener = Listener(world.vm, "0.0.0.0", 22)
    agent.start()
    agent.grant("22/tcp", "192.0.2.7")
    session = Session(world.requester, world.vm.v4, listener)
    agent.await_audit("session_opened")
    n_started = 0
    for at in itertools.count(1):
        agent.kill()
        with faults.armed(Fault("system", at, only="sendto")):
            with contextlib.suppress(AssertionError):  # it may end over that
                agent.start()
        if not faults.n_failed:
            break
        n_started += agent.process.poll() is None
    assert at > 20 and n_started > 1
    assert [s["port"] for s in agent.call("ListSessions")["sessions"]] == [22] and session.works()
    assert not agent.audit("session_ended") and len(agent.audit("session_opened")) == 1
