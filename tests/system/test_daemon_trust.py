# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys come and go by the trust file, the owner's policy by agent.conf: both while the daemon runs."""

import json
import re
import time

import pytest

from harness import BUILD, Listener, VarlinkError, is_open, new_key, port_claim
from kernel import assert_as_granted, granted, ruleset


@pytest.fixture
def second_key(agent):
    return new_key(agent.directory, "k2")


def write_trust(agent, *keys, **narrowing):
    """The trust file with these keys; narrowing: members for each kid."""
    agent.trust(*keys)
    content = json.loads(agent.trust_path.read_text())
    for key in content["keys"]:
        key.update(narrowing.get(key["kid"], {}))
    agent.trust_path.write_text(json.dumps(content))


def active(agent):
    return sorted(g["id"] for g in agent.call("ListGrants")["grants"] if g["state"] == "active")


def test_each_key_signs_for_itself(agent, second_key):
    agent.trust(agent.key, second_key)
    agent.start()
    assert agent.call("Status")["trustedKeys"] == ["k1", "k2"]
    agent.grant("22/tcp", "192.0.2.1", jti="by-1")
    agent.grant("22/tcp", "192.0.2.2", jti="by-2", key=second_key)
    # One key's document is revoked by another's: both are the control plane's.
    agent.revoke("by-1", key=second_key)
    assert active(agent) == ["by-2"]


def test_who_checks_without_a_trust_file_is_told_where_one_comes_from(agent):
    agent.configure()
    agent.trust_path.unlink()
    done = agent.namespace.call(f"{BUILD}/jitgated", "-n", "-c", str(agent.config_path))
    assert done.returncode == 1 and f"{agent.trust_path}: No such file" in done.stderr
    assert "jitgate key public" in done.stderr and "jitgate enroll" in done.stderr
    agent.config_path.unlink()
    done = agent.namespace.call(f"{BUILD}/jitgated", "-n", "-c", str(agent.config_path))
    assert done.returncode == 1 and "trust file" not in done.stderr


def test_a_narrowed_key(agent, second_key):
    write_trust(agent, agent.key, second_key,
                k2={"jit_ports": ["22/tcp"], "jit_max_duration": "PT10M"})
    agent.start()
    sign = agent.sign_grant
    agent.submit(sign("22/tcp", "*", 500, key=second_key))
    assert agent.refusal(sign("53/udp", "*", 500, key=second_key)) == "port_not_managed"
    assert agent.refusal(sign("22/tcp", "*", 700, key=second_key)) == "duration_too_long"
    agent.submit(sign("53/udp", "*", 700))


def policy(agent, version, *ports, **claims):
    named = [{**port_claim(port, "*"), "maxRequestAccessDuration": "PT1H"} for port in ports]
    return agent.sign("policy", jti=f"policy-{version}-{len(ports)}", iat=int(time.time()),
                      version=version, ports=named, **claims)


def test_what_a_narrowed_key_says_of_other_ports_changes_nothing(agent, second_key):
    """It revokes no grant of theirs, and no policy of its own shuts them or lets them go."""
    write_trust(agent, agent.key, second_key, k2={"jit_ports": ["22/tcp"]})
    agent.start()
    agent.submit(policy(agent, 1, "22/tcp", "8080/tcp"))
    agent.grant("53/udp", "192.0.2.1", jti="other")
    agent.grant("22/tcp", "192.0.2.2", jti="mine")
    before = ruleset(agent.namespace)

    def revocation(*ids):
        return agent.sign("revocation", jti="-".join(("r", *ids)), revokes=list(ids), key=second_key)

    for document in (revocation("other"), revocation("mine", "other"),
                     policy(agent, 2, "22/tcp", "9090/tcp", key=second_key),
                     policy(agent, 2, "22/tcp", key=second_key), policy(agent, 2, key=second_key)):
        assert agent.refusal(document) == "port_not_managed"
    assert active(agent) == ["mine", "other"] and ruleset(agent.namespace) == before
    for _ in range(2):
        agent.kill()
        agent.start()
        assert active(agent) == ["mine", "other"] and ruleset(agent.namespace) == before
    agent.submit(revocation("mine"))
    assert active(agent) == ["other"]
    agent.submit(policy(agent, 2, "22/tcp"))
    agent.submit(policy(agent, 3, key=second_key))


def test_narrowing_a_key_ends_what_it_may_not_sign_any_more(agent, second_key):
    agent.trust(agent.key, second_key)
    agent.start()
    for port, id in (("22/tcp", "ssh"), ("53/udp", "dns")):
        agent.grant(port, "*", jti=id, key=second_key)
    agent.grant("53/udp", "*", jti="dns-by-1")
    write_trust(agent, agent.key, second_key, k2={"jit_ports": ["22/tcp"]})
    agent.reload()
    assert active(agent) == ["dns-by-1", "ssh"]
    assert_as_granted(agent)


def test_a_key_that_is_removed_takes_its_grants_along(agent, second_key):
    agent.trust(agent.key, second_key)
    agent.start()
    agent.grant("22/tcp", "192.0.2.1", jti="by-1")
    document = agent.sign_grant("22/tcp", "192.0.2.2", jti="by-2", key=second_key)
    agent.submit(document)
    scheduled = agent.sign_grant("22/tcp", "192.0.2.3", jti="later-by-2", key=second_key,
                                 nbf=int(time.time()) + 300)
    agent.submit(scheduled)
    agent.trust(agent.key)
    agent.reload()
    assert active(agent) == ["by-1"]
    assert {r["grant"] for r in agent.audit("grant_revoked")} == {"by-2", "later-by-2"}
    assert agent.refusal(document) == "unknown_key"
    assert_as_granted(agent)


def test_what_ended_with_its_key_does_not_come_back_with_it(agent, second_key):
    """Not by the same document, and not by a restart."""
    agent.trust(agent.key, second_key)
    agent.start()
    document = agent.sign_grant("22/tcp", "192.0.2.2", jti="by-2", key=second_key)
    agent.submit(document)
    agent.trust(agent.key)
    agent.reload()
    agent.trust(agent.key, second_key)
    agent.reload()
    assert agent.refusal(document) == "revoked"
    agent.kill()
    agent.start()
    assert active(agent) == [] and granted(agent.namespace) == []
    assert agent.refusal(document) == "revoked"


def test_what_ended_with_the_owners_policy_does_not_come_back_with_it(agent):
    agent.start()
    document = agent.sign_grant("22/tcp", "192.0.2.2", 1200)
    agent.submit(document)
    ports = agent.ports
    agent.configure(ports={"ssh": {"number": 22, "max_request_access_duration": "PT10M"}})
    agent.reload()
    assert active(agent) == []
    agent.configure(ports=ports)
    agent.reload()
    assert agent.refusal(document) == "revoked"
    agent.kill()
    agent.start()
    assert active(agent) == [] and granted(agent.namespace) == []


def test_a_key_that_is_added_counts_at_once(agent, second_key):
    agent.start()
    document = agent.sign_grant("22/tcp", "192.0.2.2", jti="by-2", key=second_key)
    assert agent.refusal(document) == "unknown_key"
    agent.trust(agent.key, second_key)
    agent.reload()
    assert agent.submit(document)["state"] == "active"


def test_a_revocation_outlives_its_key(agent, second_key):
    agent.trust(agent.key, second_key)
    agent.start()
    document = agent.sign_grant("22/tcp", "192.0.2.2", jti="g")
    agent.submit(document)
    agent.revoke("g", key=second_key)
    agent.trust(agent.key)
    for _ in range(2):
        agent.kill()
        agent.start()
        assert agent.refusal(document) == "revoked"
        assert granted(agent.namespace) == []


BAD_TRUST = ["", "{", '{"keys": 1}', "not JSON", '{"keys": [{"kty": "oct", "kid": "k1", "k": "AAAA",'
             ' "alg": "HS256"}]}', "private", "twice"]
BAD_CONFIGS = ["[agent\n", "[agent]\nmod = enforce\n", "[agent]\nmode = off\n", "[port ssh]\n",
               "[port ssh]\nnumber = 0\n", "[port ssh]\nnumber = 22\nprotocol = SCTP\n",
               "[nonsense]\n", "[port ssh]\nnumber = 22\nalways_allow = 10.0.0.1/8\n"]


def assert_reload_fails(agent, path):
    """Nothing changes; the sentence begins with the file."""
    before, ids = ruleset(agent.namespace), active(agent)
    n = len(agent.audit("reload_failed"))
    agent.reload()
    record = agent.await_audit("reload_failed", count=n + 1)
    with pytest.raises(VarlinkError, match="ReloadFailed") as caught:
        agent.call("Reload")
    assert record["message"] == caught.value.parameters["message"]
    assert record["message"].startswith(f"{path}:"), record["message"]
    assert ruleset(agent.namespace) == before and active(agent) == ids
    assert agent.grant("22/tcp", "192.0.2.99")
    return record["message"]


def test_a_bad_trust_file_leaves_the_one_in_force(agent, second_key):
    agent.start()
    agent.grant("22/tcp", "192.0.2.7")
    good = agent.trust_path.read_text()
    public = json.loads(good)["keys"][0]
    for text in BAD_TRUST:
        agent.trust_path.write_text({
            "private": json.dumps({"keys": [json.loads(agent.key.read_text())]}),
            "twice": json.dumps({"keys": [public, public]})}.get(text, text))
        assert_reload_fails(agent, agent.trust_path)
    agent.trust_path.unlink()
    assert_reload_fails(agent, agent.trust_path)
    agent.trust_path.write_text(good)
    agent.reload()
    assert len(agent.audit("configuration_reloaded")) == 1


def test_a_bad_configuration_leaves_the_one_in_force(agent):
    agent.start()
    agent.grant("22/tcp", "192.0.2.7")
    good = agent.config_path.read_text()
    for text in BAD_CONFIGS:
        agent.config_path.write_text(good + text)
        message = assert_reload_fails(agent, agent.config_path)
        line = int(re.match(r".*?:(\d+): ", message[len(str(agent.config_path)) - 1:]).group(1))
        assert good.count("\n") < line <= (good + text).count("\n")
    agent.config_path.unlink()
    assert_reload_fails(agent, agent.config_path)
    agent.config_path.write_text(good)
    agent.reload()
    assert len(agent.audit("configuration_reloaded")) == 1


def check_says(agent, path):
    """What `jitgated -n` finds wrong is in that file."""
    checked = agent.namespace.call(agent.process.args[3], "-n", "-c", str(agent.config_path))
    return checked.returncode == 1 and f"{path}:" in checked.stderr


def test_a_bad_configuration_stops_the_start(agent):
    """Nothing is installed then: what stands is left as it is."""
    good = agent.config_path.read_text()
    agent.config_path.write_text(good + "[agent]\nmode = of\n")
    agent.start(wait=False)
    assert agent.process.wait(60) == 1
    assert f"{agent.config_path}:" in agent.log()
    assert ruleset(agent.namespace).strip() == ""
    assert check_says(agent, agent.config_path)
    agent.config_path.write_text(good)
    agent.start()


def test_a_bad_trust_file_shuts_the_port(world, agent):
    """At boot nothing stands yet: not to start would leave the port open to everyone."""
    Listener(world.vm, "0.0.0.0", 22)
    agent.start()
    kept = agent.grant("22/tcp", "192.0.2.7")
    agent.stop()
    good = agent.trust_path.read_text()
    agent.trust_path.write_text("{")
    agent.namespace.run("nft", "delete", "table", "inet", "jitgate")
    assert is_open(world.stranger, world.vm.v4, 22)
    agent.start()
    assert f"{agent.trust_path}:" in agent.log()
    assert check_says(agent, agent.trust_path)
    assert not is_open(world.stranger, world.vm.v4, 22) and not is_open(world.requester, world.vm.v4, 22)
    assert not active(agent)
    agent.trust_path.write_text(good)
    agent.reload()
    assert active(agent) == [kept]
    assert_as_granted(agent)


def test_a_reload_drops_no_grant(agent):
    agent.start()
    for i in range(20):
        agent.grant("22/tcp", f"192.0.2.{i}")
    ids = active(agent)
    for _ in range(3):
        agent.reload()
        assert active(agent) == ids
        assert_as_granted(agent)
    agent.call("Reload")
    assert active(agent) == ids
