/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * HTTP to the feed: libcurl's multi interface in an sd_event loop. HTTPS (TLS 1.2 and up, the peer
 * verified), or plain HTTP to a loopback address; HTTP/2 where the server has it; no redirects; no
 * proxy but what the environment names (https_proxy, no_proxy). Every answer is bounded in bytes of
 * its header and body, and in time.
 */

#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "agent/common/config.h"

#define TRANSPORT_ERROR_MAX 256

struct transport;
struct request;

/* Strings live until the callback returns. */
struct response {
	long status; /* 0: there is no answer */
	const char *error; /* why not, printable */
	const char *body;
	size_t n_bytes;
	const char *content_type; /* or NULL */
	const char *etag; /* or NULL */
	const char *retry_after; /* or NULL */
	const char *location; /* of a redirect, or NULL */
};

/* feed must outlive it. Returns 0 or -errno. */
int transport_new(sd_event *event, const struct config_feed *feed, struct transport **ret);
struct transport *transport_free(struct transport *transport);
DEFINE_CLEANUP(struct transport *, transport_free)

/* Who asks one question at a time, over connections that are kept. n_bytes_max bounds a body. */
int request_new(struct transport *transport, size_t n_bytes_max,
	void (*on_response)(const struct response *response, void *userdata), void *userdata,
	struct request **ret);
struct request *request_free(struct request *request);
DEFINE_CLEANUP(struct request *, request_free)

/*
 * Asks; the callback comes from the loop, once, within timeout_ms, and may ask again. etag (NULL:
 * none) is sent as If-None-Match. Returns 0; -EBUSY while a question is under way; -EACCES or
 * another -errno with a sentence in error where the credential can't be read; -ENOMEM.
 */
int request_get(struct request *request, const char *url, const char *etag, uint64_t timeout_ms,
	char error[static TRANSPORT_ERROR_MAX]);

/* The same with a JSON body, which is taken over, also on failure. */
int request_post(struct request *request, const char *url, char *body, uint64_t timeout_ms,
	char error[static TRANSPORT_ERROR_MAX]);

/* Gives up what is under way, without a callback. */
void request_cancel(struct request *request);
