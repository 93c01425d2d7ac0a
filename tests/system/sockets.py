# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP and UDP peers in namespaces. A socket belongs to the namespace it was made in, so one process
holds them all."""

import itertools
import socket
import struct

from world import SLOWNESS

ANSWER_SECONDS = 5.0 * SLOWNESS  # for what must come: retransmissions included
# For what must not: a packet takes some 50 microseconds here, and not much longer where other things do.
SILENCE_SECONDS = 0.3 * min(SLOWNESS, 6)

_serial = itertools.count()


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def new_socket(namespace, address, kind, device=None):
    """A socket that stays open until it is closed or the world ends; device: the interface that it is bound to."""
    with namespace.inside():
        made = socket.socket(family_of(address), kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if device:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    namespace.sockets.append(made)
    return made


def connect(namespace, address, port, source="", source_port=0, timeout=SILENCE_SECONDS, device=None):
    """A TCP connection, or None when nothing answered."""
    made = new_socket(namespace, address, socket.SOCK_STREAM, device)
    made.settimeout(timeout)
    try:
        if source or source_port:
            made.bind((source, source_port))
        made.connect(socket.getaddrinfo(address, port, flags=socket.AI_NUMERICHOST)[0][4])
    except OSError as error:
        made.close()
        if isinstance(error, socket.timeout):
            return None
        raise
    made.settimeout(ANSWER_SECONDS)
    return made


def is_open(namespace, address, port, source="", device=None):
    """Whether a TCP connection comes about. That a port answers with a reset is an error."""
    made = connect(namespace, address, port, source, device=device)
    if made:
        made.close()
    return made is not None


class Listener:
    """A TCP listener; dual_stack makes a wildcard one for both families."""

    def __init__(self, namespace, address, port, dual_stack=False, device=None):
        self.port = port
        self.socket = new_socket(namespace, address, socket.SOCK_STREAM, device)
        if self.socket.family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual_stack)
        self.socket.bind((address, port))
        self.socket.listen(4096)

    def accept(self, timeout=ANSWER_SECONDS):
        """The next connection, or None."""
        self.socket.settimeout(timeout)
        try:
            made, _ = self.socket.accept()
        except (socket.timeout, BlockingIOError):
            return None
        made.settimeout(ANSWER_SECONDS)
        return made

    def close(self):
        self.socket.close()


class Session:
    """An established TCP connection, of which both ends are at hand."""

    def __init__(self, client_namespace, address, listener, port=None):
        self.client = connect(client_namespace, address, port or listener.port,
                              timeout=ANSWER_SECONDS)
        assert self.client, f"{address} port {port or listener.port} does not answer"
        self.server = listener.accept()
        # Connections that an earlier is_open() made and closed may come first.
        while self.server and _host_and_port(self.server.getpeername()) != _host_and_port(
                self.client.getsockname()):
            self.server.close()
            self.server = listener.accept()
        assert self.server

    def works(self, server_first=False):
        """Whether both ends hear each other; the client speaks first unless told."""
        first, second = (self.server, self.client) if server_first else (self.client, self.server)
        try:
            return _hears(first, second) and _hears(second, first)
        except (socket.timeout, ConnectionError):
            return False

    def is_dead(self):
        """Whether the connection was ended from the other side, seen by the client."""
        try:
            return self.client.recv(1) == b""
        except ConnectionError:
            return True
        except socket.timeout:
            return False

    def is_closed(self):
        """The same, without waiting for it."""
        self.client.settimeout(0)
        try:
            return self.client.recv(1) == b""
        except BlockingIOError:
            return False
        except ConnectionError:
            return True
        finally:
            self.client.settimeout(ANSWER_SECONDS)

    def close(self):
        self.client.close()
        self.server.close()


def _host_and_port(name):
    return name[0].replace("::ffff:", "").split("%")[0], name[1]


def _hears(speaker, hearer):
    message = b"message %d" % next(_serial)
    speaker.sendall(message)
    received = b""
    while len(received) < len(message):
        data = hearer.recv(len(message) - len(received))
        if not data:
            return False
        received += data
    return received == message


class Udp:
    """A UDP socket. hears(): whether what another sends arrives; answers go to whoever sent last."""

    def __init__(self, namespace, address, port=0, connected_to=None, device=None):
        self.namespace = namespace
        self.socket = new_socket(namespace, address, socket.SOCK_DGRAM, device)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self.socket.bind((address, port))
        self.peer = connected_to
        if connected_to:
            self.socket.connect(connected_to)

    @property
    def port(self):
        return self.socket.getsockname()[1]

    def _card(self, name):
        with self.namespace.inside():
            return socket.if_nametoindex(name)

    def join(self, group, by):
        """Joins a multicast group by a card: IPv4 takes its address, IPv6 its name."""
        if self.socket.family == socket.AF_INET:
            self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                                   socket.inet_aton(group) + socket.inet_aton(by))
        else:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP,
                                   socket.inet_pton(socket.AF_INET6, group)
                                   + struct.pack("@I", self._card(by)))

    def send_multicast_by(self, by):
        if self.socket.family == socket.AF_INET:
            self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF,
                                   socket.inet_aton(by))
        else:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, self._card(by))

    def send(self, address, port, data=b"datagram"):
        if self.peer:
            self.socket.send(data)
        else:
            self.socket.sendto(data, (address, port))

    def receive(self, timeout=SILENCE_SECONDS):
        """The next datagram's data and sender, or (None, None)."""
        self.socket.settimeout(timeout)
        try:
            data, sender = self.socket.recvfrom(65535)
        except (socket.timeout, BlockingIOError):
            return None, None
        return data, sender[:2]

    def hears(self, speaker, address, port, timeout=SILENCE_SECONDS):
        """Whether a fresh datagram that speaker sends to address and port arrives here."""
        data = b"datagram %d" % next(_serial)
        speaker.send(address, port, data)
        while True:
            received, _ = self.receive(timeout)
            if received in (data, None):
                return received is not None

    def close(self):
        self.socket.close()
