/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Where the person who asks sits: the other end of the ssh session that this runs in. */

#include "address.h"

struct origin {
	uint8_t family; /* AF_UNSPEC: no ssh session, or not from another host */
	struct address source;
	uint16_t port; /* of this host; 0: not known */
};

/*
 * Looks at SSH_CONNECTION (sshd(8)), at that of the processes that this one descends from, since
 * sudo drops it, and then at who is logged in on this terminal (utmp(5)).
 */
void origin_find(struct origin *ret);

/* Reads "192.0.2.7 50000 192.0.2.1 22". Returns 0 or -EINVAL. */
int origin_parse(const char *text, struct origin *ret);
