# SPDX-License-Identifier: GPL-3.0-or-later
"""Destination NAT as hosts do it: each kind publishes and withdraws one port of the VM."""

import shutil

import pytest


class Nat:
    """TCP and UDP for `port` of the VM go to `to_port` of a container, or of the VM (a redirect)."""

    def __init__(self, vm, port, to_port, container=None):
        self.vm, self.port, self.to_port, self.container = vm, port, to_port, container


    def require(self, namespace):
        """Skips the test where the kind is missing; tries it in another namespace than the VM's."""


class NftNat(Nat):
    def publish(self):
        targets = (f"redirect to :{self.to_port}",) if not self.container else (
            f"dnat ip to {self.container.v4}:{self.to_port}",
            f"dnat ip6 to [{self.container.v6}]:{self.to_port}")
        rules = "".join(f"meta l4proto {{ tcp, udp }} th dport {self.port} {target};\n"
                        for target in targets)
        self.vm.nft("table inet published { chain prerouting {"
                    f" type nat hook prerouting priority dstnat;\n{rules} }}; }}")

    def withdraw(self):
        self.vm.run("nft", "delete", "table", "inet", "published")


class IptablesNat(Nat):
    variant = None

    def publish(self):
        self.require(self.vm)
        self._change("-A")

    def withdraw(self):
        """Takes the rules away, and the chains and the tables with them."""
        self._change("-D")
        for command in self._commands():
            if self.variant == "nft":
                family = "ip" if command.startswith("iptables") else "ip6"
                self.vm.run("nft", "delete", "table", family, "nat")

    def _commands(self):
        return [f"iptables-{self.variant}", f"ip6tables-{self.variant}"]

    def require(self, namespace):
        for command in self._commands():
            if not shutil.which(command):
                pytest.skip(f"{command} is missing")
            if namespace.call(command, "-t", "nat", "-S").returncode != 0:
                pytest.skip(f"{command}: this kernel has no nat table for it")

    def _change(self, action):
        for command in self._commands():
            for protocol in "tcp", "udp":
                target = ["REDIRECT", "--to-ports", str(self.to_port)]
                if self.container:
                    address = (self.container.v4 if command.startswith("iptables")
                               else f"[{self.container.v6}]")
                    target = ["DNAT", "--to-destination", f"{address}:{self.to_port}"]
                self.vm.run(command, "-w", "5", "-t", "nat", action, "PREROUTING", "-p", protocol,
                            "--dport", str(self.port), "-j", *target)


class IptablesNftNat(IptablesNat):
    variant = "nft"


class IptablesLegacyNat(IptablesNat):
    variant = "legacy"


KINDS = {"nft": NftNat, "iptables-nft": IptablesNftNat, "iptables-legacy": IptablesLegacyNat}
