# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends a SYN to ADDRESS PORT every INTERVAL seconds until CLOCK_REALTIME is END, and prints what became of each: the time
in seconds at which it was sent, and "accepted" or "refused".

Usage: probe.py ADDRESS PORT END INTERVAL [stop]      stop: once one is accepted
"""

import select
import socket
import sys
import time

# An answer takes a fraction of a millisecond here; no answer within this is the refusal. It is less than the second
# after which the kernel would send a SYN again.
PATIENCE = 0.3


class Probe:
    def __init__(self, address, port):
        self.target = (address, port)
        self.poll = select.poll()
        self.pending = {}
        self.results = []

    def send(self):
        client = socket.socket()
        client.setblocking(False)
        sent = time.time()
        client.connect_ex(self.target)
        self.pending[client.fileno()] = (sent, client)
        self.poll.register(client, select.POLLOUT)

    def settle(self, fd, accepted):
        sent, client = self.pending.pop(fd)
        self.poll.unregister(fd)
        client.close()
        self.results.append((sent, accepted))

    def read(self, milliseconds):
        for fd, _ in self.poll.poll(milliseconds):
            self.settle(fd, self.pending[fd][1].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0)
        late = time.time() - PATIENCE
        for fd in [fd for fd, (sent, _) in self.pending.items() if sent < late]:
            self.settle(fd, False)

    def accepted(self):
        return any(accepted for _, accepted in self.results)


def main():
    end, interval = float(sys.argv[3]), float(sys.argv[4])
    stop = "stop" in sys.argv[5:]
    probe = Probe(sys.argv[1], int(sys.argv[2]))
    print("ready", flush=True)
    due = time.time()
    while due < end and not (stop and probe.accepted()):
        if time.time() >= due:
            probe.send()
            due += interval
        probe.read(max(0, due - time.time()) * 1000)
    while probe.pending:
        probe.read(10)
    for sent, accepted in sorted(probe.results):
        print(f"{sent:.6f} {'accepted' if accepted else 'refused'}")


main()
