# SPDX-License-Identifier: GPL-3.0-or-later
"""All of it, from `jitgate request` to the open port: jitgate-server with TLS in a namespace of its own, VMs with jitgated
and jitgate-poll that joined by `jitgate enroll`, and people with the command line on the requester's host.

    requester 192.0.2.7 ───────────── vm (world.py)
        │ 10.30.0.7                    │ 10.20.1.1
        └──────── plane 10.20.0.5 ─────┘
                                       └── stranger 10.20.2.1, where a second VM may be

What the requester says to the plane comes from the address by which the VM knows them, and not through the VM.
"""

import json
import math
import os
import pwd
import shutil

from agent import BUILD, Agent, lasting, run_jitgate
from control_plane import Server, vm_id
from feed import USER, Poll
from world import await_

DONE, REFUSED, USAGE, UNREACHABLE = 0, 1, 2, 3
PLANE = ("10.20.0.5", "2001:db8:20::5")
WAIT = "PT20S"


def cable(one, card, addresses, other, other_card, other_addresses):
    one.ip(f"link add {card} type veth peer name {other_card} netns {other.name}")
    for host, its_card, its_addresses in ((one, card, addresses),
                                          (other, other_card, other_addresses)):
        host.ip(*(f"addr add {address} dev {its_card}" + (" nodad" if ":" in address else "")
                  for address in its_addresses), f"link set {its_card} up")


class Vm:
    """A VM of the control plane: what runs on it, and its card that leads there."""

    def __init__(self, chain, name, namespace, agent, number):
        self.chain, self.name, self.namespace, self.agent = chain, name, namespace, agent
        self.id = vm_id(name)
        self.card = "plane0"
        cable(namespace, self.card, [f"10.20.{number}.1/24"],
              chain.plane, f"vm{number}", [f"10.20.{number}.5/24"])
        self.gateway = f"10.20.{number}.5"
        namespace.ip(f"route add {PLANE[0]} via {self.gateway}")
        self.poll = Poll(agent)

    def configure(self, ports=None, **settings):
        """agent.conf, with what enroll wrote of the feed where the VM has joined."""
        text = self.agent.config_path.read_text()
        feed = text[text.index("[feed]"):] if "[feed]" in text else (
            f"[feed]\nwait = {WAIT}\nstate_directory = {self.poll.directory}\n"
            f"token = {self.agent.directory / 'feed-token'}\n")
        self.agent.configure(ports, vm_id=self.id, **settings)
        with open(self.agent.config_path, "a") as file:
            file.write("\n" + feed)
        return self

    def enroll(self, *arguments, token=None):
        """One command, as a person would give it."""
        command = [f"{BUILD}/jitgate", "enroll", *arguments, "--config",
                   str(self.agent.config_path)]
        done = self.namespace.call(*command, input=token)
        assert done.returncode == DONE, done
        return done.stdout

    def join(self):
        """agent.conf without ports of its own, unless configured before; then both programs run."""
        if "[feed]" not in self.agent.config_path.read_text():
            self.configure(ports={})
        server = self.chain.server
        self.enroll(server.url, "--token", "-", "--ca", server.tls[2], "--replace",
                    "--trust-fingerprint", self.chain.fingerprint(),
                    token=server.enrollment(self.id))
        user = pwd.getpwnam(USER)
        os.chown(self.agent.directory / "feed-token", user.pw_uid, user.pw_gid)
        self.agent.start()
        self.poll.start()
        self.poll.await_state("connected")
        return self

    def trusted(self):
        """Names of the keys in its trust file."""
        return {key["kid"] for key in json.loads(self.agent.trust_path.read_text())["keys"]}

    def cut(self):
        """The network between it and the control plane is gone."""
        self.namespace.ip(f"link set {self.card} down")

    def mend(self):
        self.namespace.ip(f"link set {self.card} up", f"route add {PLANE[0]} via {self.gateway}")

    def records(self):
        """sequence and type of everything in the audit log."""
        return [(record["sequence"], record["type"]) for record in self.agent.audit()]

    def told(self):
        """The same of what the activity log has from this VM, in the log's order, which is of time."""
        return [(int(entry["id"].split("-")[1]), entry["operation"].rsplit("/", 1)[1])
                for entry in reversed(self.chain.activity(vm=self.id))
                if entry["operation"].startswith("jitgate/agents/")]

    def await_all_told(self, bound=20):
        """Until each record of the audit log is in the activity log: once, and in order."""
        try:
            await_(lambda: self.told() == self.records(), bound)
        except AssertionError:
            assert self.told() == self.records(), self.poll.log()

    def close(self):
        self.poll.close()
        self.agent.close()
        print(f"{self.name}:", self.agent.log(), self.poll.log())


class Chain:
    def __init__(self, world, directory, agent, authority, settings=()):
        self.world, self.directory = world, directory
        self.plane = world._namespace("plane", *PLANE)
        self.plane.ip(f"addr add {PLANE[0]}/32 dev lo", f"addr add {PLANE[1]}/128 dev lo nodad")
        self.plane.sysctl("net.ipv6.conf.all.forwarding", 1)
        requester = world.requester
        cable(requester, "plane0", ["10.30.0.7/24", "2001:db8:30::7/64"],
              self.plane, "requester0", ["10.30.0.5/24", "2001:db8:30::5/64"])
        requester.ip(f"route add {PLANE[0]} via 10.30.0.5 src {requester.v4}",
                     f"route add {PLANE[1]} via 2001:db8:30::5 src {requester.v6}")
        self.plane.ip(f"route add {requester.v4} via 10.30.0.7",
                      f"route add {requester.v6} via 2001:db8:30::7")
        self.authority = authority
        self.certificate = directory / "server.pem"
        self.write_certificate()
        home = directory / "plane"
        home.mkdir()
        self.server = Server(home, settings, PLANE[0], (
            str(self.certificate), str(self.certificate), str(authority.path)),
            namespace=self.plane, listen="[::]")
        self.admin = None
        self.people = {}
        self.agent = agent
        self.vms = []

    def start(self):
        self.server.start()
        self.admin = self.server.person("root@example.org", "administrator")
        for name, role in (("alice", "requester"), ("carol", "requester"), ("bob", "approver")):
            self.people[name] = self.server.token(f"{name}@example.org", role)
        return self

    def write_certificate(self, *names, begin=-1, end=30):
        """For these names, or those that are right. The server takes it at its next reload."""
        made = self.authority.issue_file(*(names or PLANE), begin=begin, end=end)
        shutil.copy(made, self.certificate)
        self.certificate.chmod(0o600)

    def keys(self):
        """What signs, first of all: JWKs."""
        with open(self.server.keys, encoding="utf-8") as file:
            return json.load(file)["keys"]

    def fingerprint(self):
        """Of the keys that the server publishes, all together."""
        return json.loads(run_jitgate("key", "fingerprint", self.server.keys, "--json").stdout)[
            "fingerprint"]

    def add(self, name="web-1", namespace=None):
        """A VM that has not joined yet: the world's own, or another namespace's."""
        if namespace:
            directory = self.directory / name
            directory.mkdir()
            agent = Agent(namespace, directory)
        else:
            namespace, agent = self.world.vm, self.agent
        self.vms.append(Vm(self, name, namespace, agent, len(self.vms) + 1))
        return self.vms[-1]

    # People, on the requester's host

    def command(self, who, *arguments, url=None):
        return ["env", f"JITGATE_SERVER={url or self.server.url}",
                f"JITGATE_TOKEN={self.people[who]}", "HOME=/nowhere", "TZ=UTC",
                f"{BUILD}/jitgate", *map(str, arguments), "--ca", str(self.authority.path)]

    def cli(self, who, *arguments, status=DONE, **options):
        done = self.world.requester.call(*self.command(who, *arguments, **options))
        assert done.returncode == status, done
        return done.stdout if status == DONE else done.stderr

    def request(self, who="alice", vm="web-1", port="22", *arguments, seconds=600, **options):
        """Waits until it is open; the request."""
        return json.loads(self.cli(
            who, "request", vm, "--port", port, "--for", f"PT{math.ceil(lasting(seconds))}S", "--reason", "ticket 4711",
            "--json", *arguments, **options))

    def requests(self, *arguments, who="alice"):
        return {made["id"]: made for made in
                json.loads(self.cli(who, "requests", "--json", *arguments))}

    def activity(self, **query):
        """All of it, the newest first."""
        entries, path = [], "/v1/activity?top=1000&" + "&".join(
            f"{name}={value}" for name, value in query.items())
        while path:
            page = self.admin.call("GET", path)
            assert page.status == 200, page
            entries += page["value"]
            path = page.body.get("nextLink", "").removeprefix(self.server.url)
        return entries

    def await_activity(self, operation, bound=10, **members):
        """The newest entry of this operation (its last part) with these members."""
        def found():
            return [entry for entry in self.activity()
                    if operation in entry["operation"].split("/")
                    and all(entry.get(name) == value for name, value in members.items())]
        return await_(found, bound, f"activity {operation} {members}")[0]

    def close(self):
        for vm in self.vms:
            vm.close()
        self.server.close()
        print(self.server.read_log())


def port_of(request):
    return request["virtualMachines"][0]["ports"][0]


def grant_of(request):
    return port_of(request)["grant"]
