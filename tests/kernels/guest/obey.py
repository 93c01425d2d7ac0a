#!/usr/bin/python3 -u
# SPDX-License-Identifier: GPL-3.0-or-later
"""In the virtual machine: does what machine.py tells it, by lines of JSON over a serial port of virtio.

    guest  {"boot": id}                              ready; again after each boot
    host   {"command": […], "input": text, "environment": {…}}
    guest  {"output": text} …                        what the command prints, as it does
    guest  {"exit": status}
"""

import codecs
import json
import os
import resource
import subprocess
import sys

PORT = "/dev/vport0p1"


def read_boot_id():
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def say(port, **message):
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(port, data):]


def lines(port):
    """What comes; while no host listens a read gives nothing."""
    received = b""
    while True:
        received += os.read(port, 65536)
        *whole, received = received.split(b"\n")
        yield from whole


def run(port, command, input="", environment=None):
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, cwd="/tree",
                               env={**os.environ, **(environment or {})})
    process.stdin.write(input.encode())
    process.stdin.close()
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while data := os.read(process.stdout.fileno(), 65536):
        say(port, output=decoder.decode(data))
    say(port, exit=process.wait())


def main():
    subprocess.run(["modprobe", "virtio_console"], check=False)
    os.environ.update(PATH="/usr/sbin:/usr/bin:/sbin:/bin", HOME="/root", LANG="C.UTF-8")
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 524288))  # as systemd's default
    port = os.open(PORT, os.O_RDWR | os.O_CLOEXEC)
    os.write(port, b"\n")  # a reset may have cut a line
    say(port, boot=read_boot_id())
    for line in lines(port):
        try:
            run(port, **json.loads(line))
        except OSError as error:
            say(port, output=f"{error}\n")
            say(port, exit=127)


if __name__ == "__main__":
    sys.exit(main())
