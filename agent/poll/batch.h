/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What is sent of the agent's events in one question: pure functions. */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct batch {
	json_t *events;
	uint64_t last; /* sequence number of the last */
	uint64_t n_lost; /* told in it */
};

void batch_done(struct batch *batch);

/*
 * Makes a batch of at most n_max out of an answer to ListEvents(after): what is in listed, in
 * order, with an event events_lost where there is a gap. It has the last sequence number that is
 * lost, so that it too has its place in the order, and is sent but once. is_first: nothing was sent
 * ever, so that what is missing in front is no loss. now_seconds and boot_id are for that event.
 * Returns 0 (no events: there is nothing to send); -EBADMSG where listed is no list of events in
 * order; -ENOMEM.
 */
int batch_make(const json_t *listed, uint64_t newest, uint64_t after, bool is_first, size_t n_max,
	int64_t now_seconds, const char *boot_id, struct batch *ret);
