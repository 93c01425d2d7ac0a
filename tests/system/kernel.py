# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel holds, as nft tells it, and whether it is what the agent says."""

import calendar
import collections
import ipaddress
import json
import platform
import re
import time

from world import SLOWNESS

SETS = "grants4", "grants6", "grant_ranges4", "grant_ranges6"
TOLERANCE_SECONDS = 2 + 0.5 * SLOWNESS  # nft and the agent both tell whole seconds

# From first to last, as numbers; service is (4 or 6, "tcp" or "udp", port); expires is wall-clock time, or up to
# read_within seconds before it.
Element = collections.namedtuple("Element", "service first last expires grant read_within", defaults=(0,))


def kernel_version():
    return tuple(int(part) for part in platform.release().split(".")[:2])


def ruleset(namespace):
    """All rules and elements, but for what changes by itself."""
    text = namespace.run("nft", "list", "ruleset")
    return re.sub(r"(packets|bytes|expires|timeout) \S+", "", text)


def _range(value):
    if isinstance(value, dict) and "prefix" in value:
        network = ipaddress.ip_network(f"{value['prefix']['addr']}/{value['prefix']['len']}")
        return network[0], network[-1]
    first, last = value["range"] if isinstance(value, dict) else (value, value)
    return ipaddress.ip_address(first), ipaddress.ip_address(last)


def granted(namespace):
    """The elements that grants have in the kernel."""
    found = []
    for name in SETS:  # not the table: nft 1.0.6 fails at a flag of its that it does not know
        begun = time.time()
        answer = json.loads(namespace.run("nft", "-j", "list", "set", "inet", "jitgate", name))
        now = time.time()
        listed, = (member["set"] for member in answer["nftables"] if "set" in member)
        for item in listed.get("elem", []):
            item = item["elem"]
            source, protocol, port = item["val"]["concat"]
            first, last = _range(source)
            found.append(Element((first.version, protocol, port), int(first), int(last),
                                 now + item.get("expires", 0), item.get("comment"),  # nft leaves out a 0
                                 now - begun))
    return found


def parse_time(text):
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


def covers(grants):
    """What grants, as ListGrants tells them, ask for: as elements that may overlap."""
    for grant in grants:
        for port in grant["ports"]:
            protocols = ("tcp", "udp") if port["protocol"] == "*" else (port["protocol"].lower(),)
            for prefix in port["allowedSourceAddressPrefixes"]:
                for network in ("0.0.0.0/0", "::/0") if prefix == "*" else (prefix,):
                    network = ipaddress.ip_network(network)
                    for protocol in protocols:
                        yield Element((network.version, protocol, port["number"]),
                                      int(network[0]), int(network[-1]),
                                      parse_time(grant["expires"]), grant["id"])


def _at(elements, service, number):
    return [element for element in elements
            if element.service == service and element.first <= number <= element.last]


def assert_as_granted(agent):
    """The kernel lets in what the active grants cover, each address until the last of them ends."""
    grants = [g for g in agent.call("ListGrants")["grants"] if g["state"] == "active"]
    wanted, found = list(covers(grants)), granted(agent.namespace)
    points = {(e.service, number) for e in wanted + found
              for number in (e.first - 1, e.first, e.last, e.last + 1) if number >= 0}
    for service, number in points:
        want, have = _at(wanted, service, number), _at(found, service, number)
        assert len(have) == (1 if want else 0), f"{service} {number}: {want} but {have}"
        if want:
            latest = max(cover.expires for cover in want)
            assert abs(have[0].expires - latest) < TOLERANCE_SECONDS + have[0].read_within, f"{want} but {have}"
            assert have[0].grant in [c.grant for c in want if c.expires == latest], (want, have)
