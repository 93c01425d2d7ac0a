# SPDX-License-Identifier: GPL-3.0-or-later
"""`enforce --confirm-within` and `confirm`: nobody is locked out for longer than he said."""

import fcntl
import json
import os
import shutil
import struct
import subprocess
import time

import pytest

from confined import NOBODY, give_agent, let_in_by_access_list, open_path
from harness import BUILD, Listener, Session, Udp, VarlinkError, await_, is_open, later
from idl import Interface
from knocking import Accepting, Knocking

families = pytest.mark.parametrize("family", [4, 6])
LONG, SHORT = 600, 2


@pytest.fixture
def audited(world, agent):
    """An agent in audit mode, with a listener at its managed port."""
    agent.listener = Listener(world.vm, "::", 22, dual_stack=True)
    agent.configure(mode="audit")
    return agent.start()


def enforce(agent, seconds=LONG):
    return agent.call("Enforce", confirmWithinSeconds=seconds)


def mode(agent):
    return agent.call("Status")["mode"]


def await_audit_mode(agent, bound=5.0):
    await_(lambda: mode(agent) == "audit", bound, "the mode is audit again")


def configured(agent):
    return [line for line in agent.config_path.read_text().splitlines() if line.startswith("mode")]


def changes(agent):
    """What was told of the mode: which it is, whether on trial, who, why."""
    return [(r["details"]["mode"], r["details"]["onTrial"], r.get("subject"), r.get("reason"))
            for r in agent.audit("mode_changed")]


@families
@pytest.mark.parametrize("nat", ["yes", "no"])
def test_a_trial_that_nobody_confirms_goes_back(world, agent, family, nat):
    address, stranger = world.vm.address(family), world.stranger
    listener = Listener(world.vm, "::", 22, dual_stack=True)
    agent.configure(mode="audit", destination_nat=nat)
    agent.start()
    session = Session(stranger, address, listener)
    enforce(agent, SHORT)
    begun = time.monotonic()
    assert not is_open(stranger, address, 22)
    status = agent.call("Status")
    assert status["mode"] == "enforce" and status["revertsAt"]
    assert session.works()
    await_(lambda: is_open(stranger, address, 22), SHORT + 2, "it is open again")
    assert SHORT - 0.2 < time.monotonic() - begun < SHORT + 1
    await_audit_mode(agent)
    assert "revertsAt" not in agent.call("Status")
    assert session.works()
    assert changes(agent) == [("enforce", True, "root", "on trial for PT2S"),
                              ("audit", False, "root", "not confirmed within PT2S")]
    assert configured(agent) == ["mode = audit"]


@families
def test_the_kernel_ends_a_trial_though_the_daemon_is_dead(world, audited, family):
    """Who is locked out gets in again, whatever becomes of jitgated; sessions live all the while."""
    agent, address, stranger = audited, world.vm.address(family), world.stranger
    before = Session(stranger, address, agent.listener)
    enforce(agent, SHORT)
    agent.kill()
    assert not is_open(stranger, address, 22)
    await_(lambda: is_open(stranger, address, 22), SHORT + 2, "it is open again")
    assert before.works()
    agent.start()
    agent.await_audit("mode_changed", count=2)
    assert mode(agent) == "audit" and is_open(stranger, address, 22)
    assert changes(agent)[-1] == ("audit", False, "root", "not confirmed within PT2S")
    assert not (agent.directory / "run" / "trial").exists()


def test_udp_is_refused_on_trial_and_goes_through_afterwards(world, audited):
    """Who has met the server before goes on, as a TCP session does."""
    agent, vm = audited, world.vm
    client, other = Udp(world.requester, world.requester.v4, 5353), Udp(world.stranger, "0.0.0.0")
    server = Udp(vm, vm.v4, 53, connected_to=(world.requester.v4, 5353))
    unconnected = Udp(vm, "0.0.0.0", 53)
    assert server.hears(client, vm.v4, 53) and unconnected.hears(other, vm.v4, 53)
    enforce(agent, SHORT)
    assert server.hears(client, vm.v4, 53) and not unconnected.hears(other, vm.v4, 53)
    await_audit_mode(agent)
    assert server.hears(client, vm.v4, 53) and unconnected.hears(other, vm.v4, 53)


@families
def test_a_trial_outlives_the_daemon_and_leaves_no_gap(world, audited, family):
    """Killed and restarted, reloaded: until it is over, no stranger gets in between."""
    agent, address = audited, world.vm.address(family)
    until = agent.call("Enforce", confirmWithinSeconds=LONG)["revertsAt"]
    agent.grant("22/tcp", world.requester.address(family))
    stranger = Knocking(world.stranger, address, 22)
    granted = Knocking(world.requester, address, 22)
    with Accepting(agent.listener), stranger, granted:
        for n in range(8):
            before = stranger.n_begun, granted.n_begun
            if n % 2:
                agent.reload()
            else:
                agent.kill()
                agent.start()
            await_(lambda: stranger.n_begun > before[0] and granted.n_begun > before[1])
    assert not stranger.let_in and not granted.refused
    assert mode(agent) == "enforce" and configured(agent) == ["mode = audit"]
    assert seconds_between(until, agent.call("Status")["revertsAt"]) <= 1


def seconds_between(a, b):
    a, b = (time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")) for text in (a, b))
    return abs(a - b)


def test_a_trial_that_goes_on_after_a_restart_ends_on_time(world, audited):
    agent = audited
    enforce(agent, SHORT)
    begun = time.monotonic()
    agent.kill()
    agent.start()
    assert mode(agent) == "enforce"
    await_audit_mode(agent)
    assert SHORT - 0.2 < time.monotonic() - begun < SHORT + 1
    assert is_open(world.stranger, world.vm.v4, 22)


@pytest.mark.parametrize("what", ["reboot", "sleep", "garbage", "for ever"])
def test_a_trial_that_is_not_to_be_believed_ends(world, audited, what):
    """After a reboot the configuration's mode counts; asleep time passes; a file is no proof."""
    agent = audited
    enforce(agent, 3600)
    agent.kill()
    file = agent.directory / "run" / "trial"
    trial = json.loads(file.read_text())
    if what == "reboot":
        file.write_text(json.dumps({**trial, "boot": "0" * 32}))
    elif what == "sleep":
        agent.wrapper = later(7200)
    elif what == "garbage":
        file.write_text("{")
    else:
        file.write_text(json.dumps({**trial, "deadline": 2 ** 62}))
    agent.start()
    await_audit_mode(agent)
    assert is_open(world.stranger, world.vm.v4, 22)
    assert not file.exists()
    assert mode(agent) == "audit"
    assert len(agent.audit("mode_changed")) == (2 if what == "sleep" else 1)


def test_a_clean_stop_lets_the_trial_run_out(world, audited):
    agent = audited
    enforce(agent, SHORT)
    assert agent.stop() == 0
    assert not is_open(world.stranger, world.vm.v4, 22)
    await_(lambda: is_open(world.stranger, world.vm.v4, 22), SHORT + 2)


@families
def test_what_was_confirmed_lasts(world, audited, family):
    """In the kernel, in agent.conf, over a restart with what a reboot leaves."""
    agent, address, stranger = audited, world.vm.address(family), world.stranger
    session = Session(stranger, address, agent.listener)
    agent.config_path.write_text("# mine\n" + agent.config_path.read_text().replace(
        "mode = audit", "mode = audit   ; for now"))
    done = agent.cli("enforce", "--confirm-within", "PT2S")
    assert done.returncode == 0 and "sudo jitgate confirm" in done.stdout, done
    done = agent.cli("confirm", "--json")
    assert json.loads(done.stdout) == {"mode": "enforce", "changed": True,
                                       "configuration": str(agent.config_path)}
    text = agent.config_path.read_text()
    assert "\nmode = enforce   ; for now\n" in text and text.startswith("# mine\n")
    status = agent.call("Status")
    assert status["mode"] == "enforce" and "revertsAt" not in status
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        assert not is_open(stranger, address, 22)
    assert session.works()
    assert changes(agent) == [("enforce", True, "root", "on trial for PT2S"),
                              ("enforce", False, "root", "confirmed")]
    agent.kill()
    assert not (agent.directory / "run" / "trial").exists()
    agent.start()
    assert mode(agent) == "enforce" and not is_open(stranger, address, 22)
    agent.reload()
    assert mode(agent) == "enforce" and len(changes(agent)) == 2


def test_a_trial_and_the_control_planes_policy(world, audited):
    """A port that only a signed policy names is counted, refused, and counted again."""
    agent = audited
    Listener(world.vm, "::", 80, dual_stack=True)
    agent.submit(agent.sign("policy", jti="p", iat=int(time.time()), version=1, ports=[
        {"number": 80, "protocol": "TCP", "allowedSourceAddressPrefix": "*",
         "maxRequestAccessDuration": "PT1H"}]))
    assert is_open(world.stranger, world.vm.v4, 80)
    enforce(agent, SHORT)
    assert not is_open(world.stranger, world.vm.v4, 80)
    agent.grant("80/tcp", world.requester.v4)
    assert is_open(world.requester, world.vm.v4, 80)
    await_audit_mode(agent)
    assert is_open(world.stranger, world.vm.v4, 80)
    assert agent.call("Status")["refusedPackets"] >= 2


def test_explain_tells_of_a_trial(world, audited):
    agent, stranger = audited, world.stranger.v4

    def explained():
        return agent.call("Explain", source=stranger, port=22, protocol="TCP")

    assert explained()["verdict"] == "allowed" and explained()["wouldRefuse"]
    enforce(agent)
    assert explained()["verdict"] == "refused" and "trial" in explained()["reason"]
    enforce(agent, 1)
    await_audit_mode(agent)
    assert explained()["verdict"] == "allowed" and explained()["wouldRefuse"]
    enforce(agent)
    agent.call("Confirm")
    assert explained()["verdict"] == "refused" and "trial" not in explained()["reason"]


def test_a_trial_begun_anew_takes_the_new_time(world, audited):
    """Longer, and shorter: the way to go back at once."""
    agent = audited
    enforce(agent, 1)
    enforce(agent, LONG)
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        assert not is_open(world.stranger, world.vm.v4, 22)
    assert mode(agent) == "enforce"
    enforce(agent, 1)
    await_audit_mode(agent)
    assert is_open(world.stranger, world.vm.v4, 22)
    assert [c[:2] for c in changes(agent)] == [("enforce", True)] * 3 + [("audit", False)]


def test_a_configuration_that_says_enforce_confirms(world, audited):
    agent = audited
    enforce(agent, SHORT)
    agent.configure(mode="enforce")
    agent.reload()
    assert "revertsAt" not in agent.call("Status")
    end = time.monotonic() + SHORT + 0.5
    while time.monotonic() < end:
        assert not is_open(world.stranger, world.vm.v4, 22)
    assert changes(agent)[-1][:2] == ("enforce", False)
    agent.configure(mode="audit")
    agent.reload()
    assert mode(agent) == "audit" and is_open(world.stranger, world.vm.v4, 22)


def test_a_bad_configuration_does_not_end_a_trial(world, audited):
    agent = audited
    enforce(agent)
    good = agent.config_path.read_text()
    agent.config_path.write_text(good + "frob = 1\n")
    agent.reload()
    agent.await_audit("reload_failed")
    assert agent.call("Status")["revertsAt"]
    done = agent.cli("confirm")
    assert done.returncode == 1 and "frob" in done.stderr and "Nothing was changed" in done.stderr
    assert agent.config_path.read_text() == good + "frob = 1\n"
    assert agent.call("Status")["revertsAt"], "all or nothing"
    agent.config_path.write_text(good)
    assert agent.cli("confirm").returncode == 0
    assert configured(agent) == ["mode = enforce"]


def test_enforcing_for_good(world, audited):
    """Without --confirm-within: at once, in agent.conf too; once more says that it is so."""
    agent = audited
    answer = json.loads(agent.cli("enforce", "--json").stdout)
    assert answer == {"mode": "enforce", "changed": True, "configuration": str(agent.config_path)}
    assert configured(agent) == ["mode = enforce"]
    assert not is_open(world.stranger, world.vm.v4, 22)
    before = agent.config_path.read_bytes(), agent.config_path.stat().st_ino
    for arguments in ["enforce"], ["enforce", "--confirm-within", "PT1S"]:
        done = agent.cli(*arguments)
        assert done.returncode == 0 and "already" in done.stdout, done
        assert json.loads(agent.cli(*arguments, "--json").stdout)["changed"] is False
    assert (agent.config_path.read_bytes(), agent.config_path.stat().st_ino) == before
    agent.stop()
    agent.start()
    assert mode(agent) == "enforce" and not is_open(world.stranger, world.vm.v4, 22)
    assert changes(agent) == [("enforce", False, "root", None)]


def test_who_is_out_is_told(world, audited):
    """While the ssh session is still there in which it is said."""
    agent = audited
    agent.grant("22/tcp", world.requester.v4)
    for arguments in ["enforce", "--confirm-within", "PT1H"], ["confirm"], ["enforce"]:
        for host in world.requester, world.stranger:
            agent.configure(mode="audit")
            agent.cli("reload")
            if arguments == ["confirm"]:
                enforce(agent)
            done = world.vm.call("env", f"SSH_CONNECTION={host.v4} 50000 {world.vm.v4} 22", f"{BUILD}/jitgate", "--socket",
                                 str(agent.socket_path), *arguments)
            told = f"new connection from {host.v4} to 22/tcp is refused" in done.stdout
            assert done.returncode == 0 and told == (host is world.stranger), done


def test_who_came_from_this_host_itself_is_not_out(world, audited):
    """By whichever of its addresses: that is loopback, too."""
    for address in world.vm.v4, f"::ffff:{world.vm.v4}":
        done = world.vm.call("env", f"SSH_CONNECTION={address} 50000 {address} 22", f"{BUILD}/jitgate", "--socket",
                             str(audited.socket_path), "enforce", "--confirm-within", "PT1H")
        assert done.returncode == 0 and "is refused" not in done.stdout, done
    assert is_open(world.vm, world.vm.v4, 22)


def test_enforcing_for_good_confirms_a_trial(audited):
    agent = audited
    enforce(agent)
    assert agent.cli("enforce").returncode == 0
    assert configured(agent) == ["mode = enforce"] and "revertsAt" not in agent.call("Status")
    assert changes(agent)[-1] == ("enforce", False, "root", "confirmed")


def test_enforced_but_not_in_the_file(audited):
    """Asked by Varlink alone, it lasts until the file is read again; `jitgate enforce` has it say so."""
    agent = audited
    assert agent.call("Enforce") == {"changed": True}
    assert configured(agent) == ["mode = audit"]
    assert json.loads(agent.cli("enforce", "--json").stdout)["changed"] is True
    assert configured(agent) == ["mode = enforce"]


def test_nothing_to_confirm(world, audited):
    agent = audited
    before = agent.config_path.read_bytes()

    def refused():
        with pytest.raises(VarlinkError) as caught:
            agent.call("Confirm")
        assert caught.value.name == "NothingToConfirm"
        done = agent.cli("confirm")
        assert done.returncode == 1 and "nothing to confirm" in done.stderr
        assert json.loads(agent.cli("confirm", "--json").stdout) == {"error": "nothingToConfirm"}
        assert agent.config_path.read_bytes() == before

    refused()
    enforce(agent, 1)
    await_audit_mode(agent)
    refused()
    assert mode(agent) == "audit" and is_open(world.stranger, world.vm.v4, 22)
    agent.configure(mode="enforce")
    agent.reload()
    before = agent.config_path.read_bytes()
    refused()


@pytest.mark.parametrize("seconds", [0, -1, 86401, "60", 1.5, True, 2 ** 62])
def test_a_time_that_is_none(audited, seconds):
    with pytest.raises(VarlinkError) as caught:
        audited.call("Enforce", confirmWithinSeconds=seconds)
    assert caught.value.parameters["parameter"] == "confirmWithinSeconds"
    assert mode(audited) == "audit"


def test_where_agent_conf_cannot_be_written(audited):
    """Nothing is confirmed that would not last; what to do instead is said, and works."""
    agent = audited
    enforce(agent)
    directory, before = agent.directory, agent.config_path.read_bytes()
    subprocess.run(["mount", "--bind", directory, directory], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", directory], check=True)
    try:
        done = agent.cli("confirm")
    finally:
        subprocess.run(["umount", directory], check=True)
    assert done.returncode == 1 and "Read-only" in done.stderr, done
    assert "jitgate reload" in done.stderr
    assert agent.config_path.read_bytes() == before
    assert agent.call("Status")["revertsAt"]
    agent.configure(mode="enforce")
    agent.reload()
    assert "revertsAt" not in agent.call("Status") and mode(agent) == "enforce"


class Mounted:
    """Something is mounted on the path, as containers and some images have it."""

    def __init__(self, path):
        self.path = path
        subprocess.run(["mount", "--bind", path, path], check=True)

    def undo(self):
        subprocess.run(["umount", self.path], check=True)


class Immutable:
    """As chattr +i has it."""
    GET, SET, FLAG = 0x80086601, 0x40086602, 0x10  # FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IMMUTABLE_FL

    def __init__(self, path):
        self.path = path
        try:
            self._change(lambda flags: flags | self.FLAG)
        except OSError as error:
            pytest.skip(f"nothing is made immutable here: {error}")

    def _change(self, change):
        fd = os.open(self.path, os.O_RDONLY)
        try:
            (flags,) = struct.unpack("i", fcntl.ioctl(fd, self.GET, struct.pack("i", 0)))
            fcntl.ioctl(fd, self.SET, struct.pack("i", change(flags)))
        finally:
            os.close(fd)

    def undo(self):
        self._change(lambda flags: flags & ~self.FLAG)


@pytest.mark.parametrize("hold,place,told", [
    (Mounted, "config_path", "mounted"), (Immutable, "config_path", "chattr"),
    (Immutable, "directory", "Operation not permitted")])
def test_where_agent_conf_cannot_be_replaced(audited, hold, place, told):
    """It is found before anything is confirmed, not after."""
    agent = audited
    enforce(agent)
    before = agent.config_path.read_bytes()
    held = hold(getattr(agent, place))
    try:
        done = agent.cli("confirm")
    finally:
        held.undo()
    assert done.returncode == 1 and told in done.stderr, done
    assert "jitgate reload" in done.stderr and "needs root" not in done.stderr
    assert agent.config_path.read_bytes() == before
    assert agent.call("Status")["revertsAt"]
    assert agent.cli("confirm").returncode == 0 and configured(agent) == ["mode = enforce"]


@pytest.mark.parametrize("command", [["enforce"], ["enforce", "--confirm-within", "PT1M"], ["confirm"]])
def test_who_is_not_root_is_told_that_it_takes_root(audited, tmp_path, command):
    """Not that a group would do."""
    agent = audited
    open_path(agent.directory)
    open_path(tmp_path)
    program = shutil.copy(f"{BUILD}/jitgate", tmp_path)
    done = agent.namespace.call("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", program,
                                "--socket", str(agent.socket_path), *command)
    assert done.returncode == 1 and "this needs root" in done.stderr and "group" not in done.stderr, done
    assert mode(agent) == "audit"


def test_root_writes_where_root_alone_decides(users, world, agent):
    """The agent says where its configuration is. One that is taken over must not have root write through what is its own."""
    mine = agent.directory / "mine"
    mine.mkdir()
    agent.config_path = mine / "agent.conf"
    agent.configure(mode="audit")
    give_agent(agent)
    agent.start()
    enforce(agent)
    for place, other in (mine, 0o755), (agent.config_path, 0o644), (mine, 0o777):
        before, rights = agent.config_path.read_bytes(), place.stat()
        if other == 0o777:
            place.chmod(other)
        else:
            os.chown(place, NOBODY, NOBODY)
        done = agent.cli("confirm")
        assert done.returncode == 1 and f"{place} is not root's alone to change" in done.stderr, done
        assert "jitgate reload" in done.stderr
        assert agent.config_path.read_bytes() == before and os.listdir(mine) == ["agent.conf"]
        assert agent.call("Status")["revertsAt"]
        os.chown(place, rights.st_uid, rights.st_gid)
        place.chmod(rights.st_mode)
    assert agent.cli("confirm").returncode == 0 and configured(agent) == ["mode = enforce"]


def test_who_may_read_agent_conf_still_may(audited):
    """Else jitgated's service, which may by an access list, would not start at the next boot."""
    agent, name = audited, "system.posix_acl_access"
    if not let_in_by_access_list(agent.config_path, NOBODY):
        pytest.skip("no access lists here")
    before = agent.config_path.stat(), os.getxattr(agent.config_path, name)
    assert agent.cli("enforce").returncode == 0
    after = agent.config_path.stat(), os.getxattr(agent.config_path, name)
    assert after[0].st_ino != before[0].st_ino
    assert (after[0].st_mode, after[1]) == (before[0].st_mode, before[1])


def test_while_another_changes_agent_conf(audited):
    """`jitgate enroll`, say: what it writes must not be lost."""
    agent = audited
    enforce(agent)
    directory = os.open(agent.directory, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        done = agent.cli("confirm")
        assert done.returncode == 1 and "another jitgate" in done.stderr
        assert configured(agent) == ["mode = audit"] and agent.call("Status")["revertsAt"]
    finally:
        os.close(directory)
    assert agent.cli("confirm").returncode == 0


def test_a_trial_that_cannot_be_kept_is_not_begun(world, audited):
    """No room in the runtime directory: the next daemon would know nothing of it."""
    agent = audited
    os.mkdir(agent.directory / "run" / "trial.new")
    done = agent.cli("enforce", "--confirm-within", "PT1M")
    assert done.returncode == 1 and "mode could not be changed" in done.stderr
    assert mode(agent) == "audit" and is_open(world.stranger, world.vm.v4, 22)
    assert changes(agent) == []


def test_a_trial_on_a_kernel_that_cannot_own_tables(world, audited, older_kernel):
    """The table is put back as it was on trial, and ends by itself."""
    agent = audited
    agent.kill()
    agent.environment = dict(older_kernel)
    agent.start()
    enforce(agent, 3)
    world.vm.nft("flush set inet jitgate trial")
    agent.await_audit("gate_repaired")
    assert not is_open(world.stranger, world.vm.v4, 22)
    agent.kill()
    await_(lambda: is_open(world.stranger, world.vm.v4, 22), 5, "it is open again")


def test_answers_are_as_declared(audited):
    agent = audited
    with agent.connect() as connection:
        declared = Interface(connection.call("org.varlink.service.GetInterfaceDescription",
                                             interface="io.jitgate.Agent")["description"])
    assert declared.errors["NothingToConfirm"] == {}
    for method, parameters in (("Enforce", {"confirmWithinSeconds": 60}), ("Status", {}),
                               ("Confirm", {}), ("Enforce", {"confirmWithinSeconds": None}),
                               ("Status", {})):
        declared.check(agent.call(method, **parameters), declared.methods[method][1], method)


def test_status_shows_a_trial(audited):
    agent = audited
    assert "enforce --confirm-within" in agent.cli("status").stdout
    enforce(agent)
    text = agent.cli("status").stdout
    assert "on trial" in text and "jitgate confirm" in text and "min" in text
    assert json.loads(agent.cli("status", "--json").stdout)["revertsAt"].endswith("Z")
    assert json.loads(agent.cli("status", "--json").stdout)["configFile"] == str(agent.config_path)
