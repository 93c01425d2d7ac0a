/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A call that waits in a store's queue, with copies of what it was given. */

#include "contrib/control-plane/store/store.h"

struct sqlite_watch;

struct job {
	enum {
		JOB_COMMIT,
		JOB_LEASE_GRANT,
		JOB_LEASE_KEEP_ALIVE,
		JOB_LEASE_REVOKE,
		JOB_WRITE_LAST = JOB_LEASE_REVOKE,
		JOB_RANGE,
		JOB_WATCH,
	} type;
	struct job *next;
	size_t n_bytes;
	bool is_done; /* a write: it is on disk, or has failed for good */
	int error;
	int64_t result; /* a revision, or a lease */

	union {
		store_on_commit *on_commit;
		store_on_lease *on_lease;
		store_on_range *on_range;
	};
	void *userdata;

	union {
		struct store_transaction transaction;
		struct {
			int64_t lease;
			int64_t ttl_seconds;
		};
		struct store_range range;
		struct sqlite_watch *watch; /* a reference */
	};
};

static inline bool job_is_write(const struct job *job)
{
	return job->type <= JOB_WRITE_LAST;
}

/* Allocated in one piece; NULL: no memory. */
struct job *job_new_commit(const struct store_transaction *transaction);
struct job *job_new_range(const struct store_range *range);
