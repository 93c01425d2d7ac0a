# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions live, whatever becomes of the gate: the one a user installs it from first of all.

In each test sessions stand idle before the gate comes. After each event the client of one that has
been silent until then speaks first: a gate that trusts in connection tracking stalls it.
"""

import pytest

from harness import Listener, Session, await_, is_open
from nat import KINDS
from packets import Craft, Wire

EVENTS = ("installation", "kill -9 and start", "stop and start", "flush by another program",
          "a grant's expiry", "a revocation", "reload")


def happen(event, agent, source, port):
    if event == "installation":
        agent.start()
    elif event == "kill -9 and start":
        agent.kill()
        agent.start()
    elif event == "stop and start":
        assert agent.stop() == 0
        agent.start()
    elif event == "flush by another program":
        agent.namespace.call("nft", "flush", "table", "inet", "jitgate")
        agent.namespace.call("nft", "delete", "table", "inet", "jitgate")
    elif event == "a grant's expiry":
        agent.await_expired(agent.grant(f"{port}/tcp", source, seconds=1))
    elif event == "a revocation":
        grant = agent.grant(f"{port}/tcp", source)
        agent.revoke(grant)
        agent.await_state(grant, "revoked")
    elif event == "reload":
        agent.reload()


def outlive_all_events(agent, client, address, listener, port):
    sessions = [Session(client, address, listener, port) for _ in EVENTS]
    for event, session in zip(EVENTS, sessions):
        happen(event, agent, client.v4 if "." in address else client.v6, port)
        assert session.works(), f"the session did not survive {event}"
    assert all(session.works() for session in sessions)
    assert not is_open(client, address, port), "the gate did not stand: this test shows nothing"


@pytest.mark.parametrize("tracking", [False, True], ids=["untracked", "tracked"])
@pytest.mark.parametrize("family,bound_to", [
    (4, "0.0.0.0"), (4, "192.0.2.1"), (4, "::"), (6, "::"), (6, "2001:db8:2::1")])
def test_sessions_older_than_the_gate_live(world, agent, family, bound_to, tracking):
    if tracking:
        world.track_connections()
    listener = Listener(world.vm, bound_to, 22, dual_stack=family == 4)
    outlive_all_events(agent, world.requester, world.vm.address(family), listener, 22)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("kind", KINDS)
def test_sessions_with_a_published_container_live(world, agent, family, kind):
    container = world.container()
    KINDS[kind](world.vm, 2222, 22, container).publish()
    agent.configure(ports={"container": {"number": 2222}})
    listener = Listener(container, "::", 22, dual_stack=True)
    outlive_all_events(agent, world.requester, world.vm.address(family), listener, 2222)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("kind", KINDS)
def test_sessions_through_a_redirect_live(world, agent, family, kind):
    KINDS[kind](world.vm, 2222, 22).publish()
    agent.configure(ports={"ssh": {"number": 22}, "redirected": {"number": 2222}})
    listener = Listener(world.vm, "::", 22, dual_stack=True)
    outlive_all_events(agent, world.requester, world.vm.address(family), listener, 2222)


@pytest.mark.parametrize("family", [4, 6])
def test_sessions_live_when_the_whole_ruleset_is_flushed(world, agent, family):
    """Connection tracking goes with the rules that asked for it."""
    world.track_connections()
    listener = Listener(world.vm, "::", 22, dual_stack=True)
    address = world.vm.address(family)
    older = Session(world.requester, address, listener)
    agent.start()
    agent.grant("22/tcp", world.requester.address(family))
    granted = Session(world.requester, address, listener)
    world.vm.run("nft", "flush", "ruleset")
    assert older.works() and granted.works()
    assert is_open(world.requester, address, 22)
    assert not is_open(world.stranger, address, 22)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("bound", [False, True], ids=["wildcard", "bound"])
def test_sessions_that_a_grant_let_in_outlive_it(world, agent, family, bound):
    requester, address = world.requester, world.vm.address(family)
    listener = Listener(world.vm, address if bound else "::", 22, dual_stack=not bound)
    agent.start()
    short = agent.grant("22/tcp", requester.address(family), seconds=2)
    sessions = [Session(requester, address, listener) for _ in range(4)]
    agent.await_expired(short)
    assert sessions[0].works()
    agent.revoke(agent.grant("22/tcp", requester.address(family)))
    assert sessions[1].works() and sessions[2].works(server_first=True)
    agent.kill()
    agent.start()
    assert sessions[3].works()
    assert not is_open(requester, address, 22)


@pytest.mark.parametrize("family", [4, 6])
def test_sessions_begin_and_end_in_good_order(world, agent, family):
    """The last packets of a handshake and of a close come when the kernel has no full socket: they
    get through also when the grant that let the session in has ended meanwhile."""
    requester, address = world.requester, world.vm.address(family)
    listener = Listener(world.vm, "::", 22, dual_stack=True)
    wire, craft = Wire(world), Craft(family, address, 22)
    agent.start()
    grants = [agent.grant("22/tcp", source) for source in (requester.address(family), craft.source)]
    closed_by_client, closed_by_server = (Session(requester, address, listener) for _ in range(2))
    syn = craft.tcp()
    answer, = wire.exchange([syn])
    for grant in grants:
        agent.revoke(grant)

    assert listener.accept(0) is None
    wire.exchange([craft.acknowledge(syn, answer)])
    assert listener.accept(), "the handshake was not completed"
    closed_by_client.client.close()
    assert closed_by_client.server.recv(1) == b""
    closed_by_client.server.close()
    closed_by_server.server.close()
    assert closed_by_server.client.recv(1) == b""
    closed_by_server.client.close()
    await_(lambda: not unfinished(requester), what="the close of both connections")


def unfinished(namespace):
    return [line for line in namespace.run("ss", "-Htan").splitlines()
            if line.split()[0] not in ("LISTEN", "TIME-WAIT")]


@pytest.mark.parametrize("family", [4, 6])
def test_where_no_more_sessions_can_be_noted_the_granted_get_in(world, agent, family):
    """The handshake's last packet finds none then: the grant lets it in once more."""
    requester, address = world.requester, world.vm.address(family)
    listener = Listener(world.vm, "::", 22, dual_stack=True)
    agent.start()
    agent.grant("22/tcp", requester.address(family))
    agent.kill()  # now others may fill the set
    source = {4: "203.0.113.9", 6: "2001:db8:113::9"}[family]
    others = ", ".join(f"{source} . {port} . {address} . 22" for port in range(1 << 16))
    world.vm.nft(f"add element inet jitgate sessions{family} {{ {others} }}")
    one_more = f"add element inet jitgate sessions{family} {{ {source} . 1 . {address} . 23 }}"
    assert world.vm.call("nft", one_more).returncode != 0, "it has room"
    assert Session(requester, address, listener).works()


@pytest.mark.parametrize("how", ["revocation", "expiry"])
@pytest.mark.parametrize("published", [False, True], ids=["local", "container"])
def test_kill_ends_the_sessions_of_the_grant_and_no_others(world, agent, how, published):
    requester, vm = world.requester, world.vm
    where = vm
    if published:
        where = world.container()
        KINDS["nft"](vm, 22, 22, where).publish()
    listener = Listener(where, "::", 22, dual_stack=True)
    older = Session(world.stranger, vm.v4, listener)
    on_expiry = "kill" if how == "expiry" else "keep"
    agent.configure(ports={"ssh": {"number": 22, "on_expiry": on_expiry}})
    agent.start()
    agent.grant("22/tcp", world.stranger.v4)
    kept = Session(world.stranger, vm.v4, listener)
    grant = agent.grant("22/tcp", requester.v4, seconds=2 if how == "expiry" else 600)
    doomed = Session(requester, vm.v4, listener)
    assert doomed.works()
    if how == "revocation":
        agent.revoke(grant, sessions="kill")
    else:
        agent.await_expired(grant)
    await_(lambda: ended(doomed, published), what="the grant's session ended")
    assert kept.works() and older.works()
    assert is_open(world.stranger, vm.v4, 22)


def ended(session, published):
    """A local session's client is told; a published one's goes on no more."""
    if published:
        session.client.settimeout(0.5)
        session.server.settimeout(0.5)
        return not session.works()
    return session.is_dead()
