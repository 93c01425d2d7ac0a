# SPDX-License-Identifier: GPL-3.0-or-later
"""A control plane of one's own: jitgate-server on loopback, with principals, agents, and what they call."""

import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse

from harness import BUILD

SUBSCRIPTION = "/subscriptions/s1"
GROUP = f"{SUBSCRIPTION}/resourceGroups/rg"
VERSION = "api-version=2020-01-01"


def vm_id(name, group=GROUP):
    return f"{group}/providers/Microsoft.Compute/virtualMachines/{name}"


def policy_id(name="default", group=GROUP, location="westeurope"):
    return (f"{group}/providers/Microsoft.Security/locations/{location}"
            f"/jitNetworkAccessPolicies/{name}")


def rule(number=22, protocol="TCP", source="*", longest="PT3H", **more):
    return {"number": number, "protocol": protocol, "allowedSourceAddressPrefix": source,
            "maxRequestAccessDuration": longest, **more}


def policy(machines):
    """{"vm1": [rules]} as the body of a PUT."""
    return {"kind": "Basic", "properties": {"virtualMachines": [
        {"id": name if name.startswith("/") else vm_id(name), "ports": rules}
        for name, rules in machines.items()]}}


def utc(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


def ask(name="vm1", number=22, seconds=3600, source=None, **more):
    """The body of initiate."""
    port = {"number": number, "endTimeUtc": utc(seconds)}
    if source:
        port["allowedSourceAddressPrefix"] = source
    return {"virtualMachines": [{"id": vm_id(name), "ports": [port]}], **more}


def claims(document):
    payload = document.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def header(document):
    head = document.split(".")[0]
    return json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))


class Answer:
    def __init__(self, response, body):
        self.status = response.status
        self.headers = response.headers
        self.body = json.loads(body) if body and "json" in (
            response.headers.get("Content-Type") or "") else body

    def __repr__(self):
        return f"{self.status} {self.body}"

    @property
    def code(self):
        return self.body["error"]["code"]

    def __getitem__(self, key):
        return self.body[key]


class Server:
    def __init__(self, directory, settings=(), host="127.0.0.1", tls=None, assignments=(),
                 namespace=None, listen=None):
        """tls: (certificate, key, CA) files. assignments: (principal, role, scope), besides tokens' own.
        namespace: where it runs and is called, in place of the tests' own. listen: [::] for more than host."""
        self.directory = str(directory)
        self.host = host
        self.tls = tls
        self.inside = namespace.inside if namespace else contextlib.nullcontext
        with self.inside(), \
                socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.bind((host, 0))
            self.port = probe.getsockname()[1]
        self.name = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if tls else 'http'}://{self.name}:{self.port}"
        self.keys = os.path.join(self.directory, "keys.jwk")
        self.state = os.path.join(self.directory, "state.db")
        self.config = os.path.join(self.directory, "server.conf")
        self.process = None
        self.write_keys([self.new_key("k1")])
        lines = {"listen": f"{listen or self.name}:{self.port}", "url": self.url, "state": self.state,
                 "signing_key": self.keys, "rate_limit": "0"}
        if tls:
            lines |= {"tls_certificate": tls[0], "tls_key": tls[1]}
        with open(self.config, "w", encoding="utf-8") as file:
            file.write("[server]\n")
            for key, value in {**lines, **dict(settings)}.items():
                file.write(f"{key} = {value}\n")
            for i, (principal, role, scope) in enumerate(assignments):
                file.write(f"[assignment a{i}]\nprincipal = {principal}\nrole = {role}\n"
                           f"scope = {scope}\n")

    @staticmethod
    def new_key(kid, alg="ES256"):
        return json.loads(subprocess.run([f"{BUILD}/jitgate", "key", "new", "--kid", kid, "--alg", alg],
                                         check=True, capture_output=True).stdout)

    def write_keys(self, keys):
        with open(self.keys, "w", encoding="utf-8") as file:
            json.dump({"keys": keys}, file)
        os.chmod(self.keys, 0o600)

    def start(self, checked=True):
        """checked: waits until it answers, to whom trusts its certificate."""
        self.log = open(os.path.join(self.directory, "server.log"), "ab")
        with self.inside():
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL",
                                             f"{BUILD}/jitgate-server", "-c", self.config],
                                            stdout=self.log, stderr=self.log)
        end = time.monotonic() + 20
        while True:
            try:
                if not checked or self.call("GET", "/healthz").status == 200:
                    return self
            except OSError:
                pass
            assert self.process.poll() is None, self.read_log()
            assert time.monotonic() < end, self.read_log()
            time.sleep(0.005)

    def read_log(self):
        with open(os.path.join(self.directory, "server.log"), encoding="utf-8") as file:
            return file.read()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """What a clean stop says: 0."""
        self.process.terminate()
        status = self.process.wait(60)
        self.process = None
        return status

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def close(self):
        if self.process and self.process.poll() is None:
            status = self.stop()
            assert status == 0, self.read_log()

    def command(self, *arguments):
        return subprocess.run([f"{BUILD}/jitgate-server", "-c", self.config, *arguments],
                              check=True, capture_output=True, text=True).stdout.strip()

    def token(self, principal, role, scope="/"):
        token = self.command("token", "new", "--principal", principal, "--role", role,
                             "--scope", scope)
        self.await_known("GET", "/v1/vms", token)
        return token

    def await_known(self, method, path, token):
        """Where servers share etcd, they learn of it a moment later."""
        end = time.monotonic() + 10
        while self.call(method, path, token=token).status == 401:
            assert time.monotonic() < end
            time.sleep(0.01)

    def person(self, principal, role, scope="/"):
        return Person(self, principal, self.token(principal, role, scope))

    def enrollment(self, vm):
        return self.command("enrollment", "new", "--vm", vm)

    def enroll(self, name):
        vm = name if name.startswith("/") else vm_id(name)
        answer = self.call("POST", "/v1/enroll", token=self.enrollment(vm))
        assert answer.status == 200, answer
        return AgentOf(self, vm, answer["credential"])

    def metric(self, name):
        text = self.call("GET", "/metrics").body.decode()
        (line,) = [line for line in text.splitlines() if line.startswith(name + " ")]
        return float(line.split()[1])

    def connect(self, timeout=30):
        if not self.tls:
            return http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        return http.client.HTTPSConnection(
            self.host, self.port, timeout=timeout,
            context=ssl.create_default_context(cafile=self.tls[2]))

    def call(self, method, path, body=None, token=None, timeout=30, headers=()):
        connection = self.connect(timeout)
        try:
            with self.inside():
                connection.connect()
            return self.call_on(connection, method, path, body, token, headers)
        finally:
            connection.close()

    @staticmethod
    def call_on(connection, method, path, body=None, token=None, headers=()):
        sent = dict(headers)
        if token:
            sent["Authorization"] = f"Bearer {token}"
        if body is not None:
            sent["Content-Type"] = "application/json"
            body = body if isinstance(body, str) else json.dumps(body)
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        return Answer(response, response.read())


class Person:
    def __init__(self, server, name, token):
        self.server, self.name, self.token = server, name, token

    def call(self, method, path, body=None, **more):
        if path.startswith(("/subscriptions", "/Subscriptions")) and "api-version" not in path:
            path += ("&" if "?" in path else "?") + VERSION
        return self.server.call(method, path, body, self.token, **more)

    def put(self, machines, name="default", **more):
        answer = self.call("PUT", policy_id(name, **more), policy(machines))
        assert answer.status == 200, answer
        return answer

    def initiate(self, *arguments, policy_name="default", **more):
        answer = self.call("POST", policy_id(policy_name) + "/initiate", ask(*arguments, **more))
        assert answer.status == 202, answer
        return answer

    def request(self, name="vm1", number=22, **more):
        answer = self.call("POST", "/v1/requests", {"vm": name, "ports": [{"number": number}],
                                                    **more})
        assert answer.status == 201, answer
        return answer.body

    def get(self, request, after=None, wait=None):
        query = f"?after={after}&wait={wait}" if after is not None else ""
        answer = self.call("GET", f"/v1/requests/{request}{query}", timeout=90)
        assert answer.status == 200, answer
        return answer.body

    def activity(self, **query):
        answer = self.call("GET", "/v1/activity?" + urllib.parse.urlencode(query))
        assert answer.status == 200, answer
        return answer["value"]


class AgentOf:
    """Speaks for the agent of a VM."""

    def __init__(self, server, vm, credential):
        self.server, self.vm, self.credential = server, vm, credential
        self.cursor = None
        self.path = "/v1/vms/" + urllib.parse.quote(vm, safe="")
        self.sequence = 0

    def fetch(self, wait=0, connection=None):
        """The documents that are new: []. Moves the cursor."""
        query = {"wait": wait}
        if self.cursor:
            query["after"] = self.cursor
        path = f"{self.path}/documents?" + urllib.parse.urlencode(query)
        headers = {"User-Agent": "jitgate-poll/9.9.9"}
        if connection:
            answer = self.server.call_on(connection, "GET", path, None, self.credential, headers)
        else:
            answer = self.server.call("GET", path, token=self.credential, timeout=wait + 30,
                                      headers=headers)
        if answer.status == 204:
            return []
        assert answer.status == 200, answer
        self.cursor = answer["cursor"]
        return answer["documents"]

    def event(self, kind, **more):
        self.sequence += 1
        return {"sequence": self.sequence, "time": utc(0), "type": kind, "bootId": "b",
                "message": f"{kind} of {more.get('grant')}", **more}

    def post(self, *events):
        return self.server.call("POST", f"{self.path}/events", {"events": list(events)},
                                self.credential)

    def tell(self, kind, **more):
        answer = self.post(self.event(kind, **more))
        assert answer.status == 202, answer
        assert answer["acknowledged"] == self.sequence
        return answer


class Held(threading.Thread):
    """A call in the background: result() awaits what it returned, and when (monotonic)."""

    def __init__(self, function, *arguments, **more):
        super().__init__(daemon=True)
        self.function = lambda: function(*arguments, **more)
        self.returned = self.error = self.at = None
        self.start()

    def run(self):
        try:
            self.returned = self.function()
        except Exception as error:  # pylint: disable=broad-except
            self.error = error
        self.at = time.monotonic()

    def result(self, timeout=30):
        self.join(timeout)
        assert not self.is_alive(), "still held"
        if self.error:
            raise self.error
        return self.returned
