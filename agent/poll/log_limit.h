/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Bounds what others can have us log: so many lines an hour. */

#include <stdbool.h>
#include <stdint.h>

struct log_limit {
	unsigned n_max;
	unsigned n;
	unsigned n_untold;
	uint64_t begin_usec;
};

/* True where a line may be logged now. Tells how many were left out before, once it may again. */
bool log_limit_passes(struct log_limit *limit, uint64_t now_usec);
