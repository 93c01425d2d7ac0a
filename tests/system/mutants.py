#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes one thing at a time out of the sources and requires that the tests which guard it fail.

    BUILD=DIR tests/system/mutants.py [NAME ...]      what is built in DIR is built upon
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.abspath(os.environ.get("BUILD", os.path.join(TOP, "build")))
RULES = "nft/rules.c"
GATEKEEPER = "agent/daemon/gatekeeper.c"
JIT = "contrib/control-plane/jit"
FEED = "contrib/control-plane/feed"


def without_rule(function, marker):
    """Takes out the rules, rule_begin() to rule_end(), of a function that contain the marker."""
    def mutate(source):
        begin = source.index(f"static void {function}(")
        end = source.index("\n}\n", begin) + 1
        body = source[begin:end]
        rules = re.findall(r"\t+rule_begin\(.*?\n\t+rule_end\(.*?;\n", body, re.DOTALL)
        for rule in rules:
            if marker in rule:
                body = body.replace(rule, "", 1)
        return source[:begin] + body + source[end:]
    return mutate


def replaced(old, new, function=None):
    def mutate(source):
        begin = source.index(f" {function}(") if function else 0
        at = source.index(old, begin)
        return source[:at] + new + source[at + len(old):]
    return mutate


# name: file, what is done to it, the tests (pytest -k) of which one at least must fail
MUTANTS = {
    "no rule for sockets": (
        RULES, without_rule("established_rules", "match_session"), "older_than_the_gate_live"),
    "SYNs asked for their socket": (
        RULES, replaced("match_syn(builder, false);", "", "gate_rules"),
        "only_what_is_granted_opens and bound"),
    "forwarded traffic judged": (
        RULES, without_rule("accept_others", "match_not_local"),
        "traffic_that_the_vm_forwards"),
    "loopback judged": (
        RULES, without_rule("accept_loopback_and_others", "match_loopback"),
        "vm_reaches_its_own_ports"),
    "grants without a timeout": (
        "nft/elements.c", replaced("if (element->timeout_ms)", "if (false)"),
        "though_the_daemon_is_dead"),
    "no rule for UDP flows": (
        RULES, without_rule("new_rules", "match_flow"), "granted_flow_goes_on"),
    "no flow for what the VM sends": (
        RULES, without_rule("answer_rules", "renew_flow_reversed"), "what_the_vm_sends"),
    "first fragments without ports pass": (
        RULES, without_rule("prerouting_rules", "match_first_fragment"),
        "first_fragments_without_ports"),
    "no rule for prefixes": (
        RULES, without_rule("new_rules", "ranges"), "prefix_is_granted"),
    "flows not renewed": (
        RULES, replaced("renew_flow(builder, flows);", "", "new_rules"), "packet_renews_a_flow and 4"),
    "IPv6 sessions not noted": (
        RULES, replaced("add_flow(builder, SET_SESSIONS6, IPPROTO_TCP)",
                        "add_flow(builder, SET_SESSIONS6, IPPROTO_UDP)"), "begin_and_end_in_good_order"),
    "handshakes end by their session alone": (
        RULES, replaced("accept_services(builder, ruleset, AF_INET);", "", "established_rules"),
        "no_more_sessions_can_be_noted and 4"),
    "redirects of UDP judged by their target": (
        RULES, replaced("match_original_port(builder, IPPROTO_UDP, SET_MANAGED_UDP)",
                        "match_original_port(builder, IPPROTO_UDP, SET_MANAGED_TCP)"),
        "redirect_of_udp and nft-4"),
    "policies lost with what is over": (
        "agent/daemon/compaction.c",
        replaced("return id && agent->policy &&", "return false && agent->policy &&"),
        "written_anew"),
    "UDP not managed": (
        RULES, replaced("managed_rule(builder, IPPROTO_UDP",
                          "if (false)\n\t\tmanaged_rule(builder, IPPROTO_UDP", "prerouting_rules"),
        "broadcast_to_a_managed"),
    "no rule for translated sessions": (
        RULES, without_rule("established_rules", "match_tracked_established"),
        "published_container_live and nft-4"),
    "redirects not judged": (
        RULES, without_rule("input_port_rules", "match_translated"), "no_way_round and nft-4"),
    "redirects judged by their target": (
        RULES, without_rule("redirected_rules", "match_original_port"),
        "between_managed_ports and nft-4"),
    "closing handshakes forgotten": (
        RULES, without_rule("established_rules", "match_flow"), "begin_and_end_in_good_order"),
    "audit mode that drops": (
        RULES, replaced("if (ruleset->audit)", "if (false)", "refuse_rest"),
        "audit_mode_refuses_nothing"),
    "a trial that nobody confirms goes on": (
        RULES, replaced("match_trial(builder);", ";", "refuse_rest"),
        "kernel_ends_a_trial and 4"),
    "a trial that a restart forgets": (
        "agent/daemon/agent.c", replaced("status = mode_start(agent);", "status = 0;"),
        "outlives_the_daemon and 4"),
    "what is confirmed is not written": (
        "agent/cli/enforce.c", replaced("if (staged_place(&lasting->staged) == 0)", "if (true)"),
        "what_was_confirmed_lasts and 4"),
    "no repair": (
        GATEKEEPER, replaced("if (report.gate || report.overrun)", "if (report.overrun)"),
        "put_back_within and delete"),
    "no rules until sets are there": (
        "nft/install.c", replaced("ruleset->interim |= add->n > 0 && (!keep || remove->n > 0);", ""),
        "let_in_by_every and always_allow"),
    "an owned gate that changes not adopted": (
        "nft/gate.c", replaced("adopt(gate, ret_what) == 0)", "false)"), "stays_owned"),
    "an end told twice": (
        "agent/daemon/lifecycle.c", replaced("if (!entry->told_expiry)\n\t\tgrant_audit", "grant_audit"),
        "each_call_of_an_end"),
    "ends noted before all are told": (
        "agent/daemon/lifecycle.c", replaced("end_in_registry(", "record_time(agent, now->wall_usec);\n"
                                             "\tend_in_registry(", "expire"),
        "each_call_of_an_end"),
    "an end noted that is not told": (
        "agent/daemon/lifecycle.c", replaced("if (due->next_expires <= moment_seconds(now))", "if (false)"),
        "wall_clock_has_passed"),
    "ended grants forgotten by a time that nothing has noted": (
        "agent/daemon/lifecycle.c", replaced("agent->latest_usec /", "clock_realtime_usec() /", "end_in_registry"),
        "brings_no_revoked"),
    "revocations left to one ledger": (
        "agent/daemon/compaction.c", replaced("has_ledger_grown || has_grown", "has_grown"), "for_ever"),
    "sessions that a ledger tells of too late": (
        "agent/daemon/restore.c",
        replaced("(void)registry_foreach(agent->registry, kill_sessions, agent);", "", "restore_again"), "read_late"),
    "sockets that are sent along linger": (
        "agent/common/closing.c", replaced("(void)setitimer(ITIMER_REAL, &soon, NULL);", "(void)soon;"), "sent_along"),
    "the log compared with a few of many ends": (
        "agent/daemon/untold.c", replaced(" + registry_count(agent->registry)", ""), "amid_many_ends"),
    "a lost ledger not told": (
        "agent/daemon/restore.c", replaced("begin_ledger(agent);", ""), "has_lost_is_brought"),
    "a lost ledger not heard of": (
        "agent/poll/events.c", replaced('"ledger_damaged"', '"nothing"'), "has_lost_is_brought"),
    "an end told of by another's record": (
        "agent/daemon/restore.c", replaced("told_usec", "latest_usec", "pending_is_over"),
        "another_admission_has_passed"),
    "a start without OpenSSL's memory": (
        "agent/daemon/agent.c", replaced("memory_n_failed() > 0", "false", "check_memory"),
        "openssl_lacks_memory"),
    "sessions forgotten unasked": (
        "nft/gate.c", replaced(
            "elements_find_flow(gate->netlink, flow_set(&flows[i]), &flows[i])", "0"),
        "does_not_delay_a_repair"),
    "NAT not followed": (
        GATEKEEPER, replaced("follow_host(agent);", "(void)follow_host;",
                             "on_watch"),
        "auto_follows and nft-4"),
    "old UDP sockets forgotten": (
        GATEKEEPER, replaced("gate_add_flows(agent->gate, &collection.flows)", "0", "keep_udp_sessions"),
        "connected_socket_older"),
    "cursor noted before the answer": (
        "agent/poll/feed.c", replaced(
            "	delivery_begin(feed->delivery, answer.documents);",
            "	feed->listener.on_cursor(feed->next_cursor, feed->listener.userdata);\n"
            "	delivery_begin(feed->delivery, answer.documents);", "on_documents"),
        "the_poll_dies_with_what_the_agent_has_not"),
    "events dropped while nobody answers": (
        "agent/poll/events.c", replaced(
            "fail(events, response->error, NULL);",
            "fail(events, response->error, NULL);\n\t\tacknowledge(events, events->last);",
            "on_response"),
        "events_of_a_long_absence"),
    "first acknowledgement not noted": (
        "agent/poll/poll.c", replaced("if (is_first)", "if (is_first && false)",
                                      "on_acknowledged"),
        "had_no_room_for_is_told"),
    "anybody may request": (
        f"{JIT}/grant.c", replaced("if (!principal_has(", "if (false && !principal_has("),
        "takes_its_role_in_its_scope"),
    "compares that always hold": (
        "contrib/control-plane/store/writer.c",
        replaced("return STORE_CONFLICT;", "continue;"), "at_once_one_is_left"),
    "older grants not revoked": (
        f"{JIT}/request.c", replaced("access->shuts = access->status == ACCESS_GRANTED;",
                                     "access->shuts = false;"),
        "shorter_takes_the_place"),
    "approval by oneself": (
        f"{JIT}/decide.c", replaced("if (strcasecmp(request->requestor",
                                    "if (false && strcasecmp(request->requestor"),
        "nobody_approves_their_own"),
    "policies of keys that are gone": (
        f"{JIT}/renewal.c", replaced("error == REFUSED", "false"),
        "joins_after_a_change_of_keys"),
    "a cursor one behind": (
        f"{FEED}/documents.c", replaced("revision > after", "revision >= after",
                                        "feed_documents_page"),
        "many_documents_come_in_pages"),
    "enrollment good twice": (
        f"{FEED}/enroll.c", replaced(
            'change_delete(change, "enrollments/%s", enrollment->token)', "0", "build"),
        "enrollment_is_good_once"),
}


def make_tree(directory):
    """A copy of the sources, with what is built already: only what changes is built anew."""
    def copy(source, target):
        (shutil.copytree if os.path.isdir(source) else shutil.copy2)(source, target)

    for name in ("Makefile", "agent", "nft", "include", "contrib"):
        copy(os.path.join(TOP, name), os.path.join(directory, name))
    os.mkdir(os.path.join(directory, "build"))
    # Beside these, whole systems and their disks may be there.
    for name in os.listdir(BUILD) if os.path.isdir(BUILD) else ():
        source = os.path.join(BUILD, name)
        if os.path.isfile(source) or name in ("agent", "nft", "contrib", "azure"):
            copy(source, os.path.join(directory, "build", name))


def build(directory):
    """What the compiler says where it fails."""
    done = subprocess.run(["make", "-s", "-C", directory, "BUILD=build"], capture_output=True,
                          text=True)
    return done.stderr if done.returncode else ""


def verdict(name):
    """What became of one mutant, and how long it took."""
    path, mutate, guards = MUTANTS[name]
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="jitgate-mutant-") as directory:
        make_tree(directory)
        file = os.path.join(directory, path)
        with open(file) as source:
            before = source.read()
        after = mutate(before)
        if after == before:
            return name, "no longer applies", 0
        with open(file, "w") as target:
            target.write(after)
        errors = build(directory)
        if errors:
            return name, "does not build: " + errors, time.monotonic() - begun
        done = subprocess.run(
            [os.path.join(HERE, "run"), "-x", "-k", guards], capture_output=True, text=True,
            env=dict(os.environ, BUILD=os.path.join(directory, "build"), JOBS="1"))
    counts = {what: int(n) for n, what in re.findall(r"(\d+) (passed|failed|errors?)", done.stdout)}
    seconds = time.monotonic() - begun
    if counts.get("failed"):
        by, = re.findall(r"^_+ (test_.+) _+$", done.stdout, re.MULTILINE)[-1:] or ["?"]
        return name, f"caught by {by}", seconds
    if set(counts) == {"passed"}:
        return name, "SURVIVED", seconds
    return name, "not tested: " + done.stdout[-200:].strip(), seconds


def main():
    names = sys.argv[1:] or list(MUTANTS)
    failed = False
    begun = time.monotonic()
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for name, result, seconds in pool.map(verdict, names):
            print(f"{name:<40} {seconds:5.1f} s  {result}", flush=True)
            failed |= not result.startswith("caught")
    print(f"mutants: {'FAILED' if failed else 'all caught'}, {len(names)}"
          f" in {time.monotonic() - begun:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
