/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Where documents come from. A control plane is asked with a long poll: it holds the question until
 * there is something, or the wait is over; the first question, and the first after a failure, is
 * held for a second only, so that it is known how the feed is. A static feed is asked again and
 * again.
 *
 *   ask ──▶ answer ──▶ deliver (agent) ──▶ ask behind the cursor
 *    ▲                                      │
 *    └── pause: after a failure (backoff), ◀┘
 *        and where the feed does not hold
 */

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "agent/common/config.h"
#include "agent/poll/agent_link.h"
#include "agent/poll/cursor.h"
#include "agent/poll/report.h"
#include "agent/poll/transport.h"

struct feed;

struct feed_listener {
	/* All documents before this cursor (empty: begin anew) had their answer. */
	void (*on_cursor)(const char *cursor, void *userdata);
	/* The agent did not believe a document: it has no key that verifies it. */
	void (*on_disbelieved)(void *userdata);
	/* It answers, after it did not. */
	void (*on_back)(void *userdata);
	void *userdata;
};

/* Asks from the loop, beginning behind cursor. What is given must outlive it. Returns 0 or -errno.
 */
int feed_new(sd_event *event, const struct config *config, struct transport *transport,
	struct agent_link *link, struct report *report, const char *cursor,
	const struct feed_listener *listener, struct feed **ret);
struct feed *feed_free(struct feed *feed);
DEFINE_CLEANUP(struct feed *, feed_free)

void feed_on_agent_up(struct feed *feed);
void feed_on_clock_stepped(struct feed *feed);

/* True while the agent is judging what the feed answered. */
bool feed_is_delivering(const struct feed *feed);

/* The agent has lost what it knew, or judges otherwise now: asks for all that is live, at once
 * where the feed answers. */
void feed_begin_anew(struct feed *feed);

/* The URL of a question: base/v1/vms/{vmId}/documents?after={cursor}&wait={seconds}, without after
 * for an empty cursor; base itself for a static feed. NULL for want of memory; to be freed. */
char *feed_url(const struct config_feed *feed, const char *vm_id, const char *cursor,
	int64_t wait_seconds);
