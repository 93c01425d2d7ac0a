/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * How much of a server's time each user takes. Whoever takes more than its share goes behind the
 * others, and is served when they need nothing. Pure functions of what was used, and the time.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SHARE_PART 4 /* of the time: a fourth */
#define SHARE_BURST_USEC 100000
#define SHARES 64

struct share {
	uint64_t used_usec; /* a bucket: what is used fills it, and time empties it */
	uint64_t at_usec;
};

/* Which of SHARES a user has: it outlives connections, so that a new one begins none anew. */
static inline unsigned share_index(uid_t uid)
{
	return uid % SHARES;
}

void share_use(struct share *share, uint64_t usec, uint64_t now_usec);

/* True where it has used more than its part, for longer than the burst. */
bool share_is_over(const struct share *share, uint64_t now_usec);
