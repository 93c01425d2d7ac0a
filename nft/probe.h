/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A first packet to a port of this host, as far as it is known, or the answer to it: what rules
 * would be asked about. */

#include "address.h"

/* Stands for the other's port where an answer goes to: one of those that clients are given. Rules
 * for what goes out name services. */
#define PROBE_CLIENT_PORT 50000

enum tracking_state {
	TRACKING_NOT_YET, /* before connection tracking */
	TRACKING_NEW,
	TRACKING_ESTABLISHED,
	TRACKING_UNKNOWN, /* a rule may have exempted it */
};

struct probe {
	uint8_t family;
	uint8_t l4proto;
	bool is_answer; /* goes out: what is known of the other's and of this host's side stays */
	uint16_t port; /* this host's; 0: any */
	const struct address *source; /* the other's; NULL: any */
	const struct address *destination; /* this host's; NULL: any that it has */
	const char *interface; /* NULL: any but the loopback interface */
	uint32_t interface_index;
	enum tracking_state tracking;
	bool is_translated; /* its port, by destination NAT */
	bool is_marked; /* a rule may have marked it */
};

/* Three answers. Of several that must all be yes, the least counts. */
enum truth {
	TRUTH_NO,
	TRUTH_MAYBE,
	TRUTH_YES,
};

static inline enum truth truth_not(enum truth truth)
{
	return TRUTH_YES - truth;
}

static inline enum truth truth_of(bool yes)
{
	return yes ? TRUTH_YES : TRUTH_NO;
}
