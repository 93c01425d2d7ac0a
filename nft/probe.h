/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A first packet to a port of this host, as far as it is known: what rules would be asked about. */

#include "address.h"

enum tracking_state {
	TRACKING_NOT_YET, /* before connection tracking */
	TRACKING_NEW,
	TRACKING_UNKNOWN, /* a rule may have exempted it */
};

struct probe {
	uint8_t family;
	uint8_t l4proto;
	uint16_t port; /* 0: any */
	const struct address *source; /* NULL: any */
	const struct address *destination; /* NULL: any of this host's */
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
