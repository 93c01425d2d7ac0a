/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * What happened, on its way to the control plane. The agent's audit log is the queue; all that is
 * kept here is how far the control plane has acknowledged it.
 *
 *   something was recorded ──▶ gather a few ms ──▶ ListEvents ──▶ POST ──▶ acknowledged ──▶ more?
 *
 * One POST is under way at a time. An event that the control plane refuses is found by halving, and
 * passed over, so that the rest goes through.
 */

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "agent/common/config.h"
#include "agent/poll/agent_link.h"
#include "agent/poll/transport.h"

struct events;

struct events_listener {
	/* The control plane has all up to this one. */
	void (*on_acknowledged)(uint64_t sequence, void *userdata);
	/* The agent's log is another than the one that was sent: it begins anew. */
	void (*on_log_lost)(void *userdata);
	/* The agent has told that its ledger was damaged, or lost. */
	void (*on_ledger_damaged)(void *userdata);
	void *userdata;
};

/* Sends what is above acknowledged; is_first: nothing was ever sent. What is given must outlive it.
 * Returns 0 or -errno. */
int events_new(sd_event *event, const struct config *config, struct transport *transport,
	struct agent_link *link, uint64_t acknowledged, bool is_first,
	const struct events_listener *listener, struct events **ret);
struct events *events_free(struct events *events);
DEFINE_CLEANUP(struct events *, events_free)

/* There may be something new. */
void events_kick(struct events *events);

/* The control plane is back: tries at once what failed. */
void events_on_feed_back(struct events *events);
