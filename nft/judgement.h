/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * What the host's rules do with a probe, from where it comes in until a socket gets it, the gate
 * itself left out:
 *
 *   netdev ingress ─▶ inet ingress ─▶ prerouting ─▶ (destination NAT) ─▶ input
 *   netdev egress ◀─ postrouting ◀─ output    TCP's answer, without which nothing comes about
 *
 * Each base chain is asked, in the kernel's order, whatever the one before has accepted. What
 * can't be told by reading (a source that is not known, what a program decides) is both.
 */

#include "nft/firewall.h"
#include "nft/probe.h"

enum {
	JUDGED_PASSES = 1 << 0,
	JUDGED_REFUSED = 1 << 1,
	JUDGED_LEAVES = 1 << 2, /* destination NAT may take it to another host */
};

#define PLACE_MAX 512 /* "table ip filter, chain INPUT, rule 12" */

struct judgement {
	unsigned outcomes; /* JUDGED_…: what may happen */
	bool is_early; /* refused_by is before the gate */
	bool is_answer; /* refused_by refuses the answer */
	char refused_by[PLACE_MAX]; /* "": nothing */
	char translated_by[PLACE_MAX];
	uint16_t translated_port; /* 0: not known, or not translated */
	bool is_cut; /* more rules than one likes to follow: anything may happen */
};

void firewall_judge(
	const struct firewall *firewall, const struct probe *probe, struct judgement *ret);

/* True where a rule of destination NAT leads another port to this one of this host: place says
 * which. */
bool firewall_find_alias(const struct firewall *firewall, uint8_t l4proto, uint16_t port,
	char place[static PLACE_MAX]);

/* True where there are rules for packets that go on to other hosts, which are not followed. */
bool firewall_has_forwarding_rules(const struct firewall *firewall, uint8_t family);

/* True where a chain for destination NAT is there. */
bool firewall_has_destination_nat(const struct firewall *firewall);
