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

static bool rate_passes(struct refusals_rate *rate, uint64_t interval_usec, uint64_t now_usec)
{
	uint64_t n_new = (now_usec - rate->counted_usec) / interval_usec;

	if (n_new > 0) {
		rate->n_told -= n_new < rate->n_told ? n_new : rate->n_told;
		rate->counted_usec = now_usec;
	}
	if (rate->n_told >= REFUSALS_BURST)
		return false;
	rate->n_told++;
	return true;
}

static bool passes(struct refusals *refusals, bool is_signed, uint64_t now_usec)
{
	return is_signed
		? rate_passes(&refusals->has_signature, REFUSALS_SIGNED_INTERVAL_USEC, now_usec)
		: rate_passes(&refusals->has_none, REFUSALS_UNSIGNED_INTERVAL_USEC, now_usec);
}

bool refusals_tell(
	struct refusals *refusals, const uint8_t *digest, enum refusal_code code, uint64_t now_usec)
{
	uint64_t mark = digest && refusal_passes(code) ? mark_of(digest, code) : 0;

	if ((mark != 0 && is_remembered(refusals, mark)) || !passes(refusals, digest, now_usec)) {
		refusals->n_untold++;
		return false;
	}
	if (mark != 0) {
		refusals->remembered[refusals->next] = mark;
		refusals->next = (refusals->next + 1) % REFUSALS_REMEMBERED;
	}
	return true;
}
