/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <string.h>

#include "agent/daemon/refusals.h"

/* Never 0. */
static uint64_t mark_of(const uint8_t digest[static DOCUMENT_DIGEST_BYTES], enum refusal_code code)
{
	uint64_t mark;

	memcpy(&mark, digest, sizeof(mark));
	mark ^= (uint64_t)code;
	return mark != 0 ? mark : 1;
}

static bool is_remembered(const struct refusals *refusals, uint64_t mark)
{
	for (size_t i = 0; i < REFUSALS_REMEMBERED; i++)
		if (refusals->remembered[i] == mark)
			return true;
	return false;
}

static bool rate_passes(struct refusals *refusals, uint64_t now_usec)
{
	uint64_t n_new = (now_usec - refusals->counted_usec) / REFUSALS_INTERVAL_USEC;

	if (n_new > 0) {
		refusals->n_told -= n_new < refusals->n_told ? n_new : refusals->n_told;
		refusals->counted_usec = now_usec;
	}
	if (refusals->n_told >= REFUSALS_BURST)
		return false;
	refusals->n_told++;
	return true;
}

bool refusals_tell(
	struct refusals *refusals, const uint8_t *digest, enum refusal_code code, uint64_t now_usec)
{
	uint64_t mark = digest && refusal_passes(code) ? mark_of(digest, code) : 0;

	if ((mark != 0 && is_remembered(refusals, mark)) || !rate_passes(refusals, now_usec)) {
		refusals->n_untold++;
		return false;
	}
	if (mark != 0) {
		refusals->remembered[refusals->next] = mark;
		refusals->next = (refusals->next + 1) % REFUSALS_REMEMBERED;
	}
	return true;
}
