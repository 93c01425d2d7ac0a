/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Leases: the calls, and the timer. What is done in the file is the writer's. */

#include <errno.h>
#include <time.h>

#include "contrib/control-plane/store/sqlite_private.h"

/* Timers may be late by that; leases are counted in seconds. */
#define ACCURACY_USEC 100000

static int lease_call(struct store *store, const struct job *call, void *userdata)
{
	struct job *job = malloc(sizeof(*job));

	if (job)
		*job = *call;

	return sqlite_enqueue(sqlite_of(store), job, userdata);
}

int sqlite_lease_grant(
	struct store *store, int64_t ttl_seconds, store_on_lease *handler, void *userdata)
{
	const struct job call = { .type = JOB_LEASE_GRANT,
		.n_bytes = sizeof(call),
		.ttl_seconds = ttl_seconds,
		.on_lease = handler };

	return lease_call(store, &call, userdata);
}

int sqlite_lease_keep_alive(
	struct store *store, int64_t lease, store_on_lease *handler, void *userdata)
{
	const struct job call = { .type = JOB_LEASE_KEEP_ALIVE,
		.n_bytes = sizeof(call),
		.lease = lease,
		.on_lease = handler };

	return lease_call(store, &call, userdata);
}

int sqlite_lease_revoke(struct store *store, int64_t lease, store_on_lease *handler, void *userdata)
{
	const struct job call = { .type = JOB_LEASE_REVOKE,
		.n_bytes = sizeof(call),
		.lease = lease,
		.on_lease = handler };

	return lease_call(store, &call, userdata);
}

static int on_lease_end(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct sqlite *sqlite = userdata;

	(void)source;
	(void)usec;
	sqlite->lease_is_due = true;
	sqlite_schedule(sqlite);

	return 0;
}

int sqlite_lease_arm(struct sqlite *sqlite)
{
	_cleanup_(statement_resetp) sqlite3_stmt *earliest =
		sqlite->database->statements[DATABASE_LEASE_EARLIEST];
	int r = statement_step(earliest);
	uint64_t end_usec;

	if (r < 0)
		return r;
	if (r == 0) {
		if (!sqlite->lease_timer)
			return 0;
		return sd_event_source_set_enabled(sqlite->lease_timer, SD_EVENT_OFF);
	}
	end_usec = (uint64_t)sqlite3_column_int64(earliest, 1);
	if (end_usec < sqlite->lease_retry_usec)
		end_usec = sqlite->lease_retry_usec;
	/* Not by the timer: to set it anew takes back that it has elapsed. */
	if (end_usec <= wall_usec()) {
		sqlite->lease_is_due = true;
		sqlite_schedule(sqlite);
		return 0;
	}
	if (!sqlite->lease_timer)
		return sd_event_add_time(sqlite->event, &sqlite->lease_timer, CLOCK_REALTIME,
			end_usec, ACCURACY_USEC, on_lease_end, sqlite);
	r = sd_event_source_set_time(sqlite->lease_timer, end_usec);

	return r < 0 ? r : sd_event_source_set_enabled(sqlite->lease_timer, SD_EVENT_ONESHOT);
}
