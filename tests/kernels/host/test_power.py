# SPDX-License-Identifier: GPL-3.0-or-later
"""Power fails, comes back, or rests: what was answered holds after it, and nothing else is open."""

import json
import os
import random
import time

import pytest

SCENE = ("/usr/bin/python3", "-u", "/tree/tests/kernels/guest/scene.py")
RESETS = 2
BOUND_SECONDS = 300


class Scene:
    """A scene in the machine: what it says, one message after another; it must end well."""

    def __init__(self, machine, name, *arguments):
        self.text = self._rest = ""
        machine.begin(*SCENE, name, *map(str, arguments), environment={
            "BUILD": "/tree/build", "JITGATE_TEST_SLOWNESS": str(machine.slowness)})
        self._pieces = machine.follow(BOUND_SECONDS)

    def messages(self, piece):
        """Those that are whole with this piece of what it prints."""
        self.text += piece
        *lines, self._rest = (self._rest + piece).split("\n")
        return [json.loads(line) for line in lines if line.startswith("{")]

    def __iter__(self):
        for piece in self._pieces:
            if isinstance(piece, int):
                assert piece == 0, self.text
                return
            yield from self.messages(piece)


def single(machine, name, *arguments):
    """The messages of a scene that ends, as one."""
    together = {}
    for message in Scene(machine, name, *arguments):
        together.update(message)
    return together


class Book:
    """What was sent, and what was answered as durable."""

    def __init__(self):
        self.seen = {kind: set() for kind in
                     ("local", "granting", "granted", "revoking", "revoked")}
        self.told = {}

    def write(self, message):
        if "told" in message:
            self.told[message["told"]] = message["event"]
        for kind, ids in self.seen.items():
            if kind in message:
                assert message.get("durable", True)
                ids.add(message[kind])

    def check(self, found):
        active = {id for id, state in found["grants"].items() if state == "active"}
        lost = self.seen["granted"] - self.seen["revoking"] - active
        assert not lost, f"answered, and gone: {lost}"
        assert not active & self.seen["revoked"], "revoked, and back"
        assert active <= self.seen["granting"], "never asked for"
        other = {number for number, event in self.told.items()
                 if found["records"].get(str(number)) != event}
        assert not other, f"told of, and gone or another: {other}"
        assert not active & self.seen["local"] and set(found["elements"]) <= active


def test_reset_while_grants_stream_in(machine):
    """Without warning: the disk has what was synced, half of what was not, and no more."""
    seed = int(os.environ.get("JITGATE_SEED", time.time_ns() % 100000))
    print("JITGATE_SEED", seed)
    chance, book = random.Random(seed), Book()
    for n in range(RESETS):
        enough = len(book.seen["granted"]) + chance.randrange(12, 40)
        scene = Scene(machine, "stream", f"{seed} {n}")
        for message in scene:
            book.write(message)
            if len(book.seen["granted"]) >= enough:
                break
        for message in scene.messages(machine.reset()):
            book.write(message)
        found = single(machine, "look")
        book.check(found)
        print(f"reset {n}: {len(book.told)} records told, {len(book.seen['granted'])} grants answered so far,"
              f" {len(book.seen['revoked'])} revocations,"
              f" {'a torn tail was dropped' if found['damaged'] else 'no torn tail'},"
              f" audit log {'sound' if found['verify'] == 0 else 'NOT sound'}")
        assert found["verify"] == 0, found["log"]
    assert len(book.seen["granted"]) > 20 and book.seen["revoked"]


def test_a_machine_without_a_clock(machine):
    """No battery: after a reboot it is 1970. All is shut until the clock is right; then what is signed comes back."""
    before = single(machine, "prepare")
    machine.stop()
    machine.rtc = "1970-01-01T00:00:00"
    machine.start()
    assert machine.run("date", "+%Y").strip() == "1970"
    found = single(machine, "no_clock", before["document"], time.time())
    grants = found["grants"]
    assert grants["kept"] == grants["brought"] == "active" and grants["scheduled"] == "scheduled"
    assert grants.get("revoked") != "active" and before["local"] not in grants
    assert not found["behind"]


def test_sleep(machine):
    """Suspended to memory: time that passes then counts."""
    if "mem" not in machine.run("cat", "/sys/power/state").split():
        pytest.skip("this kernel can't be suspended to memory")
    seconds = 5 * machine.slowness
    messages = iter(Scene(machine, "sleep", seconds))
    assert next(messages) == {"sleeps": True}
    machine.await_event("SUSPEND", 60)
    time.sleep(seconds + 1)  # nothing to await: it must pass while the machine sleeps
    machine.qmp("system_wakeup")
    woken = next(messages)
    print(f"slept {woken['slept']:.0f} s, shut {woken['shut_after'] * 1000:.0f} ms after waking")
    found = next(messages)
    assert found["grants"]["ends-asleep"] == "expired"
    assert found["grants"]["outlives"] == "active"
    assert not list(messages)
