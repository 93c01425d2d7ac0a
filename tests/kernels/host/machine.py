# SPDX-License-Identifier: GPL-3.0-or-later
"""A virtual machine with one of Debian's kernels, from outside: its power by QMP, its programs by
guest/obey.py.

    vda  root     written to a copy that ends with the machine
    vdb  modules  the kernel's
    vdc  tree     /tree: this repository and what was built
    vdd  state    /state: a small disk that keeps what was synced
"""

import contextlib
import json
import os
import re
import select
import socket
import subprocess
import time

BOOT_SECONDS = 120
MEMORY = "3G"
STATE_SIZE = "64M"
# No wider registers than these: glibc would use them, and emulated they are slower.
EMULATED_PROCESSOR = "Nehalem,+rdrand"
# How much slower than a real one a machine is, for the bounds of tests (tests/system/world.py).
EMULATED_SLOWNESS = 12
COUNTED_SLOWNESS = 4


def has_kvm():
    """Not wherever /dev/kvm is: some processors' kind of it starts only kernels that were made for it."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return os.access("/dev/kvm", os.R_OK | os.W_OK) and bool(
            re.search(r"^flags\s*:.*\b(vmx|svm)\b", file.read(), re.M))


class Lines:
    """A socket on which whole lines of JSON come and go."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self._received = b""

    def send(self, **message):
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, bound):
        """The next message. A line that a reset cut short is left out."""
        deadline = time.monotonic() + bound
        while True:
            while b"\n" in self._received:
                line, self._received = self._received.split(b"\n", 1)
                try:
                    return json.loads(line)
                except ValueError:
                    pass
            left = max(0, deadline - time.monotonic())
            if not select.select([self.socket], [], [], left)[0]:
                raise TimeoutError(f"the virtual machine said nothing within {bound} s")
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("the virtual machine ended")
            self._received += data


class Failed(Exception):
    pass


class Machine:
    """images is the directory that tests/kernels/images made, directory one for this machine alone.

    With counted, an emulated machine's time is the number of its instructions, a nanosecond each: a busy host
    does not make it late, and while it waits for a time, that time has come. Not for what is timed from outside."""

    def __init__(self, images, suite, tree, directory, counted=False):
        self.images, self.suite, self.tree, self.directory = images, suite, tree, directory
        self.console_path = f"{directory}/console.log"
        self.state = f"{directory}/state.ext4"
        subprocess.run(["mke2fs", "-q", "-t", "ext4", self.state, STATE_SIZE], check=True)
        self.rtc = None  # when the machine's clock begins, UTC in ISO 8601; as the host's
        self.clock = "tsc=reliable clocksource=tsc"
        if has_kvm():
            self.slowness, self.accelerator = 1, ["-accel", "kvm", "-cpu", "host"]
        elif counted:
            self.slowness, self.accelerator = COUNTED_SLOWNESS, [
                "-accel", "tcg,thread=single,tb-size=512", "-cpu", EMULATED_PROCESSOR, "-icount", "shift=0,sleep=off"]
        else:
            # On a busy host the kernel takes the processor's counter for some times as slow as it is.
            self.clock = "clocksource=hpet"
            self.slowness, self.accelerator = EMULATED_SLOWNESS, [
                "-accel", "tcg,tb-size=512", "-cpu", EMULATED_PROCESSOR]
        self.process = self.boot_id = None

    def command(self):
        drives = [(f"{self.images}/root.ext2", "on"),
                  (f"{self.images}/{self.suite}/modules.ext4", "on"),
                  (self.tree, "on"), (self.state, "off")]
        return ["qemu-system-x86_64", *self.accelerator, "-m", MEMORY,
                "-nodefaults", "-no-user-config", "-display", "none",
                "-serial", f"file:{self.console_path}",
                *(["-rtc", f"base={self.rtc}"] if self.rtc else []),
                "-kernel", f"{self.images}/{self.suite}/vmlinuz",
                "-initrd", f"{self.images}/{self.suite}/initrd",
                "-append", f"console=ttyS0 quiet panic=5 mitigations=off nowatchdog {self.clock}"
                " init_on_alloc=0 rcupdate.rcu_expedited=1"
                " random.trust_cpu=on apparmor=1 security=apparmor"
                # Emulated code is translated anew wherever it is loaded to another address.
                " norandmaps",
                *(argument for path, snapshot in drives for argument in
                  ("-drive", f"file={path},format=raw,if=virtio,snapshot={snapshot}")),
                "-device", "virtio-serial-pci",
                "-chardev", f"socket,id=guest,path={self.directory}/guest,server=on,wait=off",
                "-device", "virtserialport,chardev=guest",
                "-qmp", f"unix:{self.directory}/qmp,server=on,wait=off"]

    def start(self):
        for name in "qmp", "guest":
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.directory}/{name}")
        with open(f"{self.directory}/qemu.log", "ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.command()],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while True:
            try:
                self._qmp, self._guest = (Lines(f"{self.directory}/{name}")
                                          for name in ("qmp", "guest"))
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise Failed(f"qemu does not start: {self.log('qemu.log')}") from None
                time.sleep(0.05)
        self._qmp.receive(20)
        self.qmp("qmp_capabilities")
        self.await_boot()
        return self

    def log(self, name="console.log"):
        with open(f"{self.directory}/{name}", encoding="utf-8", errors="replace") as file:
            return file.read()

    def await_boot(self, bound=BOOT_SECONDS):
        """Until it has booted, another time if it had before; what a command printed before that."""
        printed = ""
        deadline = time.monotonic() + bound
        while True:
            try:
                message = self._guest.receive(deadline - time.monotonic())
            except (TimeoutError, ConnectionError) as error:
                raise Failed(f"{error}: {self.log()[-3000:]}") from None
            if message.get("boot", self.boot_id) != self.boot_id:
                self.boot_id = message["boot"]
                return printed
            printed += message.get("output", "")

    # Power

    def qmp(self, command, **arguments):
        self._qmp.send(execute=command, arguments=arguments)
        while True:
            answer = self._qmp.receive(20)
            if "error" in answer:
                raise Failed(f"{command}: {answer['error']}")
            if "return" in answer:
                return answer["return"]

    def await_event(self, name, bound):
        deadline = time.monotonic() + bound
        while self._qmp.receive(deadline - time.monotonic()).get("event") != name:
            pass

    def reset(self):
        """As if the power had failed: at once. What a command printed that was not followed to its end."""
        self.qmp("system_reset")
        return self.await_boot()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()
        self.boot_id = None

    # Programs

    def begin(self, *command, input="", environment=None):
        self._guest.send(command=command, input=input, environment=environment)

    def follow(self, bound):
        """What the command prints, piece by piece, then its exit status as a number."""
        deadline = time.monotonic() + bound
        while True:
            message = self._guest.receive(deadline - time.monotonic())
            if "exit" in message:
                yield message["exit"]
                return
            yield message["output"]

    def run(self, *command, input="", environment=None, bound=120, check=True):
        """Runs a command to its end; what it printed."""
        self.begin(*command, input=input, environment=environment)
        *output, status = self.follow(bound)
        output = "".join(output)
        if check and status != 0:
            raise Failed(f"{' '.join(command)}: exit {status}: {output}")
        return output
