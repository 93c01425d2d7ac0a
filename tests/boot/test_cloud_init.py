# SPDX-License-Identifier: GPL-3.0-or-later
"""contrib/cloud-init: what becomes of a machine whose user-data is one of the files, filled in."""

import hashlib
import json
import shutil
import subprocess

import pytest

from contrib import CONTRIB, example, filled
from guarded import SIGNING_KEY, SSH, VM_ID
from plane import VM, Neighbour, answers, feed_state
from world import await_

SOURCE = "/srv/packages"
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


def enrolling(plane, token):
    return filled(user_data("enrolled.yaml"),
                  {"content: enrollment-token": f"content: {token}", "SHA256:fingerprint": plane.fingerprint()})


@pytest.fixture
def plane(aside, managed):
    return Neighbour(aside, managed)


def test_an_enrolled_machine_is_its_control_planes(plane, managed):
    network = managed.network
    boot_with(managed, from_url(managed, enrolling(plane, plane.token())))
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
    boot_with(managed, from_url(managed, enrolling(plane, token)))
    assert "status: error" in ended(managed)
    assert managed.lets_in(managed.network.stranger, 20)
    assert "installed" in managed.version()
    assert not managed.path("/etc/jitgate/agent.conf").exists()
    assert managed.call("test", "-e", "/run/jitgate-enrollment").returncode == 1
