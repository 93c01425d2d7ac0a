/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Leases by when they end, shared: to write what is kept until a time needs no new lease, which
 * would be a write of its own, save once an hour (a day, for what ends later than in two days).
 */

#include <stdint.h>

#include "cleanup.h"
#include "contrib/control-plane/store/store.h"

struct leases;

int leases_new(struct store *store, struct leases **ret);

/* After store_free(), which ends what is asked for. Handlers that wait are not called any more. */
struct leases *leases_free(struct leases *leases);
DEFINE_CLEANUP(struct leases *, leases_free)

/* A lease that ends at that time (wall clock, seconds) or up to a day later; 0 where there is none
 * at hand. */
int64_t leases_find(struct leases *leases, int64_t until);

typedef void leases_on_obtained(int error, void *userdata);

/* Makes one; the handler is called when leases_find() has it, never before this has returned.
 * Returns 0 or -errno, and the handler is called only where it returns 0. */
int leases_obtain(
	struct leases *leases, int64_t until, leases_on_obtained *handler, void *userdata);

/* Forgets all that it knows: one turned out to be gone. */
void leases_forget(struct leases *leases);
