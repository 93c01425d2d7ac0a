/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Where the control plane keeps what it knows: a key-value store with revisions, watches and
 * leases, in the terms and with the guarantees of etcd's API (https://etcd.io/docs/v3.5/learning),
 * so that a file (SQLite) and an etcd cluster are the same to everything above.
 *
 *   commit ──▶ revision 41 ──▶ every watcher of this process has been told ──▶ commit's handler
 *
 * Each committed transaction that changes something makes one revision. State that is read often
 * is not ranged for each call: its owner watches its prefix, and keeps what it is told.
 *
 * Nothing blocks on a peer: what takes time ends in a handler, called from the event loop and never
 * before the call that takes it has returned. Handlers of one store are called in the order in
 * which the calls came. What a handler is given is borrowed.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "cleanup.h"

#define STORE_KEY_BYTES_MAX 1024
#define STORE_VALUE_BYTES_MAX (1024 * 1024)
#define STORE_OPERATIONS_MAX 16384 /* of one transaction */
#define STORE_TRANSACTION_BYTES_MAX (64 * 1024 * 1024) /* of its values together */
#define STORE_TTL_SECONDS_MAX (100LL * 365 * 24 * 60 * 60)

struct store;
struct store_watch;

/* key is a string; value has a NUL behind its n_value bytes. */
struct store_entry {
	const char *key;
	const char *value;
	size_t n_value;
	int64_t create_revision; /* of the put that made the key */
	int64_t mod_revision; /* of the last put */
	int64_t version; /* puts since it was made */
	int64_t lease; /* 0: none */
};

/*
 * Opens a store: "etcd://…" is -EPROTONOSUPPORT until there is one; all else is the path of a
 * SQLite file, which is made (0600) where there is none. Returns 0; -errno, with a sentence in
 * ret_error (allocated, owned by the caller).
 */
int store_open(sd_event *event, const char *location, struct store **ret, char **ret_error);

/* Calls no handler any more. Watches must have been freed. */
struct store *store_free(struct store *store);
DEFINE_CLEANUP(struct store *, store_free)

/* Of this data, at random when it was made: a revision means nothing in another store. */
const char *store_identity(const struct store *store);

/* The latest revision that watchers have been told of. */
int64_t store_revision(const struct store *store);

/* Keys k with from <= k < to, by bytes; to NULL: the key `from` alone. */
struct store_range {
	const char *from;
	const char *to;
	size_t limit; /* 0: all */
	bool descending;
	bool keys_only;
};

struct store_range_result {
	const struct store_entry *entries;
	size_t n_entries;
	bool more; /* limit cut it */
	int64_t revision; /* as of which it was read; watchers have been told of it */
};

/* error: 0 or -errno, then with result NULL. */
typedef void store_on_range(int error, const struct store_range_result *result, void *userdata);

/* Returns 0; -EINVAL; -E2BIG, a bound above is passed; -EAGAIN, too many calls are under way;
 * -ENOMEM. The handler is called only where it returns 0. So do all that follow. */
int store_range(struct store *store, const struct store_range *range, store_on_range *handler,
	void *userdata);

/* The end of the range of all keys that begin with a prefix (allocated); NULL: no memory. */
char *store_prefix_end(const char *prefix);

/* What must hold for a transaction to be done: the key's mod_revision, 0 where it must not exist.
 */
struct store_compare {
	const char *key;
	int64_t mod_revision;
};

struct store_operation {
	enum {
		STORE_PUT,
		STORE_DELETE,
	} type;
	const char *key;
	const char *value; /* of a put */
	size_t n_value;
	int64_t lease; /* of a put; 0: none */
};

/* All operations are done, on disk (or in the cluster) when the handler is called, or none. */
struct store_transaction {
	const struct store_compare *compares;
	size_t n_compares;
	const struct store_operation *operations; /* a key at most once */
	size_t n_operations;
};

/* error: 0; STORE_CONFLICT where a compare did not hold, and revision is that at which it did not;
 * -ENOENT where a lease is gone; another -errno. */
#define STORE_CONFLICT 1
typedef void store_on_commit(int error, int64_t revision, void *userdata);

/* Copies what it is given. */
int store_commit(struct store *store, const struct store_transaction *transaction,
	store_on_commit *handler, void *userdata);

/*
 * A lease ends ttl_seconds after it was granted or last kept alive, and the keys that were put with
 * it are deleted then, a second or so late at most; an hour where nobody has written for a day, in
 * case the clock is wrong. Leases run on while no server does.
 */
typedef void store_on_lease(int error, int64_t lease, void *userdata);
int store_lease_grant(
	struct store *store, int64_t ttl_seconds, store_on_lease *handler, void *userdata);
int store_lease_keep_alive(
	struct store *store, int64_t lease, store_on_lease *handler, void *userdata);
int store_lease_revoke(struct store *store, int64_t lease, store_on_lease *handler, void *userdata);

struct store_event {
	bool deleted; /* then the entry has the key and, as mod_revision, the deletion's revision */
	struct store_entry entry;
};

/*
 * What a watch tells: all events of one revision, in order of the operations, whoever made them,
 * this process or another. error: 0; -ESTALE where the revisions asked for have been compacted away
 * (the watch is over: begin anew from 0); -EIO where the store is lost.
 */
typedef void store_on_events(int error, int64_t revision, const struct store_event *events,
	size_t n_events, void *userdata);

/*
 * Watches the keys that begin with a prefix, from a revision on, that one included. from_revision
 * 0: first what there is now, as puts in one call (none where there is nothing), then what changes.
 */
int store_watch(struct store *store, const char *prefix, int64_t from_revision,
	store_on_events *handler, void *userdata, struct store_watch **ret);
struct store_watch *store_watch_free(struct store_watch *watch);
DEFINE_CLEANUP(struct store_watch *, store_watch_free)
