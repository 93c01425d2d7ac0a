/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * The way to jitgated: its Varlink socket, in an sd_event loop. One connection listens (Monitor)
 * and is made again whenever it breaks; another makes calls, one after the other, and is there only
 * while there are any, so that neither side keeps a timer for it.
 */

#include <jansson.h>
#include <systemd/sd-event.h>

#include "cleanup.h"

#define LINK_ERROR 1 /* the agent answered with an error */

struct agent_link;

struct link_listener {
	/* The agent is there, anew: what was under way before is gone. */
	void (*on_up)(void *userdata);
	/* Something was recorded; its type (borrowed) is "" where the event has none. */
	void (*on_event)(const char *type, void *userdata);
	void *userdata;
};

/* path must outlive it. Begins to listen from the loop. Returns 0 or -errno. */
int agent_link_new(sd_event *event, const char *path, const struct link_listener *listener,
	struct agent_link **ret);
struct agent_link *agent_link_free(struct agent_link *link);
DEFINE_CLEANUP(struct agent_link *, agent_link_free)

/*
 * status 0: parameters (borrowed) are the reply's; LINK_ERROR: they are the error's, and error is
 * its name without the interface; -errno: there was no answer, and whether the call was carried out
 * is not known (-ENOENT, -ECONNREFUSED: nobody listens; -EMSGSIZE: it is too long to be sent).
 */
typedef void (*link_answer_t)(
	int status, const char *error, const json_t *parameters, void *userdata);

/* Calls a method of io.jitgate.Agent; the answer comes from the loop, always. Consumes parameters.
 * Returns 0 or -ENOMEM. */
int agent_link_call(struct agent_link *link, const char *method, json_t *parameters,
	link_answer_t on_answer, void *userdata);
