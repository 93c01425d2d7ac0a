/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Network interfaces, as far as they matter for what comes in (rtnetlink(7)). */

#include <net/if.h>

#include "address.h"

#define LINKS_MAX 256

struct link {
	char name[IFNAMSIZ];
	uint32_t index;
	bool has_xdp; /* a program that sees packets before nf_tables does */
};

struct links {
	struct link links[LINKS_MAX]; /* those that are up, the loopback interface left out */
	size_t n;
	/* By family (IPv4, IPv6): where the default route leads; NULL: none, or several. */
	const struct link *by_default[2];
};

/* Returns 0 or -errno. */
int links_read(struct links *ret);

/* The interface that strangers come in by: that of the default route, or the only one. NULL: not
 * known. */
const struct link *links_outside(const struct links *links, uint8_t family);
