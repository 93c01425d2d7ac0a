# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens is in the journal: fields to search by, and a catalog that explains."""

import pathlib
import re

from guarded import SSH

CATALOG = pathlib.Path(__file__).resolve().parents[2] / "packaging" / "systemd" / "jitgate.catalog"
ADMITTED, ACTIVE, OPENED, STARTED = (f"b2bd7ae9e2e74bd0a5d9f2a40be6fe{n}" for n in ("06", "08", "0b", "01"))


def test_a_grants_life_is_there(machine):
    network = machine.network
    machine.boot()
    id = machine.grant(network.requester)["id"]
    assert machine.lets_in(network.requester, 20)
    admitted, = machine.journal(f"MESSAGE_ID={ADMITTED}")
    assert admitted["JITGATE_GRANT"] == id and admitted["JITGATE_TYPE"] == "document_admitted"
    active = machine.journal(f"MESSAGE_ID={ACTIVE}", f"JITGATE_GRANT={id}")
    assert {r["JITGATE_SUBJECT"] for r in active} == {"alice"}
    assert {r["_SYSTEMD_UNIT"] for r in active} == {"jitgated.service"}
    opened = machine.journal(f"MESSAGE_ID={OPENED}", f"JITGATE_SOURCE={network.requester.v4}")
    assert opened and {r["JITGATE_PORT"] for r in opened} == {str(SSH)}


def test_the_catalog_explains_each_message(machine):
    machine.boot()
    machine.await_active()
    explained = machine.run("journalctl", "--catalog", "--no-pager", f"MESSAGE_ID={STARTED}").stdout
    assert "The agent that keeps this machine's management ports shut has started" in explained
    for id in re.findall(r"(?m)^-- ([0-9a-f]{32})$", CATALOG.read_text()):
        assert "jitgate" in machine.run("journalctl", "--dump-catalog", id).stdout


def test_the_audit_log_holds_together_over_boots(machine):
    """Three boots, one of them after the power was cut: one chain, one record after the other."""
    machine.boot()
    machine.grant(machine.network.requester)
    machine.reboot()
    machine.grant(machine.network.requester)
    machine.cut_power()
    machine.boot()
    machine.run("jitgate", "audit", "verify")
    records = machine.audit()
    assert [r["sequence"] for r in records] == list(range(1, len(records) + 1))
    assert len(machine.audit("agent_started")) == 3
