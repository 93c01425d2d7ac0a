/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdlib.h>

#include "agent/common/times.h"
#include "contrib/control-plane/state/leases.h"

#define HOUR INT64_C(3600)
#define DAY (24 * HOUR)

struct waiter {
	struct waiter *next;
	leases_on_obtained *handler;
	void *userdata;
};

/* A lease that is at hand (id above 0) or asked for. */
struct lease {
	struct lease *next;
	struct leases *leases;
	int64_t end;
	int64_t id;
	struct waiter *waiters;
};

struct leases {
	struct store *store;
	struct lease *list;
};

int leases_new(struct store *store, struct leases **ret)
{
	struct leases *leases = calloc(1, sizeof(*leases));

	if (!leases)
		return -ENOMEM;
	leases->store = store;
	*ret = leases;
	return 0;
}

static void waiters_free(struct waiter *waiter)
{
	while (waiter) {
		struct waiter *next = waiter->next;

		free(waiter);
		waiter = next;
	}
}

struct leases *leases_free(struct leases *leases)
{
	struct lease *lease, *next;

	if (!leases)
		return NULL;
	for (lease = leases->list; lease; lease = next) {
		next = lease->next;
		waiters_free(lease->waiters);
		free(lease);
	}
	free(leases);
	return NULL;
}

static int64_t now_seconds(void)
{
	return (int64_t)(clock_realtime_usec() / USEC_PER_SEC);
}

/* The end of the span in which all that ends shares a lease. */
static int64_t span_end(int64_t until)
{
	int64_t span = until - now_seconds() > 2 * DAY ? DAY : HOUR;

	return (until / span + 1) * span;
}

static struct lease *lease_lookup(struct leases *leases, int64_t end)
{
	for (struct lease *lease = leases->list; lease; lease = lease->next)
		if (lease->end == end)
			return lease;
	return NULL;
}

static void lease_unlink(struct leases *leases, struct lease *lease)
{
	for (struct lease **at = &leases->list; *at; at = &(*at)->next)
		if (*at == lease) {
			*at = lease->next;
			return;
		}
}

/* Those whose end is near or past: what is kept until later has another. */
static void leases_prune(struct leases *leases)
{
	struct lease *lease, *next;
	int64_t now = now_seconds();

	for (lease = leases->list; lease; lease = next) {
		next = lease->next;
		if (lease->id > 0 && lease->end <= now) {
			lease_unlink(leases, lease);
			free(lease);
		}
	}
}

int64_t leases_find(struct leases *leases, int64_t until)
{
	const struct lease *lease = lease_lookup(leases, span_end(until));

	return lease ? lease->id : 0;
}

static void lease_on_granted(int error, int64_t id, void *userdata)
{
	struct lease *lease = userdata;
	struct waiter *waiters = lease->waiters, *waiter;

	lease->waiters = NULL;
	if (error < 0) {
		lease_unlink(lease->leases, lease);
		free(lease);
	} else {
		lease->id = id;
	}
	for (waiter = waiters; waiter; waiter = waiter->next)
		waiter->handler(error, waiter->userdata);
	waiters_free(waiters);
}

static int lease_request(struct leases *leases, int64_t end, struct lease **ret)
{
	struct lease *lease = calloc(1, sizeof(*lease));
	int64_t ttl = end - now_seconds();
	int r;

	if (!lease)
		return -ENOMEM;
	leases_prune(leases);
	lease->leases = leases;
	lease->end = end;
	r = store_lease_grant(leases->store, ttl > 1 ? ttl : 1, lease_on_granted, lease);
	if (r < 0) {
		free(lease);
		return r;
	}
	lease->next = leases->list;
	leases->list = lease;
	*ret = lease;
	return 0;
}

int leases_obtain(struct leases *leases, int64_t until, leases_on_obtained *handler, void *userdata)
{
	int64_t end = span_end(until);
	struct lease *lease = lease_lookup(leases, end);
	struct waiter *waiter = calloc(1, sizeof(*waiter));
	int r;

	if (!waiter)
		return -ENOMEM;
	if (lease && lease->id > 0) {
		lease_unlink(leases, lease);
		free(lease);
		lease = NULL;
	}
	if (!lease) {
		r = lease_request(leases, end, &lease);
		if (r < 0) {
			free(waiter);
			return r;
		}
	}
	*waiter = (struct waiter){ lease->waiters, handler, userdata };
	lease->waiters = waiter;
	return 0;
}

void leases_forget(struct leases *leases)
{
	struct lease **at = &leases->list;

	while (*at) {
		struct lease *lease = *at;

		if (lease->id > 0) {
			*at = lease->next;
			free(lease);
		} else {
			at = &lease->next;
		}
	}
}
