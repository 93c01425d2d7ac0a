/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* How long to wait after a failure: pure functions of what failed, and of chance. */

#include <stdint.h>

#define BACKOFF_RETRY_AFTER_MAX_SECONDS 3600

struct backoff {
	uint64_t base_usec; /* the first wait is at most this */
	uint64_t max_usec;
	uint64_t min_usec;
	unsigned n_failures; /* in a row */
};

/*
 * The wait after one more failure, "full jitter": any time from min_usec to base_usec × 2^failures,
 * at most max_usec, so that thousands of clients that lost their server come back spread out.
 * random is any number.
 */
uint64_t backoff_next(struct backoff *backoff, uint64_t random);

void backoff_reset(struct backoff *backoff);

/*
 * Reads a Retry-After header (RFC 9110, 10.2.3): seconds, or an HTTP date. Returns the seconds to
 * wait from now, at most BACKOFF_RETRY_AFTER_MAX_SECONDS; -EINVAL where it is neither.
 */
int64_t retry_after_parse(const char *value, int64_t now_seconds);
