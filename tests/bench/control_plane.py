# SPDX-License-Identifier: GPL-3.0-or-later
"""From a request to an open port, through jitgate-server, jitgate-poll and jitgated; and what a server costs that
thousands of agents wait at. run(1) of this directory calls measure()."""

import http.client
import json
import select
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "system"))
from feed import USER, add_users  # noqa: E402

CALL_SECONDS = 20
PORT = 8443
VMS = "/subscriptions/bench/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/"
POLICIES = "/subscriptions/bench/resourceGroups/rg/providers/Microsoft.Security/locations/here/jitNetworkAccessPolicies/"
VMS_PER_POLICY = 250
SAMPLES = 250
FLEET = 5000
FLEET_SAMPLES = 200
SYN_INTERVAL = 0.0005
RULE = {"number": 22, "protocol": "TCP", "allowedSourceAddressPrefix": "*", "maxRequestAccessDuration": "PT3H"}


def quantile(values, fraction):
	values = sorted(values)
	return values[int(fraction * (len(values) - 1) + 0.5)]


class Client:
	"""A connection to the server, kept open."""

	def __init__(self, plane, credential):
		context = ssl.create_default_context(cafile=plane.certificate) if plane.tls else None
		self.connection = http.client.HTTPSConnection(plane.address, PORT, context=context, timeout=CALL_SECONDS) \
			if plane.tls else http.client.HTTPConnection(plane.address, PORT, timeout=CALL_SECONDS)
		self.headers = {"Authorization": "Bearer " + credential, "Content-Type": "application/json"}

	def call(self, method, path, body=None):
		self.connection.request(method, path, json.dumps(body) if body is not None else None, self.headers)
		response = self.connection.getresponse()
		text = response.read()
		if response.status >= 300:
			raise RuntimeError(f"{method} {path}: {response.status} {text[:300]}")
		is_json = response.headers.get_content_type() == "application/json"
		return json.loads(text) if is_json and text else None


class Plane:
	"""A jitgate-server in the namespace that the caller's thread is in, or any that `enter` leads to."""

	all = []

	def __init__(self, build, directory, address, enter=(), tls=True):
		self.build, self.directory, self.address, self.tls = build, Path(directory), address, tls
		self.enter = list(enter)
		self.directory.mkdir()
		self.certificate = self.directory / "certificate.pem"
		key = self.directory / "key.pem"
		subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
			"-keyout", key, "-out", self.certificate, "-days", "2", "-subj", "/CN=bench",
			"-addext", f"subjectAltName=IP:{address}"], check=True, capture_output=True)
		signing = self.directory / "signing.jwk"
		signing.write_text(self.program("jitgate", "key", "new", "--kid", "bench"))
		signing.chmod(0o600)
		self.config = self.directory / "server.conf"
		self.config.write_text(f"[server]\nlisten = {address}:{PORT}\nstate = {self.directory}/state.sqlite\n"
			f"signing_key = {signing}\nrate_limit = 0\n"
			+ (f"url = https://{address}:{PORT}\ntls_certificate = {self.certificate}\ntls_key = {key}\n" if tls
				else f"url = http://{address}:{PORT}\n"))
		self.process = None
		Plane.all.append(self)

	def program(self, name, *arguments):
		return subprocess.run([self.build / name, *map(str, arguments)], check=True, text=True,
			stdout=subprocess.PIPE).stdout

	def server(self, *arguments):
		return self.program("jitgate-server", "-c", self.config, *arguments).strip()

	def start(self):
		self.process = subprocess.Popen([*self.enter, str(self.build / "jitgate-server"), "-c", str(self.config)])
		return self

	def await_ready(self):
		end = time.monotonic() + 10
		while True:
			try:
				return Client(self, "none").call("GET", "/healthz")
			except OSError:
				if time.monotonic() > end or self.process.poll() is not None:
					raise
				time.sleep(0.01)

	def token(self, role):
		return self.server("token", "new", "--principal", f"{role}@example.com", "--role", role, "--scope", "/")

	def enroll(self, names):
		"""[(VM id, credential)]"""
		ids = [VMS + name for name in names]
		tokens = self.server("enrollment", "new", *(word for i in ids for word in ("--vm", i))).split()
		client = Client(self, "none")
		enrolled = []
		for token in tokens:
			client.headers["Authorization"] = "Bearer " + token
			answer = client.call("POST", "/v1/enroll", {})
			enrolled.append((answer["vmId"], answer["credential"]))
		return enrolled

	def write_policies(self, names):
		client = Client(self, self.token("administrator"))
		for first in range(0, len(names), VMS_PER_POLICY):
			machines = [{"id": VMS + name, "ports": [RULE]} for name in names[first:first + VMS_PER_POLICY]]
			client.call("PUT", f"{POLICIES}p{first}?api-version=2020-01-01",
				{"kind": "Basic", "properties": {"virtualMachines": machines}})

	def memory(self):
		text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
		return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Rss")) / 1024

	def stop(self):
		if self.process and self.process.poll() is None:
			self.process.terminate()
			self.process.wait()


class Prober:
	"""Sends SYN after SYN from one address until one is accepted."""

	def __init__(self, target):
		self.target = target

	def first_accepted(self, source):
		poll, sent = select.poll(), {}
		end = time.monotonic() + 5
		while time.monotonic() < end:
			client = socket.socket()
			client.setblocking(False)
			client.bind((source, 0))
			at = time.monotonic()
			client.connect_ex(self.target)
			sent[client.fileno()] = at, client
			poll.register(client, select.POLLOUT)
			while time.monotonic() < at + SYN_INTERVAL:
				for fd, event in poll.poll(0):
					if not event & select.POLLERR:
						for _, other in sent.values():
							other.close()
						return sent[fd][0]
		raise RuntimeError(f"the port did not open for {source}")


def measure_opening(bench, host):
	"""One VM with agent and poll; its client's namespace has the server and the requester."""
	subnet = f"10.9.{host.index}"
	sources = [f"{subnet}.{i}" for i in range(3, 3 + SAMPLES)]
	for source in sources:
		bench.command("ip", "-n", host.client, "addr", "add", f"{source}/24", "dev", "eth0")
	enter = ("ip", "netns", "exec", host.client)
	plane = bench.in_namespace(host.client, lambda: Plane(bench.build, bench.work / "plane", f"{subnet}.2", enter))

	def prepare():
		plane.start().await_ready()
		plane.write_policies(["vm"])
		return plane.enroll(["vm"])[0], plane.token("requester")

	(vm_id, credential), token = bench.in_namespace(host.client, prepare)
	agent = bench.Agent(host, f"{bench.SSH}[feed]\nurl = https://{subnet}.2:{PORT}\nca = {plane.certificate}\n"
		f"token = {plane.directory}/feed-token\nstate_directory = {plane.directory}/poll\n", vm_id=vm_id)
	agent.trust.write_text(plane.program("jitgate", "key", "public", plane.directory / "signing.jwk"))
	agent.start()
	poll = start_poll(bench, plane, agent, credential)
	listener = bench.in_namespace(host.name, lambda: socket.create_server(("0.0.0.0", 22), backlog=4096))
	done = threading.Event()
	threading.Thread(target=drain, args=(listener, done), daemon=True).start()

	def body():
		client, prober, times = Client(plane, token), Prober((f"{subnet}.1", 22)), []
		for source in sources:
			began = time.monotonic()
			client.call("POST", "/v1/requests", {"vm": vm_id, "ports": [{"number": 22, "source": source}],
				"duration": "PT1H", "justification": "measured"})
			times.append((prober.first_accepted(source) - began) * 1000)
		return times[10:]  # the first ones warm up

	try:
		times = bench.in_namespace(host.client, body)
	finally:
		done.set()
		poll.terminate()
		poll.wait()
	agent.stop()
	plane.stop()
	p50, p99 = quantile(times, 0.5), quantile(times, 0.99)
	bench.row("a request sent over TLS, until the first SYN that the VM accepts: p50", f"{p50:.1f} ms", "15 ms", p50 <= 15)
	bench.row("… p99", f"{p99:.1f} ms", "100 ms", p99 <= 100)


def start_poll(bench, plane, agent, credential):
	"""As its own user, who is made in this mount namespace, and must reach what is his."""
	add_users(plane.directory)
	token, state = plane.directory / "feed-token", plane.directory / "poll"
	token.write_text(credential)
	state.mkdir()
	for path in (token, state):
		shutil.chown(path, USER, USER)
	for path in (bench.work, bench.short, plane.directory, agent.state, agent.socket.parent):
		path.chmod(0o755)
	return subprocess.Popen(["ip", "netns", "exec", agent.host.name, str(bench.build / "jitgate-poll"), "-c",
		str(agent.config)])


def drain(listener, done):
	while not done.is_set():
		if select.select([listener], [], [], 0.1)[0]:
			listener.accept()[0].close()


class Fleet:
	"""tests/bench/fleet: the agents, each holding a request."""

	def __init__(self, bench, plane, enrolled):
		path = plane.directory / "agents"
		path.write_text("".join(f"{vm_id} {credential}\n" for vm_id, credential in enrolled))
		self.process = subprocess.Popen([str(bench.build / "tests/bench/fleet"), plane.address, str(PORT),
			"tls" if plane.tls else "plain", str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

	def await_held(self):
		line = self.process.stdout.readline()
		if not line.startswith("held"):
			raise RuntimeError("the agents could not hold their requests")

	def next(self):
		"""(agent, how many documents, when)"""
		index, n, at = self.process.stdout.readline().split()
		return int(index), int(n), float(at)

	def stop(self):
		self.process.stdin.close()
		self.process.wait()


def request(client, vm_id, source):
	client.call("POST", "/v1/requests", {"vm": vm_id, "ports": [{"number": 22, "source": source}],
		"duration": "PT1H", "justification": "measured"})


def measure_fleet(bench, tls, limit_mib):
	plane = Plane(bench.build, bench.work / ("fleet-tls" if tls else "fleet"), "127.0.0.1", tls=tls).start()
	plane.await_ready()
	names = [f"vm-{i}" for i in range(FLEET)]
	enrolled = plane.enroll(names)
	plane.write_policies(names)
	client = Client(plane, plane.token("requester"))
	fleet = Fleet(bench, plane, enrolled)
	fleet.await_held()
	rss = plane.memory()
	what = f"{FLEET:,} agents that hold a request{' over TLS' if tls else ''}"
	bench.row(f"{what}: the server's resident memory", f"{rss:.0f} MiB", f"{limit_mib} MiB", rss <= limit_mib)

	delays = []
	for i in range(FLEET_SAMPLES):
		index = i * 23 % FLEET
		began = time.time()
		request(client, enrolled[index][0], f"192.0.2.{i % 250}")
		answered, _, at = fleet.next()
		if answered != index:
			raise RuntimeError("another agent was answered")
		delays.append((at - began) * 1000)
	p50, p99 = quantile(delays, 0.5), quantile(delays, 0.99)
	bench.row("… a request, until its agent has the grant: p50, p99", f"{p50:.1f}, {p99:.1f} ms", "p99 250 ms", p99 <= 250)

	machines = [{"id": vm_id, "ports": [{"number": 22, "endTimeUtc": time.strftime("%Y-%m-%dT%H:%M:%SZ",
		time.gmtime(time.time() + 3600)), "allowedSourceAddressPrefix": "198.51.100.7"}]} for vm_id, _ in enrolled]
	began = time.time()
	for first in range(0, FLEET, VMS_PER_POLICY):
		client.call("POST", f"{POLICIES}p{first}/initiate?api-version=2020-01-01",
			{"justification": "to all", "virtualMachines": machines[first:first + VMS_PER_POLICY]})
	last = max(fleet.next()[2] for _ in range(FLEET))
	took = last - began
	bench.row("… a grant to each of them, until the last one has it", f"{took:.2f} s", "5 s", took <= 5)
	fleet.stop()
	plane.stop()


def measure(bench):
	bench.command("ip", "link", "set", "lo", "up")
	try:
		measure_opening(bench, bench.Host("opening"))
		measure_fleet(bench, False, 150)
		measure_fleet(bench, True, 400)
	finally:
		for plane in Plane.all:
			plane.stop()
