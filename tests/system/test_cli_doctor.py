# SPDX-License-Identifier: GPL-3.0-or-later
"""What `jitgate doctor` says is so: of rules that it reads, by what the kernel does with a packet."""

import pytest

from doctor import OK, PROBLEM, RULE_SETS, UNKNOWN, WARNING, doctor, is_reached
from harness import Listener

SSH = {"ssh": {"number": 22}}


def only(namespace):
    """The stranger alone may be granted: then it is known whose packets are asked about."""
    return {"ssh": {"number": 22, "allowed_source_address_prefixes": f"{namespace.v4} {namespace.v6}"}}


def firewall_verdict(findings, family):
    found = [finding for finding in findings.of("firewall") if f"(IPv{family})" in finding["message"]]
    assert len(found) <= 1, findings
    return found[0]["verdict"] if found else OK


@pytest.mark.parametrize("name", RULE_SETS)
def test_rules_are_judged_as_the_kernel_does(world, agent, name):
    load, *expected = RULE_SETS[name]
    Listener(world.vm, "::", 22, dual_stack=True)
    world.vm.ip("route add default via 198.51.100.66 dev eth2",
                "route add default via 2001:db8:51::66 dev eth2")
    agent.configure(ports=only(world.stranger))
    load(world.vm)
    findings = doctor(agent)
    for family, verdict in zip((4, 6), expected):
        said = firewall_verdict(findings, family)
        reached = is_reached(world.stranger, "198.51.100.1" if family == 4 else "2001:db8:51::1", 22)
        assert said == verdict, findings.of("firewall")
        if said != UNKNOWN:
            assert reached == (said == OK), (family, findings.of("firewall"))
