/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The sets of table inet jitgate: their names, keys and kinds. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GATE_TABLE "jitgate"
#define GATE_COUNTER_REFUSED "refused"

#define FLOW_TIMEOUT_MS UINT64_C(180000)

enum gate_set {
	SET_MANAGED_TCP,
	SET_MANAGED_UDP,
	SET_ALWAYS_ALLOW4,
	SET_ALWAYS_ALLOW6,
	SET_GRANTS4,
	SET_GRANTS6,
	SET_GRANT_RANGES4,
	SET_GRANT_RANGES6,
	SET_SESSIONS4,
	SET_SESSIONS6,
	SET_FLOWS4,
	SET_FLOWS6,
	SET_DENIED4,
	SET_DENIED6,
	SET_TRIAL,
	SET_COUNT,
};

/*
 * What the elements of a set are:
 *
 *   PORTS     port                                        an interval
 *   SERVICES  source address . protocol . port            what a grant opens
 *   FLOWS     source address . port . own address . port  a connection
 *   FAMILY    NFPROTO_IPV4 or NFPROTO_IPV6                 of a packet
 *
 * Each field takes a whole number of 32-bit registers (linux/netfilter/nf_tables.h).
 */
enum gate_key {
	KEY_PORTS,
	KEY_SERVICES,
	KEY_FLOWS,
	KEY_FAMILY,
};

struct gate_set_definition {
	const char *name;
	enum gate_key key;
	uint8_t family; /* AF_UNSPEC for KEY_PORTS and KEY_FAMILY */
	uint32_t flags; /* NFT_SET_… */
	uint64_t timeout_ms;
	uint32_t size;
	bool counter;
	const char *comment;
};

const struct gate_set_definition *gate_set_definition(enum gate_set set);

/* The set of that name, or SET_COUNT; NULL is the name of none. */
enum gate_set gate_set_find(const char *name);

struct nftnl_set;

/* A set with everything the kernel needs to create it; owned by the caller. NULL: no memory. */
struct nftnl_set *gate_set_new(enum gate_set set);

/* A set that only names its table and itself: to hold elements. NULL: no memory. */
struct nftnl_set *gate_set_reference(enum gate_set set);

/* True where the kernel's set has the keys that the definition says. */
bool gate_set_has_keys(enum gate_set set, const struct nftnl_set *kernel);

/* True where the kernel's set is as the definition says. */
bool gate_set_matches(enum gate_set set, const struct nftnl_set *kernel);

static inline size_t gate_key_bytes(enum gate_key key, size_t n_address_bytes)
{
	switch (key) {
	case KEY_PORTS:
		return 2;
	case KEY_SERVICES:
		return n_address_bytes + 4 + 4;
	case KEY_FLOWS:
		return 2 * (n_address_bytes + 4);
	case KEY_FAMILY:
		return 1;
	}
	return 0;
}
