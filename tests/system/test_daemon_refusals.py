# SPDX-License-Identifier: GPL-3.0-or-later
"""What is not to be let in is refused with its code, audited, and changes nothing."""

import json
import time

import pytest

from forge import Forge, encode, grant_claims, hmac_sign, revocation_claims
from harness import VarlinkError, new_key, port_claim
from kernel import ruleset


def submit(agent, document):
    return agent.cli("submit", "--json", "-", input=document + "\n")


def assert_refused(agent, document, code):
    """By the command line: exit code, JSON's shape, audit record; and the kernel is as it was."""
    before, n_records = ruleset(agent.namespace), len(agent.audit("document_refused"))
    done = submit(agent, document)
    assert done.returncode == 1, done
    answer = json.loads(done.stdout)
    assert set(answer) == {"error", "code", "message"}
    assert (answer["error"], answer["code"]) == ("refused", code), answer
    assert answer["message"] and not answer["message"].endswith(".")
    records = agent.audit("document_refused")[n_records:]
    assert [record["code"] for record in records] == [code]
    assert records[0]["reason"] == answer["message"]
    assert ruleset(agent.namespace) == before
    return records[0]


def without(claims, name):
    return {key: value for key, value in claims.items() if key != name}


POLICY = {"number": 22, "protocol": "TCP", "allowedSourceAddressPrefix": "*",
          "maxRequestAccessDuration": "PT1H"}


def refused_documents(agent, forge):
    """Each code of the manual but capacity and the agent's own clock, which have their tests."""
    now = int(time.time())
    stranger = Forge(new_key(agent.directory, "stranger"))
    impostor = Forge(new_key(agent.directory, "impostor"))
    impostor.jwk["kid"] = "k1"
    signed = forge.sign(grant_claims())
    first = grant_claims(jti="came-before")
    agent.submit(forge.sign(first))
    agent.submit(forge.revocation("came-before", "never-came"))
    agent.submit(agent.sign("policy", jti="policy-2", iat=now, version=2, ports=[POLICY]))
    many = [port_claim("22/tcp", "192.0.2.7")] * 65
    return [
        ("malformed", "this is no document"),
        ("malformed", forge.sign(b"[]")),
        ("malformed", forge.sign(without(grant_claims(), "sub"))),
        ("malformed", forge.sign(grant_claims(exp="soon"))),
        ("malformed", forge.sign(grant_claims(source="192.0.2.7/24"))),
        ("malformed", forge.sign(grant_claims(jti="a b"))),
        ("too_large", forge.sign(grant_claims(ports=many))),
        ("too_large", forge.sign(grant_claims(
            ports=[port_claim("22/tcp", *["192.0.2.7"] * 65)]))),
        ("unsupported_algorithm", forge.sign(grant_claims(), forge.header(alg="HS256"))),
        ("unsupported_algorithm", forge.sign(grant_claims(), forge.header(alg="RS256"))),
        ("unknown_key", stranger.sign(grant_claims())),
        ("bad_signature", impostor.sign(grant_claims())),
        ("bad_signature", signed[:-8] + "AAAAAAAA"),
        ("wrong_audience", forge.sign(grant_claims(aud="another-vm"))),
        ("wrong_audience", forge.sign(grant_claims(aud=["a", "b"]))),
        ("expired", forge.sign(grant_claims(iat=now - 100, exp=now - 1))),
        ("duplicate_id", forge.sign({**first, "sub": "somebody else"})),
        ("revoked", forge.sign(first)),
        ("revoked", forge.sign(grant_claims(jti="never-came"))),
        ("port_not_managed", forge.sign(grant_claims("23/tcp"))),
        ("port_not_managed", forge.sign(grant_claims("22/*"))),
        ("source_not_allowed", forge.sign(grant_claims("80/tcp", "198.51.100.1"))),
        ("duration_too_long", forge.sign(grant_claims(seconds=3601))),
        ("duration_too_long", forge.sign(grant_claims(nbf=now + 3500, exp=now + 7000))),
        ("stale_policy", agent.sign("policy", jti="policy-1", iat=now, version=2,
                                    ports=[POLICY])),
        ("clock_behind", forge.sign(grant_claims(iat=now + 120))),
    ]


def test_each_refusal_has_its_code_and_is_audited(agent):
    agent.configure(ports={**agent.ports, "web": {
        "number": 80, "allowed_source_address_prefixes": "192.0.2.0/24"}})
    agent.start()
    for code, document in refused_documents(agent, Forge(agent.key)):
        assert_refused(agent, document, code)
    assert agent.cli("audit", "verify").returncode == 0


def test_capacity_is_bounded(agent):
    agent.configure(max_grants=2)
    agent.start()
    forge = Forge(agent.key)
    ended = [agent.grant("22/tcp", f"192.0.2.{i}") for i in (1, 2)][0]
    assert_refused(agent, forge.sign(grant_claims()), "capacity")
    agent.revoke(ended)
    agent.submit(forge.sign(grant_claims()))
    assert_refused(agent, forge.sign(grant_claims()), "capacity")
    # Root is not locked out by what signed grants take; twice as many are the most.
    def grant():
        agent.call("Grant", ports=[port_claim("22/tcp", "192.0.2.9")], seconds=60, reason="test")
    for _ in range(2):
        grant()
    with pytest.raises(VarlinkError) as caught:
        grant()
    assert caught.value.parameters["code"] == "capacity"


def test_a_refusal_names_who_and_which(agent):
    agent.start()
    record = assert_refused(agent, Forge(agent.key).sign(grant_claims("23/tcp", jti="g-1")),
                            "port_not_managed")
    assert (record["grant"], record["subject"]) == ("g-1", "mallory")


def public_forms(jwk):
    """What an attacker may take for the HMAC's key: each form of the public key."""
    public = {name: jwk[name] for name in ("kty", "crv", "x", "y")}
    return [b"", json.dumps(public).encode(), json.dumps(public, indent=2).encode(),
            jwk["x"].encode(), jwk["y"].encode()]


def attacks(forge):
    claims = grant_claims()
    signed = forge.sign(claims)
    head, body, signature = signed.split(".")
    for alg in "none", "None", "nOnE", "", "HS256", "ES256K", "ES384", "PS256", "RS256", "ES512":
        header = encode(json.dumps(forge.header(alg=alg)).encode())
        yield f"alg {alg}, no signature", f"{header}.{body}."
        yield f"alg {alg}, the old signature", f"{header}.{body}.{signature}"
    for number, secret in enumerate(public_forms(forge.jwk)):
        for alg in "HS256", "ES256":
            yield (f"{alg} keyed with the public key, form {number}",
                   hmac_sign(secret, claims, forge.header(alg=alg)))
    for name, header in (
            ("another kid", forge.header(kid="k2")), ("no kid", forge.header(kid=None)),
            ("kid is a list", forge.header(kid=["k1"])), ("kid is a path", forge.header(kid="../k1")),
            ("kid of 10000 bytes", forge.header(kid="k" * 10000)),
            ("typ JWT", forge.header(typ="JWT")), ("no typ", forge.header(typ=None)),
            ("typ of a revocation", forge.header("revocation")),
            ("typ of a policy", forge.header("policy")),
            ("crit", forge.header(crit=["exp"])), ("empty crit", forge.header(crit=[])),
            ("b64", forge.header(b64=False)), ("its own key", forge.header(jwk=forge.jwk)),
            ("a key from elsewhere", forge.header(jku="https://example.org/keys")),
            ("alg is a list", forge.header(alg=["ES256"])),
            ("an array as header", b"[]"), ("no JSON as header", b"{"),
            ("alg twice", b'{"alg":"none","alg":"ES256","kid":"k1","typ":"jit-grant+jwt"}'),
            ("kid twice", b'{"alg":"ES256","kid":"k1","kid":"k1","typ":"jit-grant+jwt"}'),
            ("a NUL in the header",
             b'{"alg":"ES256\\u0000","kid":"k1","typ":"jit-grant+jwt"}')):
        yield f"header: {name}", forge.sign(claims, header)
    text = json.dumps(claims)
    yield "exp twice", forge.sign((text[:-1] + f', "exp": {claims["exp"] + 1}}}').encode())
    yield "sub twice", forge.sign((text[:-1] + ', "sub": "alice"}').encode())
    yield "deep nesting", forge.sign(b'{"a":' * 2000 + b"1" + b"}" * 2000)
    yield "deep nesting beside all claims", forge.sign(
        (text[:-1] + ', "x": ' + "[" * 1000 + "]" * 1000 + "}").encode())
    yield "trailing bytes", forge.sign(text.encode() + b"{}")
    yield "a NUL behind the claims", forge.sign(text.encode() + b"\0")
    yield "an escaped NUL in sub", forge.sign({**claims, "sub": "alice\0"})
    yield "no UTF-8", forge.sign(text.replace("mallory", "m").encode()[:-1] + b", \"x\": \"\xff\"}")
    yield "half a surrogate pair", forge.sign(text.replace("mallory", "\\ud800").encode())
    yield "a control character in sub", forge.sign({**claims, "sub": "a\x1b[2Jb"})
    yield "exp as a fraction", forge.sign({**claims, "exp": claims["exp"] + 0.5})
    yield "exp far away", forge.sign({**claims, "exp": 2 ** 63 - 1})
    yield "exp past 64 bits", forge.sign({**claims, "exp": 2 ** 64})
    yield "exp negative", forge.sign({**claims, "exp": -1})
    yield "port 0", forge.sign({**claims, "ports": [port_claim("0/tcp", "*")]})
    yield "port 65558 (22 in 16 bits)", forge.sign({**claims, "ports": [port_claim("65558/tcp", "*")]})
    yield "no ports", forge.sign({**claims, "ports": []})
    yield "a mapped address", forge.sign(grant_claims(source="::ffff:192.0.2.7"))
    yield "a prefix with spaces", forge.sign(grant_claims(source=" 192.0.2.7"))
    for n in range(0, 64, 7):
        raw = encode(b"\0" * n)
        yield f"a signature of {n} zeros", f"{head}.{body}.{raw}"
    yield "a signature of 64 zeros", f"{head}.{body}.{encode(bytes(64))}"
    for cut in 1, 2, 10, 40, 85, 86:
        yield f"a signature cut by {cut}", signed[:-cut]
    yield "a signature and more", signed + "AAAA"
    yield "a signature with padding", signed + "=="
    yield "two documents", f"{signed}.{signed}"
    yield "four parts", signed + ".AAAA"
    yield "JSON serialization", json.dumps({"protected": head, "payload": body,
                                            "signature": signature})
    yield "the claims of another", f"{head}.{encode(json.dumps(grant_claims()).encode())}.{signature}"
    yield "a line break in base64", signed[:20] + "\r" + signed[20:]
    yield "standard base64", signed[:30] + "+/" + signed[32:]


def test_no_attack_changes_anything(agent):
    """Nothing is admitted, the kernel and the ledger stay as they were, the daemon still answers."""
    agent.start()
    forge = Forge(agent.key)
    ledger = agent.directory / "state" / "ledger"
    before, content = ruleset(agent.namespace), ledger.read_bytes()
    process = agent.process.pid
    for name, document in attacks(forge):
        done = submit(agent, document)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 1, f"{name}: {done}"
        assert all(line["error"] == "refused" for line in lines) and lines, f"{name}: {done}"
    assert ruleset(agent.namespace) == before
    assert ledger.read_bytes() == content
    assert agent.call("ListGrants", all=True)["grants"] == []
    assert agent.process.poll() is None and agent.process.pid == process
    # What is not an attack still passes, with the same key.
    assert agent.submit(forge.sign(grant_claims()))["state"] == "active"


@pytest.mark.parametrize("document", ["A" * 20000, "A" * 1_000_000, "." * 17000, "a.b." + "c" * 16381],
                         ids=["20 kB", "1 MB", "dots", "a byte too many"])
def test_size_is_bounded(agent, document):
    agent.start()
    before = ruleset(agent.namespace)
    done = submit(agent, document)
    assert done.returncode == 1
    assert json.loads(done.stdout)["code"] == "too_large"
    with agent.connect() as connection:
        try:
            with pytest.raises(VarlinkError) as caught:
                connection.call("Submit", document=document)
            assert caught.value.parameters["code"] == "too_large"
        except (ConnectionError, BrokenPipeError):
            assert len(document) > 100_000  # more than a message may have: hung up on
    assert ruleset(agent.namespace) == before
    assert agent.call("Status")["grants"] == {"active": 0, "scheduled": 0}


def test_nul_bytes_are_refused(agent):
    agent.start()
    forge = Forge(agent.key)
    signed = forge.sign(grant_claims())
    for text in signed + "\0", "\0" + signed, signed[:50] + "\0" + signed[50:], "\0":
        done = submit(agent, text)
        assert done.returncode == 1, done
        assert json.loads(done.stdout)["code"] == "malformed"
        with agent.connect() as connection, pytest.raises((VarlinkError, ConnectionError)):
            connection.call("Submit", document=text)
    assert agent.call("ListGrants", all=True)["grants"] == []
    assert agent.submit(signed)["state"] == "active"


def test_revocations_and_policies_are_no_less_checked(agent):
    """Who could close with a forged document could lock out."""
    agent.start()
    forge, stranger = Forge(agent.key), Forge(new_key(agent.directory, "k2"))
    grant = agent.grant("22/tcp", "192.0.2.7")
    stranger.jwk["kid"] = "k1"
    for code, document in (
            ("bad_signature", stranger.revocation(grant)),
            ("wrong_audience", forge.revocation(grant, aud="another-vm")),
            ("malformed", forge.revocation()),
            ("malformed", forge.revocation("a b")),
            ("malformed", forge.revocation(grant, sessions="murder")),
            ("too_large", forge.revocation(*["x"] * 257)),
            ("malformed", forge.sign(revocation_claims(grant), forge.header("grant"))),
            ("malformed", forge.sign(grant_claims(), forge.header("revocation"))),
            ("bad_signature", stranger.sign(
                {"iss": "x", "aud": "vm-under-test", "jti": "p", "iat": int(time.time()),
                 "version": 9, "ports": [POLICY]}, stranger.header("policy")))):
        assert_refused(agent, document, code)
    assert [g["state"] for g in agent.call("ListGrants")["grants"]] == ["active"]


def test_a_flood_of_refusals_does_not_fill_the_log(agent):
    """Anyone may submit: past a burst refusals are recorded at a rate, with how many were left out."""
    agent.start()
    with agent.connect() as connection:
        for _ in range(400):
            with pytest.raises(VarlinkError):
                connection.call("Submit", document="nothing")
        recorded = len(agent.audit("document_refused"))
        assert 100 <= recorded <= 130

        def told():
            with pytest.raises(VarlinkError):
                connection.call("Submit", document="nothing")
            return agent.audit("document_refused")[recorded:]
        deadline = time.monotonic() + 15
        while not told() and time.monotonic() < deadline:
            pass
    left_out = agent.audit("document_refused")[recorded]["details"]["notRecordedBefore"]
    assert left_out >= 400 - recorded
    assert agent.cli("audit", "verify").returncode == 0
