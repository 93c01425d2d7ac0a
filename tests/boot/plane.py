# SPDX-License-Identifier: GPL-3.0-or-later
"""A control plane: jitgate-server, who may do what there, and what is asked of it."""

import http.client
import json
import ssl
import subprocess
import time

from sockets import is_open
from world import await_

LISTEN = "127.0.0.1:8443"
CERTIFICATE = "/etc/jitgate-server/tls.pem"
GROUP = "/subscriptions/s1/resourceGroups/rg"
VM = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/vm1"
POLICY = f"{GROUP}/providers/Microsoft.Security/locations/here/jitNetworkAccessPolicies/default"


class Plane:
    """On a machine that has the packages. tls: a context to verify its certificate with, where it has one."""

    def __init__(self, machine, listen=LISTEN, settings="", tls=None):
        self.machine = machine
        self.connection = lambda: (http.client.HTTPSConnection(listen, timeout=20, context=tls) if tls else
                                   http.client.HTTPConnection(listen, timeout=20))
        machine.path("/etc/jitgate/agent.conf").unlink(missing_ok=True)
        machine.write("/etc/jitgate-server/signing.jwk", machine.chroot("jitgate", "key", "new", "--kid", "p1"), 0o640)
        machine.write("/etc/jitgate-server/server.conf", f"[server]\nlisten = {listen}\n{settings}", 0o640)
        machine.chroot("chgrp", "jitgate-server", "/etc/jitgate-server/signing.jwk", "/etc/jitgate-server/server.conf")

    def run(self, *command, input=None):
        return self.machine.run(*command, input=input)

    def inside(self):
        return self.machine.inside()

    def command(self, *arguments):
        return self.run("jitgate-server", *arguments).stdout.strip()

    def call(self, token, method, path, body):
        """As a client on the machine does; its answer must be a good one."""
        connection = self.connection()
        with self.inside():
            connection.connect()
        connection.request(method, f"{path}?api-version=2020-01-01", json.dumps(body),
                           {"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        assert answer.status in (200, 201, 202), text
        return json.loads(text)

    def set_up(self):
        self.bob, self.alice = (
            self.command("token", "new", "--principal", f"{name}@example.org", "--role", role, "--scope", "/")
            for name, role in (("bob", "administrator"), ("alice", "requester")))
        self.put_policy([{"id": VM, "ports": [{"number": 22, "protocol": "TCP", "allowedSourceAddressPrefix": "*",
                                               "maxRequestAccessDuration": "PT3H"}]}])

    def put_policy(self, machines):
        return self.call(self.bob, "PUT", POLICY, {"kind": "Basic", "properties": {"virtualMachines": machines}})

    def fingerprint(self):
        return json.loads(self.run("jitgate", "key", "fingerprint", "--json",
                                   "/etc/jitgate-server/signing.jwk").stdout)["fingerprint"]

    def token(self):
        """What a machine enrolls with, once."""
        return self.command("enrollment", "new", "--vm", VM)

    def enroll(self):
        return self.run("jitgate", "enroll", f"http://{LISTEN}", "--token", "-", "--replace",
                        "--trust-fingerprint", self.fingerprint(), input=self.token())

    def ask(self, host):
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3000))
        return self.call(self.alice, "POST", f"{POLICY}/initiate", {"justification": "tests", "virtualMachines": [
            {"id": VM, "ports": [{"number": 22, "endTimeUtc": end, "allowedSourceAddressPrefix": host.v4}]}]})


class Neighbour(Plane):
    """A control plane on the requester's machine, with a certificate of its own; is_trusted: the other machine's list of
    authorities has it."""

    NAME = "jit.example.org"

    def __init__(self, root, machine, is_trusted=True):
        self.host = machine.network.requester
        machine.chroot("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=tests",
                       "-addext", f"subjectAltName=DNS:{self.NAME},IP:{self.host.v4}",
                       "-keyout", "/root/tls.key", "-out", "/root/tls.pem")
        self.certificate = certificate = machine.path("/root/tls.pem").read_text()
        if is_trusted:
            with machine.path("/etc/ssl/certs/ca-certificates.crt").open("a") as trusted:
                trusted.write(certificate)
        root.write(CERTIFICATE, certificate)
        root.write("/etc/jitgate-server/tls.key", machine.path("/root/tls.key").read_text(), 0o600)
        root.path("/var/lib/jitgate-server").mkdir()
        subprocess.run(["mount", "--bind", "/proc", root.path("/proc")], check=True)
        for one in root, machine:
            one.write("/etc/hosts", f"127.0.0.1 localhost\n{self.host.v4} {self.NAME}\n")
        super().__init__(root, f"{self.host.v4}:443", f"url = https://{self.NAME}\ntls_certificate = {CERTIFICATE}\n"
                         "tls_key = /etc/jitgate-server/tls.key\n", ssl.create_default_context(cadata=certificate))
        self.host.spawn("chroot", root.root, "jitgate-server")
        await_(lambda: answers(self.host, 443), 20, "jitgate-server answers")
        self.set_up()

    def run(self, *command, input=None):
        done = self.host.call("chroot", str(self.machine.root), *command, input=input)
        assert done.returncode == 0, done.stderr
        return done

    def inside(self):
        return self.host.inside()

    def spend(self, token):
        """Another machine joins with it."""
        self.run("jitgate", "enroll", f"https://{self.NAME}", "--ca", CERTIFICATE, "--token", "-", "--replace",
                 "--trust-fingerprint", self.fingerprint(), input=token)


def answers(host, port):
    try:
        return is_open(host, host.v4, port)
    except ConnectionRefusedError:
        return False


def feed_state(machine):
    done = machine.run("jitgate", "status", "--json", check=False)
    return json.loads(done.stdout).get("feed", {}).get("state") if done.returncode == 0 else None
