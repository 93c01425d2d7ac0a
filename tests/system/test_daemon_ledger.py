# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger torn, edited and filled with garbage: what was signed holds, and nothing opens.

What is protected: no edit opens a port that no signed document opens at that moment, and none makes a
grant last longer than its document says. What is not: whoever writes here is root or the daemon's
user, and may take lines away, a revocation's or a policy's among them; the audit log tells of both.
"""

import itertools
import json
import time

import pytest

from faults import Fault
from forge import Forge, encode, grant_claims
from harness import Listener, allowing, await_, is_open, new_key, port_claim
from kernel import assert_as_granted, granted


def ledger_path(agent):
    return agent.directory / "state" / "ledger"


def read_records(agent):
    return [json.loads(line) for line in ledger_path(agent).read_text().splitlines() if line]


def write_records(agent, records):
    ledger_path(agent).write_text("".join(json.dumps(record) + "\n" for record in records))


def active(agent):
    return sorted(g["id"] for g in agent.call("ListGrants")["grants"])


def start_with(agent, content):
    """The state of an agent that had just this ledger, after a reboot: no gate, no runtime directory."""
    agent.namespace.call("nft", "delete", "table", "inet", "jitgate")
    (agent.directory / "run" / "ledger").write_bytes(b"")
    ledger_path(agent).write_bytes(content)
    agent.start()


@pytest.fixture
def filled(agent):
    """Three grants of which the middle one is revoked, and no record but theirs. Stopped."""
    agent.start()
    forge = Forge(agent.key)
    agent.documents = {jti: forge.sign(grant_claims(source=f"192.0.2.{i}", jti=jti))
                       for i, jti in enumerate(("a", "b", "c"))}
    for document in agent.documents.values():
        agent.submit(document)
    agent.submit(forge.revocation("b", jti="r"))
    agent.kill()
    first, others = ledger_path(agent).read_bytes().split(b"\n", 1)
    assert json.loads(first).keys() == {"clock"}
    ledger_path(agent).write_bytes(others)
    return agent


def records_bytes(agent):
    return ledger_path(agent).read_bytes().rstrip(b"\n") + b"\n"


PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_torn_at_every_byte_of_the_last_record(filled, part):
    """The last is the revocation: cut short, it was never acknowledged. The others hold, and new ones are kept."""
    agent, forge = filled, Forge(filled.key)
    content = records_bytes(agent)
    start = content[:-1].rindex(b"\n") + 1
    for cut in range(start + part, len(content) + 1, PARTS):
        start_with(agent, content[:cut])
        whole = cut >= len(content) - 1
        assert active(agent) == (["a", "c"] if whole else ["a", "b", "c"]), cut
        torn = cut - start if not whole else 0
        assert [r["details"]["tornBytes"] for r in agent.audit("ledger_damaged")] == (
            [torn] if torn else []), cut
        if cut % 16 == part:
            agent.submit(forge.sign(grant_claims(source="192.0.2.9", jti="d")))
            agent.kill()
            agent.start()
            assert "d" in active(agent), cut
        agent.kill()
        (agent.directory / "log" / "audit.jsonl").unlink()


def test_torn_anywhere(filled):
    """Sampled: whole lines in front of the cut hold."""
    agent = filled
    content = records_bytes(agent)
    for cut in range(0, len(content), len(content) // 40):
        start_with(agent, content[:cut])
        whole = [json.loads(line)["id"] for line in content[:cut].split(b"\n")[:-1]]
        assert set(active(agent)) >= set(whole) - {"r"} - ({"b"} if "r" in whole else set())
        assert len(active(agent)) <= len(whole) + 1
        agent.kill()


def test_bytes_changed_anywhere(filled):
    """Sampled: a flipped byte opens nothing that was not signed, and the rest holds."""
    agent = filled
    content = records_bytes(agent)
    for at in range(7, len(content), len(content) // 60):
        changed = bytearray(content)
        changed[at] ^= 0x15
        start_with(agent, bytes(changed))
        assert set(active(agent)) <= {"a", "b", "c"}
        assert {e.grant for e in granted(agent.namespace)} == set(active(agent))
        line = content[:at].count(b"\n")
        assert set(active(agent)) >= {id for i, id in enumerate("a.c") if i != line} - {"."}
        assert len(active(agent)) < 4 and ("b" not in active(agent) or line == 3)
        agent.kill()


@pytest.mark.parametrize("garbage", [
    b"garbage\n", b"\0\0\0\0\n", b"{}\n", b"[]\n", b"null\n", b"\xff\xfe\n", b'{"document": 5}\n',
    b'{"document": ""}\n', b'{"document": "a.b.c", "revokes": 7}\n', b'{"revoked": {}}\n',
    b'{"clock": "late"}\n', b'{"at": -5}\n', b'{"local": {}, "boot": 1}\n', b'{"session": []}\n',
    b'{"policy": {}, "document": "x"}\n', b'{"revokes": [1, null, "", "a b"]}\n',
    b'{"document": "x", "document": "y"}\n', b"x" * 200_000 + b"\n", b"{" * 5000 + b"\n"],
    ids=lambda garbage: repr(garbage[:24]))
def test_garbage_lines_are_passed_over(filled, garbage):
    agent = filled
    content = records_bytes(agent)
    lines = content.splitlines(keepends=True)
    start_with(agent, garbage + lines[0] + garbage + b"".join(lines[1:]) + garbage)
    assert active(agent) == ["a", "c"]
    agent.grant("22/tcp", "192.0.2.8", jti="d")
    agent.kill()
    agent.start()
    assert active(agent) == ["a", "c", "d"]
    assert_as_granted(agent)


def test_a_deadline_that_was_raised_extends_nothing(filled):
    agent = filled
    records = read_records(agent)
    for record in records:
        if "deadline" in record:
            record["deadline"] += 10 ** 12
    write_records(agent, records)
    agent.start()
    assert active(agent) == ["a", "c"]
    assert_as_granted(agent)  # by what the documents say


def test_a_deadline_that_was_lowered_ends_it(filled):
    """That closes, and so is believed."""
    agent = filled
    records = read_records(agent)
    records[0]["deadline"] = 1
    write_records(agent, records)
    agent.start()
    assert active(agent) == ["c"]


def test_a_document_that_was_swapped_opens_nothing(filled):
    """Claims of one's own, another's signature, a key of one's own, none at all."""
    agent = filled
    forge, stranger = Forge(agent.key), Forge(new_key(agent.directory, "k2"))
    stranger.jwk["kid"] = "k1"
    wide = grant_claims(source="*", jti="evil", seconds=3600)
    head, body, signature = agent.documents["a"].split(".")
    evil_body = encode(json.dumps(wide).encode())
    none = encode(json.dumps(forge.header(alg="none")).encode())
    fakes = [f"{head}.{evil_body}.{signature}", stranger.sign(wide), f"{none}.{evil_body}.",
             f"{head}.{evil_body}.", forge.sign({**wide, "aud": "another-vm"})]
    records = read_records(agent)
    base = records[0]
    write_records(agent, [{**base, "document": fake, "id": "evil"} for fake in fakes]
                  + [{"local": wide, **{k: base[k] for k in ("at", "boot", "deadline")}}]
                  + [{"grant": wide}, {**base, "document": fakes[0], "policy": wide}] + records)
    agent.start()
    assert active(agent) == ["a", "c"]
    assert_as_granted(agent)
    damaged = agent.audit("ledger_damaged")
    assert damaged and damaged[0]["details"]["unverified"] >= len(fakes)


def test_a_grant_that_is_signed_but_wide_is_judged_anew(agent):
    """Put into the file by hand, it meets the owner's policy as it would at the socket."""
    agent.start()
    forge = Forge(agent.key)
    agent.submit(forge.sign(grant_claims(jti="good")))
    agent.kill()
    base, = [r for r in read_records(agent) if "document" in r]
    bad = [forge.sign(grant_claims("23/tcp", jti="port")),
           forge.sign(grant_claims(seconds=7200, jti="long")),
           forge.sign(grant_claims(jti="over", iat=int(time.time()) - 60,
                                   exp=int(time.time()) - 1))]
    with open(ledger_path(agent), "r+") as file:
        file.seek(len(records_bytes(agent)))
        for document in bad:
            file.write(json.dumps({**base, "document": document}) + "\n")
    agent.start()
    assert active(agent) == ["good"]


def test_a_revocation_line_that_was_removed(filled):
    """Not protected: who may write here could as well change the gate. The audit log still tells of it,
    and the grant ends when its document says. Until a reboot it is known from the runtime directory, too."""
    agent = filled
    records = [r for r in read_records(agent) if "revokes" not in r]
    write_records(agent, records)
    agent.start()
    assert active(agent) == ["a", "c"]
    agent.kill()
    start_with(agent, "".join(json.dumps(record) + "\n" for record in records).encode())
    assert active(agent) == ["a", "b", "c"]
    assert_as_granted(agent)
    assert [r["grant"] for r in agent.audit("grant_revoked")] == ["b"]
    assert agent.cli("audit", "verify").returncode == 0


def test_a_revocation_line_that_was_edited(filled):
    """Its list stands beside the document: one that was emptied revokes nothing, as one that was removed;
    one that was filled closes."""
    agent = filled
    records = read_records(agent)
    for record in records:
        if "revokes" in record:
            record["revokes"] = ["a"]
    write_records(agent, records)
    agent.start()
    assert "a" not in active(agent)


def test_an_expired_grant_does_not_come_back_by_the_ledger(agent):
    agent.start()
    document = agent.sign_grant("22/tcp", "192.0.2.7", 1, jti="g")
    agent.submit(document)
    content = records_bytes(agent)
    agent.await_state("g", "expired")
    agent.kill()
    start_with(agent, content)
    assert active(agent) == [] and granted(agent.namespace) == []
    assert agent.refusal(document) == "expired"


@pytest.mark.parametrize("how", ["by document", "by root"])
def test_a_revocation_outlives_a_state_directory_that_comes_late(agent, how):
    """Its file system was not there yet at the boot; a restart finds the grant in it."""
    agent.start()
    agent.grant("22/tcp", "192.0.2.7", jti="g")
    agent.kill()
    state, late = agent.directory / "state", agent.directory / "late"
    state.rename(late)
    agent.start()
    if how == "by document":
        agent.revoke("g")
    else:
        agent.grant("22/tcp", "192.0.2.7", jti="g")
        agent.call("Revoke", id="g", reason="test")
    agent.kill()
    state.rename(agent.directory / "beneath")
    late.rename(state)
    for _ in range(2):
        agent.start()
        assert granted(agent.namespace) == [] and active(agent) == []
        assert len(agent.audit("grant_revoked")) <= 1
        agent.kill()


def test_local_grants_end_at_a_reboot(agent):
    """They are believed of this boot only, and only in the runtime directory."""
    agent.start()
    agent.call("Grant", ports=[port_claim("22/tcp", "*")], seconds=600, reason="test")
    agent.kill()
    runtime = agent.directory / "run" / "ledger"
    content = runtime.read_bytes()
    runtime.write_bytes(content.replace(b'"boot":"', b'"boot":"0'))
    agent.start()
    assert active(agent) == []
    agent.kill()
    runtime.write_bytes(b"")
    ledger_path(agent).write_bytes(content)
    agent.start()
    assert active(agent) == [] and granted(agent.namespace) == []


def test_a_ledger_is_written_anew_when_most_of_it_is_over(agent):
    """It does not grow for ever; and what is needed stays in it."""
    agent.start()
    forge = Forge(agent.key)
    kept = forge.sign(grant_claims(source="192.0.2.1", jti="kept"))
    agent.submit(kept)
    agent.submit(forge.revocation("never-came"))
    named = [{**port_claim(port, "*"), "maxRequestAccessDuration": "PT1H"} for port in ("22/tcp", "8080/tcp")]
    agent.submit(agent.sign("policy", jti="policy", version=1, ports=named))
    with agent.connect() as connection:
        for i in range(400):
            claims = grant_claims(source="192.0.2.7", jti=f"g-{i}", seconds=2)
            connection.call("Submit", document=forge.sign(claims))
    agent.await_state("g-399", "expired")
    agent.stop()
    agent.start()
    await_(lambda: ledger_path(agent).read_bytes().count(b'"document"') < 100,
           what="the ledger is written anew")
    assert active(agent) == ["kept"]
    agent.kill()
    clock = max(record.get("clock", 0) for record in read_records(agent)) / 1e6
    assert clock > claims["exp"], "the latest time seen is in it"
    (agent.directory / "run" / "ledger").unlink()  # as after a reboot
    agent.start()
    assert active(agent) == ["kept"] and managed(agent) == [22, 8080]
    assert agent.refusal(forge.sign(grant_claims(jti="never-came"))) == "revoked"


@pytest.mark.parametrize("what", ["a bad trust file", "a clock that is behind"])
def test_what_may_not_come_back_yet_stays_in_the_ledger(agent, what):
    """It is not known meanwhile: written anew, the ledger would lack it."""
    def end_a_grant():
        id = agent.call("Grant", ports=[port_claim("22/tcp", "192.0.2.9")], seconds=60, reason="test")["id"]
        agent.call("Revoke", id=id, reason="test")
        return agent.call("Status")

    def n_over():
        return ledger_path(agent).read_bytes().count(b'{"clock":1}')
    agent.start()
    agent.grant("22/tcp", "192.0.2.7", jti="g")
    agent.kill()
    good = agent.trust_path.read_text()
    ledger_path(agent).write_bytes(records_bytes(agent).replace(b'"boot":"', b'"boot":"0') + 600 * b'{"clock":1}\n')
    if what == "a bad trust file":
        agent.trust_path.write_text("{")
    else:
        agent.write_clock(allowing(5))
    agent.start()
    assert active(agent) == []
    for _ in range(2):
        end_a_grant()
    assert n_over() == 600
    agent.trust_path.write_text(good)
    agent.reload()
    agent.await_state("g", "active", allowing(10))
    await_(lambda: end_a_grant() and n_over() == 0, what="the ledger is written anew")
    agent.kill()
    agent.start()
    assert active(agent) == ["g"]


def test_revocations_do_not_stay_for_ever(agent):
    """Where the grant's time is over, its revocation is of no use: a few years of them would reach a bound."""
    agent.start()
    forge = Forge(agent.key)
    with agent.connect() as connection:
        for i in range(200):
            claims = grant_claims(source="192.0.2.7", jti=f"g-{i}", seconds=2)
            connection.call("Submit", document=forge.sign(claims))
            connection.call("Submit", document=forge.revocation(f"g-{i}"))
    await_(lambda: time.time() > claims["exp"], what="their time is over")
    for _ in range(2):
        agent.kill()
        agent.start()
        agent.grant("22/tcp", "192.0.2.7")
    await_(lambda: ledger_path(agent).read_bytes().count(b'"revokes"') < 50,
           what="the ledger is written anew")
    agent.kill()
    agent.start()
    # Whatever the other ledger still has is written to this one with what comes next.
    agent.grant("22/tcp", "192.0.2.7", jti="next")
    agent.call("Revoke", id="next", reason="over")
    assert ledger_path(agent).read_bytes().count(b'"revokes"') < 50


@pytest.fixture
def parted(filled):
    """The revocation stands far behind what it revokes: in another part that is read."""
    *grants, revocation = records_bytes(filled).splitlines(keepends=True)
    ledger_path(filled).write_bytes(b"".join(grants) + 20_000 * b'{"clock":1}\n' + revocation)
    return filled


def start_unread(agent, faults, fault):
    """As after a reboot; returns what is told of ledgers that could not be read."""
    n = len(agent.audit("ledger_damaged"))
    agent.namespace.call("nft", "delete", "table", "inet", "jitgate")
    with faults.armed(fault):
        agent.start()
    return agent.audit("ledger_damaged")[n:]


def test_a_ledger_that_is_not_read_to_its_end_opens_nothing(parted, faults):
    """Each read fails in turn, in the one ledger or the other. What is behind it may be a revocation."""
    agent, forge, unread = parted, Forge(parted.key), []
    for at in itertools.count(1):
        content = ledger_path(agent).read_bytes()
        told = start_unread(agent, faults, Fault("system", at, only="pread64"))
        if not faults.n_failed:
            break
        assert_as_granted(agent)
        if told:
            unread += told
            assert told[0]["details"] == {"unread": True} and told[0]["reason"] == "Input/output error"
            assert active(agent) == [] and granted(agent.namespace) == []
            assert agent.refusal(agent.documents["b"]) == "ledger_unread"
            assert agent.refusal(forge.sign(grant_claims(jti="new"))) == "ledger_unread"
            assert ledger_path(agent).read_bytes() == content, "it is left alone"
            agent.reload()
        assert active(agent) == ["a", "c"]
        assert agent.refusal(agent.documents["b"]) == "revoked"
        agent.kill()
    assert sum(f"{agent.directory}/state " in record["message"] for record in unread) > 1
    assert any(f"{agent.directory}/run " in record["message"] for record in unread)
    assert active(agent) == ["a", "c"]


def test_a_ledger_that_can_t_be_read_is_read_again(parted, faults):
    agent, told = parted, []
    for at in range(1, 10):  # the audit log is read before
        if not told:
            agent.kill()
            told = start_unread(agent, faults, Fault("system", at, lasting=True, only="pread64"))
    assert len(agent.audit("ledger_damaged")) == 2, "once for each"
    assert "could not be read to its end" in agent.log() and "Input/output error" in agent.log()
    local = agent.call("Grant", ports=[port_claim("22/tcp", "*")], seconds=600, reason="test")["id"]
    agent.submit(Forge(agent.key).revocation("c"))
    assert active(agent) == [local]
    await_(lambda: active(agent) == sorted(["a", local]), allowing(15), "it is read")
    assert_as_granted(agent)
    assert len(agent.audit("ledger_damaged")) == 2
    agent.kill()
    agent.start()
    assert "b" not in active(agent) and "c" not in active(agent)


def managed(agent):
    """The ports that the kernel guards."""
    answer = json.loads(agent.namespace.run("nft", "-j", "list", "set", "inet", "jitgate", "managed_tcp"))
    listed, = (member["set"] for member in answer["nftables"] if "set" in member)
    return listed["elem"]


def test_ports_of_a_policy_that_is_not_read_stay_shut(world, agent, faults):
    """Also where an older one is read, and through starts; local root can open them."""
    named = [{**port_claim(port, "*"), "maxRequestAccessDuration": "PT1H"}
             for port in ("22/tcp", "8080/tcp", "8081/tcp")]
    own = dict(agent.ports)
    agent.configure(ports={**own, "other": {"number": 9000, "max_request_access_duration": "PT1H"}})
    agent.start()
    for version in (1, 2):
        agent.submit(agent.sign("policy", jti=f"policy-{version}", iat=int(time.time()),
                                version=version, ports=named[:version + 1]))
        if version == 1:  # the other stands in another part that is read
            agent.kill()
            ledger_path(agent).write_bytes(records_bytes(agent) + 20_000 * b'{"clock":1}\n')
            agent.start()
    before, policies = managed(agent), agent.call("Status")["ports"]
    assert before == [22, 8080, 8081, 9000]
    Listener(world.vm, "0.0.0.0", 8081)
    n_unread = 0
    for at in range(1, 20):
        agent.kill()
        with faults.armed(Fault("system", at, lasting=True, only="pread64")):
            agent.start()
            assert managed(agent) == before
            if not faults.n_failed:
                break
            if agent.call("Status")["ports"] == policies:
                continue  # it was another file
            n_unread += 1
            assert not is_open(world.stranger, "192.0.2.1", 8081)
            local = agent.call("Grant", ports=[port_claim("8081/tcp", "192.0.2.7")], seconds=600,
                               reason="test")["id"]
            assert is_open(world.requester, "192.0.2.1", 8081)
            assert not is_open(world.stranger, "192.0.2.1", 8081)
            # What the owner lets go is not kept.
            ports = agent.ports
            agent.configure(ports=own)
            agent.reload()
            assert managed(agent) == before[:-1]
            agent.configure(ports=ports)
            agent.reload()
            assert managed(agent) == before
        agent.reload()
        assert agent.call("Status")["ports"] == policies
        assert managed(agent) == before and local in active(agent)
        agent.call("Revoke", id=local, reason="test")
    assert not faults.n_failed and n_unread > 1


def test_a_ledger_that_can_t_be_opened_opens_nothing(filled):
    """What it revokes of the other ledger's grants is not known."""
    agent, path = filled, ledger_path(filled)
    path.rename(path.with_name("aside"))
    path.symlink_to("aside")
    agent.start()
    assert active(agent) == [] and len(agent.audit("ledger_damaged")) == 1
    assert agent.refusal(agent.documents["b"]) == "ledger_unread"
    path.unlink()
    path.with_name("aside").rename(path)
    agent.reload()
    assert active(agent) == ["a", "c"]
    assert agent.refusal(agent.documents["b"]) == "revoked"
