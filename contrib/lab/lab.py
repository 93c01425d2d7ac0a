# SPDX-License-Identifier: GPL-3.0-or-later
"""Three hosts in network namespaces: a VM with sshd and jitgated, a requester, a stranger.

The caller has entered namespaces of its own (user, where it is not root; net, mount, pid), which become
the VM's. What is started here ends with them.
"""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

VM = {4: {"requester": "192.0.2.1", "stranger": "198.51.100.1"}}
REQUESTER = "192.0.2.7"
STRANGER = "198.51.100.23"
VM_ID = "demo-vm"


def run(*command, **options):
    """Runs a command, and returns what it prints."""
    return subprocess.run(command, check=True, text=True, capture_output=True, **options).stdout


def wait_for(condition, seconds, what):
    """Waits until the condition holds; says what it waited for where it does not."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.005)


class Host:
    """A network namespace that a sleeping process holds, joined to the VM by a veth pair."""

    def __init__(self, name, address, vm_address):
        self.name = name
        self.address = address
        self.vm_address = vm_address
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        own = os.readlink("/proc/self/ns/net")
        wait_for(lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != own, 5, "namespace")
        pid = str(self.holder.pid)
        run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", pid)
        run("ip", "address", "add", f"{vm_address}/24", "dev", name)
        run("ip", "link", "set", name, "up")
        for command in (
            ["ip", "address", "add", f"{address}/24", "dev", "eth0"],
            ["ip", "link", "set", "eth0", "up"],
            ["ip", "link", "set", "lo", "up"],
        ):
            run(*self.enter(command))

    def enter(self, command):
        return ["nsenter", "--net", "--target", str(self.holder.pid), "--", *command]


class Lab:
    """The hosts, sshd and jitgated. Files are in the scratch directory."""

    def __init__(self, scratch):
        self.path = pathlib.Path(scratch)
        self.user = os.environ.get("JITGATE_DEMO_USER", "root")
        run("ip", "link", "set", "lo", "up")
        self.requester = Host("requester", REQUESTER, VM[4]["requester"])
        self.stranger = Host("stranger", STRANGER, VM[4]["stranger"])

    def start_sshd(self):
        """sshd on port 22. Without root it runs as the caller's own user, whom it lets in."""
        run("mount", "-t", "tmpfs", "tmpfs", "/run")
        os.mkdir("/run/sshd", 0o755)
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
        uid = os.environ.get("JITGATE_DEMO_UID", "0")
        if uid != "0":
            pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")
            gid = os.environ["JITGATE_DEMO_GID"]
            command = ["unshare", "--user", f"--map-user={uid}", f"--map-group={gid}", *command]
        subprocess.Popen(command, stderr=(self.path / "sshd.log").open("w"))
        wait_for(lambda: self.listens(22), 5, "sshd listens")

    @staticmethod
    def listens(port):
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    def start_agent(self):
        """Keys, configuration and jitgated; returns the configuration's text."""
        key = run("jitgate", "key", "new", "--kid", "control-plane-1")
        (self.path / "signing.jwk").write_text(key)
        os.chmod(self.path / "signing.jwk", 0o600)
        trust = run("jitgate", "key", "public", str(self.path / "signing.jwk"))
        (self.path / "trust.jwks").write_text(trust)
        ports = "[port ssh]\nnumber = 22\nmax_request_access_duration = PT1H\n"
        (self.path / "agent.conf").write_text(
            f"[agent]\nvm_id = {VM_ID}\ntrust = {self.path}/trust.jwks\n"
            f"state_directory = {self.path}/state\nruntime_directory = {self.path}/run\n"
            f"log_directory = {self.path}/log\n{ports}"
        )
        self.agent = subprocess.Popen(["jitgated", "-c", str(self.path / "agent.conf")])
        wait_for((self.path / "run" / "agent.sock").exists, 10, "jitgated is ready")
        return ports

    def jitgate(self, command, *arguments, **options):
        socket_path = str(self.path / "run" / "agent.sock")
        return run("jitgate", command, "--socket", socket_path, *arguments, **options)

    def ssh(self, host, *arguments):
        """The command line for ssh from a host to the VM."""
        return host.enter(
            ["ssh", "-i", str(self.path / "user"), "-T", "-o", "BatchMode=yes",
             "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={self.path}/known_hosts",
             "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=2", f"{self.user}@{host.vm_address}",
             *arguments]
        )

    def stop(self):
        self.agent.send_signal(signal.SIGTERM)
        self.agent.wait(timeout=10)
