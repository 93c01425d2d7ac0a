/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>

#include "agent/common/times.h"
#include "contrib/control-plane/jit/api.h"
#include "contrib/control-plane/jit/holds.h"

/* Goes with its call: freed when that has been answered. */
struct hold {
	struct hold *next; /* of the request's */
	struct hold *next_of_all;
	struct jit *jit;
	struct request *request;
	struct http_request *call;
	int64_t after;
};

static void hold_answer(struct hold *hold)
{
	struct request *request = hold->request;
	struct hold **at = &request->holds;

	while (*at != hold)
		at = &(*at)->next;
	*at = hold->next;
	for (at = &hold->jit->holds; *at != hold; at = &(*at)->next_of_all)
		;
	*at = hold->next_of_all;
	http_respond_json(hold->call, 200,
		request_to_json(request, REQUEST_FULL,
			(int64_t)(clock_realtime_usec() / USEC_PER_SEC), api_may_read,
			api_principal(hold->call)));
	free(hold);
}

static void hold_on_timeout(struct http_request *call, void *userdata)
{
	(void)call;
	hold_answer(userdata);
}

void holds_answer(struct jit *jit, struct request *request)
{
	int64_t revision = request_revision(request);
	struct hold *hold, *next;
	/* Of one that has gone from the table nothing more will come. */
	bool is_gone = table_find(&jit->requests, request->key) != request;

	for (hold = request->holds; hold; hold = next) {
		next = hold->next;
		if (is_gone || revision > hold->after)
			hold_answer(hold);
	}
}

static bool has_room(const struct jit *jit, const struct request *request, const char *principal)
{
	size_t n_all = 0, n_request = 0, n_principal = 0;

	for (const struct hold *hold = jit->holds; hold; hold = hold->next_of_all) {
		n_all++;
		n_request += hold->request == request;
		n_principal += strcmp(api_principal(hold->call)->name, principal) == 0;
	}
	return n_all < HOLDS_MAX && n_request < HOLDS_PER_REQUEST &&
		n_principal < HOLDS_PER_PRINCIPAL;
}

void holds_add(struct jit *jit, struct request *request, struct http_request *call, int64_t after,
	int64_t wait)
{
	struct hold *hold;
	int r;

	if (!has_room(jit, request, api_principal(call)->name)) {
		http_request_add_header(call, "Retry-After", "5");
		http_respond_error(
			call, 429, "TooManyRequests", "too many calls wait for requests to change");
		return;
	}
	hold = calloc(1, sizeof(*hold));
	if (!hold)
		return api_respond_error(call, -ENOMEM);
	*hold = (struct hold){ request->holds, jit->holds, jit, request, call, after };
	r = http_request_set_timeout(call, (uint64_t)wait * USEC_PER_SEC, hold_on_timeout, hold);
	if (r < 0) {
		free(hold);
		return api_respond_error(call, r);
	}
	request->holds = hold;
	jit->holds = hold;
}

void holds_forget(struct jit *jit)
{
	struct hold *hold;

	while ((hold = jit->holds)) {
		jit->holds = hold->next_of_all;
		free(hold);
	}
}
