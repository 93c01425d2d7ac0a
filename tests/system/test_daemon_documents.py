# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents that are admitted: once, in whatever order they come, and as the latest of them say."""

import time

import pytest

from forge import Forge, grant_claims, twin
from harness import Listener, VarlinkError, await_, is_open, lasting, port_claim
from kernel import assert_as_granted, granted


def state_of(agent, id):
    return {g["id"]: g["state"] for g in agent.call("ListGrants", all=True)["grants"]}.get(id)


def policy(agent, version, *ports, **claims):
    return agent.sign("policy", **{"jti": f"policy-{version}", "iat": int(time.time()),
                                   "version": version, "ports": list(ports), **claims})


def policy_port(port, *sources, duration="PT1H"):
    return {**port_claim(port, *(sources or ["*"])), "maxRequestAccessDuration": duration}


def restart(agent):
    agent.kill()
    agent.start()


@pytest.mark.parametrize("other", [lambda document: document, twin], ids=["same", "twin"])
def test_a_document_counts_once(agent, other):
    """Also with the other signature that anybody can make of it, and after a restart."""
    agent.start()
    forge = Forge(agent.key)
    grant = forge.sign(grant_claims(jti="g", source="*"))
    revocation = forge.revocation("other", jti="r")
    policy_1 = policy(agent, 1, policy_port("22/tcp"))
    documents = [grant, revocation, policy_1]
    answers = [agent.submit(document) for document in documents]
    assert [a["kind"] for a in answers] == ["grant", "revocation", "policy"]
    assert [a["state"] for a in answers] == ["active", "admitted", "admitted"]
    n_admitted = len(agent.audit("document_admitted"))
    for _ in range(2):
        for document, answer in zip(documents, answers):
            assert agent.submit(other(document)) == answer
            assert agent.submit(document) == answer
        assert_as_granted(agent)
        restart(agent)
    assert len(agent.audit("document_admitted")) == n_admitted == 3
    assert len(agent.audit("grant_active")) == 1
    agent.revoke("g")
    assert agent.refusal(other(grant)) == "revoked"
    restart(agent)
    assert agent.refusal(other(grant)) == "revoked"
    assert granted(agent.namespace) == []


def test_names_that_are_cut_are_told_in_whole_characters(agent):
    """Half a character is no JSON: what had it in it would be missing, and an answer would not come."""
    agent.start()
    for n in range(3):
        agent.grant("22/tcp", f"192.0.2.{n}", jti=f"g{n}", sub="x" * n + "é" * 500, iss="y" * n + "é" * 500)
        assert agent.call("Explain", source=f"192.0.2.{n}", port=22, protocol="TCP")["grant"] == f"g{n}"
        agent.call("Revoke", id=f"g{n}", reason="over")
    records = [record for record in agent.audit() if "grant" in record]
    assert len(records) == 9 and all(record.get("message", "").isprintable() for record in records)
    assert all(record.get("message") for record in records)


def test_an_id_names_one_document(agent):
    agent.start()
    forge = Forge(agent.key)
    claims = grant_claims(jti="g")
    agent.submit(forge.sign(claims))
    for other in ({**claims, "exp": claims["exp"] + 1}, {**claims, "sub": "somebody else"},
                  dict(reversed(claims.items()))):
        assert agent.refusal(forge.sign(other)) == "duplicate_id"
    assert agent.refusal(forge.revocation("x", jti="g")) == "duplicate_id"
    restart(agent)
    assert agent.refusal(forge.sign({**claims, "sub": "somebody else"})) == "duplicate_id"
    assert state_of(agent, "g") == "active"


@pytest.mark.parametrize("again", [lambda agent: None, restart], ids=["at once", "after kill -9"])
def test_a_revocation_before_its_grant(agent, again):
    agent.start()
    forge = Forge(agent.key)
    assert agent.submit(forge.revocation("g1", "g2"))["durable"]
    again(agent)
    for jti in "g1", "g2":
        assert agent.refusal(forge.sign(grant_claims(jti=jti))) == "revoked"
    assert agent.submit(forge.sign(grant_claims(jti="g3")))["state"] == "active"


@pytest.mark.parametrize("how", ["document", "root"])
def test_a_revoked_grant_stays_shut(world, agent, how):
    agent.start()
    Listener(world.vm, "0.0.0.0", 22)
    document = agent.sign_grant("22/tcp", "192.0.2.7", jti="g")
    agent.submit(document)
    assert is_open(world.requester, "192.0.2.1", 22)
    if how == "document":
        assert agent.revoke("g")["state"] == "admitted"
    else:
        done = agent.cli("revoke", "g", "--reason", "left the team")
        assert done.returncode == 0, done
        with pytest.raises(VarlinkError, match="NoSuchGrant"):
            agent.call("Revoke", id="g", reason="again")
    for _ in range(2):
        assert not is_open(world.requester, "192.0.2.1", 22)
        assert agent.refusal(document) == "revoked"
        assert granted(agent.namespace) == []
        restart(agent)
    record = agent.audit("grant_revoked")[0]
    assert record["grant"] == "g" and record["subject"] == "alice"
    assert record["reason"] == ("left the team" if how == "root" else "revoked by a document")


def test_one_revocation_for_many(agent):
    agent.start()
    forge = Forge(agent.key)
    ids = [agent.grant("22/tcp", f"192.0.2.{i}") for i in range(20)]
    agent.submit(forge.revocation(*ids[:15], "never-came", reason="audit"))
    states = [state_of(agent, id) for id in ids]
    assert states == ["revoked"] * 15 + ["active"] * 5
    assert_as_granted(agent)


def test_what_another_grant_covers_stays_open(world, agent):
    """Until that one's own end: when one ends, or is revoked, or a wider one goes."""
    agent.start()
    Listener(world.vm, "0.0.0.0", 22)
    wide = agent.grant("22/tcp", "192.0.2.0/24", seconds=600)
    ends = time.time() + lasting(1.5)
    short = agent.grant("22/tcp", "192.0.2.7", seconds=1.5)
    exact = agent.grant("22/tcp", "192.0.2.7", seconds=900)
    star = agent.grant("22/tcp", "*", seconds=300)
    assert_as_granted(agent)
    agent.revoke(exact)
    assert is_open(world.requester, "192.0.2.1", 22)
    assert_as_granted(agent)
    agent.revoke(wide)
    assert is_open(world.requester, "192.0.2.1", 22)
    assert_as_granted(agent)
    agent.revoke(star)
    assert_as_granted(agent)
    if time.time() < ends:
        assert is_open(world.requester, "192.0.2.1", 22)
    agent.await_state(short, "expired")
    assert not is_open(world.requester, "192.0.2.1", 22)
    assert granted(agent.namespace) == []


def test_overlapping_grants_by_chance(agent):
    """Many grants and revocations, the kernel compared with them after each step."""
    import random
    agent.start()
    forge, chance = Forge(agent.key), random.Random(7)
    sources = ["192.0.2.7", "192.0.2.0/29", "192.0.2.0/24", "0.0.0.0/0", "*", "192.0.2.6",
               "2001:db8::7", "2001:db8::/64", "::/0"]
    live = []
    with agent.connect() as connection:
        for step in range(80):
            if live and chance.random() < 0.4:
                revoked = live.pop(chance.randrange(len(live)))
                connection.call("Submit", document=forge.revocation(revoked))
            else:
                port = chance.choice(["22/tcp", "53/udp"])
                claims = grant_claims(port, chance.choice(sources), chance.randrange(60, 3600))
                claims["jti"] = f"g-{step}"
                connection.call("Submit", document=forge.sign(claims))
                live.append(claims["jti"])
            if step % 4 == 3:
                assert_as_granted(agent)
            if step % 20 == 19:
                restart(agent)
                connection.__init__(agent.socket_path)
    assert_as_granted(agent)


def test_a_renewal_extends(world, agent):
    agent.start()
    Listener(world.vm, "0.0.0.0", 22)
    first = agent.grant("22/tcp", "192.0.2.7", seconds=1)
    agent.grant("22/tcp", "192.0.2.7", seconds=600)
    assert_as_granted(agent)
    agent.await_state(first, "expired")
    assert is_open(world.requester, "192.0.2.1", 22)
    assert_as_granted(agent)


def test_a_policy_tightens(agent):
    """Live grants that no longer satisfy it end, others stay; and so after a restart."""
    agent.configure(ports={"ssh": {"number": 22, "max_request_access_duration": "PT1H",
                                   "allowed_source_address_prefixes": "192.0.2.0/24"}})
    agent.start()
    inside = agent.grant("22/tcp", "192.0.2.7", seconds=300)
    outside = agent.grant("22/tcp", "192.0.2.200", seconds=300)
    too_long = agent.grant("22/tcp", "192.0.2.8", seconds=3000)
    agent.submit(policy(agent, 5, policy_port("22/tcp", "192.0.2.0/25", duration="PT10M")))
    for _ in range(2):
        assert state_of(agent, inside) == "active"
        assert [e.grant for e in granted(agent.namespace)] == [inside]
        for source, seconds, code in (("192.0.2.200", 300, "source_not_allowed"),
                                      ("192.0.2.9", 1200, "duration_too_long"),
                                      ("198.51.100.1", 300, "source_not_allowed")):
            document = agent.sign_grant("22/tcp", source, seconds)
            assert agent.refusal(document) == code
        for version in 5, 4, 1:
            document = policy(agent, version, policy_port("22/tcp"), jti=f"other-{version}")
            assert agent.refusal(document) == "stale_policy"
        restart(agent)
    reasons = {r["grant"]: r["reason"] for r in agent.audit("grant_revoked")}
    assert set(reasons) == {outside, too_long}
    assert "192.0.2.200" in reasons[outside] and "control plane" in reasons[outside]


def test_no_policy_opens_what_the_owner_keeps_shut(agent):
    agent.configure(ports={"ssh": {"number": 22, "max_request_access_duration": "PT10M",
                                   "allowed_source_address_prefixes": "192.0.2.0/24"}})
    agent.start()
    agent.submit(policy(agent, 1, policy_port("22/tcp", "*", duration="P30D")))
    assert agent.refusal(agent.sign_grant("22/tcp", "198.51.100.1", 60)) == "source_not_allowed"
    assert agent.refusal(agent.sign_grant("22/tcp", "192.0.2.7", 1200)) == "duration_too_long"


def test_a_policy_makes_ports_managed(world, agent):
    """A port that nobody guarded is shut by it, through a restart, until a policy lets it go."""
    agent.start()
    Listener(world.vm, "0.0.0.0", 8080)
    assert is_open(world.requester, "192.0.2.1", 8080)
    agent.submit(policy(agent, 1, policy_port("8080/tcp"), policy_port("22/tcp")))
    assert not is_open(world.requester, "192.0.2.1", 8080)
    restart(agent)
    assert not is_open(world.requester, "192.0.2.1", 8080)
    agent.grant("8080/tcp", "192.0.2.7")
    assert is_open(world.requester, "192.0.2.1", 8080)
    assert not is_open(world.stranger, "192.0.2.1", 8080)
    agent.submit(policy(agent, 2, policy_port("22/tcp")))
    assert is_open(world.stranger, "192.0.2.1", 8080)
    # Its grant is of a port that is not managed any more.
    await_(lambda: agent.audit("grant_revoked"), what="the grant of the port ends")
    assert_as_granted(agent)


def test_a_policy_that_names_no_port_lets_go(world, agent):
    """What agent.conf names stays shut; all else opens, and stays open over a restart."""
    agent.start()
    for port in 22, 8080:
        Listener(world.vm, "0.0.0.0", port)
    agent.submit(policy(agent, 1, policy_port("8080/tcp"), policy_port("22/tcp", "192.0.2.0/25")))
    assert not is_open(world.stranger, "192.0.2.1", 8080)
    assert agent.refusal(agent.sign_grant("22/tcp", "192.0.2.200")) == "source_not_allowed"
    agent.submit(policy(agent, 2))
    for _ in range(2):
        assert is_open(world.stranger, "192.0.2.1", 8080)
        assert not is_open(world.stranger, "192.0.2.1", 22)
        assert agent.refusal(policy(agent, 1, policy_port("8080/tcp"), jti="late")) == "stale_policy"
        restart(agent)
    agent.grant("22/tcp", "192.0.2.200")
    assert_as_granted(agent)


def test_what_root_grants_needs_a_managed_port_only(agent):
    agent.start()
    agent.submit(policy(agent, 1, policy_port("22/tcp", "192.0.2.0/25", duration="PT1M")))
    given = agent.call("Grant", ports=[port_claim("22/tcp", "198.51.100.1")], seconds=7200,
                       reason="the feed is down")
    assert given["id"].startswith("local-") and given["durable"] is False
    with pytest.raises(VarlinkError) as caught:
        agent.call("Grant", ports=[port_claim("23/tcp", "*")], seconds=60, reason="test")
    assert caught.value.parameters["code"] == "port_not_managed"
    restart(agent)
    grant, = agent.call("ListGrants")["grants"]
    assert (grant["id"], grant["origin"], grant["state"]) == (given["id"], "local", "active")
    assert_as_granted(agent)
    agent.revoke(given["id"])
    assert granted(agent.namespace) == []
