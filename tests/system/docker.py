# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of Docker's engine for its default bridge, with a container and a port that it publishes, in the order
and form in which the engine writes them. The engine itself needs more than a namespace."""

import shutil

import pytest

from harness import Listener

BRIDGE = "docker0"


class Docker:
    """-p PUBLISHED:22. What the engine knows by name stays; rules come and go by start() and stop()."""

    def __init__(self, world, published):
        self.vm, self.published = world.vm, published
        self.container = world.container()
        self._make_bridge()

    def _make_bridge(self):
        """World's cable to the container becomes a bridge's port, as the engine does it."""
        self.vm.ip("addr flush dev eth3", f"link add {BRIDGE} type bridge", f"link set eth3 master {BRIDGE}",
                   f"addr add 172.17.0.1/24 brd + dev {BRIDGE}", f"addr add fd17::1/64 dev {BRIDGE} nodad",
                   f"link set {BRIDGE} up")

    def families(self):
        return (4, self.container.v4, "172.17.0.0/24"), (6, self.container.v6, "fd17::/64")

    def proxy(self):
        """What docker-proxy holds where userland-proxy is on."""
        return Listener(self.vm, "::", self.published, dual_stack=True)


class IptablesDocker(Docker):
    """Engines 20.10 to 27, and later ones that use iptables: those have raw_drop too."""

    variant = None
    raw_drop = False

    def _commands(self):
        for command in f"iptables-{self.variant}", f"ip6tables-{self.variant}":
            if not shutil.which(command):
                pytest.skip(f"{command} is missing")
            if self.vm.call(command, "-t", "nat", "-S").returncode != 0:
                pytest.skip(f"{command}: this kernel has no nat table for it")
        return dict(zip((4, 6), (f"iptables-{self.variant}", f"ip6tables-{self.variant}")))

    def _change(self, family, *lines):
        for line in lines:
            self.vm.run(self._commands()[family], "-w", "5", *line.split())

    def start(self):
        for family, container, subnet in self.families():
            loopback = "127.0.0.0/8" if family == 4 else "::1/128"
            target = container if family == 4 else f"[{container}]"
            self._change(
                family, "-t nat -N DOCKER", "-t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
                f"-t nat -A OUTPUT ! -d {loopback} -m addrtype --dst-type LOCAL -j DOCKER",
                f"-t nat -A POSTROUTING -s {subnet} ! -o {BRIDGE} -j MASQUERADE",
                f"-t nat -A DOCKER -i {BRIDGE} -j RETURN", "-P FORWARD DROP", "-N DOCKER-USER", "-N DOCKER",
                "-N DOCKER-ISOLATION-STAGE-1", "-N DOCKER-ISOLATION-STAGE-2", "-A FORWARD -j DOCKER-USER",
                "-A FORWARD -j DOCKER-ISOLATION-STAGE-1",
                f"-A FORWARD -o {BRIDGE} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                f"-A FORWARD -o {BRIDGE} -j DOCKER", f"-A FORWARD -i {BRIDGE} ! -o {BRIDGE} -j ACCEPT",
                f"-A FORWARD -i {BRIDGE} -o {BRIDGE} -j ACCEPT",
                f"-A DOCKER-ISOLATION-STAGE-1 -i {BRIDGE} ! -o {BRIDGE} -j DOCKER-ISOLATION-STAGE-2",
                f"-A DOCKER-ISOLATION-STAGE-2 -o {BRIDGE} -j DROP", "-A DOCKER-USER -j RETURN",
                f"-t nat -A DOCKER ! -i {BRIDGE} -p tcp --dport {self.published} -j DNAT --to-destination {target}:22",
                f"-A DOCKER -d {container} ! -i {BRIDGE} -o {BRIDGE} -p tcp --dport 22 -j ACCEPT",
                f"-t nat -A POSTROUTING -s {container} -d {container} -p tcp --dport 22 -j MASQUERADE")
            if self.raw_drop:
                self._change(family, f"-t raw -A PREROUTING -d {container} ! -i {BRIDGE} -j DROP")

    def stop(self):
        for family, _, _ in self.families():
            self._change(family, "-F", "-X", "-t nat -F", "-t nat -X", "-P FORWARD ACCEPT")
            if self.raw_drop:
                self._change(family, "-t raw -F")


class IptablesNftDocker(IptablesDocker):
    variant = "nft"


class IptablesNft28Docker(IptablesDocker):
    variant, raw_drop = "nft", True


class IptablesLegacyDocker(IptablesDocker):
    variant = "legacy"


class NftablesDocker(Docker):
    """Engine 29 with "firewall-backend": "nftables"."""

    def start(self):
        for family, container, subnet in self.families():
            ip, loopback = ("ip", "127.0.0.0/8") if family == 4 else ("ip6", "::1")
            target = container if family == 4 else f"[{container}]"
            self.vm.nft(f"""table {ip} docker-bridges {{
map filter-forward-in-jumps {{ type ifname : verdict; elements = {{ "{BRIDGE}" : jump filter-forward-in__{BRIDGE} }}; }}
map filter-forward-out-jumps {{ type ifname : verdict; elements = {{ "{BRIDGE}" : jump filter-forward-out__{BRIDGE} }}; }}
map nat-postrouting-out-jumps {{ type ifname : verdict; elements = {{ "{BRIDGE}" : jump nat-postrouting-out__{BRIDGE} }}; }}
chain filter-FORWARD {{ type filter hook forward priority filter; policy accept
    oifname vmap @filter-forward-in-jumps
    iifname vmap @filter-forward-out-jumps }}
chain nat-OUTPUT {{ type nat hook output priority -100; policy accept
    {ip} daddr != {loopback} fib daddr type local counter jump nat-prerouting-and-output }}
chain nat-POSTROUTING {{ type nat hook postrouting priority srcnat; policy accept
    iifname vmap @nat-postrouting-out-jumps }}
chain nat-PREROUTING {{ type nat hook prerouting priority dstnat; policy accept
    fib daddr type local counter jump nat-prerouting-and-output }}
chain nat-prerouting-and-output {{
    iifname != "{BRIDGE}" tcp dport {self.published} counter dnat to {target}:22 }}
chain raw-PREROUTING {{ type filter hook prerouting priority raw; policy accept
    {ip} daddr {container} iifname != "{BRIDGE}" counter drop }}
chain filter-forward-in__{BRIDGE} {{
    ct state established,related counter accept
    iifname "{BRIDGE}" counter accept
    {ip} daddr {container} tcp dport 22 counter accept
    counter drop }}
chain filter-forward-out__{BRIDGE} {{
    ct state established,related counter accept
    counter accept }}
chain nat-postrouting-out__{BRIDGE} {{
    oifname != "{BRIDGE}" {ip} saddr {subnet} counter masquerade }}
}}""".replace(" }}\n", "\n}\n").replace(" }\nchain", "\n}\nchain").replace(" }\n}", "\n}\n}"))

    def stop(self):
        for family in "ip", "ip6":
            self.vm.run("nft", "delete", "table", family, "docker-bridges")


KINDS = {"iptables-nft": IptablesNftDocker, "iptables-nft of 28": IptablesNft28Docker,
         "iptables-legacy": IptablesLegacyDocker, "nftables": NftablesDocker}
