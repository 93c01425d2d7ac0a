/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * Many calls in one SQLite transaction, and so with one fsync: each has its own revision, and what
 * may refuse it is looked at before it writes, so that it needs no undoing. Where the disk itself
 * refuses, all are undone and each is tried alone.
 *
 * History is compacted by whoever writes: each transaction drops twice as many old records as it
 * could add, and some. So it never stalls, and costs no fsync of its own.
 */

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "contrib/control-plane/store/sqlite_private.h"

#define HISTORY_BYTES_MAX (32 * 1024 * 1024)
#define RECORD_OVERHEAD_BYTES 100 /* of a record on disk, its indexes included, roughly */
#define COMPACTION_RECORDS 64

/* Of leases that end at once, so much in one transaction. */
#define SWEEP_RECORDS 4096
#define SWEEP_RETRY_USEC 1000000

/* A SQLite transaction under way. */
struct group {
	struct sqlite *sqlite;
	struct database_state state;
	struct database_state before;
	uint64_t now_usec; /* wall clock */
	int64_t n_records; /* written */
	bool has_changed;
};

/* Of a transaction under way. */
struct revision {
	int64_t number;
	int64_t n_records;
};

static sqlite3_stmt *group_statement(struct group *group, enum database_statement statement)
{
	return group->sqlite->database->statements[statement];
}

/* The mod_revision of a key, or 0. Returns 0 or -errno. */
static int find_revision(struct group *group, const char *key, int64_t *ret)
{
	_cleanup_(statement_resetp) sqlite3_stmt *find =
		group_statement(group, DATABASE_ENTRY_FIND);
	int r;

	sqlite3_bind_text(find, 1, key, -1, SQLITE_STATIC);
	r = statement_step(find);
	if (r < 0)
		return r;
	*ret = r > 0 ? RECORD_REVISION(sqlite3_column_int64(find, RECORD_ID)) : 0;

	return 0;
}

static int insert_record(struct group *group, struct revision *revision,
	const struct store_operation *operation, int64_t create_revision, int64_t version)
{
	_cleanup_(statement_resetp) sqlite3_stmt *insert =
		group_statement(group, DATABASE_RECORD_INSERT);
	int r;

	sqlite3_bind_int64(insert, 1, RECORD_ID_FIRST(revision->number) + revision->n_records++);
	sqlite3_bind_text(insert, 2, operation->key, -1, SQLITE_STATIC);
	sqlite3_bind_int64(insert, 3, create_revision);
	sqlite3_bind_int64(insert, 4, version);
	if (operation->type == STORE_DELETE) {
		sqlite3_bind_int64(insert, 5, 0);
		sqlite3_bind_int64(insert, 6, revision->number);
		group->state.history_bytes +=
			(int64_t)strlen(operation->key) + RECORD_OVERHEAD_BYTES;
	} else {
		sqlite3_bind_int64(insert, 5, operation->lease);
		sqlite3_bind_blob(insert, 7, operation->n_value ? operation->value : "",
			(int)operation->n_value, SQLITE_STATIC);
	}
	r = statement_step(insert);
	group->n_records++;
	group->has_changed = true;

	return r;
}

static int supersede_record(struct group *group, const struct revision *revision, int64_t id)
{
	_cleanup_(statement_resetp) sqlite3_stmt *supersede =
		group_statement(group, DATABASE_RECORD_SUPERSEDE);

	sqlite3_bind_int64(supersede, 1, id);
	sqlite3_bind_int64(supersede, 2, revision->number);

	return statement_step(supersede);
}

static int do_operation(
	struct group *group, struct revision *revision, const struct store_operation *operation)
{
	_cleanup_(statement_resetp) sqlite3_stmt *find =
		group_statement(group, DATABASE_ENTRY_FIND);
	int64_t create_revision = revision->number, version = 0;
	int r;

	sqlite3_bind_text(find, 1, operation->key, -1, SQLITE_STATIC);
	r = statement_step(find);
	if (r < 0 || (r == 0 && operation->type == STORE_DELETE))
		return r;
	if (r > 0) {
		int64_t id = sqlite3_column_int64(find, RECORD_ID);

		create_revision = sqlite3_column_int64(find, RECORD_CREATE_REVISION);
		version = sqlite3_column_int64(find, RECORD_VERSION);
		group->state.history_bytes += sqlite3_column_bytes(find, RECORD_KEY) +
			sqlite3_column_int64(find, RECORD_VALUE) + RECORD_OVERHEAD_BYTES;
		/* It is not to be read any more when it changes. */
		sqlite3_reset(find);
		r = supersede_record(group, revision, id);
		if (r < 0)
			return r;
	}
	if (operation->type == STORE_DELETE)
		return insert_record(group, revision, operation, 0, 0);

	return insert_record(group, revision, operation, create_revision, version + 1);
}

/* Returns 0; -ENOENT where a lease is not there or has ended; another -errno. */
static int find_lease(struct group *group, int64_t lease, int64_t *ret_ttl_seconds)
{
	_cleanup_(statement_resetp) sqlite3_stmt *find =
		group_statement(group, DATABASE_LEASE_FIND);
	int r;

	sqlite3_bind_int64(find, 1, lease);
	sqlite3_bind_int64(find, 2, (int64_t)group->now_usec);
	r = statement_step(find);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	*ret_ttl_seconds = sqlite3_column_int64(find, 0);

	return 0;
}

/* What must hold before a transaction writes. Returns 0; STORE_CONFLICT; -ENOENT; another -errno,
 * and then it is the disk's. */
static int check_transaction(struct group *group, const struct store_transaction *transaction)
{
	int64_t revision, ttl_seconds, lease = 0;
	int r;

	for (size_t i = 0; i < transaction->n_compares; i++) {
		r = find_revision(group, transaction->compares[i].key, &revision);
		if (r < 0)
			return r;
		if (revision != transaction->compares[i].mod_revision)
			return STORE_CONFLICT;
	}
	for (size_t i = 0; i < transaction->n_operations; i++) {
		const struct store_operation *operation = &transaction->operations[i];

		if (operation->type != STORE_PUT || operation->lease == lease)
			continue;
		lease = operation->lease;
		r = lease ? find_lease(group, lease, &ttl_seconds) : 0;
		if (r < 0)
			return r;
	}

	return 0;
}

/* Operations as one revision, if they change anything. */
static int do_revision(
	struct group *group, const struct store_operation *operations, size_t n_operations)
{
	struct revision revision = { .number = group->state.revision + 1 };
	int r;

	for (size_t i = 0; i < n_operations; i++) {
		r = do_operation(group, &revision, &operations[i]);
		if (r < 0)
			return r;
	}
	if (revision.n_records > 0)
		group->state.revision = revision.number;

	return 0;
}

static int do_commit(struct group *group, struct job *job)
{
	int r = check_transaction(group, &job->transaction);

	if (r == 0)
		r = do_revision(group, job->transaction.operations, job->transaction.n_operations);
	job->result = group->state.revision;

	return r;
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

static int do_lease_grant(struct group *group, struct job *job)
{
	/* At random: one that is gone does not come back as another's. */
	do {
		if (getrandom(&job->result, sizeof(job->result), 0) != sizeof(job->result))
			return -EIO;
		job->result &= INT64_MAX;
	} while (job->result == 0);

	return write_lease(group, DATABASE_LEASE_INSERT, job->result, job->ttl_seconds);
}

static int do_lease_keep_alive(struct group *group, struct job *job)
{
	int64_t ttl_seconds;
	int r = find_lease(group, job->lease, &ttl_seconds);

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
	r = do_revision(group, operations, entries->n_items);

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

static int do_lease_revoke(struct group *group, struct job *job)
{
	int64_t ttl_seconds;
	int r = find_lease(group, job->lease, &ttl_seconds);

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

	return (uint64_t)sqlite3_column_int64(earliest, 1) <= group->now_usec;
}

/* Ends leases that are due; what is left for another time is due then. */
static int sweep_leases(struct group *group)
{
	int64_t lease;
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

/* Drops the oldest record of history, where there is too much of it. Returns 1, 0 or -errno. */
static int drop_oldest(struct group *group)
{
	_cleanup_(statement_resetp) sqlite3_stmt *oldest =
		group_statement(group, DATABASE_HISTORY_OLDEST);
	_cleanup_(statement_resetp) sqlite3_stmt *drop =
		group_statement(group, DATABASE_RECORD_DELETE);
	int64_t superseded, n_bytes;
	int r = statement_step(oldest);

	if (r <= 0)
		return r;
	superseded = sqlite3_column_int64(oldest, 1);
	n_bytes = sqlite3_column_int64(oldest, 2) + RECORD_OVERHEAD_BYTES;
	if (superseded > group->state.compacted) {
		/* Not what is new: watches are still to be told of it. */
		if (group->state.history_bytes <= HISTORY_BYTES_MAX ||
			superseded > group->before.revision)
			return 0;
		group->state.compacted = superseded;
	}
	sqlite3_bind_int64(drop, 1, sqlite3_column_int64(oldest, 0));
	sqlite3_reset(oldest);
	r = statement_step(drop);
	if (r < 0)
		return r;
	group->state.history_bytes -= n_bytes;

	return 1;
}

static int compact(struct group *group)
{
	/* A put and a deletion make at most two records history. */
	const int64_t n_max = 4 * group->n_records + COMPACTION_RECORDS;
	int r;

	for (int64_t n = 0; n < n_max; n++) {
		r = drop_oldest(group);
		if (r <= 0)
			return r;
	}

	return 0;
}

static int do_job(struct group *group, struct job *job)
{
	switch (job->type) {
	case JOB_COMMIT:
		return do_commit(group, job);
	case JOB_LEASE_GRANT:
		return do_lease_grant(group, job);
	case JOB_LEASE_KEEP_ALIVE:
		return do_lease_keep_alive(group, job);
	case JOB_LEASE_REVOKE:
		return do_lease_revoke(group, job);
	default:
		return 0;
	}
}

static int group_write(struct group *group, struct job *first, size_t n_jobs)
{
	struct job *job = first;
	int r = database_read_state(group->sqlite->database, &group->state);

	if (r < 0)
		return r;
	group->before = group->state;
	if (group->sqlite->lease_is_due) {
		r = sweep_leases(group);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < n_jobs; i++, job = job->next) {
		if (!job_is_write(job) || job->is_done)
			continue;
		job->error = do_job(group, job);
		if (job->error < 0 && job->error != -ENOENT)
			return job->error;
	}
	if (!group->has_changed)
		return database_run(group->sqlite->database, DATABASE_ROLLBACK);
	r = compact(group);
	if (r >= 0)
		r = database_write_state(group->sqlite->database, &group->state);

	return r < 0 ? r : database_run(group->sqlite->database, DATABASE_COMMIT);
}

/* Jobs in one SQLite transaction: all are done, or none. */
static int write_group(struct sqlite *sqlite, struct job *first, size_t n_jobs)
{
	struct group group = { .sqlite = sqlite };
	struct job *job = first;
	int r = database_run(sqlite->database, DATABASE_BEGIN_WRITE);

	if (r < 0)
		return r;
	/* After the lock is there: it may have taken a while. */
	group.now_usec = wall_usec();
	r = group_write(&group, first, n_jobs);
	if (r < 0) {
		if (!sqlite3_get_autocommit(sqlite->database->connection))
			database_run(sqlite->database, DATABASE_ROLLBACK);
		return r;
	}
	for (size_t i = 0; i < n_jobs; i++, job = job->next)
		job->is_done = true;
	if (group.has_changed)
		sqlite_signal(sqlite);

	return 0;
}

void sqlite_write_fail(struct sqlite *sqlite, size_t n_jobs, int error)
{
	struct job *job = sqlite->jobs;

	for (size_t i = 0; i < n_jobs; i++, job = job->next) {
		if (job_is_write(job) && !job->is_done)
			job->error = error;
		job->is_done = true;
	}
}

int sqlite_write(struct sqlite *sqlite, size_t n_jobs)
{
	struct job *job = sqlite->jobs;
	size_t n_writes = 0;
	int r;

	for (size_t i = 0; i < n_jobs; i++, job = job->next)
		n_writes += job_is_write(job) && !job->is_done;
	if (n_writes == 0 && !sqlite->lease_is_due)
		return 0;
	r = write_group(sqlite, sqlite->jobs, n_jobs);
	if (r == -EBUSY)
		return r;
	sqlite->lease_retry_usec = 0;
	if (r < 0 && sqlite->lease_is_due)
		sqlite->lease_retry_usec = wall_usec() + SWEEP_RETRY_USEC;
	sqlite->lease_is_due = false;
	if (r == 0)
		return 0;

	job = sqlite->jobs;
	for (size_t i = 0; i < n_jobs; i++, job = job->next) {
		if (!job_is_write(job) || job->is_done)
			continue;
		r = write_group(sqlite, job, 1);
		if (r < 0)
			job->error = r;
		job->is_done = true;
	}

	return 0;
}
