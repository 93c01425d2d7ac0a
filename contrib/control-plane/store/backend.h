/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * What stands behind a store. store.c has checked what the calls are given: keys, values and their
 * number are within bounds, and a transaction names a key at most once.
 */

#include "contrib/control-plane/store/store.h"

/* The first member of what a backend makes. */
struct store {
	const struct store_backend *backend;
};

struct store_watch {
	struct store *store;
};

struct store_backend {
	void (*free)(struct store *store);
	const char *(*identity)(const struct store *store);
	int64_t (*revision)(const struct store *store);
	int (*range)(struct store *store, const struct store_range *range, store_on_range *handler,
		void *userdata);
	int (*commit)(struct store *store, const struct store_transaction *transaction,
		store_on_commit *handler, void *userdata);
	int (*lease_grant)(
		struct store *store, int64_t ttl_seconds, store_on_lease *handler, void *userdata);
	int (*lease_keep_alive)(
		struct store *store, int64_t lease, store_on_lease *handler, void *userdata);
	int (*lease_revoke)(
		struct store *store, int64_t lease, store_on_lease *handler, void *userdata);
	int (*watch)(struct store *store, const char *prefix, int64_t from_revision,
		store_on_events *handler, void *userdata, struct store_watch **ret);
	void (*watch_free)(struct store_watch *watch);
};
