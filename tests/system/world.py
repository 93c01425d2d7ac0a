# SPDX-License-Identifier: GPL-3.0-or-later
"""A small Internet in network namespaces.

    requester 192.0.2.7 ────── 192.0.2.1 ┐
              2001:db8:2::7              │ vm ── 172.17.0.1 ── 172.17.0.2 container (on demand)
    stranger  198.51.100.66 ── …100.1 ───┘              fd17::1    fd17::2
              2001:db8:51::66

All reach the VM as 192.0.2.1 and 2001:db8:2::1. Made in the mount namespace that tests/system/run
began: when the tests end, however they end, nothing is left.
"""

import contextlib
import ctypes
import fcntl
import itertools
import os
import socket
import struct
import subprocess
import time

CLONE_NEWNET = 0x40000000  # <linux/sched.h>
MS_BIND, MNT_DETACH = 4096, 2  # <sys/mount.h>
SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914  # <linux/sockios.h>
IFF_UP, IFF_RUNNING = 1, 0x40  # <net/if.h>
_libc = ctypes.CDLL(None, use_errno=True)
_serial = itertools.count()

# How many times slower this machine is than those for which the bounds were chosen. For bounds alone: what takes
# longer than a bound fails everywhere.
SLOWNESS = float(os.environ.get("JITGATE_TEST_SLOWNESS", "1"))


def await_(condition, bound=5.0, what=None):
    """Returns the first true value of condition(); fails when there is none within bound seconds."""
    bound *= SLOWNESS
    deadline = time.monotonic() + bound
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {bound} s: {what or condition}")
        time.sleep(0.005)


def _call(name, *arguments):
    """A call of the C library, which sets errno."""
    if getattr(_libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), name)


@contextlib.contextmanager
def returning():
    """Back to the network namespace of before, at the end of the block."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        _call("setns", before, CLONE_NEWNET)
        os.close(before)


@contextlib.contextmanager
def entered(fd):
    """In the network namespace that fd stands for, until the end of the block."""
    with returning():
        _call("setns", fd, CLONE_NEWNET)
        yield


def add_namespace(path):
    """As `ip netns add` does, and with lo up; without its processes, which take long where they are emulated."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, "x", encoding="ascii").close()
    with returning():
        _call("unshare", CLONE_NEWNET)
        _call("mount", b"/proc/thread-self/ns/net", path.encode(), None, MS_BIND, None)
        with socket.socket() as any_socket:
            fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", IFF_UP))


def delete_namespace(path):
    _call("umount2", path.encode(), MNT_DETACH)
    os.unlink(path)


class Namespace:
    """A network namespace. What is opened or started inside() belongs to it."""

    def __init__(self, name, v4=None, v6=None):
        self.name = f"{name}{next(_serial)}"
        self.v4, self.v6 = v4, v6
        self.sockets = []
        self._processes = []
        self._path = f"/run/netns/{self.name}"
        add_namespace(self._path)
        self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def address(self, family):
        return self.v4 if family == 4 else self.v6

    @contextlib.contextmanager
    def inside(self):
        with entered(self._fd):
            yield self

    def run(self, *command, check=True, input=None, timeout=20):
        """Runs a command to its end and returns what it printed."""
        return self.call(*command, check=check, input=input, timeout=timeout).stdout

    def call(self, *command, check=False, input=None, timeout=20):
        """Runs a command to its end: returncode, stdout, stderr."""
        with self.inside():
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True)
        try:
            output, errors = process.communicate(input, timeout * SLOWNESS)
        finally:
            process.kill()
        done = subprocess.CompletedProcess(command, process.returncode, output, errors)
        done.pid = process.pid
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: exit {done.returncode}: {errors}")
        return done

    def spawn(self, *command, **options):
        """Starts a command that ends with the tests, whatever becomes of them."""
        with self.inside():
            process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], **options)
        self._processes.append(process)
        return process

    def nft(self, text, check=True):
        return self.run("nft", "-f", "-", input=text, check=check)

    def ip(self, *lines):
        self.run("ip", "-batch", "-", input="\n".join(lines) + "\n")

    def sysctl(self, name, value):
        with self.inside(), open("/proc/sys/" + name.replace(".", "/"), "w") as file:
            file.write(str(value))

    def is_running(self, card):
        """Whether it sends what it is given: some time after both ends of its cable are up."""
        with self.inside(), socket.socket() as any_socket:
            flags, = struct.unpack_from(
                "16xH", fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack("16s24x", card.encode())))
        return bool(flags & IFF_RUNNING)

    def close(self):
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        for made in self.sockets:
            made.close()
        os.close(self._fd)
        delete_namespace(self._path)


class World:
    def __init__(self):
        self._made = []
        self.vm = self._namespace("vm", "192.0.2.1", "2001:db8:2::1")
        self.requester = self._namespace("requester", "192.0.2.7", "2001:db8:2::7")
        self.stranger = self._namespace("stranger", "198.51.100.66", "2001:db8:51::66")
        self._cable(self.requester, 1, "192.0.2.1/24", "2001:db8:2::1/64",
                    "192.0.2.7/24", "2001:db8:2::7/64")
        self._cable(self.stranger, 2, "198.51.100.1/24", "2001:db8:51::1/64",
                    "198.51.100.66/24", "2001:db8:51::66/64")

    def _namespace(self, name, v4, v6):
        made = Namespace(name, v4, v6)
        self._made.append(made)
        made.sysctl("net.ipv6.conf.default.accept_dad", 0)
        made.sysctl("net.ipv6.conf.all.accept_dad", 0)
        return made

    def _cable(self, host, number, vm4, vm6, host4, host6):
        """eth<number> on the VM, eth0 on the host, whose way to all others it is; the cards' addresses end in the
        number."""
        self.vm.ip(f"link add eth{number} address {vm_mac(number)} type veth"
                   f" peer name eth0 address {host_mac(number)} netns {host.name}",
                   f"addr add {vm4} brd + dev eth{number}",
                   f"addr add {vm6} dev eth{number} nodad",
                   f"link set eth{number} up")
        host.ip(f"addr add {host4} brd + dev eth0", f"addr add {host6} dev eth0 nodad", "link set eth0 up",
                *(f"route add default via {vm.split('/')[0]}" for vm in (vm4, vm6)))
        await_(lambda: self.vm.is_running(f"eth{number}") and host.is_running("eth0"), what="the cable is up")

    def container(self):
        """A namespace behind the VM, as a container engine makes it; it has no rules yet."""
        made = self._namespace("container", "172.17.0.2", "fd17::2")
        self._cable(made, 3, "172.17.0.1/24", "fd17::1/64", "172.17.0.2/24", "fd17::2/64")
        self.vm.sysctl("net.ipv4.ip_forward", 1)
        self.vm.sysctl("net.ipv6.conf.all.forwarding", 1)
        return made

    def track_connections(self):
        """A rule that asks for connection tracking, as a host's own firewall does."""
        self.vm.nft("table inet host { chain input { type filter hook input priority filter;"
                    " ct state established counter accept; }; }")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for namespace in reversed(self._made):
            namespace.close()


def vm_mac(number):
    return f"02:00:00:00:01:{number:02x}"


def host_mac(number):
    return f"02:00:00:00:02:{number:02x}"
