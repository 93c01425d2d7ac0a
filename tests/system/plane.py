# SPDX-License-Identifier: GPL-3.0-or-later
"""A control plane to test clients against: it speaks the API of contrib/control-plane/README.md over real TLS, and fails as a
test says."""

import datetime
import http.server
import json
import socket
import ssl
import threading
import time
import urllib.parse
import uuid

from agent import run_jitgate

HOLD_SECONDS_MAX = 60
VM = "/subscriptions/S/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/web-1"


def utc(seconds):
    return datetime.datetime.utcfromtimestamp(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


class Plane:
    """The control plane. `calls` is what came; `answers` maps (method, path) to what is answered instead: (status, object or
    bytes, headers), or a function of the handler."""

    def __init__(self, directory, certificate=None, trust=None, context=None):
        self.directory = directory
        self.trust = trust if trust is not None else {"keys": []}
        self.calls, self.answers = [], {}
        self.tokens = {"alice-token": "alice@example.org", "bob-token": "bob@example.org"}
        self.enrollments = {}
        self.requests, self.activity = {}, []
        self.vms = [{"id": VM, "name": "web-1"}]
        self.changed = threading.Condition()
        self.approval_required = False
        self.credential = "credential-" + uuid.uuid4().hex
        if certificate and not context:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if certificate:
            context.load_cert_chain(certificate)
        self.context = context
        self.server = None
        self.port = 0
        self.start()

    # Life

    def start(self):
        handler = type("Handler", (_Handler,), {"plane": self})
        self.server = _Server(("127.0.0.1", self.port), handler)
        self.server.context = self.context
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self):
        """Ends it as a crash does, held calls too."""
        self.server.shutdown()
        self.server.server_close()
        self.server.abandon()
        self.server = None
        with self.changed:
            self.changed.notify_all()

    def close(self):
        if self.server:
            self.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def url(self):
        return f"{'https' if self.context else 'http'}://localhost:{self.port}"

    # Facts

    def paths(self, method=None):
        return [call["path"] for call in self.calls if method in (None, call["method"])]

    def bodies(self, path):
        return [call["body"] for call in self.calls if call["path"] == path]

    def enrollment(self, vm_id=VM):
        token = "enroll-" + uuid.uuid4().hex
        self.enrollments[token] = vm_id
        return token

    # What happens to requests

    def update(self, id, number=0, **progress):
        """Adds to the progress of a port; `status` and `statusReason` are the port's own."""
        with self.changed:
            request = self.requests[id]
            port = request["virtualMachines"][0]["ports"][number]
            for name in "status", "statusReason":
                if name in progress:
                    port[name] = progress.pop(name)
            port["progress"].update(progress)
            request["revision"] += 1
            self.changed.notify_all()

    def decide(self, id, by, reason, status):
        with self.changed:
            request = self.requests[id]
            request["approval"] = {"by": by, "at": utc(time.time()), "reason": reason}
            for port in request["virtualMachines"][0]["ports"]:
                port.update(status)
            request["revision"] += 1
            self.changed.notify_all()

    def make(self, body, requestor, address):
        id = "r-" + uuid.uuid4().hex
        pending = self.approval_required
        ports = [{"number": port["number"], "protocol": port.get("protocol", "TCP"),
                  "allowedSourceAddressPrefix": port.get("source", address),
                  "endTimeUtc": utc(time.time() + 3600),
                  "status": "PendingApproval" if pending else "Initiated",
                  "statusReason": "ApprovalRequired" if pending else "UserRequested",
                  "grant": f"{id}.0.{i}", "progress": {}}
                 for i, port in enumerate(body["ports"])]
        vm = body["vm"] if "/" in body["vm"] else VM.replace("web-1", body["vm"])
        with self.changed:
            self.requests[id] = {
                "id": id, "requestor": requestor, "startTimeUtc": utc(time.time()),
                "justification": body["justification"], "policy": "/subscriptions/S/default",
                "virtualMachines": [{"id": vm, "ports": ports}], "revision": 1}
            self.changed.notify_all()
        return self.requests[id]

    def hold(self, id, after, wait):
        deadline = time.monotonic() + min(wait, HOLD_SECONDS_MAX)
        server = self.server
        with self.changed:
            while self.requests[id]["revision"] <= after and self.server is server:
                left = deadline - time.monotonic()
                if left <= 0 or not self.changed.wait(left):
                    break
            return json.loads(json.dumps(self.requests[id]))


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    context = None

    def __init__(self, *arguments):
        self.connections = set()
        super().__init__(*arguments)

    def finish_request(self, request, client_address):
        if self.context:
            request.settimeout(10)
            try:
                request = self.context.wrap_socket(request, server_side=True)
            except OSError:  # ssl's errors among them
                return
        self.connections.add(request)
        try:
            super().finish_request(request, client_address)
        except OSError:
            pass
        finally:
            self.connections.discard(request)
            request.close()

    def abandon(self):
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 70
    plane = None

    def log_message(self, *_):
        pass

    def send(self, status, body, headers=None):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def fail(self, status, code, message, headers=None):
        self.send(status, {"error": {"code": code, "message": message, "target": None,
                                     "details": [], "additionalInfo": []}}, headers)

    def handle_any(self):
        length = int(self.headers.get("Content-Length", 0))
        data = self.rfile.read(length)
        parts = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(parts.query))
        body = json.loads(data) if data else None
        authorization = self.headers.get("Authorization", "")
        self.plane.calls.append({
            "method": self.command, "path": parts.path, "query": query, "body": body,
            "authorization": authorization, "length": self.headers.get("Content-Length")})
        answer = self.plane.answers.get((self.command, parts.path))
        if callable(answer):
            answer(self)
        elif answer:
            self.send(*answer)
        else:
            self.serve(parts.path, query, body, authorization.removeprefix("Bearer "))

    do_GET = do_POST = handle_any

    def serve(self, path, query, body, token):
        plane = self.plane
        if path == "/.well-known/jwks.json":
            return self.send(200, plane.trust)
        if path == "/v1/enroll":
            vm_id = plane.enrollments.pop(token, None)
            if not vm_id:
                return self.fail(401, "AuthenticationFailed",
                                 "this enrollment token is not known, or has been used")
            return self.send(200, {"vmId": vm_id, "url": plane.url, "credential": plane.credential})
        who = plane.tokens.get(token)
        if not who:
            return self.fail(401, "AuthenticationFailed", "the token is not known",
                             {"WWW-Authenticate": "Bearer"})
        if path == "/v1/vms":
            return self.page(plane.vms, path, query)
        if path == "/v1/activity":
            return self.page(plane.activity, path, query)
        if path == "/v1/requests" and self.command == "POST":
            return self.send(201, plane.make(body, who, self.client_address[0]))
        if path == "/v1/requests":
            return self.page(list(plane.requests.values())[::-1], path, query)
        id, _, verb = path.removeprefix("/v1/requests/").partition("/")
        if id not in plane.requests:
            return self.fail(404, "ResourceNotFound", f"there is no request {id}")
        if self.command == "GET" and not verb:
            return self.send(200, plane.hold(id, int(query.get("after", -1)),
                                             float(query.get("wait", 0))))
        status = {"approve": {"status": "Initiated", "statusReason": "UserRequested"},
                  "deny": {"status": "Revoked", "statusReason": "Denied"},
                  "revoke": {"status": "Revoked", "statusReason": "UserRequested"}}[verb]
        plane.decide(id, who, (body or {}).get("reason"), status)
        return self.send(200, plane.requests[id])

    def page(self, values, path, query):
        top, skip = int(query.get("top", 100)), int(query.get("skipToken", 0))
        link = None
        if skip + top < len(values):
            rest = urllib.parse.urlencode({**query, "skipToken": skip + top})
            # Under a name of its own, as behind a proxy.
            link = f"https://jit.example.org{path}?{rest}"
        page = {"value": values[skip:skip + top], **({"nextLink": link} if link else {})}
        self.send(200, page)


def jwks(*keys):
    """The trust file of these private keys' files."""
    return json.loads(run_jitgate("key", "public", *keys).stdout)
