/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Which refusals are written to the audit log. Anyone on this machine may submit, and so could fill
 * it, and push out what it has: past a burst they are written at a steady rate, a slow one for what
 * nobody signed, which takes none of the room of what somebody did. And what is refused for now,
 * and therefore brought again and again, is written once.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/daemon/registry.h"
#include "agent/common/refusal.h"

#define REFUSALS_BURST 100
#define REFUSALS_SIGNED_INTERVAL_USEC (UINT64_C(1000000) / 5)
#define REFUSALS_UNSIGNED_INTERVAL_USEC (UINT64_C(1000000) * 5)
#define REFUSALS_REMEMBERED 2048 /* twice what jitgate-poll puts aside */

struct refusals_rate {
	uint64_t n_told; /* of late, when that was counted */
	uint64_t counted_usec;
};

struct refusals {
	struct refusals_rate has_signature, has_none;
	uint64_t n_untold; /* since one was written */
	uint64_t remembered[REFUSALS_REMEMBERED]; /* a ring of marks; 0: none */
	size_t next;
};

/*
 * True where it is to be written. digest tells documents apart; NULL: it is none that a trusted key
 * has signed, or not for this machine.
 * now_usec is CLOCK_BOOTTIME. What is not written is counted in n_untold, for whoever writes the
 * next to tell, and set to 0.
 */
bool refusals_tell(struct refusals *refusals, const uint8_t *digest, enum refusal_code code,
	uint64_t now_usec);
