/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * That a grant has been handed out is written behind the answer, for all grants together that were
 * handed out while the last such change was under way: a grant to thousands makes few changes.
 */

#include <errno.h>
#include <string.h>

#include "agent/common/times.h"
#include "contrib/control-plane/feed/feed.h"
#include "contrib/control-plane/jit/request.h"

#define BATCH_MAX 1000
#define WAITING_MAX 100000
#define NOTHING 1

struct batch {
	struct feed *feed;
	char **grants;
	size_t n;
	int64_t now_usec;
};

static int batch_build(struct change *change, void *userdata)
{
	struct batch *batch = userdata;
	int r = NOTHING;

	for (size_t i = 0; i < batch->n; i++) {
		struct request *request;
		const struct access *access =
			jit_find_grant(batch->feed->options.jit, batch->grants[i], NULL, &request);
		struct progress progress;

		if (!access || access->progress.delivered > 0)
			continue;
		progress = access->progress;
		progress.delivered = batch->now_usec;
		r = change_compare(change, progress.mod_revision, "progress/%s", batch->grants[i]);
		if (r == 0)
			r = change_put(change, progress_to_json(&progress),
				request_ends(request) + JIT_REQUEST_KEPT_SECONDS, "progress/%s",
				batch->grants[i]);
		if (r < 0)
			return r;
	}
	return r;
}

static void begin(struct feed *feed);

/* What fails is left to the agent, which tells it, too. */
static void batch_done(int error, int64_t revision, void *userdata)
{
	struct batch *batch = userdata;
	struct feed *feed = batch->feed;

	(void)error, (void)revision;
	for (size_t i = 0; i < batch->n; i++)
		free(batch->grants[i]);
	free(batch->grants);
	free(batch);
	feed->is_delivering = false;
	begin(feed);
}

static int compare_grants(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The same grant to two calls of one agent is one. */
static void batch_sort(struct batch *batch)
{
	size_t n = 0;

	qsort(batch->grants, batch->n, sizeof(*batch->grants), compare_grants);
	for (size_t i = 0; i < batch->n; i++) {
		if (n > 0 && strcmp(batch->grants[n - 1], batch->grants[i]) == 0)
			free(batch->grants[i]);
		else
			batch->grants[n++] = batch->grants[i];
	}
	batch->n = n;
}

static void begin(struct feed *feed)
{
	size_t n = feed->n_delivered < BATCH_MAX ? feed->n_delivered : BATCH_MAX;
	struct batch *batch;

	if (n == 0 || feed->is_delivering)
		return;
	batch = calloc(1, sizeof(*batch));
	if (!batch)
		return;
	batch->grants = calloc(n, sizeof(*batch->grants));
	if (!batch->grants) {
		free(batch);
		return;
	}
	batch->feed = feed;
	batch->n = n;
	batch->now_usec = (int64_t)clock_realtime_usec();
	memcpy(batch->grants, feed->delivered, n * sizeof(*batch->grants));
	feed->n_delivered -= n;
	memmove(feed->delivered, feed->delivered + n, feed->n_delivered * sizeof(char *));
	batch_sort(batch);
	feed->is_delivering = true;
	change_begin(feed->options.store, feed->options.leases, batch_build, batch_done, batch);
}

void feed_note_delivered(struct feed *feed, const char *grant)
{
	char *copy;

	if (feed->n_delivered >= WAITING_MAX)
		return;
	if (feed->n_delivered == feed->n_delivered_allocated) {
		size_t n = feed->n_delivered ? 2 * feed->n_delivered : 64;
		char **grown = reallocarray(feed->delivered, n, sizeof(*grown));

		if (!grown)
			return;
		feed->delivered = grown;
		feed->n_delivered_allocated = n;
	}
	copy = strdup(grant);
	if (!copy)
		return;
	feed->delivered[feed->n_delivered++] = copy;
	begin(feed);
}
