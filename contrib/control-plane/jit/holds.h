/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Calls that wait for a request to change. */

#include "contrib/control-plane/http/http.h"
#include "contrib/control-plane/jit/jit.h"

#define HOLDS_MAX 4096
#define HOLDS_PER_REQUEST 64
#define HOLDS_PER_PRINCIPAL 32

/* Holds a call until the request's revision is above after, or wait seconds have passed: then it
 * is answered with the request as it is. Where too many are held: 429. */
void holds_add(struct jit *jit, struct request *request, struct http_request *call, int64_t after,
	int64_t wait);

/* Answers those whose time has come: the request has changed, or is about to go. */
void holds_answer(struct jit *jit, struct request *request);

/* All of them, whose calls are gone already. */
void holds_forget(struct jit *jit);
