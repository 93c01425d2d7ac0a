# SPDX-License-Identifier: GPL-3.0-or-later
"""contrib/cloud-init: what becomes of a machine whose user-data is one of the files, filled in."""

import hashlib
import json
import shutil
import ssl
import subprocess

import pytest

from contrib import CONTRIB, example, filled
from guarded import SIGNING_KEY, SSH, VM_ID
from plane import VM, Plane, feed_state
from sockets import is_open
from world import await_

SOURCE, CERTIFICATE = "/srv/packages", "/etc/jitgate-server/tls.pem"
SETUP_SECONDS = 180  # a boot in which cloud-init installs packages
USER_DATA = "/var/lib/cloud/seed/nocloud/user-data"
KEY_BEGIN, KEY_END = "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"


def boot_with(machine, user_data):
    """The first boot, in NoCloud's way. What the tests have made stays: network, sources of apt, host keys."""
    machine.write("/etc/cloud/cloud.cfg.d/tests.cfg", """datasource_list: [NoCloud]
network: {config: disabled}
apt: {preserve_sources_list: true}
ssh_deletekeys: false
locale: C.UTF-8
""")
    machine.write("/var/lib/cloud/seed/nocloud/meta-data", "instance-id: tests\n")
    machine.write(USER_DATA, user_data)
    if machine.suite != "bullseye":  # there it is no command yet
        machine.chroot("cloud-init", "schema", "--config-file", USER_DATA)
    machine.boot(wait=False).await_boot(SETUP_SECONDS)


def answers(host, port):
    try:
        return is_open(host, host.v4, port)
    except ConnectionRefusedError:
        return False


def ended(machine):
    """How it went, by cloud-init itself: done or error; and why."""
    return machine.run("cloud-init", "status", "--wait", "--long", check=False).stdout


def user_data(name):
    return (CONTRIB / "cloud-init" / name).read_text()


def from_source(machine, text):
    """The package comes from an apt source that is signed; it is the machine's only one."""
    machine.path("/etc/apt/sources.list").unlink()
    shutil.copytree(machine.now, machine.path(SOURCE))
    packages = machine.path(f"{SOURCE}/Packages").read_bytes()
    machine.write(f"{SOURCE}/Release", "Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n"
                  f" {hashlib.sha256(packages).hexdigest()} {len(packages)} Packages\n")
    gpg = "gpg", "--batch", "--quiet", "--digest-algo", "SHA512"
    machine.chroot(*gpg, "--passphrase", "", "--quick-generate-key", "tests", "rsa3072", "sign")
    machine.chroot(*gpg, "--output", f"{SOURCE}/InRelease", "--clearsign", f"{SOURCE}/Release")
    key = machine.chroot(*gpg, "--armor", "--export").strip()
    machine.chroot("gpgconf", "--kill", "all")
    text = filled(text, {"https://packages.example.org/debian stable main": f"file:{SOURCE} ./",
                         f"{KEY_BEGIN}\n\n        {KEY_END}": key.replace("\n", "\n        ")})
    return filled(text, {"[signed-by=$KEY_FILE] ": ""}) if machine.suite == "bullseye" else text


def from_url(machine, text):
    """The package comes from a neighbour's web server, as README.md tells; what it depends on, from apt's source."""
    network = machine.network
    package, = machine.now.glob("jitgate_*.deb")
    network.requester.spawn("python3", "-m", "http.server", "80", "--directory", str(machine.now),
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    await_(lambda: answers(network.requester, 80), 20, "the web server answers")
    fetch = filled(example("cloud-init", "apt-helper"), {
        "https://packages.example.org/jitgate.deb": f"http://{network.requester.v4}/{package.name}",
        "SHA256:…": f"SHA256:{hashlib.sha256(package.read_bytes()).hexdigest()}"})
    apt = text[text.index("\napt:\n"):text.index("\nwrite_files:\n")]
    return filled(text, {apt: "\n", "\nruncmd:\n": f"\nruncmd:\n{fetch}"})


@pytest.fixture
def standalone(managed, installed):
    """Up, with a key that signs its grants."""
    def copied(name):
        return (installed / name).read_text()
    managed.write(SIGNING_KEY, copied("root/signing.jwk"), 0o600)
    text = user_data("standalone.yaml")
    trust, = (line.strip() for line in text.splitlines() if '{"keys":' in line)
    boot_with(managed, from_source(managed, filled(text, {
        "web-1": VM_ID, trust: json.dumps(json.loads(copied("etc/jitgate/trust.jwks")))})))
    return managed


def test_a_standalone_machine_enforces_on_trial_until_it_is_confirmed(standalone):
    machine, network = standalone, standalone.network
    assert "status: done" in ended(machine)
    assert machine.status()["mode"] == "enforce" and "revertsAt" in machine.status()
    assert not machine.is_open(network.stranger)
    machine.grant(network.requester, numbers=[SSH])
    assert machine.lets_in(network.requester, 20)
    network.requester.run(*machine.ssh("jitgate", "confirm"))
    machine.systemctl("restart", "jitgated")
    assert machine.status()["mode"] == "enforce" and "revertsAt" not in machine.status()
    assert not machine.is_open(network.stranger)
    assert machine.lets_in(network.requester)
    assert machine.show("jitgated", "UnitFileState") == "enabled"


class Neighbour(Plane):
    """A control plane on the requester's machine, with a certificate that its root and the other machine trust."""

    NAME = "jit.example.org"

    def __init__(self, root, machine):
        self.host = machine.network.requester
        machine.chroot("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=tests",
                       "-addext", f"subjectAltName=DNS:{self.NAME},IP:{self.host.v4}",
                       "-keyout", "/root/tls.key", "-out", "/root/tls.pem")
        certificate = machine.path("/root/tls.pem").read_text()
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

    def user_data(self, token):
        return filled(user_data("enrolled.yaml"),
                      {"content: enrollment-token": f"content: {token}", "SHA256:fingerprint": self.fingerprint()})


@pytest.fixture
def plane(aside, managed):
    return Neighbour(aside, managed)


def test_an_enrolled_machine_is_its_control_planes(plane, managed):
    network = managed.network
    boot_with(managed, from_url(managed, plane.user_data(plane.token())))
    assert "status: done" in ended(managed)
    assert managed.status()["vmId"] == VM
    await_(lambda: feed_state(managed) == "connected", 20, "the poll is connected")
    await_(lambda: not managed.is_open(network.stranger), 20, "the policy is in force")
    plane.ask(network.requester)
    await_(lambda: managed.lets_in(network.requester), 20, "the grant is there")
    assert not managed.is_open(network.stranger)
    assert managed.call("test", "-e", "/run/jitgate-enrollment").returncode == 1
    for unit in "jitgated", "jitgate-poll":
        assert managed.show(unit, "UnitFileState") == "enabled"


def test_a_machine_that_can_not_join_says_so_and_is_reached_as_ever(plane, managed):
    """Its token was used by another."""
    token = plane.token()
    plane.spend(token)
    boot_with(managed, from_url(managed, plane.user_data(token)))
    assert "status: error" in ended(managed)
    assert managed.lets_in(managed.network.stranger, 20)
    assert "installed" in managed.version()
    assert not managed.path("/etc/jitgate/agent.conf").exists()
    assert managed.call("test", "-e", "/run/jitgate-enrollment").returncode == 1
