/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * What the commands make of a control plane's answers: a byte for the command, one for how it is
 * called, then answers, a line each, "STATUS BODY". HTTP itself is libcurl's: here its place is
 * taken by one that reads the input.
 */

#include <errno.h>

#include "agent/cli/http.h"
#include "agent/common/strictjson.h"
#include "tests/fuzz/commands.h"

#define SERVER "--server", "http://localhost:1"

static const struct call calls[] = {
	{ &command_requests, { SERVER } },
	{ &command_request, { SERVER, "web-1", "--port", "22/tcp", "--reason", "r" } },
	{ &command_approve, { SERVER, "some-id" } },
	{ &command_deny, { SERVER, "some-id", "--reason", "r" } },
	{ &command_requests_revoke, { SERVER, "some-id", "--reason", "r" } },
	{ &command_activity, { SERVER } },
};

/* The answers that are left. */
static const char *rest;

struct http {
	int unused;
};

int http_new(const char *url, const char *ca, const char *token, struct http **ret)
{
	(void)url, (void)ca, (void)token;
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

struct http *http_free(struct http *http)
{
	free(http);
	return NULL;
}

const char *http_url(const struct http *http)
{
	(void)http;
	return "http://localhost:1";
}

const char *http_url_reason(const char *url)
{
	(void)url;
	return NULL;
}

int http_call(struct http *http, const char *method, const char *path, const json_t *body,
	long seconds, struct http_answer *answer)
{
	size_t n = strcspn(rest, "\n");
	char reason[128], *text;

	(void)http, (void)method, (void)path, (void)body, (void)seconds;
	*answer = (struct http_answer){ .status = strtol(rest, &text, 10) % 1000 };
	if (n == 0 || text > rest + n) {
		snprintf(answer->error, sizeof(answer->error), "nobody answers");
		return HTTP_UNREACHABLE;
	}
	answer->n_bytes = (size_t)(rest + n - text);
	answer->text = take_text((const uint8_t *)text, answer->n_bytes);
	rest += rest[n] ? n + 1 : n;
	if (answer->n_bytes > 0 &&
		json_parse_object(
			answer->text, answer->n_bytes, &answer->body, reason, sizeof(reason)) < 0 &&
		answer->status < 400) {
		http_answer_done(answer);
		snprintf(answer->error, sizeof(answer->error), "no answer of a control plane");
		return HTTP_BROKEN;
	}
	return 0;
}

void http_answer_done(struct http_answer *answer)
{
	json_decref(answer->body);
	free(answer->text);
	answer->body = NULL;
	answer->text = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct call *call = &calls[take_byte(&data, &size) % N_ELEMENTS(calls)];
	unsigned how = take_byte(&data, &size);
	_cleanup_(freep) char *text = take_text(data, size);

	rest = text;
	call_check(call, how);
	return 0;
}
