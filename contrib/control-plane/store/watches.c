/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * What watches are told is read from the file, also what this process has just written: so it is
 * one and the same whoever wrote it, and in order.
 *
 * A watch may be freed at any time, by a handler too. It stays in the list while somebody has a
 * reference: whoever made it, the job that starts it, the loop that is at it.
 */

#include <errno.h>
#include <string.h>

#include "contrib/control-plane/store/sqlite_private.h"

#define KEPT_EVENTS 1024

struct sqlite_watch {
	struct store_watch watch;
	struct sqlite_watch *next, **previous;
	unsigned n_references;
	bool is_started;
	bool is_over; /* freed, or told of an error */
	int64_t from_revision; /* what is below has been told, or is not wanted */
	store_on_events *handler;
	void *userdata;
	size_t n_prefix;
	char prefix[];
};

static struct sqlite_watch *watch_ref(struct sqlite_watch *watch)
{
	watch->n_references++;
	return watch;
}

struct sqlite_watch *sqlite_watch_unref(struct sqlite_watch *watch)
{
	if (--watch->n_references > 0)
		return NULL;
	*watch->previous = watch->next;
	if (watch->next)
		watch->next->previous = watch->previous;
	else
		sqlite_of(watch->watch.store)->watches_end = watch->previous;
	free(watch);

	return NULL;
}

int sqlite_watch(struct store *store, const char *prefix, int64_t from_revision,
	store_on_events *handler, void *userdata, struct store_watch **ret)
{
	struct sqlite *sqlite = sqlite_of(store);
	const size_t n_prefix = strlen(prefix);
	struct sqlite_watch *watch = malloc(sizeof(*watch) + n_prefix + 1);
	struct job *job = malloc(sizeof(*job));
	int r;

	if (!watch || !job) {
		free(watch);
		free(job);
		return -ENOMEM;
	}
	*watch = (struct sqlite_watch){
		.watch.store = store,
		.previous = sqlite->watches_end,
		.n_references = 2,
		.from_revision = from_revision,
		.handler = handler,
		.userdata = userdata,
		.n_prefix = n_prefix,
	};
	memcpy(watch->prefix, prefix, n_prefix + 1);
	*job = (struct job){ .type = JOB_WATCH, .n_bytes = sizeof(*job), .watch = watch };
	r = sqlite_enqueue(sqlite, job, NULL);
	if (r < 0) {
		free(watch);
		return r;
	}
	*sqlite->watches_end = watch;
	sqlite->watches_end = &watch->next;

	*ret = &watch->watch;
	return 0;
}

void sqlite_watch_free(struct store_watch *freed)
{
	struct sqlite_watch *watch = (struct sqlite_watch *)freed;

	watch->is_over = true;
	sqlite_watch_unref(watch);
}

static bool watch_wants(const struct sqlite_watch *watch, int64_t revision)
{
	return watch->is_started && !watch->is_over && watch->from_revision <= revision;
}

static bool watch_has(const struct sqlite_watch *watch, const char *key)
{
	return strncmp(key, watch->prefix, watch->n_prefix) == 0;
}

static void watch_fail(struct sqlite_watch *watch, int error)
{
	watch->is_over = true;
	watch->handler(error, 0, NULL, 0, watch->userdata);
}

/* Tells a watch what it has of sqlite->entries. */
static void watch_tell(struct sqlite *sqlite, struct sqlite_watch *watch, int64_t revision)
{
	const struct entries *entries = &sqlite->entries;
	size_t n_events = 0;

	for (size_t i = 0; i < entries->n_items; i++) {
		const struct store_entry *entry = &entries->items[i];

		if (watch_has(watch, entry->key))
			sqlite->events[n_events++] =
				(struct store_event){ .deleted = entry->version == 0,
					.entry = *entry };
	}
	watch->from_revision = revision + 1;
	if (n_events > 0)
		watch->handler(0, revision, sqlite->events, n_events, watch->userdata);
}

/* Makes room for as many events as there are entries. */
static int events_reserve(struct sqlite *sqlite)
{
	void *events;

	if (sqlite->entries.n_items <= sqlite->n_events_allocated)
		return 0;
	events = reallocarray(sqlite->events, sqlite->entries.n_allocated, sizeof(*sqlite->events));
	if (!events)
		return -ENOMEM;
	sqlite->events = events;
	sqlite->n_events_allocated = sqlite->entries.n_allocated;

	return 0;
}

/* Tells `only`, or all where it is NULL, of the events of a revision, which are in
 * sqlite->entries. */
static int tell_revision(struct sqlite *sqlite, struct sqlite_watch *only, int64_t revision)
{
	int r = events_reserve(sqlite);

	if (r < 0)
		return r;
	for (struct sqlite_watch *watch = only ? only : sqlite->watches, *next; watch;
		watch = next) {
		watch_ref(watch);
		if (watch_wants(watch, revision))
			watch_tell(sqlite, watch, revision);
		next = only ? NULL : watch->next;
		sqlite_watch_unref(watch);
	}
	entries_clear(&sqlite->entries);
	if (sqlite->n_events_allocated > KEPT_EVENTS) {
		free(sqlite->events);
		sqlite->events = NULL;
		sqlite->n_events_allocated = 0;
	}

	return 0;
}

static void fail_all(struct sqlite *sqlite, int error)
{
	for (struct sqlite_watch *watch = sqlite->watches, *next; watch; watch = next) {
		watch_ref(watch);
		if (watch->is_started && !watch->is_over)
			watch_fail(watch, error);
		next = watch->next;
		sqlite_watch_unref(watch);
	}
}

static bool is_watched(const struct sqlite *sqlite, const char *key)
{
	for (const struct sqlite_watch *watch = sqlite->watches; watch; watch = watch->next)
		if (watch->is_started && !watch->is_over && watch_has(watch, key))
			return true;

	return false;
}

/* Tells of all revisions from one on. For that, a read transaction must be under way. */
static int tell_from(struct sqlite *sqlite, struct sqlite_watch *only, int64_t from_revision)
{
	_cleanup_(statement_resetp) sqlite3_stmt *records =
		sqlite->database->statements[DATABASE_RECORDS_FROM];
	int64_t revision = 0;
	int r;

	entries_clear(&sqlite->entries);
	sqlite3_bind_int64(records, 1, RECORD_ID_FIRST(from_revision));
	while ((r = statement_step(records)) > 0) {
		int64_t id = sqlite3_column_int64(records, RECORD_ID);
		const char *key = (const char *)sqlite3_column_text(records, RECORD_KEY);

		if (!key)
			return -ENOMEM;
		if (RECORD_REVISION(id) != revision && revision > 0) {
			r = tell_revision(sqlite, only, revision);
			if (r < 0)
				return r;
		}
		revision = RECORD_REVISION(id);
		if (!(only ? watch_has(only, key) : is_watched(sqlite, key)))
			continue;
		r = entries_add(&sqlite->entries, records);
		if (r < 0)
			return r;
	}

	return r < 0 || revision == 0 ? r : tell_revision(sqlite, only, revision);
}

int sqlite_tell(struct sqlite *sqlite)
{
	struct database_state state;
	int r = database_run(sqlite->database, DATABASE_BEGIN);

	if (r >= 0)
		r = database_read_state(sqlite->database, &state);
	if (r >= 0 && state.revision > sqlite->told && sqlite->watches) {
		/* Another process has been faster than this one. */
		if (sqlite->told < state.compacted)
			fail_all(sqlite, -ESTALE);
		else
			r = tell_from(sqlite, NULL, sqlite->told + 1);
	}
	if (!sqlite3_get_autocommit(sqlite->database->connection))
		database_run(sqlite->database, DATABASE_ROLLBACK);
	if (r >= 0)
		sqlite->told = state.revision;
	if (r >= 0 || r == -EBUSY)
		return r;

	fail_all(sqlite, -EIO);
	return 0;
}

/* What there is now, as puts. */
static int tell_present(struct sqlite *sqlite, struct sqlite_watch *watch)
{
	_cleanup_(freep) char *to = store_prefix_end(watch->prefix);
	const struct store_range range = { .from = watch->prefix, .to = to };
	struct database_state state;
	bool more;
	int r;

	if (!to)
		return -ENOMEM;
	r = sqlite_read_range(sqlite, &range, &sqlite->entries, &more, &state);
	if (r < 0)
		return r;
	watch->from_revision = state.revision;

	return tell_revision(sqlite, watch, state.revision);
}

static int tell_past(struct sqlite *sqlite, struct sqlite_watch *watch)
{
	struct database_state state;
	int r = database_run(sqlite->database, DATABASE_BEGIN);

	if (r >= 0)
		r = database_read_state(sqlite->database, &state);
	if (r >= 0)
		r = watch->from_revision <= state.compacted
			? -ESTALE
			: tell_from(sqlite, watch, watch->from_revision);
	if (!sqlite3_get_autocommit(sqlite->database->connection))
		database_run(sqlite->database, DATABASE_ROLLBACK);

	return r;
}

void sqlite_watch_start(struct sqlite *sqlite, struct sqlite_watch *watch)
{
	int r;

	if (watch->is_over)
		return;
	watch->is_started = true;
	r = watch->from_revision == 0 ? tell_present(sqlite, watch) : tell_past(sqlite, watch);
	if (r < 0 && !watch->is_over)
		watch_fail(watch, r == -ESTALE ? -ESTALE : -EIO);
}
