/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Calls to a control plane: JSON over HTTPS, one at a time, waiting for the answer. Only https,
 * save to loopback; TLS 1.2 at least; no redirects; sizes and times are bounded.
 */

#include <jansson.h>

#include "cleanup.h"

#define HTTP_BODY_BYTES_MAX (4 * 1024 * 1024) /* of an answer */

/* What is wrong with the URL of a control plane: url_reason() (agent/common/url.h), and that it can
 * have no query, since paths are put behind it. NULL where it is fine. */
const char *http_url_reason(const char *url);

struct http;

enum http_error {
	HTTP_NO_CURL = 1, /* the library, or memory, fails */
	HTTP_UNREACHABLE, /* no such host, nobody listens, timed out */
	HTTP_UNTRUSTED, /* its certificate */
	HTTP_BROKEN, /* what came is no answer of a control plane */
};

struct http_answer {
	long status;
	json_t *body; /* an object; NULL where the answer had no body */
	char *text; /* the body as it came */
	size_t n_bytes;
	long retry_after; /* seconds; 0: not said */
	/* What went wrong where http_call() returns an error: a sentence without a full stop. */
	char error[1024];
};

/* url is one that http_url_reason() lets pass; ca is a file with the authorities to trust in place
 * of the system's, or NULL; token may be NULL. Returns 0 or -ENOMEM. */
int http_new(const char *url, const char *ca, const char *token, struct http **ret);
struct http *http_free(struct http *http);
DEFINE_CLEANUP(struct http *, http_free)

const char *http_url(const struct http *http);

/*
 * Calls, with body as JSON (borrowed; NULL: none), and waits at most seconds for the whole answer.
 * path begins with "/" and stands behind the base URL. Returns 0 and an answer of any status, to be
 * released with http_answer_done(); one of HTTP_…, with error filled in.
 */
int http_call(struct http *http, const char *method, const char *path, const json_t *body,
	long seconds, struct http_answer *answer);
void http_answer_done(struct http_answer *answer);
