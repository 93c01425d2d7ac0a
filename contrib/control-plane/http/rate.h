/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * How often someone may call: a bucket of tokens for each, in a table whose size is fixed. Where
 * more call than fit, who has been quiet longest is forgotten, and begins with a full bucket.
 */

#include <stddef.h>
#include <stdint.h>

#include "address.h"
#include "cleanup.h"

struct rate_table;

/* n_per_second refills, and n_burst fit in each bucket. Returns NULL where memory fails. */
struct rate_table *rate_table_new(double n_per_second, double n_burst);
struct rate_table *rate_table_free(struct rate_table *table);
DEFINE_CLEANUP(struct rate_table *, rate_table_free)

/* A key for a name, and for an address: of IPv6 its /64, all of which one host may have. */
uint64_t rate_key_name(const struct rate_table *table, const char *name);
uint64_t rate_key_address(
	const struct rate_table *table, uint8_t family, const struct address *address);

/* Takes a token. Returns 0; otherwise how long until there is one, in µs. */
uint64_t rate_take(struct rate_table *table, uint64_t key, uint64_t now_usec);
