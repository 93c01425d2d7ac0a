# SPDX-License-Identifier: GPL-3.0-or-later
"""jitgate-poll under test, and a control plane of the tests' own that behaves well unless told otherwise."""

import http.server
import json
import os
import pwd
import select
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse

from agent import BUILD, VM_ID
from world import await_

USER = "jitgate-poll"
USER_ID = 64502


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", content_type="application/json", **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _serve(self, method):
        n = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(n)
        self.query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        feed = self.server.feed
        feed.asked(method, self)
        try:
            (feed.on_get if method == "GET" else feed.on_post)(self)
        except (OSError, ssl.SSLError):
            self.close_connection = True

    def do_GET(self):
        self._serve("GET")

    def do_POST(self):
        self._serve("POST")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_):
        pass

    def finish_request(self, request, address):
        if self.feed.tls:
            request.settimeout(10)
            request = self.feed.tls.wrap_socket(request, server_side=True)
        super().finish_request(request, address)


class Feed:
    """documents, and the events that came. on_get and on_post answer; a test may replace them."""

    def __init__(self, namespace, tls=None, port=0, page=100):
        self.documents, self.events, self.requests = [], [], []
        self.changed = threading.Condition()
        self.page, self.tls, self.closed = page, tls, False
        self.on_get, self.on_post = self.well_behaved_get, self.well_behaved_post
        self.namespace, self.port = namespace, port
        self.server = None
        self.open()

    def open(self):
        """Begins to serve, at the port that it had before."""
        with self.namespace.inside():
            self.server = Server(("127.0.0.1", self.port), Handler)
        self.server.feed, self.port, self.closed = self, self.server.server_address[1], False
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def close(self):
        """As a control plane that is away: what is held is dropped."""
        if not self.closed:
            self.closed = True
            with self.changed:
                self.changed.notify_all()
            self.server.shutdown()
            self.server.server_close()

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def asked(self, method, handler):
        with self.changed:
            self.requests.append({"method": method, "path": handler.path, "at": time.monotonic(),
                                  "query": getattr(handler, "query", {}),
                                  "headers": dict(handler.headers)})
            self.changed.notify_all()

    def asked_by(self, method="GET"):
        return [request for request in list(self.requests) if request["method"] == method]

    def count(self, method="GET"):
        return len(self.asked_by(method))

    def await_asked(self, n=1, method="GET", bound=10):
        await_(lambda: self.count(method) >= n, bound, f"{n} questions ({method})")

    def add(self, *documents):
        with self.changed:
            self.documents += documents
            self.changed.notify_all()

    def well_behaved_get(self, handler):
        after = int(handler.query.get("after", 0))
        wait = float(handler.query["wait"]) if "after" in handler.query else 0
        with self.changed:
            self.changed.wait_for(lambda: self.closed or len(self.documents) > after, wait)
            documents = self.documents[after:after + self.page]
            end = after + len(documents)
            more = end < len(self.documents)
        if self.closed:
            handler.close_connection = True
        elif documents or "after" not in handler.query:
            handler.answer(200, {"cursor": str(end), "documents": documents, "more": more})
        else:
            handler.answer(204)

    def well_behaved_post(self, handler):
        events = json.loads(handler.body)["events"]
        with self.changed:
            self.events += events
            self.changed.notify_all()
        handler.answer(202, {"acknowledged": events[-1]["sequence"]})

    def sequences(self):
        return [event["sequence"] for event in self.events]

    def await_event(self, type, bound=10, **members):
        def found():
            return [e for e in list(self.events) if e["type"] == type and
                    all(e.get(k) == v for k, v in members.items())]
        return await_(found, bound, f"event {type} {members}")[-1]


class Poll:
    """jitgate-poll with an agent's configuration, as the user jitgate-poll."""

    def __init__(self, agent):
        self.agent = agent
        self.process = None
        self.directory = agent.directory / "poll"
        self.log_path = agent.directory / "jitgate-poll.log"
        self.environment = {}
        user = pwd.getpwnam(USER)
        self.directory.mkdir(mode=0o700)
        os.chown(self.directory, user.pw_uid, user.pw_gid)
        path = agent.directory
        while str(path) != "/":
            path.chmod(path.stat().st_mode | 0o011)
            path = path.parent
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(agent.directory / "notify-poll"))
        (agent.directory / "notify-poll").chmod(0o666)

    def configure(self, url, **settings):
        """Writes [feed] into the agent's configuration."""
        settings = {"url": url, "wait": "PT20S", "state_directory": self.directory, **settings}
        text = self.agent.config_path.read_text().split("[feed]")[0]
        self.agent.config_path.write_text(text.rstrip() + "\n[feed]\n" + "".join(
            f"{key} = {value}\n" for key, value in settings.items()))
        return self

    def start(self, as_root=False, ready=True, groups=("--init-groups",)):
        command = [f"{BUILD}/jitgate-poll", "-c", str(self.agent.config_path)]
        if not as_root:
            command = ["setpriv", "--reuid", USER, "--regid", USER, *groups,
                       "--pdeathsig", "KILL", *command]
        environment = dict(os.environ, NOTIFY_SOCKET=str(self.agent.directory / "notify-poll"),
                           **self.environment)
        self._notify.setblocking(False)
        try:
            while self._notify.recv(4096):
                pass
        except BlockingIOError:
            pass
        with open(self.log_path, "ab") as log:
            self.process = self.agent.namespace.spawn(*command, env=environment, stderr=log)
        if ready:
            self.await_ready()
        return self

    def await_ready(self, bound=10):
        self._notify.settimeout(bound)
        while b"READY=1" not in self._notify.recv(4096):
            pass

    def kill(self):
        return self.stop(signal.SIGKILL)

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(60)

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        self._notify.close()

    def log(self):
        return self.log_path.read_text() if self.log_path.exists() else ""

    def await_log(self, text, bound=10):
        await_(lambda: text in self.log(), bound, f"{text!r} in the log: {self.log()}")

    def await_noted(self, events, bound=10):
        """Until it has noted that this event was acknowledged: before, it may come again."""
        path = self.directory / "cursor.json"
        await_(lambda: path.exists() and f'"events":{events}' in path.read_text(), bound,
               f"event {events} acknowledged")

    def rss(self, field="VmRSS"):
        """KiB."""
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(field + ":"))

    def alive(self):
        return self.process.poll() is None

    def state(self):
        return self.agent.call("Status").get("feed", {}).get("state")

    def await_state(self, state, bound=10):
        await_(lambda: self.state() == state, bound, f"feed {state}; log: {self.log()}")


class Between:
    """In front of the agent's socket: hangs up on calls of the method `lost`, which never come to the agent."""

    def __init__(self, agent):
        self.lost, self.n_lost = None, 0
        self.behind = agent.socket_path.with_name("behind.sock")
        agent.socket_path.rename(self.behind)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(agent.socket_path))
        agent.socket_path.chmod(0o666)
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            threading.Thread(target=self._relay, args=self._listening.accept()[:1], daemon=True).start()

    def _relay(self, client):
        with client, socket.socket(socket.AF_UNIX) as agent:
            agent.connect(str(self.behind))
            while True:
                for one in select.select([client, agent], [], [])[0]:
                    data = one.recv(65536)
                    if one is client and self.lost and self.lost.encode() in data:
                        self.n_lost += 1
                        data = b""
                    if not data:
                        return
                    (agent if one is client else client).sendall(data)


def quoted_vm():
    return urllib.parse.quote(VM_ID, safe="")


def may_have_users():
    """Whether processes can become other users here: not where only root is mapped."""
    with open("/proc/self/uid_map") as file:
        return any(int(line.split()[2]) > 65000 for line in file)


def has_users():
    """Whether they are there as add_users() makes them."""
    try:
        return pwd.getpwnam(USER).pw_uid == USER_ID
    except KeyError:
        return False


def add_users(directory):
    """The users of packaging/systemd/*.sysusers, in this mount namespace only."""
    for path, lines in (("/etc/passwd", [f"{USER}:x:{USER_ID}:{USER_ID}::/:/usr/sbin/nologin",
                                         "jitgated:x:64502:64502::/:/usr/sbin/nologin",
                                         "jitgate-server:x:64503:64503::/:/usr/sbin/nologin"]),
                        ("/etc/group", ["jitgate:x:64501:jitgate-poll", f"{USER}:x:{USER_ID}:",
                                       "jitgated:x:64502:", "jitgate-server:x:64503:"])):
        with open(path) as file:
            kept = [line for line in file.read().splitlines()
                    if line.split(":")[0] not in ("jitgate", "jitgated", "jitgate-server", USER)]
        made = directory / os.path.basename(path)
        made.write_text("\n".join(kept + lines) + "\n")
        subprocess.run(["mount", "--bind", made, path], check=True)
