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

#include "contrib/control-plane/store/group.h"

#define HISTORY_BYTES_MAX (32 * 1024 * 1024)
#define RECORD_OVERHEAD_BYTES 100 /* of a record on disk, its indexes included, roughly */
#define COMPACTION_RECORDS 64
#define SWEEP_RETRY_USEC 1000000

/* Of a transaction under way. */
struct revision {
	int64_t number;
	int64_t n_records;
};

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
		r = lease ? group_find_lease(group, lease, &ttl_seconds) : 0;
		if (r < 0)
			return r;
	}

	return 0;
}

int group_do_revision(
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
		r = group_do_revision(
			group, job->transaction.operations, job->transaction.n_operations);
	job->result = group->state.revision;

	return r;
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
		return group_lease_grant(group, job);
	case JOB_LEASE_KEEP_ALIVE:
		return group_lease_keep_alive(group, job);
	case JOB_LEASE_REVOKE:
		return group_lease_revoke(group, job);
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
	group_follow_clock(group);
	if (group->sqlite->lease_is_due) {
		r = group_end_leases(group);
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
	sqlite->lease_retry_usec = 0;
	r = write_group(sqlite, sqlite->jobs, n_jobs);
	if (r == -EBUSY)
		return r;
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
