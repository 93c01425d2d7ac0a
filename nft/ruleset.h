/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * The rules of table inet jitgate, and what it takes to have them instead of what is there.
 *
 *   prerouting (raw)
 *   managed port? ─▶ gate ─▶ to this host? ─┬─▶ bare SYN, UDP ─▶ new4, new6 ─▶ granted, refuse
 *                                           └─▶ other TCP ─▶ established ─▶ …
 *
 * Where the host does destination NAT, UDP, and TCP that is no bare SYN, is judged after connection
 * tracking (prerouting_tracked), and what a redirect brings to a managed port is judged at input.
 */

#include "address.h"
#include "nft/elements.h"
#include "nft/netlink.h"
#include "nft/transaction.h"

/* netlink group (NFLOG) that tells of each new connection that a grant lets in */
#define GATE_LOG_GROUP 19015
#define GATE_LOG_BYTES 128

/* linux/netfilter/nf_tables.h, kernel 6.9 */
#ifndef NFT_TABLE_F_PERSIST
#define NFT_TABLE_F_PERSIST 0x4
#endif

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
	/* only with destination NAT */
	CHAIN_TRACKED,
	CHAIN_PREROUTING_TRACKED,
	CHAIN_REDIRECTED,
	CHAIN_INPUT,
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
	bool destination_nat;
	bool forwarding; /* packets may be for others, and which are is looked up for each */
	bool owned;
	/* No grant of a prefix is in force, so none is looked for: an empty set of ranges costs as
	 * much to ask as a full one. */
	bool without_ranges4;
	bool without_ranges6;
};

/* What the kernel has: chains and sets by presence; foreign where there is anything that is not
 * ours. */
struct ruleset_state {
	bool present;
	bool owned;
	bool chains[CHAIN_COUNT];
	bool sets[SET_COUNT];
	bool counter;
	bool foreign;
};

/* Reads the state of the table. Returns 0 or -errno. */
int ruleset_read(struct netlink *netlink, struct ruleset_state *ret);

/* True where the table can be mended in place, with its sets' elements; otherwise it is made anew.
 */
bool ruleset_can_keep(const struct ruleset_state *state, const struct ruleset *ruleset);

/*
 * Adds what makes the table as wanted: table, chains, rules and missing sets; elements are left
 * alone. Where the table is there and can't be kept, it is deleted first, in the same transaction.
 * Returns 0 or -ENOMEM.
 */
int ruleset_build(struct transaction *transaction, const struct ruleset *ruleset,
	const struct ruleset_state *state);

/* Adds the table's deletion. */
int ruleset_remove(struct transaction *transaction);
