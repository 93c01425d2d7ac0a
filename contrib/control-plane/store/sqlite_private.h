/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the parts of a store in a SQLite file share. How they play together is told in sqlite.c. */

#include "contrib/control-plane/store/backend.h"
#include "contrib/control-plane/store/database.h"
#include "contrib/control-plane/store/entries.h"
#include "contrib/control-plane/store/job.h"

struct sqlite {
	struct store store;
	struct database *database;
	sd_event *event;

	struct job *jobs; /* a queue, in order of the calls */
	struct job **jobs_end;
	size_t n_jobs;
	size_t jobs_bytes;
	/* Once, when there is something to do; a little later, when another process has the lock.
	 */
	sd_event_source *run;
	uint64_t busy_until_usec; /* when it gives up waiting for it; 0: it does not wait */
	bool is_running;
	bool is_freed; /* while it was running */

	sd_event_source *changes; /* other processes' */
	int64_t told; /* the revision up to which watches know all */
	struct sqlite_watch *watches;
	struct sqlite_watch **watches_end;
	struct store_event *events; /* scratch, of what one watch is told */
	size_t n_events_allocated;
	struct entries entries; /* scratch, of events and what a lease has */
	struct entries range; /* scratch, of a range */

	sd_event_source *lease_timer; /* of the earliest end */
	bool lease_is_due;
	uint64_t lease_retry_usec; /* not before: ending leases has failed */
};

static inline struct sqlite *sqlite_of(struct store *store)
{
	return (struct sqlite *)store;
}

/* What leases are counted in: they outlive this boot. */
uint64_t wall_usec(void);

/* Runs what waits in the queue, in its turn. */
void sqlite_schedule(struct sqlite *sqlite);

/* Puts a job at the queue's end, and owns it. Returns 0; -ENOMEM where there is none; -EAGAIN. */
int sqlite_enqueue(struct sqlite *sqlite, struct job *job, void *userdata);

/* Wakes other processes that use the file: it has changed. */
void sqlite_signal(struct sqlite *sqlite);

/* writer.c */

/*
 * Does the writes among the first n_jobs, and ends leases that are due. Each of those jobs is done
 * then. Returns 0, or -EBUSY: another process has the lock, and nothing is done.
 */
int sqlite_write(struct sqlite *sqlite, size_t n_jobs);

/* Gives the writes among the first n_jobs an error in place of doing them. */
void sqlite_write_fail(struct sqlite *sqlite, size_t n_jobs, int error);

/* reader.c */

/* Reads a range, and the state of which it is, in place of what the entries were. Returns 0 or
 * -errno. */
int sqlite_read_range(struct sqlite *sqlite, const struct store_range *range,
	struct entries *entries, bool *ret_more, struct database_state *ret_state);

/* watches.c */

int sqlite_watch(struct store *store, const char *prefix, int64_t from_revision,
	store_on_events *handler, void *userdata, struct store_watch **ret);
void sqlite_watch_free(struct store_watch *watch);
struct sqlite_watch *sqlite_watch_unref(struct sqlite_watch *watch);

/* Tells watches what is new in the file, whoever made it. Returns 0, also where they had to be told
 * of an error; -EBUSY. */
int sqlite_tell(struct sqlite *sqlite);

/* Tells a watch what it wants to begin with. */
void sqlite_watch_start(struct sqlite *sqlite, struct sqlite_watch *watch);

/* leases.c */

int sqlite_lease_grant(
	struct store *store, int64_t ttl_seconds, store_on_lease *handler, void *userdata);
int sqlite_lease_keep_alive(
	struct store *store, int64_t lease, store_on_lease *handler, void *userdata);
int sqlite_lease_revoke(
	struct store *store, int64_t lease, store_on_lease *handler, void *userdata);

/* Sees to it that the lease that ends first does so in time. Returns 0 or -errno. */
int sqlite_lease_arm(struct sqlite *sqlite);
