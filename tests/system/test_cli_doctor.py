# SPDX-License-Identifier: GPL-3.0-or-later
"""What `jitgate doctor` says is so: of rules that it reads, by what the kernel does with a packet."""

import contextlib
import fcntl
import json
import os
import pathlib
import pty
import pwd
import re
import shutil
import struct
import subprocess
import termios

import pytest

from confined import let_in_by_access_list, open_path
from doctor import (OK, PROBLEM, RULE_SETS, UNKNOWN, WARNING, Sshd, assess, attach_xdp, doctor, firewall, is_reached,
                    nft, run)
from harness import BUILD, Listener
from nat import KINDS, NftNat

SSH = {"ssh": {"number": 22}}


def without_counters(text):
    return re.sub(r"(packets|bytes|expires) \S+", "", text)


def only(namespace):
    """The stranger alone may be granted: then it is known whose packets are asked about."""
    return {"ssh": {"number": 22, "allowed_source_address_prefixes": f"{namespace.v4} {namespace.v6}"}}


def firewall_verdict(findings, family):
    found = [finding for finding in findings.of("firewall") if f"(IPv{family})" in finding["message"]]
    assert len(found) <= 1, findings
    return found[0]["verdict"] if found else OK


def judge(world, agent, name):
    load, *expected = RULE_SETS[name]
    load(world.vm)
    findings = doctor(agent)
    for family, verdict in zip((4, 6), expected):
        said = firewall_verdict(findings, family)
        reached = is_reached(world.stranger, "198.51.100.1" if family == 4 else "2001:db8:51::1", 22)
        assert said == verdict, (name, family, findings.of("firewall"))
        if said != UNKNOWN:
            assert reached == (said == OK), (name, family, findings.of("firewall"))


@pytest.mark.parametrize("part", range(6))
def test_rules_are_judged_as_the_kernel_does(world, agent, part):
    Listener(world.vm, "::", 22, dual_stack=True)
    world.vm.ip("route add default via 198.51.100.66 dev eth2",
                "route add default via 2001:db8:51::66 dev eth2")
    agent.configure(ports=only(world.stranger))
    for name in list(RULE_SETS)[part::6]:
        judge(world, agent, name)
        world.vm.run("nft", "flush", "ruleset")


def test_a_sound_machine(world, agent, tmp_path):
    open_path(agent.directory)
    Sshd(world.vm, tmp_path, 22)
    agent.configure(ports=SSH)
    agent.start()
    agent.grant("22/tcp", world.requester.v4)
    before = world.vm.run("nft", "list", "table", "inet", "jitgate")
    findings = doctor(agent)
    assert findings.verdicts("kernel") == {OK} and findings.verdicts("agent") == {OK}
    for check in "gate", "configuration", "trust", "permissions", "disk", "audit", "ports", "firewall", "you":
        assert findings.verdicts(check) == {OK}, (check, findings)
    assert "sshd listens" in findings.one("ports")["message"]
    assert findings.of("ssh") == []
    assert "mode = audit" not in str(findings)
    assert without_counters(before) == without_counters(
        world.vm.run("nft", "list", "table", "inet", "jitgate")), "nothing is changed"


def test_before_anything_is_configured(world, agent, tmp_path):
    findings = doctor(agent, config=tmp_path / "none.conf")
    assert PROBLEM not in {finding["verdict"] for finding in findings}
    assert "jitgate assess" in findings.one("agent")["advice"]
    assert world.vm.run("nft", "list", "ruleset") == ""


def test_not_started_yet_and_dead(world, agent):
    Listener(world.vm, "0.0.0.0", 22)
    agent.configure(ports=SSH)
    assert doctor(agent).one("agent")["verdict"] == WARNING
    agent.start()
    agent.kill()
    findings = doctor(agent)
    assert findings.one("agent")["verdict"] == PROBLEM
    assert "the gate stands without the agent: managed ports stay shut," in findings.one("gate")["message"]
    agent.config_path.write_text("[agent")
    findings = doctor(agent, environment=CONNECTION)
    assert findings.one("agent")["verdict"] == PROBLEM and "unless" in findings.one("gate")["message"]
    assert "correct the configuration" in findings.one("you")["advice"]
    agent.configure(ports=SSH, mode="audit")
    assert "refuses nothing" in doctor(agent).one("gate")["message"]


def test_a_configuration_that_is_gone(world, agent):
    """The gate that it had made stands, and says what is open."""
    Listener(world.vm, "0.0.0.0", 22)
    agent.configure(ports=SSH)
    agent.start()
    agent.kill()
    agent.config_path.unlink()
    findings = doctor(agent)
    assert findings.one("agent")["verdict"] == PROBLEM and "put it back" in findings.one("agent")["advice"]
    assert findings.one("gate")["verdict"] == WARNING
    assert findings.of("ssh") == [], "nobody knows whether it is managed"
    assert "neither the agent nor its configuration tells" in assess(agent)["22/tcp"]["reason"]


def test_a_ledger_that_can_t_be_read(agent):
    agent.start()
    agent.stop()
    path = agent.directory / "state" / "ledger"
    path.rename(path.with_name("aside"))
    path.symlink_to("aside")
    agent.start()
    finding = doctor(agent).one("ledger")
    assert finding["verdict"] == PROBLEM and "only local root" in finding["message"]
    assert "Ledger" in agent.cli("status").stdout
    path.unlink()
    path.with_name("aside").rename(path)
    agent.reload()
    assert doctor(agent).of("ledger") == [] and "Ledger" not in agent.cli("status").stdout


def test_a_state_directory_that_is_not_there_or_read_only(agent):
    agent.start()
    agent.stop()
    state = agent.directory / "state"
    state.rename(agent.directory / "aside")
    state.symlink_to("/nowhere/state")
    agent.start()
    finding = doctor(agent).one("disk")
    assert finding["verdict"] == PROBLEM and "is not there" in finding["message"]
    agent.stop()
    state.unlink()
    (agent.directory / "aside").rename(state)
    subprocess.run(["mount", "--bind", state, state], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", state], check=True)
        finding = doctor(agent).one("disk")
        assert finding["verdict"] == PROBLEM and "writable" in finding["advice"]
    finally:
        subprocess.run(["umount", state], check=True)


def test_audit_mode_and_nothing_managed(world, agent):
    agent.configure(mode="audit")
    agent.start()
    assert "only counted" in doctor(agent).one("gate")["message"]
    agent.cli("enforce", "--confirm-within", "PT1H")
    finding = doctor(agent).one("gate")
    assert "on trial" in finding["message"] and "sudo jitgate confirm" in finding["advice"]
    agent.configure(ports={})
    agent.reload()
    assert "no port is managed" in doctor(agent).one("gate")["message"]


def test_the_agent_says_which_configuration_it_has(world, agent):
    agent.start()
    done = world.vm.call(f"{BUILD}/jitgate", "--socket", str(agent.socket_path), "doctor", "--json")
    finding, = [finding for finding in json.loads(done.stdout) if finding["check"] == "configuration"]
    assert finding["message"] == f"{agent.config_path} is sound"


def test_files_that_are_wrong(agent):
    agent.config_path.write_text(agent.config_path.read_text() + "colour = blue\n")
    finding = doctor(agent).one("configuration")
    assert finding["verdict"] == PROBLEM and "agent.conf:" in finding["message"]
    agent.configure()
    agent.trust_path.unlink()
    assert doctor(agent).one("trust")["verdict"] == PROBLEM
    agent.trust_path.write_text('{"keys": []}')
    assert doctor(agent).one("trust")["verdict"] == WARNING


def test_files_that_others_can_change(agent, tmp_path):
    token = tmp_path / "feed-token"
    token.write_text("secret\n")
    token.chmod(0o644)
    agent.trust_path.chmod(0o666)
    agent.config_path.write_text(
        agent.config_path.read_text() + f"[feed]\nurl = http://127.0.0.1:9\ntoken = {token}\n")
    # The user jitgated does not get into the directory of a test.
    messages = [finding["message"] for finding in doctor(agent).of("permissions")
                if "can't be read" not in finding["message"]]
    assert len(messages) == 2
    assert any(str(agent.trust_path) in message and "can be changed" in message for message in messages)
    assert any(str(token) in message and "secret" in message for message in messages)


def test_files_that_are_the_services_own(users, agent, tmp_path):
    """What is theirs stays theirs: what root had instead they could not use."""
    open_path(agent.directory)
    token = tmp_path / "token"
    token.write_text("secret\n")
    token.chmod(0o620)
    agent.config_path.write_text(
        agent.config_path.read_text() + f"[feed]\nurl = http://127.0.0.1:9\ntoken = {token}\n")
    state = agent.directory / "state"
    state.mkdir()
    state.chmod(0o770)
    for path, user in (token, "jitgate-poll"), (state, "jitgated"):
        shutil.chown(path, user, user)
    advices = [finding["advice"] for finding in doctor(agent).of("permissions")]
    assert advices == [f"sudo chown jitgate-poll {token} && sudo chmod go-w {token}",
                       f"sudo chown jitgated {state} && sudo chmod go-w {state}"]
    for path in token, state:
        path.chmod(path.stat().st_mode & ~0o022)
    assert doctor(agent).one("permissions")["verdict"] == OK


def test_files_that_the_service_can_not_read(users, agent):
    """It runs as a user of its own, and would not start."""
    above = doctor(agent).of("permissions")
    assert "can't be read" in above[0]["message"] and "directories above it" in above[0]["advice"], "as pytest makes them"
    open_path(agent.directory)
    assert not [f for f in doctor(agent).of("permissions") if "jitgated" in f["message"]]
    agent.trust_path.chmod(0o640)
    agent.config_path.chmod(0o600)
    messages = [finding["message"] for finding in doctor(agent).of("permissions")]
    for path in agent.trust_path, agent.config_path:
        assert any(str(path) in m and "can't be read by the user jitgated" in m for m in messages)
    assert len(messages) == 2
    for path in agent.trust_path, agent.config_path:
        if let_in_by_access_list(path, pwd.getpwnam("jitgated").pw_uid):
            assert not [f for f in doctor(agent).of("permissions") if str(path) in f["message"]]
    (agent.directory / "state").mkdir()
    os.chown(agent.directory / "state", 64502, 64502)
    agent.trust_path.chmod(0o644)
    agent.config_path.chmod(0o644)
    assert not [f for f in doctor(agent).of("permissions") if f["verdict"] == PROBLEM]


def test_a_record_that_was_changed(agent):
    agent.start()
    agent.stop()
    path = agent.directory / "log" / "audit.jsonl"
    assert doctor(agent).one("audit")["verdict"] == OK
    path.write_text(path.read_text().replace("started", "stopped", 1))
    assert doctor(agent).one("audit")["verdict"] == PROBLEM
    path.unlink()
    os.mkfifo(path)
    assert "not a file" in doctor(agent).one("audit")["message"], "and nobody waits for a writer"
    path.unlink()


def test_a_record_that_can_t_be_written(agent):
    """What is in the file is intact; what happens now is not in it."""
    agent.start()
    agent.stop()
    log = agent.directory / "log"
    os.chown(log, 65534, 65534)
    finding = doctor(agent).one("audit")
    assert finding["verdict"] == PROBLEM and "to the journal alone" in finding["message"]
    command, _, _ = finding["advice"].partition(" && ")
    subprocess.run(command.removeprefix("sudo ").split(), check=True)
    assert doctor(agent).one("audit")["verdict"] == OK
    subprocess.run(["mount", "--bind", log, log], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", log], check=True)
        assert doctor(agent).one("audit")["verdict"] == PROBLEM
    finally:
        subprocess.run(["umount", log], check=True)


def test_managed_ports_and_who_listens(world, agent, tmp_path):
    """Nobody; this host alone; a container behind destination NAT; sshd beside what is managed."""
    agent.configure(ports={"ssh": {"number": 22}, "db": {"number": 5432}, "web": {"number": "8000-8010"}})
    Listener(world.vm, "127.0.0.1", 5432)
    Listener(world.vm, "::", 8005)
    Sshd(world.vm, tmp_path, 2222)
    findings = doctor(agent)
    nobody, alone, some = findings.of("ports")
    assert nobody["verdict"] == WARNING and "nothing listens" in nobody["message"]
    assert alone["verdict"] == WARNING and "for this host alone" in alone["message"]
    assert some["verdict"] == OK and "8000-8010/tcp" in some["message"]
    assert findings.one("ssh")["verdict"] == WARNING and "sshd listens on 2222/tcp" in findings.one("ssh")["message"]
    NftNat(world.vm, 22, 22, world.container()).publish()
    assert "published" in doctor(agent).of("ports")[0]["message"]


def test_another_takes_sshds_port_first(world, agent, tmp_path):
    """A container that is published at 22, say: sshd listens there, and nobody reaches it."""
    Sshd(world.vm, tmp_path, 22)
    agent.configure(ports=SSH)
    assert doctor(agent).one("ports")["verdict"] == OK
    NftNat(world.vm, 22, 2222, world.container()).publish()
    finding = doctor(agent).one("ports")
    assert finding["verdict"] == WARNING and "sshd listens there, but" in finding["message"], finding
    assert "table inet published" in finding["message"] and "at another port" in finding["advice"]


CONNECTION = {"SSH_CONNECTION": "192.0.2.7 50000 192.0.2.1 22"}


def test_sockets_without_number_do_not_hide_sshd(world, agent):
    """Any user here may open them."""
    program = ("import resource, socket, time\n"
               "resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))\n"
               "kept = [socket.socket() for _ in range(16400)]\n"
               "for i, s in enumerate(kept):\n"
               "    s.bind((f'127.0.{i // 16384}.1', 1024 + i % 16384)); s.listen(1)\n"
               "print('ready', flush=True); time.sleep(60)\n")
    process = world.vm.spawn("python3", "-c", program, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    agent.configure(ports=SSH)
    assert doctor(agent).one("ports")["verdict"] == UNKNOWN
    done = run(agent, "assess")
    assert done.returncode == 1 and "too many" in done.stderr
    process.kill()
    process.wait()


def test_a_configuration_that_is_gone_under_an_agent(agent):
    """The agent goes by it until it stops, and does not start again: the next boot would leave all open."""
    agent.configure(ports=SSH)
    agent.start()
    agent.config_path.unlink()
    for _ in "before a reload", "after one":
        finding = doctor(agent).one("configuration")
        assert finding["verdict"] == PROBLEM and f"there is no {agent.config_path} any more" in finding["message"], finding
        assert "put it back" in finding["advice"] and "reload" in finding["advice"]
        assert agent.cli("reload").returncode == 1


def test_the_configuration_that_it_has_put_back_enforces(agent):
    """What is kept is the file as it was read: enforcing may have begun for good since then."""
    agent.environment["STATE_DIRECTORY"] = str(agent.directory / "state")
    agent.configure(ports=SSH, mode="audit")
    agent.start()
    assert agent.cli("enforce").returncode == 0
    agent.config_path.unlink()
    advice = doctor(agent).one("configuration")["advice"]
    kept = agent.directory / "state" / "agent.conf"
    for command in re.findall(r"sudo ([^&;()]+)", advice.replace("/var/lib/jitgate/agent.conf", str(kept))):
        done = {"install": lambda words: subprocess.run(words), "jitgate": lambda words: agent.cli(*words[1:]),
                "systemctl": lambda words: agent.cli("reload")}[command.split()[0]](command.split())
        assert done.returncode == 0, done
    assert agent.call("Status")["mode"] == "enforce"
    agent.stop()
    agent.start()
    assert agent.call("Status")["mode"] == "enforce"


def test_who_would_be_locked_out(world, agent):
    Listener(world.vm, "0.0.0.0", 22)
    agent.configure(ports=SSH)
    assert doctor(agent).one("you")["verdict"] == OK
    finding = doctor(agent, environment=CONNECTION).one("you")
    assert finding["verdict"] == PROBLEM and "will be refused" in finding["message"]
    agent.start()
    for loopback in "127.0.0.1 50000 127.0.0.1 22", "::1 50000 ::1 22":
        assert doctor(agent, environment={"SSH_CONNECTION": loopback}).one("you")["verdict"] == OK
    finding = doctor(agent, environment=CONNECTION).one("you")
    assert finding["verdict"] == PROBLEM and "is refused" in finding["message"]
    assert "always_allow = 192.0.2.7" in finding["advice"]
    agent.grant("22/tcp", "192.0.2.7", jti="mine")
    finding = doctor(agent, environment=CONNECTION).one("you")
    assert finding["verdict"] == OK and "grant mine until" in finding["message"]
    assert doctor(agent, environment={"SSH_CONNECTION": "192.0.2.8 50000 192.0.2.1 22"}).one("you")["verdict"] == PROBLEM
    other = {"SSH_CONNECTION": "192.0.2.8 50000 192.0.2.1 2222"}
    assert "not managed" in doctor(agent, environment=other).one("you")["message"]
    agent.configure(mode="audit")
    agent.reload()
    ipv6 = {"SSH_CONNECTION": "2001:db8::8 50000 2001:db8:2::1 22"}
    finding = doctor(agent, environment=ipv6).one("you")
    assert finding["verdict"] == WARNING and "once mode = enforce" in finding["message"]


def test_who_came_by_a_port_that_is_led_elsewhere(world, agent):
    """sshd tells its own port, the gate judges by the other."""
    Listener(world.vm, "0.0.0.0", 22)
    nft("table inet nat { chain p { type nat hook prerouting priority dstnat; tcp dport 2222 redirect to :22; } }")(world.vm)
    agent.configure(ports={"ssh": {"number": 2222}})
    for _ in range(2):
        finding = doctor(agent, environment=CONNECTION).one("you")
        assert finding["verdict"] == UNKNOWN and "jitgate explain 192.0.2.7" in finding["advice"]
        agent.start() if agent.process is None else None
    assert not is_reached(world.requester, "192.0.2.1", 2222)


def test_who_is_always_let_in(world, agent):
    Listener(world.vm, "0.0.0.0", 22)
    agent.configure(ports={"ssh": {"number": 22, "always_allow": "192.0.2.0/24"}})
    for _ in range(2):
        assert "always let in" in doctor(agent, environment=CONNECTION).one("you")["message"]
        agent.start() if agent.process is None else None


def test_who_is_refused_by_other_rules_alone(world, agent):
    """A ban, say; not where the interface decides, nor where one came by another port."""
    Listener(world.vm, "0.0.0.0", 22)
    agent.configure(ports={"ssh": {"number": 22, "always_allow": "192.0.2.0/24"}})

    def refused(rules):
        nft(rules)(world.vm)
        said = [finding for finding in doctor(agent, environment=CONNECTION).of("you") if finding["verdict"] == PROBLEM]
        reached = is_reached(world.requester, "192.0.2.1", 22)
        world.vm.run("nft", "flush", "ruleset")
        assert not said or "whatever the gate does" in said[0]["message"] and "fail2ban" in said[0]["advice"]
        return bool(said), not reached

    banned = "set banned { type ipv4_addr; elements = { %s }; }||ip saddr @banned tcp dport 22 drop"
    assert refused(firewall(banned % "192.0.2.7", "accept")) == (True, True)
    assert refused(firewall(banned % "192.0.2.8", "accept")) == (False, False)
    assert refused(firewall('iifname "eth2" drop; ip saddr 192.0.2.7 accept')) == (False, False)
    assert refused(firewall('iifname "eth1" drop', "accept"))[0] is False
    redirected = ("table inet nat { chain p { type nat hook prerouting priority dstnat; tcp dport 2222 redirect to :22; } }")
    assert refused(redirected + firewall("ct status dnat accept")) == (False, True)


def test_sudo_does_not_hide_where_one_sits(world, agent):
    """Whoever drops the variable: a process above has it still."""
    agent.configure(ports=SSH)
    wrapper = ("sh", "-c", 'env -u SSH_CONNECTION "$@"; exit $?', "sh")
    finding = doctor(agent, environment=CONNECTION, wrapper=wrapper).one("you")
    assert finding["verdict"] == PROBLEM and "192.0.2.7" in finding["message"]


def test_a_clock_that_is_behind(agent):
    agent.start()
    agent.stop()
    assert PROBLEM not in doctor(agent).verdicts("clock")
    agent.write_clock(3600)
    assert "the clock is behind" in doctor(agent).one("clock")["message"]
    agent.start()
    assert "the clock is behind" in doctor(agent).one("clock")["message"]


def test_a_clock_that_was_ahead_once(world, agent):
    """Nothing brings that time back: what doctor says does."""
    agent.start()
    agent.stop()
    agent.write_clock(70 * 365 * 86400)
    agent.start()
    assert agent.refusal(agent.sign_grant("22/tcp", world.requester.v4)) == "clock_behind"
    agent.call("Grant", ports=[{"number": 22, "protocol": "TCP", "allowedSourceAddressPrefixes": ["192.0.2.9"]}],
               seconds=60, reason="test")
    removed, = re.findall(r"rm -f (\S+) (\S+),", doctor(agent).one("clock")["advice"])
    assert removed == tuple(str(agent.directory / name / "ledger") for name in ("state", "run"))
    agent.stop()
    for path in removed:
        os.unlink(path)
    agent.start()
    agent.grant("22/tcp", world.requester.v4)
    assert PROBLEM not in doctor(agent).verdicts("clock")


def test_a_feed_that_is_there_and_one_that_is_not(agent, feed):
    def configure(url):
        agent.configure()
        agent.config_path.write_text(agent.config_path.read_text() + f"[feed]\nurl = {url}\n")
    configure("http://127.0.0.1:9")
    assert doctor(agent).one("feed")["verdict"] == PROBLEM
    configure(feed.url)
    assert "can be reached" in doctor(agent).one("feed")["message"]
    agent.start()
    assert "jitgate-poll does not run" in doctor(agent).one("feed")["message"]
    agent.configure()
    agent.reload()
    assert "by hand" in doctor(agent).one("feed")["message"]


@pytest.mark.parametrize("kind", ["nft", "iptables-nft"])
def test_an_alias_past_a_gate_that_does_not_follow(world, agent, kind):
    Listener(world.vm, "::", 22, dual_stack=True)
    KINDS[kind](world.vm, 2222, 22).publish()
    agent.configure(ports=SSH)
    agent.start()
    assert doctor(agent).one("nat")["verdict"] == OK
    agent.configure(destination_nat="no")
    agent.reload()
    assert is_reached(world.stranger, "192.0.2.1", 2222)
    assert doctor(agent).verdicts("nat") == {WARNING, PROBLEM}


def test_answers_that_a_device_drops(world, agent):
    Listener(world.vm, "0.0.0.0", 22)
    agent.configure(ports=only(world.stranger))
    rules = "table netdev late { chain e { type filter hook egress device eth2 priority 0; tcp sport 22 drop; } }"
    try:
        nft(rules)(world.vm)
    except AssertionError:
        pytest.skip("this kernel, or nft, has no egress hook")
    assert not is_reached(world.stranger, "198.51.100.1", 22)
    finding = doctor(agent).one("firewall")
    assert finding["verdict"] == UNKNOWN and "table netdev late" in finding["message"], "eth1 may be asked just as well"
    world.vm.ip("route add default via 198.51.100.66 dev eth2")
    finding = doctor(agent).one("firewall")
    assert finding["verdict"] == PROBLEM and "in what it answers" in finding["message"]
    assert "ct state established" in finding["advice"]


def test_rules_of_iptables_legacy_are_told_as_not_read(world, agent):
    if world.vm.call("iptables-legacy", "-A", "INPUT", "-p", "tcp", "--dport", "22", "-j", "DROP").returncode != 0:
        pytest.skip("this kernel has no iptables-legacy")
    agent.configure(ports=SSH)
    assert "iptables-legacy" in doctor(agent).one("firewall")["message"]


def test_what_others_than_root_get_to_know(users, world, agent, tmp_path):
    Sshd(world.vm, tmp_path, 22)
    nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    for path in tmp_path, *tmp_path.parents:
        if path.stat().st_mode & 0o001 == 0:
            path.chmod(path.stat().st_mode | 0o001)
    agent.config_path.chmod(0o600)
    agent.configure(ports=SSH)
    agent.start()
    agent.config_path.chmod(0o600)
    findings = doctor(agent, wrapper=nobody, environment=CONNECTION)
    for check in "agent", "configuration", "firewall", "you":
        assert findings.one(check)["verdict"] == UNKNOWN, findings
        assert findings.one(check)["advice"] == "sudo jitgate doctor"
    assert PROBLEM not in {finding["verdict"] for finding in findings}


def test_for_people(world, agent):
    open_path(agent.directory)
    agent.configure(ports=SSH)
    done = run(agent, "doctor")
    assert done.returncode == 0 and max(map(len, done.stdout.splitlines())) <= 100
    assert "warning  agent" in done.stdout


@pytest.mark.parametrize("columns, indent", [(40, 4), (80, 24), (200, 24)])
def test_it_fits_the_terminal(world, agent, columns, indent):
    open_path(agent.directory)
    agent.configure(ports=SSH)
    person, terminal = pty.openpty()
    fcntl.ioctl(person, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    done = subprocess.Popen([f"{BUILD}/jitgate", "--socket", agent.socket_path, "doctor", "--config", agent.config_path],
                            stdout=terminal, stderr=terminal, stdin=terminal, env={**os.environ, "TERM": "dumb"})
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError), os.fdopen(person, "rb", buffering=0) as screen:
        while data := screen.read(4096):
            shown += data
    assert done.wait(10) == 0
    lines = shown.decode().splitlines()
    # What has no blank in it can't be put on two lines.
    assert all(len(line) <= min(columns, 100) or " " not in line.strip() for line in lines), lines
    assert all(line.startswith(" " * indent) for line in lines if line.startswith(" "))
    assert any(line.startswith(" " * indent + "next: ") for line in lines) and "\x1b" not in shown.decode()


def test_a_family_that_nobody_listens_for_is_not_missed(world, agent):
    Listener(world.vm, "0.0.0.0", 22)
    agent.configure(ports=SSH)
    nft("table ip6 fw { chain i { type filter hook input priority 0; policy drop; } }")(world.vm)
    assert doctor(agent).one("firewall")["verdict"] == OK
    nft("table ip fw { chain i { type filter hook input priority 0; policy drop; } }")(world.vm)
    finding = doctor(agent).one("firewall")
    assert finding["verdict"] == PROBLEM and "(IPv4)" in finding["message"]


def test_each_port_of_a_range_counts(world, agent):
    agent.configure(ports={"range": {"number": "5000-5010"}})
    nft("table inet fw { chain i { type filter hook input priority 0; tcp dport 5007 drop; } }")(world.vm)
    findings = doctor(agent).of("firewall")
    assert {f["verdict"] for f in findings} == {PROBLEM} and all("5007/tcp" in f["message"] for f in findings)
    agent.configure(ports={"range": {"number": "20000-30000"}})
    assert doctor(agent).one("firewall")["verdict"] == UNKNOWN


def test_what_is_led_on_to_a_container_is_not_told_as_well(world, agent):
    agent.configure(ports={"web": {"number": 8080}})
    NftNat(world.vm, 8080, 80, world.container()).publish()
    assert doctor(agent).verdicts("firewall") == {OK}
    nft("table inet fw { chain f { type filter hook forward priority 0; policy drop; } }")(world.vm)
    finding, *more = doctor(agent).of("firewall")
    assert finding["verdict"] == UNKNOWN and "table inet published" in finding["message"], finding


def test_a_port_in_two_rules_is_told_once(world, agent):
    """And the sources that both allow are those that are asked about."""
    Listener(world.vm, "0.0.0.0", 22)
    agent.configure(ports={"ssh": {"number": 22}, "low": {
        "number": "20-30", "allowed_source_address_prefixes": "192.0.2.0/24"}, "again": {"number": 22}})
    nft("table ip fw { chain i { type filter hook input priority 0; policy drop;"
        " ip saddr 192.0.2.0/24 tcp dport 20-30 accept } }")(world.vm)
    findings = doctor(agent)
    assert [finding["message"].split()[0] for finding in findings.of("ports")] == ["22/tcp", "20-30/tcp"]
    assert findings.verdicts("firewall") == {OK}, findings.of("firewall")


def test_rules_that_let_in_some_of_those_who_may_be_granted(world, agent):
    Listener(world.vm, "0.0.0.0", 22)
    agent.configure(ports=SSH)
    nft("table ip fw { chain i { type filter hook input priority 0; policy drop;"
        " ip saddr 10.0.0.0/8 tcp dport 22 accept } }")(world.vm)
    finding = doctor(agent).one("firewall")
    assert finding["verdict"] == WARNING and "only some get through" in finding["message"]
    world.vm.run("nft", "flush", "chain", "ip", "fw", "i")
    assert doctor(agent).one("firewall")["verdict"] == PROBLEM


def test_ssh_that_a_policy_may_name(world, agent, tmp_path):
    Sshd(world.vm, tmp_path, 22)
    agent.configure(ports={})
    agent.config_path.write_text(agent.config_path.read_text() + "[feed]\nurl = http://127.0.0.1:9\n")
    findings = doctor(agent, environment=CONNECTION)
    assert findings.one("ssh")["verdict"] == findings.one("you")["verdict"] == UNKNOWN
    agent.configure(ports={})
    findings = doctor(agent, environment=CONNECTION)
    assert findings.one("ssh")["verdict"] == WARNING and findings.one("you")["verdict"] == OK


def test_a_program_before_all_rules_is_told_as_not_read(world, agent):
    agent.configure(ports=SSH)
    assert doctor(agent).one("firewall")["verdict"] == OK
    attach_xdp(world.vm, "eth1")
    finding = doctor(agent).one("firewall")
    assert finding["verdict"] == UNKNOWN and "XDP program on eth1" in finding["message"]


@pytest.fixture
def systemd():
    """As if it ran this machine, with no unit enabled."""
    directory = pathlib.Path("/etc/systemd/system")
    if not directory.is_dir():
        pytest.skip("no systemd here")
    subprocess.run(["mount", "-t", "tmpfs", "units", str(directory)], check=True)
    os.makedirs("/run/systemd/system")
    yield directory
    shutil.rmtree("/run/systemd")
    subprocess.run(["umount", str(directory)], check=True)


def test_what_the_next_boot_starts(agent, systemd):
    agent.config_path.write_text(agent.config_path.read_text() + "[feed]\nurl = http://127.0.0.1:9\n")
    findings = doctor(agent)
    assert findings.one("boot")["verdict"] == WARNING
    assert "systemctl enable jitgated" in findings.one("boot")["advice"]
    assert any("jitgate-poll is not enabled" in finding["message"] for finding in findings.of("feed"))
    for target, unit in ("sysinit", "jitgated"), ("multi-user", "jitgate-poll"):
        (systemd / f"{target}.target.wants").mkdir()
        (systemd / f"{target}.target.wants" / f"{unit}.service").symlink_to("/nowhere")
    findings = doctor(agent)
    assert findings.one("boot")["verdict"] == OK
    assert not any("jitgate-poll is not enabled" in finding["message"] for finding in findings.of("feed"))
    for unit in "jitgated", "jitgate-poll":
        (systemd / f"{unit}.service").symlink_to("/dev/null")
    findings = doctor(agent)
    assert "jitgated is masked" in findings.one("boot")["message"]
    assert "systemctl unmask jitgated && " in findings.one("boot")["advice"]
    assert any("systemctl unmask jitgate-poll && " in finding["advice"] for finding in findings.of("feed"))


def test_what_the_next_boot_does_not_wait_for(agent, systemd, tmp_path):
    """The gate comes before file systems that may be missing or come with the network; what is kept there is told of."""
    if not os.path.exists("/etc/fstab"):
        pytest.skip("no /etc/fstab here")
    (systemd / "sysinit.target.wants").mkdir()
    (systemd / "sysinit.target.wants" / "jitgated.service").symlink_to("/nowhere")
    state = agent.directory / "state"
    table = tmp_path / "fstab"
    table.write_text("/dev/sda1 / ext4 nofail,_netdev 0 1\n"
                     f"/dev/sdb1 {state} ext4 nofail,x-systemd.before=jitgated.service 0 2\n"
                     f"/dev/sdc1 {agent.directory} ext4 noatime,nofail 0 2\n/dev/sdd1 {state}s ext4 nofail 0 2\n"
                     f"/dev/sde1 {agent.directory / 'log'} ext4 defaults,nofail,_netdev 0 2\n"
                     f"server:/state {state} nfs4 x-systemd.before=jitgated.service 0 0\n"
                     f"/dev/sdg1 {state} ext4 nofail,x-systemd.automount 0 2\n"
                     "/dev/sdf1 none swap nofail 0 0\n")
    subprocess.run(["mount", "--bind", table, "/etc/fstab"], check=True)
    try:
        well, optional, late, *later = doctor(agent).of("boot")
        assert well["verdict"] == OK and optional["verdict"] == late["verdict"] == WARNING
        assert [re.search(r" with (\S+): ", finding["message"])[1] for finding in later] == ["nfs4", "x-systemd.automount"]
        assert optional["message"].startswith(f"{agent.directory} is mounted with nofail")
        assert "x-systemd.before=jitgated.service" in optional["advice"]
        assert late["message"].startswith(f"{agent.directory / 'log'} is mounted with _netdev")
    finally:
        subprocess.run(["umount", "/etc/fstab"], check=True)
