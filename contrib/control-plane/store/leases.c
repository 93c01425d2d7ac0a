/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * Leases: the calls, what they do in the file, and the timer.
 *
 * A wall clock that is wrong by years would end all leases at once, and with them tokens, requests
 * and the activity log. So where it is more than LEAP_USEC ahead of when the file was last written,
 * leases end as of then until it has gone on for HOLD_USEC: time to set it right. After that it is
 * believed; nobody had written for so long.
 */

#include <errno.h>
#include <sys/random.h>
#include <time.h>

#include "contrib/control-plane/store/group.h"

/* Timers may be late by that; leases are counted in seconds. */
#define ACCURACY_USEC 100000

#define LEAP_USEC INT64_C(86400000000)
#define HOLD_USEC INT64_C(3600000000)
#define HOLD_RETRY_USEC 60000000

/* Of leases that end at once, so much in one transaction. */
#define SWEEP_RECORDS 4096

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

void group_follow_clock(struct group *group)
{
	struct database_state *state = &group->state;
	const int64_t now = (int64_t)group->now_usec, leap = state->leap_usec;

	if (state->lease_usec == 0 || now <= state->lease_usec + LEAP_USEC ||
		(leap > 0 && now >= leap + HOLD_USEC)) {
		state->lease_usec = now;
		state->leap_usec = 0;
	} else if (leap == 0 || now < leap) {
		state->leap_usec = now;
	}
	group->has_changed |= state->leap_usec != leap;
	if (state->leap_usec > 0)
		group->sqlite->lease_retry_usec = group->now_usec + HOLD_RETRY_USEC;
}

int group_find_lease(struct group *group, int64_t lease, int64_t *ret_ttl_seconds)
{
	_cleanup_(statement_resetp) sqlite3_stmt *find =
		group_statement(group, DATABASE_LEASE_FIND);
	int r;

	sqlite3_bind_int64(find, 1, lease);
	sqlite3_bind_int64(find, 2, group->state.lease_usec);
	r = statement_step(find);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	*ret_ttl_seconds = sqlite3_column_int64(find, 0);

	return 0;
}

static int write_lease(
	struct group *group, enum database_statement statement, int64_t lease, int64_t ttl_seconds)
{
	_cleanup_(statement_resetp) sqlite3_stmt *write = group_statement(group, statement);
	const int64_t end_usec = (int64_t)group->now_usec + ttl_seconds * 1000000;

	sqlite3_bind_int64(write, 1, lease);
	if (statement == DATABASE_LEASE_EXTEND)
		sqlite3_bind_int64(write, 2, end_usec);
	if (statement == DATABASE_LEASE_INSERT) {
		sqlite3_bind_int64(write, 2, ttl_seconds);
		sqlite3_bind_int64(write, 3, end_usec);
	}
	group->has_changed = true;

	return statement_step(write);
}

int group_lease_grant(struct group *group, struct job *job)
{
	/* At random: one that is gone does not come back as another's. */
	do {
		if (getrandom(&job->result, sizeof(job->result), 0) != sizeof(job->result))
			return -EIO;
		job->result &= INT64_MAX;
	} while (job->result == 0);

	return write_lease(group, DATABASE_LEASE_INSERT, job->result, job->ttl_seconds);
}

int group_lease_keep_alive(struct group *group, struct job *job)
{
	int64_t ttl_seconds;
	int r = group_find_lease(group, job->lease, &ttl_seconds);

	job->result = job->lease;

	return r < 0 ? r : write_lease(group, DATABASE_LEASE_EXTEND, job->lease, ttl_seconds);
}

/* Deletes keys of a lease, as many as a transaction may. Returns their number, or -errno. */
static int delete_leased(struct group *group, int64_t lease)
{
	struct entries *entries = &group->sqlite->entries;
	_cleanup_(statement_resetp) sqlite3_stmt *keys =
		group_statement(group, DATABASE_LEASE_KEYS);
	_cleanup_(freep) struct store_operation *operations = NULL;
	int r;

	entries_clear(entries);
	sqlite3_bind_int64(keys, 1, lease);
	while ((r = statement_step(keys)) > 0) {
		r = entries_add(entries, keys);
		if (r < 0)
			return r;
	}
	if (r < 0 || entries->n_items == 0)
		return r;
	sqlite3_reset(keys);
	operations = calloc(entries->n_items, sizeof(*operations));
	if (!operations)
		return -ENOMEM;
	for (size_t i = 0; i < entries->n_items; i++)
		operations[i] = (struct store_operation){ .type = STORE_DELETE,
			.key = entries->items[i].key };
	r = group_do_revision(group, operations, entries->n_items);

	return r < 0 ? r : (int)entries->n_items;
}

/* Deletes a lease with its keys. */
static int end_lease(struct group *group, int64_t lease)
{
	int r;

	do
		r = delete_leased(group, lease);
	while (r == STORE_OPERATIONS_MAX);

	return r < 0 ? r : write_lease(group, DATABASE_LEASE_DELETE, lease, 0);
}

int group_lease_revoke(struct group *group, struct job *job)
{
	int64_t ttl_seconds;
	int r = group_find_lease(group, job->lease, &ttl_seconds);

	job->result = job->lease;

	return r < 0 ? r : end_lease(group, job->lease);
}

/* The lease that ended first, where one has. Returns 1, 0 or -errno. */
static int find_ended_lease(struct group *group, int64_t *ret)
{
	_cleanup_(statement_resetp) sqlite3_stmt *earliest =
		group_statement(group, DATABASE_LEASE_EARLIEST);
	int r = statement_step(earliest);

	if (r <= 0)
		return r;
	*ret = sqlite3_column_int64(earliest, 0);

	return sqlite3_column_int64(earliest, 1) <= group->state.lease_usec;
}

int group_end_leases(struct group *group)
{
	int64_t lease = 0;
	int r = 0;

	for (int n = 0; n < SWEEP_RECORDS && group->n_records < SWEEP_RECORDS; n++) {
		r = find_ended_lease(group, &lease);
		if (r <= 0)
			return r;
		r = end_lease(group, lease);
		if (r < 0)
			return r;
	}

	return 0;
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
