# SPDX-License-Identifier: GPL-3.0-or-later
"""jitgate-server under test: its files, its life, raw connections to it."""

import signal
import socket
import ssl
import subprocess

from agent import BUILD
from world import SLOWNESS, await_

READY_SECONDS = 20 * SLOWNESS


def make_certificate(directory, name):
    """A self-signed certificate for localhost and 127.0.0.1, and its key: two paths."""
    certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", certificate,
                    "-keyout", key], check=True, capture_output=True)
    return certificate, key


class Answer:
    def __init__(self, text):
        head, _, self.body = text.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1]) if lines[0] else None
        self.headers = {name.lower(): value for name, value in
                        (line.split(": ", 1) for line in lines[1:])}


class Connection:
    """Reads one answer after another, each of known length."""

    def __init__(self, connected):
        self.socket = connected
        self.socket.settimeout(20)
        self._received = b""

    def send(self, *parts):
        for part in parts:
            self.socket.sendall(part if isinstance(part, bytes) else part.encode())
        return self

    def _fill(self):
        try:
            data = self.socket.recv(65536)
        except (ConnectionError, ssl.SSLError):
            data = b""
        self._received += data
        return bool(data)

    def answer(self):
        """The next answer; status None where the connection ends before there is one."""
        while b"\r\n\r\n" not in self._received:
            if not self._fill():
                return Answer(b"")
        head = self._received.split(b"\r\n\r\n", 1)[0]
        length = len(head) + 4 + int(Answer(head + b"\r\n\r\n").headers.get("content-length", 0))
        while len(self._received) < length and self._fill():
            pass
        text, self._received = self._received[:length], self._received[length:]
        return Answer(text)

    def ends(self):
        """True once the server has closed it."""
        while self._fill():
            pass
        return True

    def close(self):
        self.socket.close()


class Server:
    def __init__(self, directory):
        self.directory = directory
        self.path = directory / "server.conf"
        self.log_path = directory / "server.log"
        self.port = 18443
        self.certificate = None
        self.process = None
        key = directory / "signing.jwk"
        key.write_bytes(subprocess.run([f"{BUILD}/jitgate", "key", "new", "--kid", "test"],
                                       check=True, capture_output=True).stdout)
        self.sections = {"server": {"rate_limit": 0, "signing_key": key}}
        self.configure(listen=f"127.0.0.1:{self.port}")

    def configure(self, text="", **keys):
        """Keys of [server], None to leave one out, and text behind them."""
        self.sections["server"].update({"state": self.directory / "state.sqlite", **keys})
        lines = [f"{key} = {value}" for key, value in self.sections["server"].items()
                 if value is not None]
        self.path.write_text("\n".join(["[server]", *lines, text, ""]))

    def use_tls(self, name="first"):
        self.certificate, key = make_certificate(self.directory, name)
        self.configure(tls_certificate=self.certificate, tls_key=key)

    def run(self, *arguments, check=True):
        """A command to its end."""
        done = subprocess.run([f"{BUILD}/jitgate-server", "-c", self.path, *arguments], text=True,
                              capture_output=True, timeout=60)
        if check and done.returncode != 0:
            raise AssertionError(f"{arguments}: exit {done.returncode}: {done.stderr}")
        return done

    def token(self, principal="alice", role="reader", scope="/", *more):
        return self.run("token", "new", "--principal", principal, "--role", role, "--scope", scope,
                        *more).stdout.strip()

    def start(self, prefix=(), **options):
        n_ready = self.log().count("ready:")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *prefix, f"{BUILD}/jitgate-server", "-c",
                 self.path], stderr=log, **options)
        await_(lambda: self.log().count("ready:") > n_ready or self.process.poll() is not None,
               READY_SECONDS, "ready")
        assert self.process.poll() is None, self.log()
        return self

    def log(self):
        return self.log_path.read_text() if self.log_path.exists() else ""

    def reload(self, wanted="reloaded"):
        n_before = self.log().count(wanted)
        self.process.send_signal(signal.SIGHUP)
        await_(lambda: self.log().count(wanted) > n_before, 10, wanted)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Its exit status."""
        self.process.terminate()
        return self.process.wait(60)

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()

    def connect(self):
        listen = str(self.sections["server"]["listen"])
        if listen.startswith("/"):
            connected = socket.socket(socket.AF_UNIX)
            connected.connect(listen)
            return Connection(connected)
        connected = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        if self.certificate:
            context = ssl.create_default_context(cafile=self.certificate)
            connected = context.wrap_socket(connected, server_hostname="localhost")
        return Connection(connected)

    def ask(self, *parts):
        """Sends this over a connection of its own and returns the answer."""
        connection = self.connect()
        try:
            connection.send(*parts)
        except OSError:
            pass  # it may have been answered, and shut, before all was sent
        answer = connection.answer()
        connection.close()
        return answer

    def get(self, path, **headers):
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        return self.ask(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n")

    def metric(self, name):
        for line in self.get("/metrics").body.decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        raise AssertionError(f"no metric {name}")

    def memory_kib(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    def cpu_ticks(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])
