/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A control plane whose answers are the input's lines (commands.h), "STATUS BODY": HTTP itself is
 * libcurl's. */

#include <errno.h>

#include "agent/cli/http.h"
#include "agent/common/strictjson.h"
#include "tests/fuzz/commands.h"

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

int http_call(struct http *http, const char *method, const char *path, const json_t *body,
	long seconds, struct http_answer *answer)
{
	size_t n;
	const char *line = line_next(&n);
	char reason[128], *text;

	(void)http, (void)method, (void)path, (void)body, (void)seconds;
	*answer = (struct http_answer){ .status = strtol(line, &text, 10) % 1000 };
	if (n == 0 || text > line + n) {
		snprintf(answer->error, sizeof(answer->error), "nobody answers");
		return HTTP_UNREACHABLE;
	}
	answer->n_bytes = (size_t)(line + n - text);
	answer->text = take_text((const uint8_t *)text, answer->n_bytes);
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
