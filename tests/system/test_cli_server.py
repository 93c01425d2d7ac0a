# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line against the real jitgate-server: joining, asking, approving, revoking, the log."""

import json
import os
import ssl
import subprocess
import urllib.request

import pytest

from harness import BUILD, await_, new_key, run_jitgate
from plane import VM, jwks

DONE, REFUSED = 0, 1
PORT = 8443
POLICY = ("/subscriptions/S/resourceGroups/rg/providers/Microsoft.Security/locations/westeurope/"
          "jitNetworkAccessPolicies/default?api-version=2020-01-01")

pytestmark = pytest.mark.skipif(not os.path.exists(f"{BUILD}/jitgate-server"),
                                reason="jitgate-server is not built")


class Server:
    """jitgate-server with TLS, a policy for the VM, and who may what."""

    def __init__(self, directory, authority):
        self.url = f"https://localhost:{PORT}"
        self.ca = authority.path
        self.key = new_key(directory, "signing")
        self.key.chmod(0o600)
        certificate = authority.issue_file("localhost")
        certificate.chmod(0o600)
        self.conf = directory / "server.conf"
        self.conf.write_text(
            f"[server]\nlisten = 127.0.0.1:{PORT}\nurl = {self.url}\nstate = {directory}/state.db\n"
            f"signing_key = {self.key}\ntls_certificate = {certificate}\ntls_key = {certificate}\n")
        self.log = open(directory / "server.log", "w")
        self.process = subprocess.Popen([f"{BUILD}/jitgate-server", "-c", self.conf],
                                        stderr=self.log, stdout=self.log)
        await_(self.answers, 10, "the server answers")
        self.people = {name: self.run("token", "new", "--principal", f"{name}@example.org",
                                      "--role", role, "--scope", "/")
                       for name, role in (("alice", "requester"), ("bob", "approver"),
                                          ("root", "administrator"))}
        port = {"protocol": "TCP", "allowedSourceAddressPrefix": "*",
                "maxRequestAccessDuration": "PT3H"}
        self.call("PUT", POLICY, {"kind": "Basic", "properties": {"virtualMachines": [
            {"id": VM, "ports": [{"number": 22, **port},
                                 {"number": 443, "approvalRequired": True, **port}]}]}})

    def call(self, method, path, body=None):
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode() if body else None, method=method,
            headers={"Authorization": f"Bearer {self.people['root']}" if body else "",
                     "Content-Type": "application/json"})
        context = ssl.create_default_context(cafile=self.ca)
        with urllib.request.urlopen(request, context=context, timeout=60) as answer:
            return answer.read()

    def answers(self):
        assert self.process.poll() is None
        try:
            return self.call("GET", "/healthz") is not None
        except OSError:
            return False

    def run(self, *arguments):
        """What a command of it prints at last: a token."""
        done = subprocess.run([f"{BUILD}/jitgate-server", "-c", self.conf, *arguments], check=True,
                              capture_output=True, text=True, timeout=60)
        return done.stdout.split()[-1]

    def command(self, who, *arguments):
        return {"args": [f"{BUILD}/jitgate", *arguments, "--ca", str(self.ca)], "text": True,
                "env": {**os.environ, "JITGATE_SERVER": self.url, "TZ": "UTC",
                        "JITGATE_TOKEN": self.people[who], "HOME": "/nowhere"}}

    def cli(self, who, *arguments, status=DONE):
        done = subprocess.run(**self.command(who, *arguments), capture_output=True, timeout=60)
        assert done.returncode == status, done
        return done.stdout if status == DONE else done.stderr

    def start(self, who, *arguments):
        return subprocess.Popen(**self.command(who, *arguments), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)

    def requests(self, *arguments):
        return json.loads(self.cli("alice", "requests", "--json", *arguments))

    def close(self):
        self.process.terminate()
        self.process.wait(60)
        self.log.close()


@pytest.fixture
def server(tmp_path, authority):
    made = Server(tmp_path, authority)
    yield made
    made.close()


def enroll(server, directory, token, *arguments):
    return run_jitgate("enroll", server.url, "--token", token, "--config", directory / "agent.conf",
                       "--ca", server.ca, *arguments, check=False)


def test_a_machine_joins_once_with_a_token(server, tmp_path):
    etc = tmp_path / "etc"
    etc.mkdir()
    pin = json.loads(run_jitgate("key", "fingerprint", server.key, "--json").stdout)["fingerprint"]
    token = server.run("enrollment", "new", "--vm", VM)
    assert enroll(server, etc, token, "--trust-fingerprint", "A" * 43).returncode == REFUSED
    done = enroll(server, etc, token, "--trust-fingerprint", pin)
    assert done.returncode == DONE, done
    served = json.loads((etc / "trust.jwks").read_text())["keys"]
    assert [key["x"] for key in served] == [key["x"] for key in jwks(server.key)["keys"]]
    assert f"vm_id = {VM}\n" in (etc / "agent.conf").read_text()
    credential = (etc / "feed-token").read_text()
    done = enroll(server, etc, token, "--yes")
    assert done.returncode == REFUSED and "AuthenticationFailed" in done.stderr
    assert (etc / "feed-token").read_text() == credential
    # It is one that the feed takes.
    request = urllib.request.Request(
        f"{server.url}/v1/vms/{VM.replace('/', '%2F')}/documents",
        headers={"Authorization": f"Bearer {credential.strip()}"})
    context = ssl.create_default_context(cafile=server.ca)
    with urllib.request.urlopen(request, context=context, timeout=60) as answer:
        assert json.load(answer)["documents"]


def test_requests_are_made_approved_denied_and_revoked(server):
    server.cli("alice", "request", "web-1", "--port", "22", "--reason", "ticket 4711", "--no-wait",
               "--source", "192.0.2.7", "--for", "PT30M")
    waiting = server.start("alice", "request", "web-1", "--port", "443", "--reason", "deny me")
    await_(lambda: len(server.requests()) == 2, 10, "two requests")
    id = server.requests()[0]["id"]
    assert "no role approver" in server.cli("alice", "approve", id, status=REFUSED)
    server.cli("bob", "deny", id, "--reason", "not today")
    _, err = waiting.communicate(timeout=60)
    assert waiting.returncode == REFUSED and "denied by bob@example.org: not today" in err
    server.cli("alice", "request", "web-1", "--port", "443", "--reason", "again", "--no-wait")
    id = server.requests()[0]["id"]
    assert f"approved {id}" in server.cli("bob", "approve", id)
    assert f"revoked {id}" in server.cli("alice", "requests", "revoke", id, "--reason", "done")
    listed = server.cli("alice", "requests", "web-1", "--all")
    assert all(state in listed for state in (" granted ", " denied ", " revoked "))
    activity = server.cli("alice", "activity", "--vm", "web-1")
    assert [line.split()[2] for line in activity.splitlines()[1:]] == [
        "initiate", "initiate", "approve", "deny", "initiate", "approve", "revoke"]


@pytest.mark.parametrize("arguments, code", [
    (["web-1", "--port", "23"], "PortNotInPolicy"),
    (["web-1", "--port", "22", "--for", "P1D"], "DurationTooLong"),
    (["web-9", "--port", "22"], "ResourceNotFound")])
def test_refusals_are_the_servers_own(server, arguments, code):
    assert f"({code}): " in server.cli("alice", "request", *arguments, "--reason", "x",
                                       status=REFUSED)
