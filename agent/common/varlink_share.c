/* SPDX-License-Identifier: GPL-3.0-or-later */

#include "agent/common/varlink_share.h"

/* One call that takes very long, on a machine that stands still, is not held against it for long.
 */
#define USED_USEC_MAX (10 * SHARE_BURST_USEC)

static uint64_t used(const struct share *share, uint64_t now_usec)
{
	uint64_t emptied = (now_usec - share->at_usec) / SHARE_PART;

	return share->used_usec > emptied ? share->used_usec - emptied : 0;
}

void share_use(struct share *share, uint64_t usec, uint64_t now_usec)
{
	uint64_t sum = used(share, now_usec) + usec;

	share->used_usec = sum < USED_USEC_MAX ? sum : USED_USEC_MAX;
	share->at_usec = now_usec;
}

bool share_is_over(const struct share *share, uint64_t now_usec)
{
	return used(share, now_usec) > SHARE_BURST_USEC;
}
