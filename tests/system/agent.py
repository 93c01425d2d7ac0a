# SPDX-License-Identifier: GPL-3.0-or-later
"""jitgated under test: its files, its life, its documents, its socket."""

import functools
import json
import math
import os
import signal
import socket
import subprocess
import time
import uuid

from jws import Signer, header_of
from world import SLOWNESS, await_

BUILD = os.environ.get("BUILD", "build")
with open(f"{BUILD}/jitgated", "rb") as program:
    SANITIZED = b"__asan_init" in program.read()
VM_ID = "vm-under-test"
READY_SECONDS = 10 * SLOWNESS
DEFAULT_PORTS = {
    "ssh": {"number": 22, "max_request_access_duration": "PT1H"},
    "dns": {"number": 53, "protocol": "UDP", "max_request_access_duration": "PT1H"},
}


def allowing(seconds):
    """A bound for what a program does by itself: with sanitizers it takes some times as long."""
    return seconds * SLOWNESS * (5 if SANITIZED else 1)


def lasting(seconds):
    """What is short, but is to last for what a test does meanwhile."""
    return seconds * SLOWNESS if seconds < 60 else seconds


class VarlinkError(Exception):
    """An error reply: name without the interface, parameters."""

    def __init__(self, reply):
        self.name = reply["error"].rsplit(".", 1)[-1]
        self.parameters = reply.get("parameters", {})
        super().__init__(f"{self.name} {self.parameters}")


class Varlink:
    """A connection to the agent's socket. Frames are JSON ended by a zero byte."""

    def __init__(self, path, timeout=allowing(10)):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        self._received = b""

    def send(self, method, more=False, **parameters):
        name = method if "." in method else "io.jitgate.Agent." + method
        request = {"method": name, "parameters": parameters, **({"more": True} if more else {})}
        self.socket.sendall(json.dumps(request).encode() + b"\0")

    def receive(self):
        while b"\0" not in self._received:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("the agent closed the connection")
            self._received += data
        frame, self._received = self._received.split(b"\0", 1)
        reply = json.loads(frame)
        if "error" in reply:
            raise VarlinkError(reply)
        return reply.get("parameters", {})

    def call(self, method, **parameters):
        self.send(method, **parameters)
        return self.receive()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def new_key(directory, kid):
    path = directory / f"{kid}.jwk"
    path.write_text(run_jitgate("key", "new", "--kid", kid).stdout)
    return path


@functools.cache
def usual_key():
    """k1, private and public, as texts: the same for all agents of this process."""
    private = run_jitgate("key", "new", "--kid", "k1").stdout
    return private, run_jitgate("key", "public", "-", input=private).stdout


def run_jitgate(*arguments, input=None, check=True):
    return subprocess.run([f"{BUILD}/jitgate", *map(str, arguments)], input=input, check=check,
                          capture_output=True, text=True, timeout=20 * SLOWNESS)


def sign(key, kind, claims):
    """The document that `jitgate sign` makes of these claims; with ES256 without its process."""
    jwk = json.loads(key.read_text())
    if jwk["alg"] != "ES256":
        return run_jitgate("sign", "--key", key, "--type", kind, "-", input=json.dumps(claims)).stdout.strip()
    return Signer(jwk).sign(header_of(jwk, kind), {"iss": jwk["kid"], "iat": int(time.time()), **claims})


def port_claim(port, *sources):
    """port_claim("22/tcp", "192.0.2.7"): a member of a grant's "ports"."""
    number, protocol = str(port).split("/")
    return {"number": int(number), "protocol": protocol.upper(),
            "allowedSourceAddressPrefixes": list(sources)}


def later(seconds):
    """A wrapper: CLOCK_BOOTTIME of what it runs is so much ahead, as after a sleep. Not all kernels enter a time namespace
    by exec."""
    return ["unshare", "--time", "--boottime", str(seconds), "nsenter", "--time=/proc/self/ns/time_for_children"]


class Agent:
    """The files of one agent below a directory, and the daemon in a namespace, when started."""

    def __init__(self, namespace, directory, environment=None):
        self.namespace = namespace
        self.directory = directory
        self.environment = dict(environment or {})
        self.wrapper = []  # what runs the daemon, as unshare(1) does
        self.config_path = directory / "agent.conf"
        self.trust_path = directory / "trust.jwks"
        self.socket_path = directory / "run" / "agent.sock"
        self.log_path = directory / "jitgated.log"
        self.process = None
        self.key = directory / "k1.jwk"
        if self.key.exists():
            self.trust(self.key)
        else:
            private, public = usual_key()
            self.key.write_text(private)
            self.trust_path.write_text(public)
        self.settings, self.ports = {}, dict(DEFAULT_PORTS)
        self.configure()
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(directory / "notify"))

    # Files

    def trust(self, *keys):
        self.trust_path.write_text(run_jitgate("key", "public", *keys).stdout)

    def configure(self, ports=None, **settings):
        """Writes agent.conf: what is given replaces ports and adds settings of [agent]."""
        self.ports = self.ports if ports is None else ports
        self.settings.update(settings)
        agent = {"vm_id": VM_ID, "trust": self.trust_path,
                 "state_directory": self.directory / "state",
                 "runtime_directory": self.directory / "run",
                 "log_directory": self.directory / "log", **self.settings}
        sections = {"agent": agent, **{f"port {name}": keys for name, keys in self.ports.items()}}
        self.config_path.write_text("\n".join(
            f"[{title}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
            for title, keys in sections.items()))

    def audit(self, type=None):
        """The audit file's records, or those of one type. A line without its end is being written, or was when the
        daemon was killed: the next one has put a newline behind it."""
        path = self.directory / "log" / "audit.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        records = [json.loads(line) for line in lines if line.endswith("}\n")]
        return [record for record in records if type in (None, record["type"])]

    def await_audit(self, type, bound=5.0, count=1):
        """Waits until there are that many records of the type; returns the last."""
        await_(lambda: len(self.audit(type)) >= count, bound, f"audit record {type}")
        return self.audit(type)[-1]

    def write_clock(self, seconds_ahead):
        """As if this machine's clock had been there before."""
        with open(self.directory / "state" / "ledger", "r+b") as file:
            content = file.read().rstrip(b"\n")
            file.seek(0)
            file.write((content + b"\n" if content else b"") + json.dumps(
                {"clock": int((time.time() + seconds_ahead) * 1e6)}).encode() + b"\n")

    def log(self):
        return self.log_path.read_text() if self.log_path.exists() else ""

    # Life

    def start(self, wait=True):
        environment = dict(os.environ, NOTIFY_SOCKET=str(self.directory / "notify"),
                           **self.environment)
        with open(self.log_path, "ab") as log:
            self.process = self.namespace.spawn(
                *self.wrapper, f"{BUILD}/jitgated", "-c", str(self.config_path), env=environment,
                stderr=log)
        if wait:
            self.await_ready()
        return self

    def await_ready(self):
        """Waits for READY=1 as systemd does; fails if the daemon ends instead."""
        while "READY=1" not in self.receive_notification(READY_SECONDS):
            pass

    def receive_notification(self, bound):
        """The lines of the next message to systemd; fails if the daemon ends instead."""
        deadline = time.monotonic() + bound
        self._notify.settimeout(0.1)
        while time.monotonic() < deadline:
            try:
                return self._notify.recv(4096).decode().splitlines()
            except socket.timeout:
                if self.process.poll() is not None:
                    break
        raise AssertionError(f"jitgated is silent; exit {self.process.poll()}: {self.log()}")

    def stop(self, signal_number=signal.SIGTERM, bound=5):
        """Ends the daemon and waits for that; returns its exit status."""
        self.process.send_signal(signal_number)
        status = self.process.wait(bound * SLOWNESS)
        self._forget_notifications()
        return status

    def kill(self):
        return self.stop(signal.SIGKILL)

    def reload(self):
        """SIGHUP, and waits until it is done; a file that is wrong shows in the audit log."""
        self._forget_notifications()
        self.process.send_signal(signal.SIGHUP)
        self.await_ready()

    def _forget_notifications(self):
        self._notify.setblocking(False)
        try:
            while self._notify.recv(4096):
                pass
        except BlockingIOError:
            pass

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        self._notify.close()

    # Socket, command line

    def connect(self):
        return Varlink(self.socket_path)

    def call(self, method, **parameters):
        with self.connect() as connection:
            return connection.call(method, **parameters)

    def cli(self, *arguments, input=None):
        return run_jitgate("--socket", self.socket_path, *arguments, input=input, check=False)

    # Documents

    def sign(self, kind, key=None, **claims):
        claims = {"aud": VM_ID, **claims}
        return sign(key or self.key, kind, {k: v for k, v in claims.items() if v is not None})

    def sign_grant(self, port, source, seconds=600, jti=None, **claims):
        """source is a prefix or a list of them. Ends within the second after lasting(seconds)."""
        sources = [source] if isinstance(source, str) else source
        now = time.time()
        return self.sign("grant", **{
            "jti": jti or str(uuid.uuid4()), "sub": "alice", "iat": int(now),
            "exp": math.ceil(now + lasting(seconds)), "ports": [port_claim(port, *sources)], **claims})

    def grant(self, port, source, seconds=600, jti=None, **claims):
        """Submits a grant; returns its id."""
        return self.submit(self.sign_grant(port, source, seconds, jti, **claims))["id"]

    def submit(self, document):
        return self.call("Submit", document=document)

    def refusal(self, document):
        """The code for which it is refused."""
        try:
            admitted = self.submit(document)
        except VarlinkError as error:
            return error.parameters["code"]
        raise AssertionError(f"not refused: {admitted}")

    def revoke(self, id, **claims):
        """Submits a signed revocation."""
        return self.submit(self.sign("revocation", jti=str(uuid.uuid4()), revokes=[id], **claims))

    def await_expired(self, id, bound=5.0):
        """Waits for the grant's end. The kernel's own clock, which is the gate's, may be some
        milliseconds behind the daemon's."""
        self.await_state(id, "expired", bound)
        await_(lambda: f'"{id}"' not in self.namespace.run("nft", "list", "table", "inet", "jitgate"),
               0.25, "the kernel's elements ended")

    def await_state(self, id, state, bound=5.0):
        def found():
            grants = self.call("ListGrants", all=True)["grants"]
            return any(grant["id"] == id and grant["state"] == state for grant in grants)
        await_(found, bound, f"grant {id} {state}")
