/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What a Varlink client sends and is sent, as messages: for the client that waits and for those in
 * an event loop. */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct varlink_reply {
	json_t *parameters;
	char *error; /* NULL: none */
	bool continues;
};

/* Reads a message. Returns 0 and the reply, owned by the caller; -EBADMSG where it is none;
 * -ENOMEM. */
int varlink_reply_read(const char *text, size_t n_bytes, struct varlink_reply *ret);
void varlink_reply_done(struct varlink_reply *reply);

/* A call; consumes parameters (NULL: none). Returns NULL for want of memory. */
json_t *varlink_call_message(const char *method, json_t *parameters, bool more);
