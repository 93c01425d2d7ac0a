/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 *   calls ──▶ queue ──▶ all writes, one SQLite transaction, one fsync
 *                        ──▶ watches are told what is new in the file
 *                             ──▶ handlers, in order of the calls; a range is read in its turn
 *
 * All of it is one turn of the event loop, whose source is enabled by the first call: calls that
 * other sources make before its turn comes are done with it. What handlers call waits for the next.
 *
 * Other processes may use the file at the same time. Whoever has written changes the WAL's times,
 * which wakes the others; so does the end of a process between the two, as it closes the WAL. (That
 * the WAL is written to would not do: that is before a transaction can be seen.)
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>

#include "contrib/control-plane/state/turn.h"
#include "contrib/control-plane/store/sqlite.h"
#include "contrib/control-plane/store/sqlite_private.h"

#define JOBS_MAX 65536
#define JOBS_BYTES_MAX (2 * STORE_TRANSACTION_BYTES_MAX)

/* So that a turn stays short. */
#define TURN_JOBS_MAX 1000
#define TURN_BYTES_MAX (8 * 1024 * 1024)

#define RETRY_USEC 10000
#define ACCURACY_USEC 1
#define BUSY_USEC_MAX 5000000

static uint64_t clock_usec(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t monotonic_usec(void)
{
	return clock_usec(CLOCK_MONOTONIC);
}

uint64_t wall_usec(void)
{
	return clock_usec(CLOCK_REALTIME);
}

void sqlite_schedule(struct sqlite *sqlite)
{
	/* Fails in no way that is ours to handle: the source is there. */
	(void)turn_at(sqlite->run, 0);
}

int sqlite_enqueue(struct sqlite *sqlite, struct job *job, void *userdata)
{
	if (!job)
		return -ENOMEM;
	if (sqlite->n_jobs >= JOBS_MAX || sqlite->jobs_bytes + job->n_bytes > JOBS_BYTES_MAX) {
		free(job);
		return -EAGAIN;
	}
	job->userdata = userdata;
	job->next = NULL;
	*sqlite->jobs_end = job;
	sqlite->jobs_end = &job->next;
	sqlite->n_jobs++;
	sqlite->jobs_bytes += job->n_bytes;
	/* While it waits for another process, its turn comes. */
	if (sqlite->busy_until_usec == 0)
		sqlite_schedule(sqlite);

	return 0;
}

static struct job *sqlite_dequeue(struct sqlite *sqlite)
{
	struct job *job = sqlite->jobs;

	sqlite->jobs = job->next;
	if (!sqlite->jobs)
		sqlite->jobs_end = &sqlite->jobs;
	sqlite->n_jobs--;
	sqlite->jobs_bytes -= job->n_bytes;

	return job;
}

static void job_free(struct job *job)
{
	if (job->type == JOB_WATCH)
		sqlite_watch_unref(job->watch);
	free(job);
}
DEFINE_CLEANUP(struct job *, job_free)

static void answer_range(struct sqlite *sqlite, struct job *job)
{
	struct store_range_result result = { 0 };
	struct database_state state;
	int r = sqlite_read_range(sqlite, &job->range, &sqlite->range, &result.more, &state);

	/* Another process may have written since watches were told. */
	if (r >= 0 && state.revision > sqlite->told)
		r = sqlite_tell(sqlite);
	if (sqlite->is_freed)
		return;
	if (r < 0) {
		job->on_range(r, NULL, job->userdata);
	} else {
		result.entries = sqlite->range.items;
		result.n_entries = sqlite->range.n_items;
		result.revision = state.revision;
		job->on_range(0, &result, job->userdata);
	}
	entries_clear(&sqlite->range);
}

static void answer(struct sqlite *sqlite, struct job *job)
{
	switch (job->type) {
	case JOB_COMMIT:
		job->on_commit(job->error, job->result, job->userdata);
		break;
	case JOB_LEASE_GRANT:
	case JOB_LEASE_KEEP_ALIVE:
	case JOB_LEASE_REVOKE:
		job->on_lease(job->error, job->error ? 0 : job->result, job->userdata);
		break;
	case JOB_RANGE:
		answer_range(sqlite, job);
		break;
	case JOB_WATCH:
		sqlite_watch_start(sqlite, job->watch);
		break;
	}
}

/* How many jobs the next turn does: one at least. */
static size_t turn_jobs(const struct sqlite *sqlite)
{
	size_t n_jobs = 0, n_bytes = 0;

	for (const struct job *job = sqlite->jobs;
		job && n_jobs < TURN_JOBS_MAX && n_bytes < TURN_BYTES_MAX; job = job->next) {
		n_bytes += job->n_bytes;
		n_jobs++;
	}

	return n_jobs;
}

/* One turn. Returns 0, or -EBUSY: another process has the lock. */
static int sqlite_run(struct sqlite *sqlite)
{
	const size_t n_jobs = turn_jobs(sqlite);
	int r = sqlite_write(sqlite, n_jobs);

	if (r < 0) {
		if (monotonic_usec() < sqlite->busy_until_usec || sqlite->busy_until_usec == 0)
			return r;
		sqlite_write_fail(sqlite, n_jobs, r);
	}
	r = sqlite_tell(sqlite);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n_jobs && !sqlite->is_freed; i++) {
		_cleanup_(job_freep) struct job *job = sqlite_dequeue(sqlite);

		answer(sqlite, job);
	}

	return 0;
}

static void sqlite_destroy(struct sqlite *sqlite)
{
	while (sqlite->jobs)
		job_free(sqlite_dequeue(sqlite));
	sd_event_source_unref(sqlite->run);
	sd_event_source_unref(sqlite->changes);
	sd_event_source_unref(sqlite->lease_timer);
	sd_event_unref(sqlite->event);
	database_free(sqlite->database);
	entries_done(&sqlite->entries);
	entries_done(&sqlite->range);
	free(sqlite->events);
	free(sqlite);
}

/* Runs again soon. */
static int sqlite_wait(struct sqlite *sqlite)
{
	const uint64_t now_usec = monotonic_usec();

	if (sqlite->busy_until_usec == 0)
		sqlite->busy_until_usec = now_usec + BUSY_USEC_MAX;

	return turn_at(sqlite->run, now_usec + RETRY_USEC);
}

static int on_run(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct sqlite *sqlite = userdata;
	int r;

	(void)source;
	(void)usec;
	sqlite->is_running = true;
	r = sqlite_run(sqlite);
	sqlite->is_running = false;
	if (sqlite->is_freed) {
		sqlite_destroy(sqlite);
		return 0;
	}
	if (r < 0)
		return sqlite_wait(sqlite);

	sqlite->busy_until_usec = 0;
	if (sqlite->jobs)
		sqlite_schedule(sqlite);
	/* Where it can't be read, the next turn tries again. */
	sqlite_lease_arm(sqlite);

	return 0;
}

/* Watches are told before anything else is looked at: who uses what another process has made or
 * taken away, and was told so, comes later. */
static int on_change(sd_event_source *source, const struct inotify_event *event, void *userdata)
{
	struct sqlite *sqlite = userdata;

	(void)source;
	(void)event;
	sqlite->is_running = true;
	(void)sqlite_tell(sqlite); /* the turn tells what this could not */
	sqlite->is_running = false;
	if (sqlite->is_freed)
		sqlite_destroy(sqlite);
	else
		sqlite_schedule(sqlite);

	return 0;
}

void sqlite_signal(struct sqlite *sqlite)
{
	utimensat(AT_FDCWD, sqlite->database->wal_path, NULL, AT_SYMLINK_NOFOLLOW);
}

static void sqlite_free(struct store *store)
{
	struct sqlite *sqlite = sqlite_of(store);

	if (sqlite->is_running)
		sqlite->is_freed = true;
	else
		sqlite_destroy(sqlite);
}

static const char *sqlite_identity(const struct store *store)
{
	return ((const struct sqlite *)store)->database->identity;
}

static int64_t sqlite_revision(const struct store *store)
{
	return ((const struct sqlite *)store)->told;
}

static int sqlite_range(struct store *store, const struct store_range *range,
	store_on_range *handler, void *userdata)
{
	struct job *job = job_new_range(range);

	if (job)
		job->on_range = handler;

	return sqlite_enqueue(sqlite_of(store), job, userdata);
}

static int sqlite_commit(struct store *store, const struct store_transaction *transaction,
	store_on_commit *handler, void *userdata)
{
	struct job *job = job_new_commit(transaction);

	if (job)
		job->on_commit = handler;

	return sqlite_enqueue(sqlite_of(store), job, userdata);
}

static const struct store_backend sqlite_backend = {
	.free = sqlite_free,
	.identity = sqlite_identity,
	.revision = sqlite_revision,
	.range = sqlite_range,
	.commit = sqlite_commit,
	.lease_grant = sqlite_lease_grant,
	.lease_keep_alive = sqlite_lease_keep_alive,
	.lease_revoke = sqlite_lease_revoke,
	.watch = sqlite_watch,
	.watch_free = sqlite_watch_free,
};

static int sqlite_add_sources(struct sqlite *sqlite)
{
	int r = sd_event_add_time(
		sqlite->event, &sqlite->run, CLOCK_MONOTONIC, 0, ACCURACY_USEC, on_run, sqlite);

	if (r < 0)
		return r;
	r = sd_event_source_set_enabled(sqlite->run, SD_EVENT_OFF);
	if (r < 0)
		return r;

	r = sd_event_add_inotify(sqlite->event, &sqlite->changes, sqlite->database->wal_path,
		IN_ATTRIB | IN_CLOSE_WRITE, on_change, sqlite);
	if (r < 0)
		return r;

	return sd_event_source_set_priority(sqlite->changes, SD_EVENT_PRIORITY_IMPORTANT);
}

int sqlite_open(sd_event *event, const char *path, struct store **ret, char **ret_error)
{
	struct sqlite *sqlite = calloc(1, sizeof(*sqlite));
	struct database_state state;
	int r;

	*ret_error = NULL;
	if (!sqlite)
		return -ENOMEM;
	sqlite->store.backend = &sqlite_backend;
	sqlite->event = sd_event_ref(event);
	sqlite->jobs_end = &sqlite->jobs;
	sqlite->watches_end = &sqlite->watches;
	r = database_open(path, &sqlite->database, ret_error);
	if (r >= 0)
		r = sqlite_add_sources(sqlite);
	if (r >= 0)
		r = database_read_state(sqlite->database, &state);
	if (r < 0) {
		sqlite_destroy(sqlite);
		return r;
	}
	sqlite->told = state.revision;
	/* Those that ended while nobody ran end before anything is read. */
	sqlite->lease_is_due = true;
	sqlite_schedule(sqlite);

	*ret = &sqlite->store;
	return 0;
}
