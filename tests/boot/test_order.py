# SPDX-License-Identifier: GPL-3.0-or-later
"""A boot: the gate stands before the network comes up, and what is still valid comes back."""

import json
import pathlib
import re
import subprocess
import time

import pytest

from guarded import EARLY, KNOCK_SECONDS, SSH
from knocking import Knocking
from machine import CARD
from network import MACHINE4, MACHINE6
from world import await_

GATE_INSTALLED = "b2bd7ae9e2e74bd0a5d9f2a40be6fe03"


def listen_early(machine):
    """A managed port on which systemd itself listens as early as can be: whoever reaches it is answered."""
    machine.write("/etc/systemd/system/early.socket", f"""[Unit]
DefaultDependencies=no
Before=sysinit.target
[Socket]
ListenStream={EARLY}
Backlog=4096
[Install]
WantedBy=sysinit.target
""")
    machine.write("/etc/systemd/system/early.service", """[Unit]
DefaultDependencies=no
[Service]
ExecStart=/bin/sleep infinity
""")
    machine.chroot("systemctl", "--quiet", "enable", "early.socket")


def first(records, what):
    assert records, what
    return min(int(record["__MONOTONIC_TIMESTAMP"]) for record in records)


def network_up(machine):
    """When the first card came up, as the journal has it."""
    if machine.suite == "bullseye":
        begun = [r for r in machine.journal("--boot", "UNIT=networking.service", "_PID=1")]
    else:
        begun = [r for r in machine.journal("--boot", "--unit=systemd-networkd")
                 if r.get("INTERFACE") == CARD or CARD in str(r.get("MESSAGE"))]
    return first(begun, "the network came up")


@pytest.mark.parametrize("slow", [False, True], ids=["as it is", "a slow start"])
def test_nobody_gets_in_before_the_gate(machine, slow, measure):
    """From before a boot until after it the stranger sends a SYN every few milliseconds to sshd and to a port that is
    served from the first moment. A gate that takes its time is waited for."""
    listen_early(machine)
    if slow:
        machine.write("/etc/systemd/system/jitgated.service.d/slow.conf",
                      "[Service]\nExecStartPre=/bin/sleep 1.5\n")
    machine.boot()
    machine.grant(machine.network.requester)
    assert machine.is_open(machine.network.requester, EARLY)
    stranger, requester = machine.network.stranger, machine.network.requester
    with Knocking(stranger, MACHINE4, EARLY, KNOCK_SECONDS) as early4, \
            Knocking(stranger, MACHINE6, EARLY, KNOCK_SECONDS) as early6, \
            Knocking(stranger, MACHINE4, SSH, KNOCK_SECONDS) as ssh:
        machine.reboot()
        assert machine.lets_in(requester, bound=20)
        assert machine.is_open(requester, EARLY)
    n = sum(len(knocking.refused) for knocking in (early4, early6, ssh))
    assert not early4.let_in and not early6.let_in and not ssh.let_in
    assert not machine.is_open(stranger) and not machine.is_open(stranger, EARLY)
    gate = first(machine.journal("--boot", f"MESSAGE_ID={GATE_INSTALLED}"), "the gate was installed")
    up = network_up(machine)
    assert gate < up
    measure("a stranger's attempts during a boot, all refused", n)
    measure("the gate stood before the network, ms", (up - gate) // 1000)


def test_cloud_init_waits_for_the_gate(machine):
    """It brings the network up, for its own questions, before network-pre.target."""
    machine.write("/etc/systemd/system/jitgated.service.d/slow.conf",
                  "[Service]\nExecStartPre=/bin/sleep 1.5\n")
    machine.write("/etc/systemd/system/cloud-init-local.service", """[Unit]
DefaultDependencies=no
Wants=network-pre.target
After=systemd-remount-fs.service
Before=network-pre.target shutdown.target sysinit.target
[Service]
Type=oneshot
ExecStart=/bin/echo asks
[Install]
WantedBy=sysinit.target
""")
    machine.chroot("systemctl", "--quiet", "enable", "cloud-init-local.service")
    machine.boot()
    machine.await_active()
    gate = first(machine.journal("--boot", f"MESSAGE_ID={GATE_INSTALLED}"), "the gate was installed")
    assert gate < first(machine.journal("--boot", "--unit=cloud-init-local", "MESSAGE=asks"), "cloud-init asked")


def test_a_directory_that_is_not_there_opens_nothing(machine):
    """One of those that jitgate-agent.conf(5) tells how to move, on a disk that is missing at a boot."""
    page = pathlib.Path(__file__).parents[2] / "packaging" / "man" / "jitgate-agent.conf.5"
    paths, = re.findall(r"^ReadWritePaths=.*$", page.read_text(), re.MULTILINE)
    machine.configure(state_directory="/srv/jitgate/state")
    machine.write("/etc/systemd/system/jitgated.service.d/places.conf", f"[Service]\n{paths}\n")
    machine.boot()
    machine.await_active()
    assert machine.gate_stands() and not machine.is_open(machine.network.stranger)


def test_the_ledger_moves_as_the_manual_says(guarded):
    """Each line that an administrator types does what it says; no grant is lost."""
    page = pathlib.Path(__file__).parents[2] / "packaging" / "man" / "jitgate-agent.conf.5"
    typed, = [block for block in re.findall(r"^\.Bd .*?\n(.*?)^\.Ed", page.read_text(), re.MULTILINE | re.DOTALL)
              if "ReadWritePaths=" in block]
    guarded.configure(state_directory="/srv/jitgate/state")
    guarded.run("sh", "-ec", re.sub("^# ", "", typed, flags=re.MULTILINE))
    guarded.await_active()
    assert "/srv/jitgate/state/ledger" in guarded.run("ls", "-l", f"/proc/{guarded.main_pid('jitgated')}/fd").stdout
    assert list(guarded.grants().values()) == ["active"]
    guarded.run("jitgate", "audit", "verify")
    assert guarded.lets_in(guarded.network.requester) and not guarded.is_open(guarded.network.stranger)


@pytest.mark.parametrize("place", ["/var/lib", "/var/lib/jitgate", "/var/log"])
def test_a_file_system_that_is_missing_opens_nothing(machine, place):
    """The machine comes up without it (nofail), and jitgated makes do with what is beneath."""
    network = machine.network
    machine.write("/etc/fstab", f"none {place} missing nofail 0 0\n")
    machine.boot()
    machine.await_active()
    mount = place[1:].replace("/", "-") + ".mount"
    assert machine.show(mount, "ActiveState") == "failed"
    assert machine.gate_stands() and not machine.is_open(network.stranger)
    identifier = machine.grant(network.requester)["id"]
    assert machine.lets_in(network.requester, 20)
    machine.reboot()
    machine.await_active()
    assert machine.grants() == {identifier: "active"} and not machine.is_open(network.stranger)


@pytest.mark.parametrize("how", ["reboot", "power cut"])
def test_what_is_valid_comes_back(machine, how):
    """Signed grants do; what local root opened ends with the boot. The audit log goes on where it was."""
    network = machine.network
    machine.boot()
    signed = machine.grant(network.requester)["id"]
    local = json.loads(machine.run(
        "jitgate", "grant", "--json", "--port", f"{SSH}/tcp", "--source", network.stranger.v4, "--for", "PT10M",
        "--reason", "tests").stdout)["id"]
    assert machine.lets_in(network.requester, 20) and machine.lets_in(network.stranger)
    assert machine.grants() == {signed: "active", local: "active"}
    if how == "reboot":
        machine.reboot()
    else:
        machine.cut_power()
        machine.boot()
    assert not machine.failed()
    assert machine.grants() == {signed: "active"}
    assert machine.lets_in(network.requester, 20)
    assert not machine.is_open(network.stranger)
    machine.run("jitgate", "audit", "verify")
    records = machine.audit()
    assert [record["sequence"] for record in records] == list(range(1, len(records) + 1))
    assert len(machine.audit("agent_started")) == 2


def test_a_grant_that_ends_while_the_machine_is_off_does_not_come_back(machine):
    network = machine.network
    machine.boot()
    end = time.time() + 4
    machine.grant(network.requester, seconds=3)
    machine.power_off()
    await_(lambda: time.time() > end, 10, "the grant ends")
    machine.boot()
    assert machine.grants() == {}
    assert not machine.is_open(network.requester)


def test_nothing_is_in_the_hosts_own_network(machine):
    """What the machine does to its kernel stays in its own namespaces."""
    machine.boot()
    assert machine.gate_stands()
    tables = subprocess.run(["nft", "list", "tables"], check=True, capture_output=True, text=True).stdout
    assert "jitgate" not in tables
