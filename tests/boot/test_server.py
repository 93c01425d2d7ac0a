# SPDX-License-Identifier: GPL-3.0-or-later
"""The control plane's package and the poll, under their units: a machine that is its own control plane."""

import pytest

from plane import Plane, feed_state
from world import await_


@pytest.fixture
def plane(machine):
    made = Plane(machine)
    machine.boot()
    machine.await_active("jitgate-server")
    made.set_up()
    return made


def test_a_machine_joins_and_is_served(plane):
    """Enrolled, its poll reads the credential that is root's; a request opens the port; a reboot changes nothing."""
    machine, network = plane.machine, plane.machine.network
    assert machine.lets_in(network.stranger, 20)
    plane.enroll()
    assert machine.run("stat", "-c", "%U %a", "/etc/jitgate/feed-token").stdout == "root 600\n"
    machine.systemctl("enable", "--now", "jitgated", "jitgate-poll")
    await_(lambda: feed_state(machine) == "connected", 20, "the poll is connected")
    await_(machine.gate_stands, 20, "the gate stands")
    await_(lambda: not machine.is_open(network.stranger), 20, "the policy is in force")
    plane.ask(network.requester)
    await_(lambda: machine.lets_in(network.requester), 20, "the grant is there")
    machine.systemctl("restart", "jitgate-server")
    machine.systemctl("restart", "jitgate-poll")
    await_(lambda: feed_state(machine) == "connected", 20, "the poll is connected")
    machine.reboot()
    assert not machine.failed()
    assert not machine.is_open(network.stranger)
    assert machine.lets_in(network.requester, 20)
    await_(lambda: feed_state(machine) == "connected", 20, "the poll is connected")
    pid = machine.main_pid("jitgate-poll")
    assert machine.run("stat", "-c", "%U", f"/proc/{pid}").stdout == "jitgate-poll\n"
    # What it says of lost events names the boot.
    machine.run("nsenter", "--mount", "--target", pid, "cat", "/proc/sys/kernel/random/boot_id")


def test_a_reload_takes_up_a_new_signing_key(plane):
    """Under the unit: what systemctl executes for it is shut in as the server is."""
    machine, pid = plane.machine, plane.machine.main_pid("jitgate-server")
    machine.write("/etc/jitgate-server/signing.jwk", machine.chroot("jitgate", "key", "new", "--kid", "p2"))
    machine.systemctl("reload", "jitgate-server")
    await_(lambda: "p2" in [key["kid"] for key in plane.call(plane.bob, "GET", "/.well-known/jwks.json", {})["keys"]], 10,
           "the new key is published")
    assert machine.main_pid("jitgate-server") == pid


def test_restarting_upgrading_removing_and_purging_the_control_plane(plane):
    machine = plane.machine
    key = machine.path("/etc/jitgate-server/signing.jwk").read_text()
    machine.follow_next()
    machine.apt("upgrade")
    machine.await_active("jitgate-server")
    assert "+1" in machine.version("jitgate-server")
    assert plane.put_policy([])
    machine.apt("remove", "jitgate-server")
    assert machine.systemctl("is-active", "jitgate-server", check=False) == "inactive"
    assert machine.path("/etc/jitgate-server/signing.jwk").read_text() == key
    assert machine.path("/var/lib/jitgate-server/state.sqlite").exists()
    said = machine.apt("purge", "jitgate-server")
    assert "/var/lib/jitgate-server" in said and not machine.path("/var/lib/jitgate-server").exists()
    assert machine.path("/etc/jitgate-server/signing.jwk").exists() and "/etc/jitgate-server" in said
    assert "installed" in machine.version("jitgate")
