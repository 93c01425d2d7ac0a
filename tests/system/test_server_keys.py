# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that sign: rotated beside one another, and agents that trust what is published."""

import json
import subprocess
import time

from control_plane import Server, header, policy, policy_id, rule, vm_id
from harness import BUILD


def published(server):
    return [key["kid"] for key in server.call("GET", "/.well-known/jwks.json")["keys"]]


def await_keys(server, kids):
    end = time.monotonic() + 10
    while published(server) != kids:
        assert time.monotonic() < end, server.read_log()
        time.sleep(0.01)


def verify(server, document, tmp_path):
    trust = tmp_path / "trust.jwks"
    trust.write_text(json.dumps(server.call("GET", "/.well-known/jwks.json").body))
    (tmp_path / "document").write_text(document)
    subprocess.run([f"{BUILD}/jitgate", "verify", "--trust", trust, tmp_path / "document"],
                   check=True, capture_output=True)


def test_a_new_key_is_taken_up_beside_the_old_one(server, admin, alice, tmp_path):
    admin.put({"vm1": [rule()]})
    agent = server.enroll("vm1")
    old, new = server.new_key("k1"), server.new_key("k2", "ES384")
    (first,) = agent.fetch()
    with open(server.keys, encoding="utf-8") as file:
        old = json.load(file)["keys"][0]
    server.write_keys([new, old])
    server.reload()
    await_keys(server, ["k2", "k1"])
    alice.request()
    (second,) = agent.fetch()
    assert (header(first)["kid"], header(second)["kid"]) == ("k1", "k2")
    assert header(second)["alg"] == "ES384"
    for document in (first, second):
        verify(server, document, tmp_path)
    for key in server.call("GET", "/.well-known/jwks.json")["keys"]:
        assert "d" not in key

    # The old one's public half alone still lets agents verify what it signed.
    public = {name: old[name] for name in ("kty", "crv", "x", "y", "kid", "alg")}
    server.write_keys([public, new])
    server.reload()
    await_keys(server, ["k1", "k2"])
    alice.request()
    assert header(agent.fetch()[0])["kid"] == "k2"
    server.write_keys([new])
    server.reload()
    await_keys(server, ["k2"])


def test_a_bad_key_file_leaves_the_keys_as_they_are(server, admin, alice):
    admin.put({"vm1": [rule()]})
    with open(server.keys, "w", encoding="utf-8") as file:
        file.write('{"keys": []}')
    server.reload()
    end = time.monotonic() + 10
    while "has no private key that could sign" not in server.read_log():
        assert time.monotonic() < end
        time.sleep(0.01)
    assert published(server) == ["k1"]
    agent = server.enroll("vm1")
    alice.request()
    assert {header(document)["kid"] for document in agent.fetch()} == {"k1"}


def test_a_server_without_a_key_says_so(tmp_path):
    server = Server(tmp_path)
    server.write_keys([])
    ran = subprocess.run([f"{BUILD}/jitgate-server", "-c", server.config], capture_output=True,
                         text=True, timeout=20, check=False)
    assert ran.returncode == 1 and "has no private key that could sign" in ran.stderr
    ran = subprocess.run([f"{BUILD}/jitgate-server", "-n", "-c", server.config],
                         capture_output=True, text=True, timeout=20, check=False)
    assert ran.returncode == 1 and "has no private key" in ran.stderr


def test_agents_of_the_daemon_take_what_the_server_signs(server, admin, alice, tmp_path):
    """The whole claims as jitgate reads them, policy without ports among them."""
    admin.put({"vm1": [rule(source="2001:db8::/32")]})
    agent = server.enroll("vm1")
    request = alice.call("POST", "/v1/requests", {"vm": vm_id("vm1"), "ports": [
        {"number": 22, "source": "2001:db8::7"}], "justification": "ümläut"})
    documents = agent.fetch()
    alice.call("POST", f"/v1/requests/{request['id']}/revoke", {"reason": "ok"})
    documents += agent.fetch()
    assert len(documents) == 3
    for document in documents:
        verify(server, document, tmp_path)


def many_prefixes(n):
    return [{"number": 1000 + first, "protocol": "TCP", "maxRequestAccessDuration": "PT3H",
             "allowedSourceAddressPrefixes": [f"2001:db8:{i:x}:{i:x}::/64" for i in
                                              range(first, min(first + 64, n))]}
            for first in range(0, n, 64)]


def fill_policy(admin, machine):
    """The most that one document takes."""
    fits, fails = 64, 1024
    while fails - fits > 1:
        n = (fits + fails) // 2
        answer = admin.call("PUT", policy_id("full"), policy({machine: many_prefixes(n)}))
        fits, fails = (n, fails) if answer.status == 200 else (fits, n)
    admin.put({machine: many_prefixes(fits)}, name="full")


def test_a_policy_that_a_new_key_can_not_sign_is_in_no_others_way(server, admin):
    """Signatures with RSA are longer."""
    fill_policy(admin, "vm1")
    admin.put({"vm2": [rule()]})
    agent = server.enroll("vm2")
    assert [header(document)["kid"] for document in agent.fetch()] == ["k1"]
    server.write_keys([server.new_key("k2", "PS256")])
    server.reload()
    assert [header(document)["kid"] for document in agent.fetch(wait=10)] == ["k2"]
    (line,) = [line for line in server.read_log().splitlines() if "can't be signed anew" in line]
    assert vm_id("vm1") in line and "16 KiB" in line
