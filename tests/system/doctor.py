# SPDX-License-Identifier: GPL-3.0-or-later
"""`jitgate doctor` and `jitgate assess` on a host, by what they print as JSON; rule sets for them to read."""

import ctypes
import json
import os
import re
import shutil
import struct
import subprocess

import pytest

from harness import BUILD, await_, is_open

OK, UNKNOWN, WARNING, PROBLEM = "ok", "unknown", "warning", "problem"


class Findings(list):
    def of(self, check):
        return [finding for finding in self if finding["check"] == check]

    def one(self, check):
        found = self.of(check)
        assert len(found) == 1, self
        return found[0]

    def verdicts(self, check):
        return {finding["verdict"] for finding in self.of(check)}


def run(agent, command, *arguments, environment=None, config=None, wrapper=()):
    """The command on the agent's host, whether the agent runs or not."""
    variables = {"SSH_CONNECTION": "", **(environment or {})}
    return agent.namespace.call(
        "env", *(f"{name}={value}" for name, value in variables.items()), *wrapper, f"{BUILD}/jitgate",
        "--socket", str(agent.socket_path), command, "--config", str(config or agent.config_path), *arguments)


def doctor(agent, **options):
    done = run(agent, "doctor", "--json", **options)
    findings = Findings(json.loads(done.stdout))
    for finding in findings:
        assert set(finding) == {"check", "verdict", "message", "advice"}
        assert finding["verdict"] in (OK, UNKNOWN, WARNING, PROBLEM)
        assert finding["advice"] or finding["verdict"] == OK, finding
    assert done.returncode == (PROBLEM in {finding["verdict"] for finding in findings}), done
    assert done.stderr == ""
    return findings


def assess(agent, **options):
    """port/protocol: what is said of it."""
    done = run(agent, "assess", "--json", **options)
    assert done.returncode == 0, done
    answer = json.loads(done.stdout)
    return {f"{row['port']}/{row['protocol'].lower()}": row for row in answer["answers"]}


class Sshd:
    """A real one, on ports of a namespace, for as long as the test lasts."""

    def __init__(self, namespace, directory, *ports, address=""):
        program = shutil.which("sshd", path="/usr/sbin:/usr/bin")
        if not program:
            pytest.skip("sshd is missing")
        key = directory / "sshd-key"
        namespace.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
        config = directory / "sshd_config"
        config.write_text(f"HostKey {key}\nPidFile none\nUsePAM no\nStrictModes no\n" +
                          "".join(f"Port {port}\n" for port in ports) +
                          (f"ListenAddress {address}\n" if address else ""))
        os.makedirs("/run/sshd", exist_ok=True)
        self.process = namespace.spawn(program, "-D", "-e", "-f", str(config), stderr=subprocess.DEVNULL)
        for port in ports:
            await_(lambda: is_reached(namespace, address or "127.0.0.1", port), what=f"sshd on {port}")


def is_reached(namespace, address, port):
    """Whether a connection comes about; what refuses may say so."""
    try:
        return is_open(namespace, address, port)
    except OSError:
        return False


def iptables(vm, *lines):
    """Rules of iptables-nft, the same for both families but for those of "6: " alone."""
    for command in "iptables-nft", "ip6tables-nft":
        if not shutil.which(command):
            pytest.skip(f"{command} is missing")
        for line in lines:
            if command == "ip6tables-nft" or not line.startswith("6: "):
                vm.run(command, *line.removeprefix("6: ").split())


def firewall(text, policy="drop"):
    """An input chain that begins as most do."""
    return (f"table inet fw {{ {text.partition('||')[0] if '||' in text else ''}"
            f" chain input {{ type filter hook input priority 0; policy {policy};"
            " iif lo accept; ct state established,related accept; ct state invalid drop;"
            " meta l4proto { icmp, ipv6-icmp } accept;"
            f" {text.partition('||')[2] if '||' in text else text} }} }}")


def answers(text, policy="accept", hook="output"):
    """Rules for what this host sends."""
    return (f"table inet out {{ chain o {{ type filter hook {hook} priority 0; policy {policy};"
            f" meta l4proto ipv6-icmp accept; {text} }} }}")


# The rules of "ufw enable", as ufw loads them (its chains for logging and other protocols left out).
UFW = """
-N ufw-before-input
-N ufw-user-input
-N ufw-not-local
-N ufw-skip
-N ufw-after-input
-N ufw-logging
-N ufw-user-limit
-N ufw-user-limit-accept
-P INPUT DROP
-A INPUT -j ufw-before-input
-A INPUT -j ufw-after-input
-A INPUT -j ufw-logging
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j ufw-logging
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
6: -A ufw-before-input -m rt --rt-type 0 -j DROP
6: -A ufw-before-input -p ipv6-icmp -j ACCEPT
-A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT
-A ufw-before-input -j ufw-not-local
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN
-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j ufw-logging
-A ufw-not-local -j DROP
-A ufw-before-input -j ufw-user-input
-A ufw-skip -j DROP
-A ufw-after-input -p udp -m udp --dport 137 -j ufw-skip
-A ufw-after-input -p tcp -m tcp --dport 139 -j ufw-skip
-A ufw-logging -m limit --limit 3/min --limit-burst 10 -j LOG
-A ufw-user-limit -m limit --limit 3/min -j LOG
-A ufw-user-limit -j REJECT
-A ufw-user-limit-accept -j ACCEPT
""".strip().splitlines()
UFW_ALLOW = "-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT"
UFW_LIMIT = [
    "-A ufw-user-input -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -m recent --set",
    "-A ufw-user-input -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -m recent --update"
    " --seconds 30 --hitcount 6 -j ufw-user-limit",
    "-A ufw-user-input -p tcp -m tcp --dport 22 -j ufw-user-limit-accept"]


# A zone of firewalld as it writes it, eth2 in it.
def firewalld(services):
    return """
    table inet firewalld {
      chain filter_PREROUTING { type filter hook prerouting priority 10; policy accept;
        icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept
        meta nfproto ipv6 fib saddr . mark . iif oif missing drop }
      chain filter_INPUT { type filter hook input priority 10; policy accept;
        ct state { established, related } accept
        ct status dnat accept
        iifname "lo" accept
        ct state invalid drop
        jump filter_INPUT_ZONES
        meta l4proto { icmp, ipv6-icmp } accept
        reject with icmpx admin-prohibited }
      chain filter_INPUT_ZONES {
        iifname "eth2" goto filter_IN_public
        goto filter_IN_public }
      chain filter_IN_public { jump filter_IN_public_deny; jump filter_IN_public_allow;
        meta l4proto { icmp, ipv6-icmp } accept }
      chain filter_IN_public_deny { }
      chain filter_IN_public_allow { %s }
    }""" % services


def nft(text):
    """What stands in one line here takes several there."""
    text = re.sub(r"}\s*(chain|table)", r"}\n\1", re.sub("(?<!minute )}", "\n}", text))
    return lambda vm: vm.nft(text)


# What a rule set does with a first packet from the stranger (198.51.100.66, 2001:db8:51::66) on eth2 to
# 22/tcp, by reading: for IPv4, for IPv6.
RULE_SETS = {
    "none": (lambda vm: None, OK, OK),
    "policy drop": (nft(firewall("")), PROBLEM, PROBLEM),
    "policy accept": (nft(firewall("", "accept")), OK, OK),
    "accepted": (nft(firewall("tcp dport 22 accept")), OK, OK),
    "another accepted": (nft(firewall("tcp dport 2222 accept")), PROBLEM, PROBLEM),
    "in a set": (nft(firewall("tcp dport { 80, 22 } accept")), OK, OK),
    "not in a set": (nft(firewall("tcp dport { 80, 443 } accept")), PROBLEM, PROBLEM),
    "in a range": (nft(firewall("tcp dport 20-30 accept")), OK, OK),
    "between ranges": (nft(firewall("tcp dport { 1-21, 23-100 } accept")), PROBLEM, PROBLEM),
    "at a range's edge": (nft(firewall("tcp dport { 1-21, 22-100 } accept")), OK, OK),
    "outside ranges": (nft(firewall("tcp dport != { 1-21, 23-100 } accept")), OK, OK),
    "small ports dropped": (nft(firewall("tcp dport < 1024 drop; accept")), PROBLEM, PROBLEM),
    "large ports dropped": (nft(firewall("tcp dport >= 1024 drop; accept")), OK, OK),
    "th dport": (nft(firewall("meta l4proto { tcp, udp } th dport 22 accept")), OK, OK),
    "udp alone": (nft(firewall("udp dport 22 accept")), PROBLEM, PROBLEM),
    "rejected": (nft(firewall("tcp dport 22 reject with tcp reset", "accept")), PROBLEM, PROBLEM),
    "IPv4 rejected": (nft(firewall("meta nfproto ipv4 tcp dport 22 reject", "accept")), PROBLEM, OK),
    "IPv6 dropped": (nft(firewall("ip6 nexthdr tcp tcp dport 22 drop", "accept")), OK, PROBLEM),
    "other sources": (nft(firewall("ip saddr 192.0.2.7 tcp dport 22 accept")), PROBLEM, PROBLEM),
    "its sources": (nft(firewall("ip saddr 198.51.100.0/24 tcp dport 22 accept")), OK, PROBLEM),
    "not its sources": (nft(firewall("ip saddr != 198.51.100.0/24 drop", "accept")), OK, OK),
    "own address": (nft(firewall("ip daddr 198.51.100.1 drop", "accept")), PROBLEM, OK),
    "blocked others": (nft(firewall(
        "set blocked { type ipv4_addr; flags interval; elements = { 192.0.2.0/24, 203.0.113.5 }; }"
        "||ip saddr @blocked drop; tcp dport 22 accept")), OK, OK),
    "blocked": (nft(firewall(
        "set blocked { type ipv4_addr; flags interval; elements = { 198.51.100.0/25 }; }"
        "||ip saddr @blocked drop; tcp dport 22 accept")), PROBLEM, OK),
    "source and port": (nft(firewall(
        "ip saddr . tcp dport { 192.0.2.7 . 22, 198.51.100.66 . 22 } accept")), OK, PROBLEM),
    "sources and ports": (nft(firewall(
        "ip6 saddr . tcp dport { 2001:db8:51::/64 . 20-25 } accept")), PROBLEM, OK),
    "other sources and ports": (nft(firewall(
        "ip6 saddr . tcp dport { 2001:db8:51::/64 . 23-25, 2001:db8:2::/64 . 20-25 } accept")),
        PROBLEM, PROBLEM),
    "map of verdicts": (nft(firewall(
        "chain ssh { ip saddr 192.0.2.7 accept; meta nfproto ipv6 accept; drop; }"
        "||tcp dport vmap { 22 : jump ssh, 80 : accept }")), PROBLEM, OK),
    "map of ranges": (nft(firewall("tcp dport vmap { 1-21 : accept, 22-30 : drop }", "accept")),
                      PROBLEM, PROBLEM),
    "map of states": (nft(firewall("ct state vmap { established : accept, new : drop }", "accept")),
                      PROBLEM, PROBLEM),
    "its interface": (nft(firewall('iifname "eth2" tcp dport 22 drop', "accept")), PROBLEM, PROBLEM),
    "another interface": (nft(firewall('iifname "eth1" drop', "accept")), OK, OK),
    "its interface by number": (nft(firewall("iif eth2 tcp dport 22 accept")), OK, OK),
    "interfaces": (nft(firewall('iifname { "lo", "eth1" } accept')), PROBLEM, PROBLEM),
    "wildcard interface": (nft(firewall('iifname "eth*" tcp dport 22 accept')), OK, OK),
    "limited": (nft(firewall("tcp dport 22 ct state new limit rate 10/minute accept")), OK, OK),
    "limited over": (nft(firewall("tcp dport 22 limit rate over 10/minute drop; accept")), OK, OK),
    "meter": (nft(firewall(
        "set seen { type ipv4_addr; flags dynamic; size 100; timeout 1m; }"
        "||add @seen { ip saddr limit rate over 10/minute } drop; accept")), OK, OK),
    "bare SYN dropped": (nft(firewall("tcp flags syn / fin,syn,rst,ack drop", "accept")), PROBLEM, PROBLEM),
    "no bare SYN dropped": (nft(firewall("tcp flags != syn / fin,syn,rst,ack ct state new drop", "accept")),
                            OK, OK),
    "return": (nft(firewall(
        "chain mine { tcp dport 22 return; accept; }||jump mine")), PROBLEM, PROBLEM),
    "jump and on": (nft(firewall(
        "chain mine { tcp dport 23 accept; }||jump mine; tcp dport 22 accept")), OK, OK),
    "goto and no further": (nft(firewall(
        "chain mine { tcp dport 23 accept; }||goto mine; tcp dport 22 accept")), PROBLEM, PROBLEM),
    "dropped early": (nft("table ip early { chain p { type filter hook prerouting priority -350;"
                          " tcp dport 22 drop; } }"), PROBLEM, OK),
    "dropped at ingress": (nft("table netdev early { chain i { type filter hook ingress device eth2 priority 0;"
                               " tcp dport 22 drop; } }"), PROBLEM, PROBLEM),
    "dropped at another ingress": (nft(
        "table netdev early { chain i { type filter hook ingress device eth1 priority 0; tcp dport 22 drop; } }"),
        OK, OK),
    "asleep": (nft("table inet fw { flags dormant; chain i { type filter hook input priority 0; policy drop; } }"),
               OK, OK),
    "route checked": (nft("table inet fw { chain p { type filter hook prerouting priority raw;"
                          " fib saddr . iif oif missing drop; meta l4proto tcp fib daddr type != local drop; } }"), OK, OK),
    "only forwarded": (nft("table inet fw { chain o { type filter hook forward priority 0; policy drop; } }"), OK, OK),
    "answers dropped": (nft(answers("", "drop")), PROBLEM, PROBLEM),
    "answers accepted": (nft(answers("ct state established accept", "drop")), OK, OK),
    "answers by port": (nft(answers("tcp sport 22 drop")), PROBLEM, PROBLEM),
    "answers of another port": (nft(answers("tcp sport 2222 drop; tcp dport 22 drop")), OK, OK),
    "answers to its sources": (nft(answers("ip daddr 198.51.100.66 tcp flags syn,ack / syn,ack drop")), PROBLEM, OK),
    "answers through its interface": (nft(answers('oifname "eth1" drop; ct direction reply oifname "eth2" accept', "drop")),
                                      OK, OK),
    "answers no further": (nft(answers("tcp sport 22 drop", hook="postrouting")), PROBLEM, PROBLEM),
    "answers redirected": (nft(
        "table inet nat { chain p { type nat hook prerouting priority dstnat; tcp dport 22 redirect to :2200; }"
        " chain o { type nat hook output priority 0; tcp sport 22 drop; } }" + answers("tcp sport 2200 drop")),
        PROBLEM, PROBLEM),
    "counted by address": (nft(firewall(
        "map counters { type ipv4_addr : counter; }||counter name ip saddr map @counters tcp dport 22 accept")),
        UNKNOWN, PROBLEM),
    "a quota": (nft(firewall('quota much { until 0 bytes; }||quota name "much" tcp dport 22 accept')), UNKNOWN, UNKNOWN),
    "a limit by name": (nft(firewall('limit few { rate over 1/day; }||limit name "few" tcp dport 22 accept')),
                        UNKNOWN, UNKNOWN),
    "a counter by name": (nft(firewall('counter seen { }||counter name "seen" tcp dport 22 accept')), OK, OK),
    "no connection at all": (nft(firewall("tcp dport 22 ct count over 0 drop", "accept")), PROBLEM, PROBLEM),
    "translated maybe": (nft(
        "table inet nat { chain p { type nat hook prerouting priority dstnat;"
        " tcp dport 22 numgen random mod 2 0 redirect to :22; } }"
        "table inet fw { chain i { type filter hook input priority 0; policy drop;"
        " meta l4proto ipv6-icmp accept; ct status dnat accept; } }"), UNKNOWN, UNKNOWN),
    "routing header": (nft(firewall("rt type 0 drop; exthdr hbh exists drop", "accept")), OK, OK),
    "no mark": (nft(firewall("meta mark 1 drop", "accept")), OK, OK),
    "a mark": (nft("table inet fw { chain p { type filter hook prerouting priority -100; tcp dport 22 meta mark set 1; }"
                   " chain i { type filter hook input priority 0; meta mark 1 drop; } }"), UNKNOWN, UNKNOWN),
    "at random": (nft(firewall("numgen random mod 2 0 drop", "accept")), UNKNOWN, UNKNOWN),
    "not tracked": (nft("table inet fw { chain p { type filter hook prerouting priority raw; tcp dport 22 notrack; }"
                        " chain i { type filter hook input priority 0; policy drop; ct state new accept;"
                        " meta l4proto ipv6-icmp accept; } }"), UNKNOWN, UNKNOWN),
    "another table too": (nft(firewall("tcp dport 22 accept") +
                              "table ip6 more { chain i { type filter hook input priority 10; tcp dport 22 drop; } }"),
                          OK, PROBLEM),
    "readdressed early": (nft("table ip m { chain p { type filter hook prerouting priority -400;"
                              " tcp dport 22 tcp dport set 2222; } }"), UNKNOWN, OK),
    "marked for a class of service": (nft("table ip m { chain p { type filter hook prerouting priority -400;"
                                          " tcp dport 22 ip dscp set cs1; } }" + firewall("tcp dport 22 accept")), OK, OK),
    "redirected to what is dropped": (nft(
        "table inet nat { chain p { type nat hook prerouting priority dstnat; tcp dport 22 redirect to :2200; } }"
        "table inet fw { chain i { type filter hook input priority 0; tcp dport 2200 drop; } }"), PROBLEM, PROBLEM),
    "ufw": (lambda vm: iptables(vm, *UFW), PROBLEM, PROBLEM),
    "ufw allow": (lambda vm: iptables(vm, *UFW, UFW_ALLOW), OK, OK),
    "ufw limit": (lambda vm: iptables(vm, *UFW, *UFW_LIMIT), OK, OK),
    "ufw another": (lambda vm: iptables(vm, *UFW, UFW_ALLOW.replace("22", "2222")), PROBLEM, PROBLEM),
    "iptables ports": (lambda vm: iptables(
        vm, "-P INPUT DROP", "6: -A INPUT -p ipv6-icmp -j ACCEPT", "-A INPUT -p tcp -m multiport --dports 80,20:25 -j ACCEPT"), OK, OK),
    "iptables other ports": (lambda vm: iptables(
        vm, "-P INPUT DROP", "6: -A INPUT -p ipv6-icmp -j ACCEPT", "-A INPUT -p tcp -m multiport --dports 80,23:25 -j ACCEPT"), PROBLEM, PROBLEM),
    "iptables state": (lambda vm: iptables(
        vm, "-P INPUT DROP", "6: -A INPUT -p ipv6-icmp -j ACCEPT", "-A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT"), OK, OK),
    "iptables reject": (lambda vm: iptables(vm, "-A INPUT -p tcp --dport 22 -j REJECT"), PROBLEM, PROBLEM),
    "iptables answers": (lambda vm: iptables(
        vm, "-P OUTPUT DROP", "6: -A OUTPUT -p ipv6-icmp -j ACCEPT", "-A OUTPUT -p tcp -m multiport --sports 20:25 -j ACCEPT"), OK, OK),
    "iptables no answers": (lambda vm: iptables(
        vm, "-P OUTPUT DROP", "6: -A OUTPUT -p ipv6-icmp -j ACCEPT", "-A OUTPUT -p tcp --dport 22 -j ACCEPT",
        "-A OUTPUT -m conntrack --ctstate NEW -j ACCEPT"), PROBLEM, PROBLEM),
    "iptables many": (lambda vm: iptables(
        vm, "-A INPUT -p tcp --syn --dport 22 -m connlimit --connlimit-above 3 -j REJECT"), OK, OK),
    "iptables not read": (lambda vm: iptables(
        vm, "-A INPUT -p tcp --dport 22 -m statistic --mode random --probability 0.5 -j DROP"), UNKNOWN, UNKNOWN),
    "firewalld": (nft(firewalld("tcp dport 22 ct state { new, untracked } accept")), OK, OK),
    "firewalld without ssh": (nft(firewalld("tcp dport 9090 ct state { new, untracked } accept")), PROBLEM, PROBLEM),
}




def attach_xdp(namespace, interface):
    """A program that lets every packet pass, before any rule of nf_tables (bpf(2))."""
    number = {"x86_64": 321, "aarch64": 280}.get(os.uname().machine)
    libc = ctypes.CDLL(None, use_errno=True)

    def bpf(command, attributes):
        made = libc.syscall(number, command, ctypes.create_string_buffer(attributes, 128), 128) if number else -1
        if made < 0:
            pytest.skip(f"no BPF here: {os.strerror(ctypes.get_errno())}")
        return made

    code = ctypes.create_string_buffer(struct.pack("=BBhi", 0xb7, 0, 0, 2) + struct.pack("=BBhi", 0x95, 0, 0, 0))
    licence = ctypes.create_string_buffer(b"GPL")
    program = bpf(5, struct.pack("=IIQQ", 6, 2, ctypes.addressof(code), ctypes.addressof(licence)))
    directory = "/run/bpf"
    os.makedirs(directory, exist_ok=True)
    if subprocess.run(["mount", "-t", "bpf", "bpf", directory], capture_output=True, check=False).returncode != 0:
        pytest.skip("no BPF file system here")
    path = ctypes.create_string_buffer(f"{directory}/pass".encode())
    try:
        bpf(6, struct.pack("=QI", ctypes.addressof(path), program))
        namespace.run("ip", "link", "set", "dev", interface, "xdpgeneric", "pinned", f"{directory}/pass")
    finally:
        subprocess.run(["umount", directory], check=True)
        os.close(program)
