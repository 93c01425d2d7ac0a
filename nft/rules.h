/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * The rules of table inet jitgate, chain by chain.
 *
 *   prerouting (raw)
 *   managed port? ─▶ gate ─▶ to this host? ─┬─▶ bare SYN, UDP ─▶ new4, new6 ─▶ granted, refuse
 *                                           └─▶ other TCP ─▶ established ─▶ …
 *
 * Where the host does destination NAT, UDP, and TCP that is no bare SYN, is judged after connection
 * tracking (prerouting_tracked), and what a redirect brings to a managed port is judged at input.
 *
 * What comes in by a VRF passes prerouting twice: from an interface that belongs to it, then from
 * the VRF. The first time no socket is found that is bound to the VRF, and kernels before 6.16 take
 * a VRF's addresses for other hosts'. So what begins anything is judged at input, where it is
 * delivered, whether or not it was judged the first time; the second time tells nothing more.
 */

#include "address.h"
#include "nft/elements.h"
#include "nft/vrfs.h"

/* netlink group (NFLOG) that tells of each new connection that a grant lets in */
#define GATE_LOG_GROUP 19015
#define GATE_LOG_BYTES 128

enum gate_chain {
	CHAIN_REFUSE,
	CHAIN_GRANTED,
	CHAIN_NEW4,
	CHAIN_NEW6,
	CHAIN_ESTABLISHED,
	CHAIN_GATE,
	CHAIN_FIRST_FRAGMENT,
	CHAIN_PREROUTING,
	CHAIN_ANSWER,
	CHAIN_OUTPUT, /* these two only with managed UDP ports */
	/* only with VRFs */
	CHAIN_DELIVERED,
	CHAIN_DELIVERED_FRAGMENT,
	/* only with destination NAT */
	CHAIN_TRACKED,
	CHAIN_PREROUTING_TRACKED,
	CHAIN_REDIRECTED,
	CHAIN_INPUT, /* also with VRFs */
	CHAIN_COUNT,
};

/* What the table is to be like. Ranges and elements are sorted and disjoint. */
struct ruleset {
	const struct port_range *tcp;
	size_t n_tcp;
	const struct port_range *udp;
	size_t n_udp;
	const struct element *always_allow;
	size_t n_always_allow;
	bool audit; /* counts what it would refuse, and lets it pass */
	/* Enforces for this long, and is as with audit afterwards, whether or not anybody is there
	 * to say so. 0: for good. */
	uint64_t trial_ms;
	bool destination_nat;
	bool forwarding; /* packets may be for others, and which are is looked up for each */
	const struct vrfs *vrfs; /* NULL: none */
	bool owned;
	/* No grant of a prefix is in force, so none is looked for: an empty set of ranges costs as
	 * much to ask as a full one. */
	bool without_ranges4;
	bool without_ranges6;
	/* Sets of ranges are new: the kernel shows their elements a moment after the rules. Until
	 * then the rules name these one by one: always_allow, and grants of prefixes among grants.
	 */
	bool interim;
	const struct element_list *grants;
};

struct rule_builder;

struct gate_chain_definition {
	const char *name;
	int hook; /* -1: none */
	int priority;
	/* Writes its rules. */
	void (*rules)(struct rule_builder *builder, const struct ruleset *ruleset);
};

const struct gate_chain_definition *gate_chain_definition(enum gate_chain chain);

/* False where nothing would lead to it. */
bool gate_chain_is_wanted(enum gate_chain chain, const struct ruleset *ruleset);
