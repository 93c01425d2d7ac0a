# SPDX-License-Identifier: GPL-3.0-or-later
"""Azure's three answers, for real listeners behind real rules; the proposal is a configuration that works."""

import json
import os
import pathlib
import shutil

import pytest

from doctor import UFW, UFW_ALLOW, Sshd, assess, doctor, firewall, iptables, nft, run
from harness import BUILD, Listener, Udp, await_, is_open
from nat import NftNat

CONFIGURED, NOT_CONFIGURED, UNSUPPORTED = "configured", "notConfigured", "unsupported"


@pytest.fixture
def outside(world):
    """Strangers come in by eth2."""
    world.vm.ip("route add default via 198.51.100.66 dev eth2",
                "route add default via 2001:db8:51::66 dev eth2")


def test_open_loopback_and_what_is_no_management_port(world, agent, outside, tmp_path):
    Sshd(world.vm, tmp_path, 22, 2222)
    Listener(world.vm, "127.0.0.1", 6379)
    Listener(world.vm, "::1", 6379)
    Listener(world.vm, "::", 5432)
    Listener(world.vm, "0.0.0.0", 8080)
    Listener(world.vm, "127.0.0.1", 8081)
    Udp(world.vm, "0.0.0.0", 161)
    agent.configure(ports={})
    answers = assess(agent)
    assert set(answers) == {"22/tcp", "2222/tcp", "6379/tcp", "5432/tcp", "161/udp"}
    for port in "22/tcp", "2222/tcp", "5432/tcp", "161/udp":
        assert answers[port]["answer"] == NOT_CONFIGURED
        assert "nothing on this host refuses strangers" in answers[port]["reason"]
    assert answers["2222/tcp"]["service"] == "ssh" and answers["2222/tcp"]["process"] == "sshd"
    assert answers["22/tcp"]["addresses"] == "0.0.0.0, ::"
    assert answers["6379/tcp"]["answer"] == UNSUPPORTED
    assert "127.0.0.1, ::1" in answers["6379/tcp"]["reason"]
    other, = json.loads(run(agent, "assess", "--json").stdout)["others"]
    assert (other["port"], other["protocol"], other["addresses"]) == (8080, "TCP", "0.0.0.0")
    assert "nothing on this host refuses strangers" in other["reason"]
    said = run(agent, "assess").stdout
    assert "not for management" in said and "8080/tcp: " in said and "8081/tcp" not in said
    agent.configure(ports={"web": {"number": 8080}})
    assert assess(agent)["8080/tcp"]["service"] == "other"
    assert not json.loads(run(agent, "assess", "--json").stdout)["others"]


def test_managed(world, agent, outside):
    """By the configuration, by the agent; enforced or only counted."""
    Listener(world.vm, "0.0.0.0", 22)
    agent.configure(ports={"ssh": {"number": 22}})
    answer = assess(agent)["22/tcp"]
    assert answer["answer"] == CONFIGURED and "nobody is refused" in answer["reason"]
    agent.start()
    assert "is refused" in assess(agent)["22/tcp"]["reason"]
    agent.configure(mode="audit")
    agent.reload()
    assert "mode = audit" in assess(agent)["22/tcp"]["reason"]


@pytest.mark.parametrize("rules, answer, reason", [
    (firewall(""), UNSUPPORTED, "refuses everyone"),
    (firewall("tcp dport 22 accept"), NOT_CONFIGURED, "nothing on this host refuses strangers"),
    (firewall("ip saddr 10.0.0.0/8 tcp dport 22 accept"), NOT_CONFIGURED, "lets in some sources"),
    (firewall("ip saddr 10.0.0.0/8 drop", "accept"), NOT_CONFIGURED, "nothing on this host refuses strangers"),
    (firewall("numgen random mod 2 0 accept"), NOT_CONFIGURED, "may be open to anyone"),
], ids=["dropped", "accepted", "a network's", "not a network's", "at random"])
def test_what_the_firewall_says(world, agent, outside, rules, answer, reason):
    Listener(world.vm, "0.0.0.0", 22)
    agent.configure(ports={})
    world.vm.nft(rules.replace("}", "\n}"))
    said = assess(agent)["22/tcp"]
    assert said["answer"] == answer and reason in said["reason"], said


def test_ufw(world, agent, outside):
    Listener(world.vm, "::", 22, dual_stack=True)
    Listener(world.vm, "::", 3306, dual_stack=True)
    agent.configure(ports={})
    iptables(world.vm, *UFW, UFW_ALLOW)
    answers = assess(agent)
    assert answers["22/tcp"]["answer"] == NOT_CONFIGURED and "nothing" in answers["22/tcp"]["reason"]
    assert answers["3306/tcp"]["answer"] == UNSUPPORTED and "table ip filter" in answers["3306/tcp"]["reason"]


@pytest.mark.parametrize("proxy", [False, True], ids=["", "userland-proxy"])
def test_a_published_container(world, agent, outside, proxy):
    agent.configure(ports={})
    if proxy:
        Listener(world.vm, "0.0.0.0", 5432)
    NftNat(world.vm, 5432, 5432, world.container()).publish()
    said = assess(agent)["5432/tcp"]
    assert said["answer"] == NOT_CONFIGURED and "published by destination NAT" in said["reason"]


def test_a_container_published_by_ipv6_alone(world, agent, outside):
    agent.configure(ports={})
    nft("table ip6 nat { chain p { type nat hook prerouting priority dstnat; tcp dport 5432 dnat to [fd00::2]:5432; } }")(world.vm)
    assert "published by destination NAT" in assess(agent)["5432/tcp"]["reason"]


def test_where_there_is_no_address(world, agent):
    Listener(world.vm, "::", 22)
    agent.configure(ports={})
    for card in "eth1", "eth2":
        world.vm.run("ip", "-6", "address", "flush", "dev", card, "scope", "global")
    said = assess(agent)["22/tcp"]
    assert said["answer"] == UNSUPPORTED and "no address that others reach" in said["reason"]


def test_without_root(users, world, agent, outside, tmp_path):
    Sshd(world.vm, tmp_path, 22)
    Listener(world.vm, "127.0.0.1", 6379)
    answers = assess(agent, config=tmp_path / "none.conf",
                     wrapper=("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"))
    assert answers["22/tcp"]["service"] == "ssh" and answers["22/tcp"]["process"] is None
    assert answers["22/tcp"]["answer"] == NOT_CONFIGURED and "root" in answers["22/tcp"]["reason"]
    assert answers["6379/tcp"]["answer"] == UNSUPPORTED


def test_the_proposal_guards(world, agent, outside, tmp_path):
    """It passes jitgated -n, also beside a configuration that is there; started with it, the ports are shut."""
    Sshd(world.vm, tmp_path, 22, 2222)
    Listener(world.vm, "0.0.0.0", 5900)
    Listener(world.vm, "0.0.0.0", 5901)
    Udp(world.vm, "0.0.0.0", 161)
    origin = {"SSH_CONNECTION": "192.0.2.7 50000 192.0.2.1 22"}
    none = tmp_path / "none.conf"
    text = run(agent, "assess", "--propose", config=none, environment=origin).stdout
    assert "mode = audit" in text and "#always_allow = 192.0.2.7" in text
    assert text.count("max_request_access_duration = PT3H") == 5
    none.touch()  # as "> agent.conf" does
    assert run(agent, "assess", "--propose", config=none, environment=origin).stdout == text
    nameless = ("unshare", "--mount", "sh", "-c", 'mount --bind /dev/null /etc/machine-id && "$@"', "sh")
    assert run(agent, "assess", "--propose", config=none, environment=origin, wrapper=nameless).stdout == text
    agent.config_path.write_text(text.replace("[agent]", f"""[agent]
trust = {agent.trust_path}
state_directory = {tmp_path}/state
runtime_directory = {tmp_path}/run
log_directory = {tmp_path}/log""").replace("mode = audit\n", "mode = enforce\n"))
    done = world.vm.call(f"{BUILD}/jitgated", "-n", "-c", str(agent.config_path))
    assert done.returncode == 0, done
    agent.start()
    for port in 22, 2222, 5900, 5901:
        assert not is_open(world.stranger, "192.0.2.1", port)
    assert {said["answer"] for said in assess(agent).values()} == {CONFIGURED}
    done = run(agent, "assess", "--propose")
    assert done.returncode == 0 and done.stdout == "" and "nothing to propose" in done.stderr
    Listener(world.vm, "0.0.0.0", 3306)
    Listener(world.vm, "0.0.0.0", 5432)
    agent.config_path.write_text(agent.config_path.read_text() + "[port postgresql]\nnumber = 5433\n")
    agent.reload()
    more = run(agent, "assess", "--propose").stdout
    assert "[agent]" not in more and "Its mode is enforce" in more and "[port mysql]" in more and "[port postgresql-5432-tcp]" in more and "ssh" not in more
    agent.config_path.write_text(agent.config_path.read_text() + more)
    assert world.vm.call(f"{BUILD}/jitgated", "-n", "-c", str(agent.config_path)).returncode == 0


def test_for_people(world, agent, outside):
    Listener(world.vm, "0.0.0.0", 22)
    agent.configure(ports={})
    done = run(agent, "assess")
    assert done.returncode == 0 and done.stderr == ""
    assert "Not configured" in done.stdout and "security group" in done.stdout and "--propose" in done.stdout


def test_a_port_that_systemd_keeps_for_sshd(world, agent, outside, tmp_path):
    """No sshd runs until the first one comes: the unit's drop-in tells whose the port is."""
    os.makedirs("/run/systemd/generator/ssh.socket.d", exist_ok=True)
    drop_in = pathlib.Path("/run/systemd/generator/ssh.socket.d/ports.conf")
    drop_in.write_text("[Socket]\nListenStream=\nListenStream=0.0.0.0:2022\n")
    (tmp_path / "systemd").symlink_to("/usr/bin/python3")
    world.vm.spawn(str(tmp_path / "systemd"), "-c", "import socket, signal\n"
                   "made = [socket.create_server(('0.0.0.0', port)) for port in (2022, 2023)]\n"
                   "signal.pause()")
    agent.configure(ports={})
    try:
        answers = await_(lambda: assess(agent), what="what listens")
        assert set(answers) == {"2022/tcp"} and answers["2022/tcp"]["process"] == "systemd"
        assert "systemd listens on 2022/tcp" in doctor(agent).one("ssh")["message"]
    finally:
        shutil.rmtree("/run/systemd/generator")
