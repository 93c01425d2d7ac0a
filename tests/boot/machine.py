# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that boots: a Debian root under an overlay of its own, with its own systemd, journald and sshd, in
systemd-nspawn. A boot has a network namespace of its own, as a machine's has: nothing in the kernel outlives it."""

import contextlib
import itertools
import json
import os
import pathlib
import signal
import subprocess

from network import MACHINE4, MACHINE6
from world import await_, entered

HERE = pathlib.Path(__file__).resolve().parent
CARD = "host0"
BOOT_SECONDS = 60
REBOOTED = 133  # systemd-nspawn's exit status, for whoever started it to start it again
POWER_OFF = signal.SIGRTMIN + 4  # to systemd
_serial = itertools.count()


class Failed(AssertionError):
    """A command that failed, with what it printed."""


class Machine:
    """layers: directories, the topmost first; the machine writes into a directory above them."""

    def __init__(self, directory, network, layers, binds=()):
        self.name = f"machine{next(_serial)}"
        self.network = network
        self.binds = binds
        self.directory = pathlib.Path(directory)
        self.upper, self.root = self.directory / "upper", self.directory / "root"
        for made in self.upper, self.directory / "work", self.root:
            made.mkdir(parents=True)
        lower = ":".join(map(str, layers))
        subprocess.run(["mount", "-t", "overlay", "-o",
                        f"lowerdir={lower},upperdir={self.upper},workdir={self.directory}/work",
                        "machine", self.root], check=True)
        self.group = pathlib.Path("/sys/fs/cgroup") / self.name
        self.group.mkdir()
        self.console = self.directory / "console"
        self.console.touch()
        self.process = None
        self.sockets = []

    # Files

    def path(self, name):
        return self.root / str(name).lstrip("/")

    def write(self, name, text, mode=0o644):
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def chroot(self, *command, input=None):
        """Runs a program of the machine's, which need not be up: what it prints."""
        done = subprocess.run(["chroot", self.root, *map(str, command)], input=input, capture_output=True, text=True,
                              check=False, timeout=30)
        if done.returncode != 0:
            raise Failed(f"{command}: exit {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    # Life

    def boot(self, wait=True):
        """Switches it on; waits until all that starts at boot has started."""
        await_(lambda: not self.network.has_card(f"vb-{self.name}"), 10, "the cable of the boot before is gone")
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", f"--machine={self.name}",
                   f"--directory={self.root}", "--network-bridge=br0", "--boot", "--console=pipe",
                   "--link-journal=no", *(f"--bind-ro={bind}" for bind in self.binds)]
        with open(self.console, "ab") as console, self.network.switch.inside():
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "sh", "-c", 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"', "sh",
                 str(self.group), *command], stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        if wait:
            self.await_boot()
        return self

    def await_boot(self, bound=BOOT_SECONDS):
        self.state = await_(self._boot_state, bound, "the machine is up")
        self.network.learn(self.card())
        return self

    def _boot_state(self):
        assert self.process.poll() is None, f"systemd-nspawn ended: {self.console.read_text()}"
        if not self.leader():
            return None
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state if state in ("running", "degraded") else None

    def leader(self):
        """The process id of the machine's own systemd, or None."""
        try:
            children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            ready = [pid for pid in children if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == "systemd"]
        except OSError:
            return None
        return int(ready[0]) if ready else None

    def ended(self):
        return self.process is None or self.process.poll() is not None

    def reboot(self, wait=True):
        """A clean reboot, asked for inside."""
        self.run("systemctl", "reboot", check=False)
        self.await_end(REBOOTED)
        return self.boot(wait)

    def await_end(self, status):
        await_(self.ended, BOOT_SECONDS, "the machine is down")
        assert self.process.returncode == status, self.console.read_text()

    def power_off(self):
        os.kill(self.leader(), POWER_OFF)
        self.await_end(0)

    def cut_power(self):
        """All its processes are gone at once."""
        (self.group / "cgroup.kill").write_text("1")
        self.process.wait(10)

    def close(self):
        for made in self.sockets:
            made.close()
        if not self.ended():
            self.cut_power()
        subprocess.run(["umount", "--lazy", self.root], check=False)

    # What is asked and done inside

    def call(self, *command, input=None, timeout=60):
        """Runs a command as root on the machine to its end: returncode, stdout, stderr."""
        enter = ["nsenter", "--target", str(self.leader()), "--all", "--root", "--wdns=/", "--"]
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8",
                       "HOME": "/root", "SYSTEMD_PAGER": "", "DEBIAN_FRONTEND": "noninteractive"}
        return subprocess.run([*enter, *map(str, command)], input=input, capture_output=True, text=True,
                              check=False, timeout=timeout, env=environment)

    def run(self, *command, check=True, input=None, timeout=60):
        done = self.call(*command, input=input, timeout=timeout)
        if check and done.returncode != 0:
            raise Failed(f"{' '.join(map(str, command))}: exit {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def systemctl(self, *arguments, check=True):
        return self.run("systemctl", *arguments, check=check).stdout.strip()

    def show(self, unit, name):
        return self.systemctl("show", "--property", name, unit).partition("=")[2]

    def failed(self):
        """Those units of ours that failed. Others may have, where a container lacks what they want."""
        lines = self.systemctl("list-units", "--failed", "--plain", "--no-legend").splitlines()
        return [line.split()[0] for line in lines if "jitgate" in line]

    def main_pid(self, unit):
        """As this machine's own systemd counts them."""
        return int(self.show(unit, "MainPID"))

    def journal(self, *matches):
        """The journal's records as dictionaries, the oldest first."""
        lines = self.run("journalctl", "--output=json", "--no-pager", *matches).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def card(self):
        return self.run("cat", f"/sys/class/net/{CARD}/address").stdout.strip()

    def ruleset(self):
        """As the kernel has it, seen from outside: the machine has no nft."""
        return subprocess.run(["nsenter", "--target", str(self.leader()), "--net", "nft", "list", "ruleset"],
                              check=True, capture_output=True, text=True).stdout

    @contextlib.contextmanager
    def inside(self):
        """What is opened in the block is a socket on the machine."""
        fd = os.open(f"/proc/{self.leader()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with entered(fd):
                yield self
        finally:
            os.close(fd)

    # Its network, written before it boots

    def use_networkd(self):
        self.write("/etc/systemd/network/10-host0.network", f"""[Match]
Name={CARD}
[Network]
LinkLocalAddressing=no
IPv6AcceptRA=no
Address={MACHINE4}/24
[Address]
Address={MACHINE6}/64
DuplicateAddressDetection=none
""")
        self.chroot("systemctl", "--quiet", "enable", "systemd-networkd.service")

    def use_ifupdown(self):
        self.write("/etc/network/interfaces", f"""auto lo {CARD}
iface lo inet loopback
iface {CARD} inet static
    address {MACHINE4}/24
iface {CARD} inet6 static
    address {MACHINE6}/64
    dad-attempts 0
    accept_ra 0
""")
