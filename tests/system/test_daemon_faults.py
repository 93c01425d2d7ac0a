# SPDX-License-Identifier: GPL-3.0-or-later
"""Each allocation and each system call in a grant's life fails once, and once with all that follow: what is answered
holds, the gate stays shut to strangers, no session is cut, and a start mends whatever was left.

    JITGATE_TEST_FAULTS=all    every call, not a selection of them: half an hour
    JITGATE_TEST_FAULTS=SEED   the selection that this number makes
"""

import contextlib
import hashlib
import itertools
import json
import os
import random
import select
import signal
import socket
import time

import pytest

from faults import Fault, Faults, clock_watch
from forge import Forge, grant_claims
from harness import Listener, Session, Udp, VarlinkError, allowing, await_, port_claim
from kernel import assert_as_granted, parse_time

CHOSEN = os.environ.get("JITGATE_TEST_FAULTS", "")
ALL = CHOSEN == "all"
SEED = int(CHOSEN) if CHOSEN.isdigit() else random.randrange(1 << 16)
SELECTED = 2  # calls of each kind of failure in each phase
ARMED_SECONDS = allowing(0.25)  # how long who asks waits while calls fail

OPEN_PORT, OTHER_PORT = 8080, 8022  # never managed; now and then
PORTS = {"ssh": {"number": 22, "max_request_access_duration": "PT1H"}}
MORE_PORTS = {**PORTS, "other": {"number": OTHER_PORT}}


class Door:
    """Tries whether a SYN gets in, without waiting: what is sent after it to a port that is not managed tells when
    it must have been answered."""

    def __init__(self, world):
        self.vm = world.vm
        self.listeners = [Listener(world.vm, "0.0.0.0", port)
                          for port in (22, OTHER_PORT, OPEN_PORT)]

    def lets_in(self, namespace, port=22):
        with namespace.inside():
            knock, follower = socket.socket(), socket.socket()
        with knock, follower:
            knock.setblocking(False)
            knock.connect_ex((self.vm.v4, port))
            follower.settimeout(5)
            follower.connect((self.vm.v4, OPEN_PORT))
            inside = bool(select.select([], [knock], [], 0)[1])
        self._drain()
        return inside

    def _drain(self):
        for listener in self.listeners:
            listener.socket.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    listener.socket.accept()[0].close()


class Life:
    """An agent whose calls fail, those who knock, and what it has answered for."""

    def __init__(self, world, agent, faults):
        self.world, self.agent, self.faults = world, agent, faults
        agent.environment.update(faults.environment)
        self.configure(PORTS)
        self.door = Door(world)
        self.forge = Forge(agent.key)
        self.revoked = set()  # answered for: these never come back
        self.n_exits = 0
        agent.start()
        agent.submit(self.forge.sign(grant_claims(source="192.0.2.7", jti="first")))
        self.session = Session(world.requester, world.vm.v4, self.door.listeners[0])
        self.revoke("first")

    def configure(self, ports):
        self.agent.configure(ports=ports, destination_nat="auto")

    # What is asked

    def ask(self, method, **parameters):
        """The answer; the error that was answered; or None where the connection was closed."""
        begun = time.monotonic()
        try:
            with self.agent.connect() as connection:
                connection.socket.settimeout(ARMED_SECONDS)
                connection.send(method, **parameters)
                while True:
                    try:
                        return connection.receive()
                    except socket.timeout:
                        if not self.may_go_on(begun):
                            raise
        except VarlinkError as error:
            assert error.name in ("Failed", "ReloadFailed"), f"a wrong answer: {error}"
            return error
        except OSError as error:
            assert not isinstance(error, socket.timeout), f"{method} hangs"
            return None

    def may_go_on(self, begun):
        """Whether to wait on for who has not answered yet. Where nothing has failed the machine is slow; else it may
        have had nothing to answer with, and has now."""
        seconds = time.monotonic() - begun
        if self.faults.n_failed or seconds > allowing(5):
            self.faults.disarm()
        return seconds < allowing(10)

    def submit_again(self, document):
        """What a failure has left is taken away before long; then it is admitted."""
        def admitted():
            try:
                return self.agent.submit(document)
            except VarlinkError as error:
                assert error.name == "Failed", error
        return await_(admitted, allowing(1), "it is admitted")

    def revoke(self, id):
        self.agent.call("Revoke", id=id, reason="test")
        self.revoked.add(id)

    # What is true

    def is_active(self, id):
        return any(grant["id"] == id and grant["state"] == "active"
                   for grant in self.agent.call("ListGrants")["grants"])

    def settle(self, had_gate=True):
        """It lives, or has ended in order and is started again."""
        self.faults.disarm()
        try:
            self.agent.call("org.varlink.service.GetInfo")
        except OSError:
            status = self.agent.process.wait(allowing(5))
            assert status in (0, 1), f"exit {status}"
            self.n_exits += 1
            if had_gate:
                self.assert_shut()
            self.agent._forget_notifications()
            self.agent.start()

    def assert_shut(self):
        assert not self.door.lets_in(self.world.stranger), "a stranger gets in"
        assert self.session.works(), "a session was cut"

    def assert_requester(self, inside):
        self.assert_shut()
        assert self.door.lets_in(self.world.requester) == inside, f"the requester: not {inside}"

    def await_requester(self, inside):
        """What an error was answered for is put right as soon as can be."""
        self.assert_shut()
        await_(lambda: self.door.lets_in(self.world.requester) == inside, allowing(1),
               f"the requester: {inside}")

    def restart(self):
        self.agent.kill()
        self.assert_shut()
        self.agent.start()
        self.assert_shut()

    def recover(self):
        """What went wrong is told; the rest is tried all the same."""
        self.faults.disarm()
        if self.agent.process.poll() is None:
            self.agent.kill()
        self.agent._forget_notifications()
        self.agent.start()
        for grant in self.agent.call("ListGrants")["grants"]:
            self.revoke(grant["id"])

    def verify(self):
        """All that is kept and told fits together."""
        self.restart()
        active = {grant["id"] for grant in self.agent.call("ListGrants")["grants"]}
        assert not active & self.revoked, "revoked, and back"
        assert_as_granted(self.agent)
        assert all({"unread", "lost"} & record["details"].keys() for record in self.agent.audit("ledger_damaged"))
        self.verify_audit()

    def verify_audit(self):
        """The chain holds. A record that could not be written is missing in it, and told so."""
        previous, last = "0" * 64, 0
        for line in (self.agent.directory / "log" / "audit.jsonl").read_bytes().splitlines():
            record = json.loads(line)
            assert record["previous"] == previous and record["sequence"] > last, record
            previous, last = hashlib.sha256(line).hexdigest(), record["sequence"]
        verified = self.agent.cli("audit", "verify")
        assert verified.returncode == 0 or "was to follow" in verified.stderr, verified.stderr


def was_done(answer):
    return isinstance(answer, dict)


class Submitting:
    """A grant by document."""

    def prepare(self, life):
        self.document = life.forge.sign(grant_claims())
        self.answer = None

    def act(self, life):
        self.answer = life.ask("Submit", document=self.document)

    def check(self, life):
        if was_done(self.answer):
            life.assert_requester(True)
            life.restart()
        elif isinstance(self.answer, VarlinkError):
            life.await_requester(False)
        again = life.submit_again(self.document)
        assert again["state"] == "active"
        if was_done(self.answer):
            # What could not be synced may have been written.
            assert again == {**self.answer, "durable": self.answer["durable"] or again["durable"]}
        life.assert_requester(True)
        life.revoke(again["id"])
        life.assert_requester(False)


class Granting:
    """A grant by local root."""

    def prepare(self, life):
        self.answer = None

    def act(self, life):
        self.answer = life.ask("Grant", ports=[port_claim("22/tcp", "192.0.2.7")], seconds=600,
                               reason="test")

    def check(self, life):
        if was_done(self.answer):
            life.assert_requester(True)
            life.restart()
            # What could not be written ends with the daemon.
            life.assert_requester(life.is_active(self.answer["id"]))
        elif isinstance(self.answer, VarlinkError):
            life.await_requester(False)
        for grant in life.agent.call("ListGrants")["grants"]:
            life.revoke(grant["id"])
        life.assert_requester(False)


class Revoking:
    """A revocation, by document or by local root."""

    def __init__(self, by_document):
        self.by_document = by_document

    def prepare(self, life):
        self.id = life.agent.submit(life.forge.sign(grant_claims()))["id"]
        self.document = life.forge.revocation(self.id)
        self.answer = None

    def act(self, life):
        if self.by_document:
            self.answer = life.ask("Submit", document=self.document)
        else:
            self.answer = life.ask("Revoke", id=self.id, reason="test")

    def check(self, life):
        if not was_done(self.answer):
            life.await_requester(life.is_active(self.id))
        if was_done(self.answer):
            life.revoked.add(self.id)
            life.assert_requester(False)
            life.restart()
            life.assert_requester(False)
        else:
            life.agent.submit(self.document)
            life.revoked.add(self.id)
        assert not life.is_active(self.id)
        life.assert_requester(False)


class Reading:
    """What tells and changes nothing: whole, or an error."""

    CALLS = [("Status", {}), ("ListGrants", {}), ("ListDenied", {}),
             ("Explain", {"source": "192.0.2.7", "port": 22, "protocol": "TCP"}),
             ("ListEvents", {"after": 0, "limit": 3})]

    def prepare(self, life):
        if not life.agent.call("ListGrants")["grants"]:
            life.agent.submit(life.forge.sign(grant_claims(seconds=3000)))

    def act(self, life):
        self.answers = [life.ask(method, **parameters) for method, parameters in self.CALLS]

    def check(self, life):
        for (method, parameters), answer in zip(self.CALLS, self.answers):
            if was_done(answer):
                assert shape(answer) == shape(life.agent.call(method, **parameters)), method
        life.assert_requester(True)

    def end(self, life):
        for grant in life.agent.call("ListGrants")["grants"]:
            life.revoke(grant["id"])


def shape(answer):
    """What does not change while a test looks."""
    if isinstance(answer, dict):
        return {key: shape(value) for key, value in answer.items()}
    if isinstance(answer, list):
        return [shape(value) for value in answer]
    return answer if isinstance(answer, str) and "T" not in answer else type(answer)


class Reloading:
    """A port more, and one less again."""

    def __init__(self):
        self.guarded = False

    def prepare(self, life):
        self.guarded = not self.guarded
        life.configure(MORE_PORTS if self.guarded else PORTS)
        self.answer = None

    def act(self, life):
        self.answer = life.ask("Reload")

    def check(self, life):
        def lets_in():
            return life.door.lets_in(life.world.stranger, OTHER_PORT)
        if was_done(self.answer):
            assert lets_in() != self.guarded
        elif isinstance(self.answer, VarlinkError) and "is in force" not in str(self.answer):
            await_(lambda: lets_in() == self.guarded, allowing(1), "the old configuration")
        life.agent.call("Reload")
        assert lets_in() != self.guarded
        life.assert_shut()

    def end(self, life):
        life.configure(PORTS)
        life.agent.call("Reload")


def n_missing(life):
    """How many records the audit log lacks up to one that is made now. A daemon that ended leaves out some, too."""
    life.agent.call("Reload")
    records = life.agent.audit()
    return records[-1]["sequence"] - len(records)


class Expiring:
    """A grant's last moment. No call waits for the answer: the time is what is awaited."""

    SLOW = True

    def prepare(self, life):
        answer = life.agent.call("Grant", ports=[port_claim("22/tcp", "192.0.2.7")], seconds=2,
                                 reason="test")
        self.id, self.ends = answer["id"], parse_time(answer["expires"])
        life.assert_requester(True)
        self.before = life.n_exits, n_missing(life)

    def act(self, life):
        time.sleep(max(0, self.ends + 0.05 - time.time()))

    def is_told(self, life):
        """Also by a daemon that was started again since, which lists it no more. A record that could not be written is
        in the journal alone; in the log its number is missing."""
        if self.id in {record["grant"] for record in life.agent.audit("grant_expired")}:
            return True
        n_exits, n_before = self.before
        return life.n_exits == n_exits and n_missing(life) > n_before

    def check(self, life):
        await_(lambda: not life.door.lets_in(life.world.requester), 0.5, "it is shut")
        life.assert_requester(False)
        await_(lambda: self.is_told(life), allowing(5), "its end is told")
        assert not life.is_active(self.id)
        life.revoked.add(self.id)


class Stepping:
    """The wall clock is set forward: over a grant's end, or to a moment before it."""

    def __init__(self, seconds):
        self.seconds = seconds

    def prepare(self, life):
        self.id = life.agent.call("Grant", ports=[port_claim("22/tcp", "192.0.2.7")], seconds=600,
                                  reason="test")["id"]
        life.assert_requester(True)
        self.watch = clock_watch(life.agent.process.pid)

    def act(self, life):
        life.faults.step_clock(self.watch, self.seconds)
        os.close(self.watch)
        life.ask("org.varlink.service.GetInfo")

    def check(self, life):
        if self.seconds < 600:
            life.assert_requester(True)
            life.revoke(self.id)
        else:
            await_(lambda: not life.is_active(self.id), allowing(1), "it has ended")
            life.await_requester(False)
            life.revoked.add(self.id)
        life.assert_requester(False)


class Starting:
    """With a grant and a revocation to read, and the gate standing."""

    def __init__(self):
        self.n = 0

    def prepare(self, life):
        self.n += 1
        if self.n % 10 == 0:
            self.begin_anew(life)
        if not life.agent.call("ListGrants")["grants"]:
            life.agent.submit(life.forge.sign(grant_claims(seconds=3000)))
            gone = life.agent.submit(life.forge.sign(grant_claims(source="192.0.2.8")))["id"]
            life.agent.submit(life.forge.revocation(gone))
            life.revoked.add(gone)
        life.agent.kill()

    def begin_anew(self, life):
        """What a start reads does not grow with the starts before it: sessions in the runtime ledger; and in the audit
        log what comes after a ledger's last record."""
        life.agent.stop()
        (life.agent.directory / "run" / "ledger").unlink()
        life.agent.start()
        answer = life.agent.call("Grant", ports=[port_claim("22/tcp", "192.0.2.9")], seconds=30, reason="test")
        life.revoke(answer["id"])

    def act(self, life):
        life.agent.start(wait=False)
        self.started = start_or_end(life)

    def check(self, life):
        status = life.agent.call("Status")
        if not status["trustedKeys"] or "ledgerError" in status:
            life.agent.call("Reload")  # the trust file or a ledger could not be read
        life.assert_requester(True)
        active = {grant["id"] for grant in life.agent.call("ListGrants")["grants"]}
        assert not active & life.revoked

    def end(self, life):
        for grant in life.agent.call("ListGrants")["grants"]:
            life.revoke(grant["id"])


def start_or_end(life):
    """Waits until the agent answers, or has ended."""
    def settled():
        if life.agent.process.poll() is not None:
            return True
        try:
            life.agent.call("org.varlink.service.GetInfo")
        except OSError:
            if time.monotonic() > begun + 2 * ARMED_SECONDS:
                life.may_go_on(begun)
            return False
        return True
    begun = time.monotonic()
    await_(settled, allowing(15), "it is up, or has ended")


class FirstStart(Starting):
    """Without a gate. A start that fails may leave none; the next shuts it. One that lives lets the sessions go on
    that are older than it."""

    HAS_GATE = False

    def prepare(self, life):
        life.agent.stop()
        life.agent.namespace.run("nft", "delete", "table", "inet", "jitgate")
        assert life.door.lets_in(life.world.stranger)
        life.configure({**PORTS, "dns": {"number": 53, "protocol": "UDP"}})
        self.client = Udp(life.world.requester, life.world.requester.v4, 5353)
        self.server = Udp(life.world.vm, life.world.vm.v4, 53,
                          connected_to=(life.world.requester.v4, 5353))
        self.n_exits = life.n_exits

    def check(self, life):
        life.assert_requester(False)
        # Where the kernel can't be asked which there are, none is known.
        if life.n_exits == self.n_exits and life.faults.failed_for_memory:
            await_(lambda: self.server.hears(self.client, life.world.vm.v4, 53), allowing(1),
                   "the UDP session goes on")
        self.client.close()
        self.server.close()

    def end(self, life):
        pass


class Stopping:
    def prepare(self, life):
        pass

    def act(self, life):
        life.agent.process.send_signal(signal.SIGTERM)
        status = life.agent.process.wait(allowing(5))
        assert status in (0, 1)

    def check(self, life):
        life.assert_requester(False)


PHASES = {
    "first start": FirstStart, "submit": Submitting, "grant": Granting,
    "revoke": lambda: Revoking(False), "revoke by document": lambda: Revoking(True),
    "read": Reading, "reload": Reloading, "expiry": Expiring,
    "clock over the end": lambda: Stepping(3600), "clock": lambda: Stepping(300), "start": Starting,
    "stop": Stopping,
}

# Once, each error; and all that follow too.
KINDS = {"memory": [("memory", False, 0), ("memory", True, 0)],
         "system": [("system", False, choice) for choice in range(3)] + [("system", True, 0)]}


@pytest.fixture
def life(world, agent, fault_library, tmp_path):
    return Life(world, agent, Faults(tmp_path, fault_library))


def which(life, phase, kind):
    """Numbers of the calls that fail, one after the other."""
    if ALL and not getattr(phase, "SLOW", False):
        return itertools.count(1)
    phase.prepare(life)
    with life.faults.armed(Fault(kind)):
        phase.act(life)
    n_calls = life.faults.n_calls
    life.settle(getattr(phase, "HAS_GATE", True))
    phase.check(life)
    n = 40 if ALL else 1 if getattr(phase, "SLOW", False) else SELECTED
    chance = random.Random(f"{SEED} {type(phase).__name__}")
    return sorted(chance.sample(range(1, n_calls + 1), min(n, n_calls)))


def try_once(life, phase, fault):
    """Returns whether a call failed, and what was wrong then, or None."""
    phase.prepare(life)
    try:
        with life.faults.armed(fault):
            phase.act(life)
        n_failed = life.faults.n_failed
        life.settle(getattr(phase, "HAS_GATE", True))
        phase.check(life)
    except Exception as error:  # told with all others
        wrong = f"{fault}, {life.faults.where}: {type(error).__name__} {error}"
        life.recover()
        return True, wrong
    return n_failed > 0, None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PHASES)
def test_calls_that_fail(life, name, kind, measure):
    print("seed", SEED)
    phase, wrongs, n_failures = PHASES[name](), [], 0
    for kind, lasting, choice in KINDS[kind]:
        for at in which(life, phase, kind):
            failed, wrong = try_once(life, phase, Fault(kind, at, lasting, choice))
            if not failed:
                break
            n_failures += 1
            if wrong:
                wrongs.append(wrong)
    if hasattr(phase, "end"):
        phase.end(life)
    assert n_failures, "no call has failed: nothing was tried"
    assert not wrongs, f"{len(wrongs)} of {n_failures}:\n" + "\n".join(wrongs)
    life.verify()
    measure(f"calls that failed, {name}, {kind}", f"{n_failures} ({life.n_exits} exits)")


def test_a_loop_that_fails_leaves_the_gate(life):
    """on_stop = remove is for a clean stop."""
    life.agent.configure(on_stop="remove")
    life.agent.call("Reload")
    for at in itertools.count(1):
        with life.faults.armed(Fault("system", at)):
            life.ask("Grant", ports=[port_claim("22/tcp", "192.0.2.8")], seconds=60, reason="test")
            life.ask("org.varlink.service.GetInfo")  # by then the loop has set its timers
        assert life.faults.n_failed, "every call has failed, and the loop has not"
        life.settle()
        if life.faults.where == "timerfd_settime" and life.n_exits:
            break


def test_a_start_in_which_openssl_lacks_memory_is_none(life):
    """OpenSSL does not make again what it could not make at its first use: that process would verify nothing."""
    phase, openssl = Starting(), Fault("memory", only="crypto_allocate")
    assert try_once(life, phase, openssl) == (False, None)
    n_calls = life.faults.n_calls  # the last few are for those who ask; their number varies
    for at in range(1, n_calls * 3 // 4, n_calls // 20):
        n_exits = life.n_exits
        assert try_once(life, phase, openssl._replace(at=at)) == (True, None)
        assert life.n_exits == n_exits + 1, f"call {at} of {n_calls}: it lives"
