# SPDX-License-Identifier: GPL-3.0-or-later
"""Installing: it locks nobody out, says what to do next, and brings all that it needs."""

import stat

from world import await_

UNITS = "jitgated", "jitgate-poll", "jitgate-server"


def mode(machine, name):
    return stat.S_IMODE(machine.path(name).stat().st_mode)


def test_installing_locks_nobody_out(bare):
    """Nothing is enforced until there is a configuration, whatever is restarted meanwhile."""
    network = bare.network
    bare.boot()
    assert bare.lets_in(network.stranger, 20)
    said = bare.apt("install", "jitgate", "jitgate-server")
    assert "/etc/jitgate/agent.conf" in said and "agent.conf.example" in said
    assert "systemctl start jitgated" in said
    assert "/etc/jitgate-server/server.conf" in said
    for unit in UNITS:
        assert bare.show(unit, "UnitFileState") == "enabled"
        assert bare.show(unit, "ActiveState") == "inactive"
        assert bare.show(unit, "ConditionResult") == "no"
    assert "table inet jitgate" not in bare.ruleset()
    assert bare.lets_in(network.stranger)
    bare.reboot()
    assert not bare.failed()
    assert not bare.gate_stands()
    assert bare.lets_in(network.stranger, 20)


def test_it_guards_once_it_is_configured(bare):
    """As the text of the installation says."""
    network = bare.network
    bare.boot()
    said = bare.apt("install", "jitgate")
    bare.configure()
    bare.run("jitgated", "-n")
    assert bare.lets_in(network.stranger, 20)
    assert "systemctl start jitgated jitgate-poll" in said
    bare.systemctl("start", "jitgated", "jitgate-poll")
    assert not bare.is_open(network.stranger)
    bare.grant(network.requester)
    assert bare.lets_in(network.requester)
    bare.reboot()
    assert bare.gate_stands() and not bare.is_open(network.stranger)
    assert bare.lets_in(network.requester, 20)


def test_installing_with_a_configuration_in_place_enforces_it(bare):
    """As cloud-init may write it first. An ssh session that is open lives on."""
    network = bare.network
    bare.boot()
    bare.apt("install", "jitgate")
    bare.configure()
    bare.apt("remove", "jitgate")
    assert bare.lets_in(network.stranger, 20)
    bare.apt("install", "jitgate")
    bare.await_active()
    assert not bare.is_open(network.stranger)
    bare.grant(network.requester)
    with bare.watched():
        bare.apt("install", "--reinstall", "jitgate")


def test_what_is_to_be_done_is_said_again(bare):
    """After a removal that was no purge; an upgrade does not say it."""
    bare.boot()
    told = "/etc/jitgate/agent.conf:\n", "/etc/jitgate-server/server.conf:\n"
    said = bare.apt("install", "jitgate", "jitgate-server")
    assert all(text in said for text in told)
    bare.apt("remove", "jitgate", "jitgate-server")
    said = bare.apt("install", "jitgate", "jitgate-server")
    assert all(text in said for text in told), said
    bare.follow_next()
    said = bare.apt("upgrade")
    assert "+1" in bare.version() and not any(text in said for text in told), said
    bare.configure()
    bare.apt("remove", "jitgate")
    said = bare.apt("install", "jitgate")
    assert "jitgate status" in said and bare.gate_stands() and not any(text in said for text in told), said


def test_users_and_directories(machine):
    machine.boot()
    machine.run("getent", "group", "jitgate")
    assert "jitgate-poll" in machine.run("id", "-nG", "jitgate-poll").stdout.split()
    assert "jitgate" in machine.run("id", "-nG", "jitgate-poll").stdout.split()
    machine.run("getent", "passwd", "jitgate-server")
    machine.await_active()
    assert mode(machine, "/var/lib/jitgate") == 0o700
    assert mode(machine, "/var/log/jitgate") == 0o750
    assert mode(machine, "/etc/jitgate") == 0o755
    assert mode(machine, "/etc/jitgate-server") == 0o750
    status = machine.run("stat", "-c", "%U:%G %a", "/run/jitgate", "/run/jitgate/agent.sock").stdout.splitlines()
    assert status[0].split(":")[0] in ("root", "jitgated")
    # Nobody but root writes there, and anyone may submit what is signed.
    assert not int(status[0].split()[1], 8) & 0o022
    assert machine.run("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "jitgate", "submit", "--json",
                       "-", input=machine.sign_grant(machine.network.requester)).returncode == 0
    for command in "grants", "audit":
        done = machine.run("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "jitgate", command, check=False)
        assert done.returncode == 1 and "group jitgate" in done.stderr
        machine.run("setpriv", "--reuid=nobody", "--regid=jitgate", "--clear-groups", "jitgate", command)
    # The server's keys lie there.
    machine.apt("remove", "jitgate-server")
    machine.apt("install", "jitgate-server")
    assert mode(machine, "/etc/jitgate-server") == 0o750


def test_what_a_reload_executes_stays(machine):
    """A minimal Debian has no kill(1) but where something asks for it."""
    machine.boot()
    owner = machine.run("dpkg-query", "--search", "*bin/kill").stdout.partition(":")[0]
    said = machine.apt("remove", "--simulate", owner)
    for package in "jitgate", "jitgate-server":
        assert f"Remv {package} " in said


def test_a_bad_configuration_is_told(machine):
    """At the first start: the journal says where the fault is. The rest of the machine boots, and once it is mended the gate
    stands."""
    machine.write("/etc/jitgate/agent.conf", "[agent]\nmood = enforce\n")
    machine.boot()
    assert machine.show("jitgated", "ActiveState") != "active"
    messages = [str(r["MESSAGE"]) for r in machine.journal("--boot", "--unit=jitgated")]
    assert any("agent.conf:2" in message and "mood" in message for message in messages)
    assert machine.lets_in(machine.network.stranger, 20)
    machine.configure()
    await_(machine.gate_stands, 20, "the gate stands")
    machine.await_active()
