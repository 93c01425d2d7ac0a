/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* One audit record of an agent, as it comes. Pure. */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "contrib/control-plane/jit/problem.h"
#include "contrib/control-plane/jit/request.h"

#define EVENT_TEXT_BYTES_MAX 1024
#define EVENT_KEY_BYTES_MAX 128
#define EVENT_AHEAD_SECONDS 300

struct event {
	int64_t sequence;
	int64_t time; /* µs */
	char *type;
	char *grant; /* and what follows: NULL where the record says nothing of it */
	char *subject;
	char *source;
	char *protocol;
	char *reason;
	char *code;
	char *message;
	int port; /* 0: none */
	/* Under "activity/": what is the same has the same, unless it is ahead. */
	char key[EVENT_KEY_BYTES_MAX];
	bool is_ahead; /* its key is of when it came */
};

/* The part of its key that is the same whenever it comes. Borrowed. */
const char *event_id(const struct event *event);

/*
 * Reads a record. It needs a sequence, a time and a type; what else it says is taken as far as it
 * makes sense, cut to EVENT_TEXT_BYTES_MAX, so that one odd record holds up none behind it. vm_key:
 * whose it is. What is said to happen later than EVENT_AHEAD_SECONDS from now happens now: it would
 * stand before all that comes in the log. Returns 0, PROBLEM, -ENOMEM; to be released with
 * event_done() in any case.
 */
int event_read(const json_t *json, size_t i, const char *vm_key, int64_t now_usec,
	struct event *ret, struct problem *problem);
void event_done(struct event *event);

/* What it says of its grant's progress that was not known. True where it says something new. */
bool event_apply(const struct event *event, struct progress *progress);
