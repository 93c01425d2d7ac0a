# SPDX-License-Identifier: GPL-3.0-or-later
"""Connection attempts one after another, while a test does something else."""

import errno
import select
import socket
import sys
import threading
import time

from sockets import family_of

RETRANSMIT_SECONDS = 1  # RFC 6298, 2.1: until a SYN is sent again
TOTAL_RETRANS = 100  # linux/tcp.h: where struct tcp_info has how many segments were sent again


def was_lost(made):
    """Its SYN, or the answer, was lost: it was sent again. A busy machine's answer comes late, and counts."""
    info = made.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TOTAL_RETRANS + 4)
    return int.from_bytes(info[TOTAL_RETRANS:], sys.byteorder) > 0


class Knocking:
    """Begins a connection every `interval` seconds until the with block ends. Then `let_in` and
    `refused` hold the times (time.monotonic) at which attempts began that got an answer, or none.
    Who can't go on knocking fails the block: nobody would have been let in then."""

    def __init__(self, namespace, address, port, interval=0.003):
        self.namespace, self.address, self.port, self.interval = namespace, address, port, interval
        self.let_in, self.refused = [], []
        self.n_begun = 0
        self._waiting = {}
        self._poll = select.poll()
        self._failure = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _begin(self):
        made = socket.socket(family_of(self.address), socket.SOCK_STREAM)
        made.setblocking(False)
        status = made.connect_ex((self.address, self.port))
        if status not in (0, errno.EINPROGRESS):
            raise OSError(status, "connect")
        self._waiting[made.fileno()] = made, time.monotonic()
        self._poll.register(made, select.POLLOUT)
        self.n_begun += 1

    def _collect(self, timeout_ms):
        for descriptor, _ in self._poll.poll(timeout_ms):
            made, _ = self._waiting[descriptor]
            error = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._end(descriptor, self.refused if error or was_lost(made) else self.let_in)
        now = time.monotonic()
        for descriptor in [d for d, (made, begun) in self._waiting.items()
                           if now - begun > RETRANSMIT_SECONDS and was_lost(made)]:
            self._end(descriptor, self.refused)

    def _end(self, descriptor, result):
        made, begun = self._waiting.pop(descriptor)
        self._poll.unregister(descriptor)
        made.close()
        result.append(begun)

    def _run(self):
        try:
            with self.namespace.inside():
                while not self._stop.is_set():
                    self._begin()
                    self._collect(self.interval * 1000)
                    time.sleep(self.interval)
                while self._waiting:
                    self._collect(50)
        except Exception as error:  # told where the block ends
            self._failure = error

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, *_):
        self._stop.set()
        self._thread.join()
        self.let_in.sort()
        self.refused.sort()
        if self._failure and not kind:
            raise RuntimeError(f"knocking at {self.address} ended early") from self._failure


class Accepting:
    """Takes what a listener accepts, so that its queue has room."""

    def __init__(self, listener):
        self.listener = listener
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        self.listener.socket.settimeout(None)
        try:
            while True:
                self.listener.socket.accept()[0].close()
        except OSError:
            pass

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.listener.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
