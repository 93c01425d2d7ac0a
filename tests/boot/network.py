# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands around a machine.

    requester 192.0.2.7  ──┐          host0
              2001:db8::7  ├─ switch ─────── machine 192.0.2.1
    stranger  192.0.2.66 ──┘                         2001:db8::1
              2001:db8::66

The machine's cable is plugged in anew at each boot, and both neighbours know its card beforehand: what they send
arrives from the first moment at which the card is up.
"""

import socket

from world import Namespace

MACHINE4, MACHINE6 = "192.0.2.1", "2001:db8::1"


class Network:
    def __init__(self):
        self.switch = Namespace("switch")
        self.requester = Namespace("requester", "192.0.2.7", "2001:db8::7")
        self.stranger = Namespace("stranger", "192.0.2.66", "2001:db8::66")
        self.switch.ip("link add br0 type bridge", "link set br0 type bridge stp_state 0 forward_delay 0",
                       "link set br0 up")
        for host in self.requester, self.stranger:
            self.switch.ip(f"link add {host.name} type veth peer name eth0 netns {host.name}",
                           f"link set {host.name} master br0 up")
            host.ip(f"addr add {host.v4}/24 dev eth0", f"addr add {host.v6}/64 dev eth0 nodad", "link set eth0 up")

    def learn(self, card):
        """Tells the neighbours the machine's hardware address."""
        for host in self.requester, self.stranger:
            host.ip(*(f"neigh replace {address} lladdr {card} dev eth0 nud permanent"
                      for address in (MACHINE4, MACHINE6)))

    def has_card(self, name):
        with self.switch.inside():
            return name in (card for _, card in socket.if_nameindex())

    def close(self):
        for namespace in self.stranger, self.requester, self.switch:
            namespace.close()
