# SPDX-License-Identifier: GPL-3.0-or-later
"""Four hosts in network namespaces, a router between them: a VM with sshd, jitgated and jitgate-poll, a control plane with
jitgate-server, a requester, a stranger.

    requester 198.51.100.7 ──┐            ┌── web-1 192.0.2.10         sshd, jitgated, jitgate-poll
    stranger  203.0.113.66 ──┤ "internet" ├── plane.example 10.20.0.5  jitgate-server

The caller has entered namespaces of its own (user, where it is not root; net, mount, pid), which become the VM's. What is
started here ends with them.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import uuid

VM_NAME = "web-1"
GROUP = "/subscriptions/lab/resourceGroups/web"
VM_ID = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/{VM_NAME}"
POLICY = f"{GROUP}/providers/Microsoft.Security/locations/here/jitNetworkAccessPolicies/default"
PLANE = "plane.example"
URL = f"https://{PLANE}"
RULE = {"number": 22, "protocol": "TCP", "allowedSourceAddressPrefix": "*", "maxRequestAccessDuration": "PT3H"}


def run(*command, **options):
    """Runs a command, and returns what it prints."""
    done = subprocess.run(command, text=True, capture_output=True, check=False, **options)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def wait_for(condition, seconds, what):
    """Waits until the condition holds; says what it waited for where it does not."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.005)


def enter(holder, command):
    return ["nsenter", "--net", "--target", str(holder.pid), "--", *command]


def new_namespace():
    """A network namespace that a sleeping process holds."""
    holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    own = os.readlink("/proc/self/ns/net")
    wait_for(lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != own, 5, "namespace")
    run(*enter(holder, ["ip", "link", "set", "lo", "up"]))
    return holder


class Host:
    """A host at the router. The VM is the namespace that we are in."""

    def __init__(self, router, name, address, is_here=False):
        self.name = name
        self.address = address
        self.holder = None if is_here else new_namespace()
        gateway = address.rsplit(".", 1)[0] + ".1"
        pid = str(os.getpid() if is_here else self.holder.pid)
        run(*enter(router, ["ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", pid]))
        run(*enter(router, ["ip", "address", "add", f"{gateway}/24", "dev", name]))
        run(*enter(router, ["ip", "link", "set", name, "up"]))
        for command in (
            ["ip", "address", "add", f"{address}/24", "dev", "eth0"],
            ["ip", "link", "set", "lo", "up"],
            ["ip", "link", "set", "eth0", "up"],
            ["ip", "route", "add", "default", "via", gateway],
        ):
            run(*self.enter(command))

    def enter(self, command):
        return enter(self.holder, command) if self.holder else command


class Lab:
    """The hosts and what runs on them. Files are in the scratch directory."""

    def __init__(self, scratch):
        self.path = pathlib.Path(scratch)
        self.user = os.environ.get("JITGATE_LAB_USER", "root")
        self.programs = []
        router = new_namespace()
        run(*enter(router, ["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]))
        self.vm = Host(router, VM_NAME, "192.0.2.10", is_here=True)
        self.plane = Host(router, "plane", "10.20.0.5")
        self.requester = Host(router, "requester", "198.51.100.7")
        self.stranger = Host(router, "stranger", "203.0.113.66")
        self.take_etc()
        run("mount", "-t", "tmpfs", "tmpfs", "/run")
        for directory in ("/run/sshd", "/run/jitgate-poll"):
            os.mkdir(directory, 0o755)

    def take_etc(self):
        """A copy of /etc in this mount namespace, as far as it can be read: names of hosts and users, and the machine's
        id, are the lab's own."""
        etc = self.path / "etc"
        subprocess.run(["cp", "--recursive", "--preserve=mode,links", "/etc", str(etc)], check=False, capture_output=True)
        (etc / "hosts").write_text(
            f"127.0.0.1 localhost\n{self.vm.address} {VM_NAME}\n{self.plane.address} {PLANE}\n")
        (etc / "machine-id").unlink(missing_ok=True)
        (etc / "machine-id").write_text(f"{uuid.uuid4().hex}\n")
        for name, lines in (("passwd", "jitgate-poll:x:64502:64502::/:/usr/sbin/nologin\n"),
                            ("group", "jitgate:x:64501:jitgate-poll\njitgate-poll:x:64502:\n")):
            known = etc / name
            known.write_text(re.sub("(?m)^jitgate.*\n", "", known.read_text()) + lines)
        run("mount", "--bind", str(etc), "/etc")

    def start(self, host, *command):
        log = (self.path / f"{pathlib.Path(command[0]).name}.log").open("a")
        program = subprocess.Popen(host.enter(list(command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.programs.append(program)
        return program

    # The VM

    def start_sshd(self):
        """sshd on port 22. Without root it runs as the caller's own user, whom it lets in."""
        for key in ("host", "user"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.path / key))
        shutil.copy(self.path / "user.pub", self.path / "authorized_keys")
        config = self.path / "sshd_config"
        config.write_text(
            f"HostKey {self.path}/host\n"
            f"AuthorizedKeysFile {self.path}/authorized_keys\n"
            "PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\n"
            "MaxStartups 1000\nPrintMotd no\nPrintLastLog no\nUseDNS no\n"
        )
        command = [shutil.which("sshd"), "-D", "-e", "-f", str(config)]
        uid = os.environ.get("JITGATE_LAB_UID", "0")
        if uid != "0":
            pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")
            gid = os.environ["JITGATE_LAB_GID"]
            command = ["unshare", "--user", f"--map-user={uid}", f"--map-group={gid}", *command]
        self.start(self.vm, *command)
        wait_for(lambda: self.listens(22), 5, "sshd listens")
        self.write_ssh_config()

    @staticmethod
    def listens(port):
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    def write_ssh_config(self):
        """In the lab `ssh web-1` is all that it takes: a wrapper in front of ssh knows the key."""
        (self.path / "ssh_config").write_text(
            f"Host {VM_NAME}\n  User {self.user}\n  IdentityFile {self.path}/user\n  BatchMode yes\n"
            f"  StrictHostKeyChecking no\n  UserKnownHostsFile {self.path}/known_hosts\n"
            "  LogLevel ERROR\n  ConnectTimeout 2\n"
        )
        bin_directory = self.path / "bin"
        bin_directory.mkdir()
        wrapper = bin_directory / "ssh"
        wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {self.path}/ssh_config "$@"\n')
        wrapper.chmod(0o755)
        os.environ["PATH"] = f"{bin_directory}:{os.environ['PATH']}"

    def enroll(self):
        """Joins the VM to the control plane; returns what the commands print."""
        self.make_poll_user()
        token = self.server("enrollment", "new", "--vm", VM_ID).strip()
        fingerprint = json.loads(run("jitgate", "key", "fingerprint", "--json", str(self.path / "signing.jwk")))
        self.config = self.path / "agent.conf"
        # Where a lab keeps things: the rest of the configuration is what enroll writes.
        self.config.write_text(
            f"[agent]\ntrust = {self.path}/trust.jwks\nstate_directory = {self.path}/state\n"
            f"runtime_directory = /run/jitgate\nlog_directory = {self.path}/log\n"
            f"[feed]\nstate_directory = {self.path}/poll\ntoken = {self.path}/feed-token\n"
        )
        return run("jitgate", "enroll", URL, "--token", "-", "--trust-fingerprint", fingerprint["fingerprint"],
                   "--ca", str(self.path / "certificate.pem"), "--config", str(self.config), input=token)

    def start_agent(self):
        self.start(self.vm, "jitgated", "-c", str(self.config))
        wait_for(pathlib.Path("/run/jitgate/agent.sock").exists, 10, "jitgated is ready")
        self.start(self.vm, *self.poll_command, "jitgate-poll", "-c", str(self.config))
        wait_for(lambda: self.status()["ports"] and self.status().get("feed", {}).get("state") == "connected",
                 10, "the control plane's policy is there")

    def make_poll_user(self):
        """jitgate-poll runs as a user of its own; without root, as nobody in a user namespace: poll_command is what that
        takes."""
        state = self.path / "poll"
        state.mkdir(0o700)
        self.poll_command = []
        if os.environ.get("JITGATE_LAB_UID", "0") != "0":
            self.poll_command = ["unshare", "--user", "--map-user=65534", "--map-group=65534"]
            return
        self.path.chmod(0o711)
        os.chown(state, 64502, 64502)

    def status(self):
        return json.loads(self.jitgate("status", "--json"))

    def jitgate(self, command, *arguments, **options):
        """On the VM, as root."""
        return run("jitgate", command, *arguments, **options)

    # The control plane

    def start_control_plane(self):
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-keyout", str(self.path / "key.pem"), "-out", str(self.path / "certificate.pem"),
            "-subj", f"/CN={PLANE}", "-addext", f"subjectAltName=DNS:{PLANE}")
        signing = self.path / "signing.jwk"
        signing.write_text(run("jitgate", "key", "new", "--kid", "control-plane-1"))
        signing.chmod(0o600)
        self.server_config = self.path / "server.conf"
        self.server_config.write_text(
            f"[server]\nlisten = {self.plane.address}:443\nurl = {URL}\nstate = {self.path}/state.sqlite\n"
            f"signing_key = {signing}\ntls_certificate = {self.path}/certificate.pem\ntls_key = {self.path}/key.pem\n"
        )
        self.start(self.plane, "jitgate-server", "-c", str(self.server_config))
        wait_for(lambda: subprocess.run(
            self.plane.enter(["bash", "-c", f"exec 3<>/dev/tcp/{self.plane.address}/443"]),
            capture_output=True).returncode == 0, 10, "jitgate-server is ready")
        self.people = {name: self.new_person(name, role)
                       for name, role in (("alice", "requester"), ("bob", "administrator"), ("carol", "approver"))}

    def server(self, *arguments):
        return run("jitgate-server", "-c", str(self.server_config), *arguments)

    def new_person(self, name, role):
        """Makes a token and a client.conf for it; returns where the configuration is (XDG_CONFIG_HOME)."""
        token = self.server("token", "new", "--principal", f"{name}@example.org", "--role", role,
                            "--scope", "/subscriptions/lab").strip()
        home = self.path / name
        (home / "jitgate").mkdir(parents=True)
        conf = home / "jitgate" / "client.conf"
        conf.write_text(f"[client]\nserver = {URL}\ntoken = {token}\nca = {self.path}/certificate.pem\n")
        conf.chmod(0o600)
        return home

    def environment(self, person):
        return dict(os.environ, XDG_CONFIG_HOME=str(self.people[person]))

    def write_policy(self, *rules):
        """As Azure's clients do: PUT by the administrator. Returns the policy as it is then."""
        body = {"kind": "Basic", "properties": {"virtualMachines": [{"id": VM_ID, "ports": list(rules)}]}}
        return self.curl("bob", "PUT", f"{POLICY}?api-version=2020-01-01", body)

    def curl(self, person, method, path, body=None):
        """Calls the control plane from the requester's network, with a person's token."""
        conf = (self.people[person] / "jitgate" / "client.conf").read_text()
        token = next(line.split(" = ")[1] for line in conf.splitlines() if line.startswith("token"))
        header = self.path / "authorization"
        header.write_text(f"Authorization: Bearer {token}\nContent-Type: application/json\n")
        header.chmod(0o600)
        sent = ["--data", "@-"] if body else []
        return json.loads(run(*self.requester.enter(
            ["curl", "--silent", "--show-error", "--fail-with-body", "--cacert", str(self.path / "certificate.pem"),
             "--header", f"@{header}", "--request", method, *sent, URL + path]), input=json.dumps(body) if body else None))

    def stop(self):
        for program in reversed(self.programs):
            program.send_signal(signal.SIGTERM)
        for program in self.programs:
            program.wait(timeout=10)
