# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine whose management ports jitgate guards: its configuration, its documents, and who gets in."""

import contextlib
import json
import math
import subprocess
import threading
import time
import uuid

from knocking import Accepting, Knocking
from machine import Machine
from network import MACHINE4, MACHINE6
from sockets import Listener, is_open
from world import await_

VM_ID = "vm-under-test"
CONFIGURATION = "/etc/jitgate/agent.conf"
SIGNING_KEY = "/root/signing.jwk"
SSH, EARLY, DOOR = 22, 2222, 2223  # what is managed; nothing listens at the door but what a test opens there
PORTS = {"ssh": {"number": SSH}, "doors": {"number": f"{EARLY}-{DOOR}"}}
KNOCK_SECONDS = 0.0025  # twice: an attempt every 5 ms, or more where they are answered


class Guarded(Machine):
    """now, next: where the packages are, and those of the next version; the machine has both in /repository."""

    def __init__(self, directory, network, layers, suite, now, next):
        super().__init__(directory, network, layers, [f"{now}:/repository/now", f"{next}:/repository/next"])
        self.suite, self.now, self.next = suite, now, next
        self.write("/etc/hostname", "guarded\n")
        self.write("/etc/apt/sources.list", "deb [trusted=yes] file:/repository/now ./\n")
        self.use_ifupdown() if suite == "bullseye" else self.use_networkd()
        self._admit_key()

    # sshd, and who has the key

    def _admit_key(self):
        self.key = self.directory / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        self.write("/root/.ssh/authorized_keys", self.key.with_suffix(".pub").read_text(), 0o600)
        # From release 9.8 on, sshd holds it against an address when it hangs up early, as knocking does.
        penalties = "" if self.suite in ("bullseye", "bookworm") else "PerSourcePenalties no\n"
        self.write("/etc/ssh/sshd_config.d/tests.conf", f"MaxStartups 100\nUseDNS no\n{penalties}")

    def ssh(self, *command):
        """The command line of ssh to this machine, for a host's run or spawn."""
        return ["ssh", "-i", str(self.key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                "-o", "BatchMode=yes", "-o", "ConnectTimeout=2", "-o", "LogLevel=ERROR", f"root@{MACHINE4}", *command]

    def lets_in(self, host, bound=0):
        """Whether a host logs in by ssh; whoever is let in may have to wait until sshd is up."""
        def logged_in():
            return host.call(*self.ssh("echo", "welcome"), timeout=30).stdout == "welcome\n"
        if not bound:
            return logged_in()
        return await_(logged_in, bound, "sshd answers")

    def is_open(self, host, port=SSH):
        """Whether a host gets a connection, by IPv4 and IPv6, which must be of one mind."""
        four, six = is_open(host, MACHINE4, port), is_open(host, MACHINE6, port)
        assert four == six
        return four

    def told(self):
        """What became of it, for whoever looks at a test that failed."""
        if self.ended():
            return self.console.read_text()
        units = [f"{field}={name}.service" for name in ("jitgated", "jitgate-poll", "jitgate-server", "cloud-final")
                 for field in ("UNIT", "_SYSTEMD_UNIT")]
        said = "".join(self.run(*command, check=False).stdout for command in (
            ["systemctl", "--failed"], ["systemctl", "status", "--lines=0", "jitgated", "jitgate-*"],
            ["journalctl", "--no-pager", "--output=short-monotonic", *" + ".join(units).split()]))
        # Of sessions there are as many as of attempts to connect.
        return "\n".join([line for line in said.splitlines() if "'s session from" not in line][-100:])

    # Packages

    def apt(self, *arguments, timeout=120):
        """apt-get, which has its lists from /repository: what it printed."""
        self.run("apt-get", "-qq", "update", timeout=timeout)
        done = self.run("apt-get", "-y", "-qq", "-o", "Dpkg::Use-Pty=0", *arguments, timeout=timeout)
        return done.stdout + done.stderr

    def follow_next(self):
        """From now on there is a newer version in apt's sources."""
        self.write("/etc/apt/sources.list.d/next.list", "deb [trusted=yes] file:/repository/next ./\n")

    def version(self, package="jitgate"):
        return self.run("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package, check=False).stdout

    # Configuration and documents

    def make_keys(self):
        self.write(SIGNING_KEY, self.chroot("jitgate", "key", "new", "--kid", "k1"), 0o600)
        self.write("/etc/jitgate/trust.jwks", self.chroot("jitgate", "key", "public", SIGNING_KEY))

    def configure(self, ports=None, **agent):
        if not self.path(SIGNING_KEY).exists():
            self.make_keys()
        sections = {"agent": {"vm_id": VM_ID, **agent},
                    **{f"port {name}": keys for name, keys in (PORTS if ports is None else ports).items()}}
        self.write(CONFIGURATION, "\n".join(
            f"[{title}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
            for title, keys in sections.items()))

    def sign_grant(self, host, seconds=3000, numbers=(SSH, EARLY, DOOR)):
        """A grant of the managed ports to a host."""
        now = time.time()
        ports = [{"number": number, "protocol": "TCP", "allowedSourceAddressPrefixes": [host.v4, host.v6]}
                 for number in numbers]
        claims = {"iss": "tests", "aud": VM_ID, "jti": str(uuid.uuid4()), "sub": "alice", "iat": int(now),
                  "exp": math.ceil(now + seconds), "ports": ports}
        return self.chroot("jitgate", "sign", "--key", SIGNING_KEY, "--type", "grant", "-",
                           input=json.dumps(claims)).strip()

    def grant(self, host, **options):
        """Submits what sign_grant signs, and returns what the agent answers."""
        signed = self.sign_grant(host, **options)
        return json.loads(self.run("jitgate", "submit", "--json", "-", input=signed).stdout)

    def grants(self):
        return {grant["id"]: grant["state"] for grant in json.loads(self.run("jitgate", "grants", "--json").stdout)}

    def audit(self, type=None):
        """The audit file's records, or those of one type."""
        path = self.path("/var/log/jitgate/audit.jsonl")
        records = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [record for record in records if type in (None, record["type"])]

    def status(self):
        return json.loads(self.run("jitgate", "status", "--json").stdout)

    # The gate

    def gate_stands(self):
        return "table inet jitgate" in self.ruleset()

    def await_active(self, unit="jitgated", bound=20):
        await_(lambda: self.show(unit, "ActiveState") == "active", bound, f"{unit} runs")

    # Who gets in while something happens

    @contextlib.contextmanager
    def watched(self, measure=None, what=None):
        """While the block runs, the stranger and the requester, to whom a grant was given, each try to connect every
        5 ms, and the requester types in an ssh session. At its end: none was answered wrong, and the session lives."""
        door = Listener(self, "0.0.0.0", DOOR)
        with Accepting(door), Typing(self, self.network.requester) as typing, \
                Knocking(self.network.requester, MACHINE4, DOOR, KNOCK_SECONDS) as granted, \
                Knocking(self.network.stranger, MACHINE4, DOOR, KNOCK_SECONDS) as stranger, \
                Knocking(self.network.stranger, MACHINE4, SSH, 2 * KNOCK_SECONDS) as at_ssh:
            for knocking in granted, stranger, at_ssh:
                await_(lambda knocking=knocking: knocking.n_begun > 20, 10, "knocking")
            yield
            n_before = granted.n_begun, typing.n_echoed
            await_(lambda: granted.n_begun > n_before[0] + 50 and typing.n_echoed > n_before[1] + 5, 10, "all goes on")
        door.close()
        wrong = {"a stranger got in": len(stranger.let_in) + len(at_ssh.let_in),
                 "the granted source did not": len(granted.refused)}
        assert not any(wrong.values()) and granted.let_in, wrong
        if measure:
            measure(f"{what}: attempts of a stranger, of a granted source, lines typed",
                    f"{len(stranger.refused) + len(at_ssh.refused)}, {len(granted.let_in)}, {typing.n_echoed}; none wrong")


class Typing:
    """An ssh session in which a line is sent every 20 ms, and comes back."""

    def __init__(self, machine, host):
        self.process = host.spawn(*machine.ssh("cat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.n_echoed, self.failure = 0, None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            while not self._stop.wait(0.02):
                line = f"line {self.n_echoed}\n"
                self.process.stdin.write(line)
                self.process.stdin.flush()
                if self.process.stdout.readline() != line:
                    raise EOFError("the session ended")
                self.n_echoed += 1
        except (OSError, EOFError) as error:
            self.failure = error

    def __enter__(self):
        self._thread.start()
        await_(lambda: self.n_echoed or self.failure, 20, "the session is open")
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(10)
        assert not self.failure and not self._thread.is_alive(), self.failure or "the session hangs"
        self.process.kill()
