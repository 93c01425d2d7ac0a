/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Documents on their way to the agent: submitted in order, one after the other. What the agent
 * refuses is over: it has judged it, and recorded that. What it could not do (Failed), and what it
 * refuses for now (refusal_passes()), is put aside and tried again, for up to an hour or a day,
 * behind what comes after it, so that no document holds up a revocation. While the agent is away,
 * all wait.
 */

#include <jansson.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

#include "agent/poll/agent_link.h"

struct delivery;

/* on_done: each document of a batch had an answer, or is put aside. on_settled: none is put aside
 * any more, and no batch is under way. on_dropped: the same, but there was no room for all that
 * were put aside. on_disbelieved: one was refused for its signature (refusal_is_of_trust()). */
struct delivery_listener {
	void (*on_done)(void *userdata);
	void (*on_settled)(void *userdata);
	void (*on_dropped)(void *userdata);
	void (*on_disbelieved)(void *userdata);
	void *userdata;
};

int delivery_new(sd_event *event, struct agent_link *link, const struct delivery_listener *listener,
	struct delivery **ret);
struct delivery *delivery_free(struct delivery *delivery);
DEFINE_CLEANUP(struct delivery *, delivery_free)

/* Begins a batch, an array (borrowed), when there is none under way. on_done comes from the loop
 * or, for an empty one, at once. */
void delivery_begin(struct delivery *delivery, json_t *documents);

/* True where every document so far had its answer. */
bool delivery_is_settled(const struct delivery *delivery);

/* True while answers to a batch are awaited. */
bool delivery_is_under_way(const struct delivery *delivery);

/* The agent is there anew. */
void delivery_on_agent_up(struct delivery *delivery);

/* The agent's clock was set: what it refused for its clock's sake it may take now. */
void delivery_on_clock_stepped(struct delivery *delivery);
