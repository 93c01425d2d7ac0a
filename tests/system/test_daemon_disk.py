# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that is full or read-only locks nobody out: what is admitted then says that it is not durable."""

import os
import subprocess
import time

import pytest

from faults import Faults, clock_watch
from forge import Forge, grant_claims
from harness import allowing, await_, port_claim
from kernel import assert_as_granted, granted


class Disk:
    """A small file system of its own at the state directory."""

    def __init__(self, path):
        self.path = path
        path.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "small", path], check=True)

    def fill(self):
        with open(self.path / "filler", "ab", buffering=0) as file:
            try:
                while file.write(b"x" * 512):
                    pass
            except OSError:
                pass

    def free(self):
        (self.path / "filler").unlink()

    def remount(self, mode):
        subprocess.run(["mount", "-o", f"remount,{mode}", self.path], check=True)

    def close(self):
        subprocess.run(["umount", "--lazy", self.path], check=True)


@pytest.fixture
def disk(agent):
    made = Disk(agent.directory / "state")
    yield made
    made.close()


def fill_up(agent, disk):
    """Until a grant is not durable any more; the room that the ledger had made ahead is used first."""
    forge = Forge(agent.key)
    disk.fill()
    for i in range(400):
        answer = agent.submit(forge.sign(grant_claims("53/udp", "192.0.2.50", jti=f"fill-{i}")))
        assert answer["state"] == "active"
        if not answer["durable"]:
            return i
    raise AssertionError("it never got full")


def active(agent):
    return {g["id"]: g["durable"] for g in agent.call("ListGrants")["grants"]}


def exercise(agent):
    """Grants and a revocation that can't be made durable; all of it survives the daemon."""
    forge = Forge(agent.key)
    kept, revoked = (agent.sign_grant("22/tcp", f"192.0.2.{i}", jti=jti)
                     for i, jti in enumerate(("kept", "revoked")))
    for document in kept, revoked:
        answer = agent.submit(document)
        assert (answer["state"], answer["durable"]) == ("active", False)
        assert agent.submit(document) == answer
    revocation = forge.revocation("revoked", "never-came")
    answer = agent.submit(revocation)
    assert not answer["durable"] and agent.submit(revocation) == answer
    for id, kind in (("kept", "grant"), (answer["id"], "revocation")):
        record = [r for r in agent.audit("document_admitted") if r["grant"] == id][0]
        assert record["details"]["durable"] is False and record["details"]["kind"] == kind
    for _ in range(2):
        assert active(agent)["kept"] is False and "revoked" not in active(agent)
        assert agent.refusal(revoked) == "revoked"
        assert agent.submit(revocation) == answer
        assert_as_granted(agent)
        agent.kill()
        agent.start()
    assert active(agent)["before"] is True, "what was durable still is"


def test_a_full_disk(agent, disk):
    agent.start()
    agent.grant("22/tcp", "192.0.2.7", jti="before")
    n = fill_up(agent, disk)
    agent.grant("22/tcp", "192.0.2.8", jti="durable-not")
    durable = active(agent)
    assert all(durable[f"fill-{i}"] for i in range(n)) and not durable[f"fill-{n}"]
    assert "not survive a reboot" in agent.log()


def test_a_full_disk_survives_the_daemon(agent, disk):
    agent.start()
    agent.grant("22/tcp", "192.0.2.7", jti="before")
    agent.grant("22/tcp", "192.0.2.200", jti="before-2")
    fill_up(agent, disk)
    forge = Forge(agent.key)
    # Where a grant finds no room any more, a revocation, which is shorter, may.
    while agent.submit(forge.revocation("before-0"))["durable"]:
        pass
    # Its revocation is not durable, but the daemon's death does not undo it.
    answer = agent.submit(forge.revocation("before-2"))
    assert not answer["durable"]
    agent.grant("22/tcp", "192.0.2.9", jti="kept")
    for _ in range(3):
        state = active(agent)
        assert state["before"] is True and state["kept"] is False and "before-2" not in state
        assert_as_granted(agent)
        agent.kill()
        agent.start()


def test_space_comes_back(agent, disk):
    agent.start()
    agent.grant("22/tcp", "192.0.2.7", jti="before")
    n = fill_up(agent, disk)
    disk.free()
    answer = agent.submit(agent.sign_grant("22/tcp", "192.0.2.8", jti="after"))
    assert answer["durable"] is True
    agent.kill()
    agent.start()
    state = active(agent)
    assert state["before"] and state["after"] and not state[f"fill-{n}"]
    assert_as_granted(agent)
    assert agent.audit("ledger_damaged") == []


def test_what_a_clock_that_was_ahead_has_ended_stays_ended(agent, disk, fault_library, tmp_path):
    """The runtime directory alone knows of that time, also when its ledger has been written anew."""
    faults = Faults(tmp_path, fault_library)
    agent.environment.update(faults.environment)
    agent.start()
    forge, now = Forge(agent.key), int(time.time())

    def sign(jti, seconds):
        return forge.sign(grant_claims(source="192.0.2.7", jti=jti, exp=now + seconds))
    fill_up_for_revocations(agent, disk)
    watch = clock_watch(agent.process.pid)
    with agent.connect() as connection:
        for i in range(4):  # the shortest record finds no room, either
            connection.call("Submit", document=sign(f"c{i}", 60 + 10 * i))
        for i in range(4):
            faults.step_clock(watch, 10 if i else 60)
            agent.await_state(f"c{i}", "expired")
        for i in range(1600):
            connection.call("Submit", document=sign(f"h{i}", 600))
            connection.call("Revoke", id=f"h{i}", reason="over")
        connection.call("Submit", document=sign("first", 640))
        connection.call("Submit", document=sign("second", 700))
    n_records = count_records(agent)
    faults.step_clock(watch, 560)
    agent.await_state("first", "expired")
    faults.step_clock(watch, 60)
    agent.await_state("second", "expired")
    await_(lambda: count_records(agent) < n_records, what="the runtime ledger is written anew")
    faults.step_clock(watch, -710)
    os.close(watch)
    agent.kill()
    agent.start()
    assert active(agent) == {} and granted(agent.namespace) == []
    assert "clockBehindUntil" in agent.call("Status")


def count_records(agent):
    return len((agent.directory / "run" / "ledger").read_bytes().split())


def fill_up_for_revocations(agent, disk):
    """Where a grant finds no room any more, a revocation, which is shorter, may."""
    fill_up(agent, disk)
    while agent.submit(Forge(agent.key).revocation("nobody"))["durable"]:
        pass


def reboot(agent):
    """Nothing is left but what is on the disk."""
    agent.kill()
    agent.namespace.run("nft", "delete", "table", "inet", "jitgate")
    (agent.directory / "run" / "ledger").unlink()
    agent.start()


def by_document(agent, id):
    document = Forge(agent.key).revocation(id)
    assert not agent.submit(document)["durable"]
    return lambda: agent.submit(document)["durable"]


def by_root(agent, id):
    """Its record is shorter still: others fill the disk up for it."""
    def is_durable(id=id):
        return f'"revoked":"{id}"' in (agent.directory / "state" / "ledger").read_text()

    def revoke(id):
        agent.call("Revoke", id=id, reason="test")
        return is_durable(id)
    ports = [port_claim("22/tcp", "192.0.2.9")]
    while revoke(agent.call("Grant", ports=ports, seconds=60, reason="test")["id"]):
        pass
    assert not revoke(id)
    return is_durable


def by_policy(agent, id):
    """Not a revocation, but what it tightens must not loosen either."""
    narrow = {"number": 22, "protocol": "TCP", "allowedSourceAddressPrefix": "192.0.2.0/25",
              "maxRequestAccessDuration": "PT1H"}
    document = agent.sign("policy", jti="narrow", version=1, ports=[narrow])
    assert not agent.submit(document)["durable"]
    return lambda: agent.submit(document)["durable"]


@pytest.mark.parametrize("restarts", [False, True], ids=["alive", "restarted"])
@pytest.mark.parametrize("shut", [by_document, by_root, by_policy])
def test_what_was_shut_while_the_disk_was_full_stays_shut(agent, disk, shut, restarts):
    """It comes to the disk once there is room, asked or not."""
    agent.start()
    id = "revoked-" + 40 * "x"
    document = agent.sign_grant("22/tcp", "192.0.2.200", jti=id)
    assert agent.submit(document)["durable"]
    agent.grant("22/tcp", "192.0.2.7", jti="kept")
    fill_up_for_revocations(agent, disk)
    is_durable = shut(agent, id)
    assert not is_durable() and id not in active(agent)
    if restarts:
        agent.kill()
        agent.start()
        assert not is_durable() and id not in active(agent)
    disk.free()
    await_(is_durable, allowing(15), "it is on the disk")
    reboot(agent)
    assert id not in active(agent) and active(agent)["kept"]
    assert agent.refusal(document) in ("revoked", "source_not_allowed")
    assert is_durable()
    assert_as_granted(agent)


def test_what_was_shut_comes_to_the_disk_by_itself(agent, disk):
    """Nobody asks; and it comes there once, though the runtime directory has it still."""
    agent.start()
    agent.grant("22/tcp", "192.0.2.200", jti="revoked")
    fill_up_for_revocations(agent, disk)
    assert not agent.revoke("revoked")["durable"]
    disk.free()
    ledger = agent.directory / "state" / "ledger"
    await_(lambda: b'"revokes":["revoked"]' in ledger.read_bytes(), allowing(15), "it is on the disk")
    for _ in range(2):
        agent.kill()
        agent.start()
        agent.grant("22/tcp", "192.0.2.8")
    assert ledger.read_bytes().count(b'"revokes":["revoked"]') == 1
    reboot(agent)
    assert "revoked" not in active(agent)


@pytest.mark.parametrize("ledger", ["with a ledger", "without one"])
def test_a_read_only_disk(agent, disk, ledger):
    if ledger == "with a ledger":
        agent.start()
        agent.grant("22/tcp", "192.0.2.7", jti="before")
        agent.stop()
    disk.remount("ro")
    agent.start()
    if ledger == "with a ledger":
        exercise(agent)
    else:
        answer = agent.submit(agent.sign_grant("22/tcp", "192.0.2.8", jti="kept"))
        assert answer["durable"] is False
        agent.kill()
        agent.start()
        assert active(agent) == {"kept": False}
    assert_as_granted(agent)


def test_a_disk_that_is_writable_again(agent, disk):
    agent.start()
    agent.grant("22/tcp", "192.0.2.7", jti="before")
    agent.stop()
    disk.remount("ro")
    agent.start()
    agent.grant("22/tcp", "192.0.2.8", jti="meanwhile")
    disk.remount("rw")
    agent.stop()
    agent.start()
    assert agent.submit(agent.sign_grant("22/tcp", "192.0.2.9", jti="after"))["durable"] is True
    agent.kill()
    agent.start()
    assert active(agent) == {"before": True, "meanwhile": False, "after": True}


def test_no_room_for_the_audit_log(agent):
    """Records go to the journal and the listeners; grants are admitted all the same."""
    disk = Disk(agent.directory / "log")
    try:
        disk.fill()
        agent.start()
        with agent.connect() as monitor:
            monitor.send("Monitor", more=True)
            assert monitor.receive() == {}
            agent.grant("22/tcp", "192.0.2.7", jti="g")
            assert monitor.receive()["event"]["type"] == "document_admitted"
        assert_as_granted(agent)
        disk.free()
        agent.revoke("g")
        assert granted(agent.namespace) == []
        agent.stop()
        agent.start()
        assert agent.cli("audit", "verify").returncode == 0
    finally:
        disk.close()


def test_no_runtime_directory_to_write_to(agent):
    """The socket needs one: without it there is no start, and what stands is left."""
    agent.start()
    agent.grant("22/tcp", "192.0.2.7", jti="g")
    agent.kill()
    before = granted(agent.namespace)
    run = agent.directory / "run"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", run], check=True)
    try:
        agent.start(wait=False)
        assert agent.process.wait(60) == 1
        assert "agent.sock" in agent.log()
        assert [e.grant for e in granted(agent.namespace)] == [e.grant for e in before]
    finally:
        subprocess.run(["umount", run], check=True)
