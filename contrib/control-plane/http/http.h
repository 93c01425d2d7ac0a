/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * HTTP/1.1 for the control plane: libmicrohttpd inside the event loop, with routes, bounds, JSON
 * and requests that are held until there is an answer. Knows no policy, no person, no store.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "address.h"
#include "cleanup.h"

#define HTTP_BODY_BYTES_MAX (64 * 1024) /* where a route says nothing else */
#define HTTP_PATH_BYTES_MAX 4096
#define HTTP_PARAMETERS_MAX 8

struct http_server;
struct http_request;

/*
 * A pattern's segments are words, compared without regard to case, or "{name}", which takes one
 * segment, decoded: "/v1/vms/{vm}/documents". The first route that fits path and method is taken.
 * Where only the path fits: 405 with Allow; where none does: 404.
 */
struct http_route {
	const char *method; /* "GET" (HEAD too), "POST", "PUT", "DELETE" */
	const char *pattern;
	const char *name; /* for metrics: "initiate" */
	size_t n_body_max; /* 0: HTTP_BODY_BYTES_MAX */
	/* Answers with http_respond_…(), now or later: once, and then the request is gone. */
	void (*handle)(struct http_request *request, void *userdata);
	int access; /* what admit makes of it */
};

struct http_options {
	const char *listen; /* "127.0.0.1:8080", "[::]:8443", or a path: a Unix socket */
	const char *certificate; /* PEM text; NULL: no TLS */
	const char *key; /* PEM text */
	/* Routes, ended by a NULL method (borrowed). NULL: none yet. */
	const struct http_route *routes;
	void *userdata;
	/*
	 * Called with each request when its headers are there and its body is not. false: it has
	 * answered, at once, and neither is the body kept nor the handler called. NULL: none.
	 */
	bool (*admit)(struct http_request *request, const struct http_route *route, void *userdata);
	unsigned n_connections_max; /* 0: 20,000; fewer where RLIMIT_NOFILE says so */
	unsigned n_connections_per_address; /* 0: no limit */
	/* How long a connection may be idle or take to bring a request, and its client to take the
	 * answer. 0: a minute. */
	uint64_t patience_usec;
};

enum http_reach {
	HTTP_REACH_LOCAL, /* only this machine reaches it */
	HTTP_REACH_ADDRESS, /* others, by the address that it says */
	HTTP_REACH_ANY, /* by each that this machine has */
};

/* Reads http_options.listen. Returns 0, or -EINVAL. */
int http_listen_check(const char *listen, enum http_reach *ret);

/*
 * Returns 0; -errno with a sentence in ret_error (allocated, owned by the caller; NULL for want of
 * memory). A socket that systemd passed takes the place of options->listen.
 */
int http_server_new(sd_event *event, const struct http_options *options, struct http_server **ret,
	char **ret_error);

/* More routes, after those that are there, each table with its own userdata. Returns 0 or -ENOMEM.
 * Before the loop runs. */
int http_server_add_routes(
	struct http_server *server, const struct http_route *routes, void *userdata);

/* Answers what is held with 503, and closes. Before the store is freed: a handler of the store's
 * must not come to a request that is gone. */
struct http_server *http_server_free(struct http_server *server);
DEFINE_CLEANUP(struct http_server *, http_server_free)

/* Certificate and key for connections that come from now on. Returns 0 or -EINVAL. */
int http_server_set_certificate(
	struct http_server *server, const char *certificate, const char *key);

/* What a request is; strings are borrowed from it. */
const char *http_request_method(const struct http_request *request);
const char *http_request_path(const struct http_request *request); /* as it came, without query */
const char *http_request_parameter(const struct http_request *request, const char *name);
const char *http_request_query(const struct http_request *request, const char *name); /* or NULL */
const char *http_request_header(const struct http_request *request, const char *name); /* or NULL */

size_t http_request_body_bytes(const struct http_request *request);

/* The credential of "Authorization: Bearer …", or NULL. */
const char *http_request_bearer(const struct http_request *request);

/* The body as a strict JSON object, borrowed; NULL where it is none, and an error (Azure's shape,
 * 400 InvalidRequestContent) has been answered. */
json_t *http_request_json(struct http_request *request);

/*
 * Where it came from: AF_INET or AF_INET6, IPv4-mapped addresses as AF_INET. Over a Unix socket it
 * is what the proxy says, the last address of X-Forwarded-For; AF_UNSPEC where it says nothing.
 */
void http_request_source(
	const struct http_request *request, uint8_t *ret_family, struct address *ret_address);

/* A pointer of the handler's own that goes with the request; done (may be NULL) is called with it
 * when the request has been answered, or the server is freed. Replaces an earlier one, which is
 * done then. */
void http_request_set_data(struct http_request *request, void *data, void (*done)(void *data));
void *http_request_data(const struct http_request *request);

/*
 * Calls back when timeout_usec (relative) has passed, or when the client has gone away before: the
 * callback must then answer. For what is held longer than a store takes. Replaces an earlier one.
 * A request without one stays until it is answered, whether its client is there or not.
 */
int http_request_set_timeout(struct http_request *request, uint64_t timeout_usec,
	void (*callback)(struct http_request *request, void *userdata), void *userdata);

/* A header of the answer to come, "Retry-After" for one. */
int http_request_add_header(struct http_request *request, const char *name, const char *value);

/*
 * Answer, and let the request go: it must not be touched afterwards. json is consumed. Where memory
 * fails the connection is closed.
 */
void http_respond_json(struct http_request *request, unsigned status, json_t *json);
void http_respond_text(
	struct http_request *request, unsigned status, const char *type, const char *text);
void http_respond_empty(struct http_request *request, unsigned status);

/* {"error": {"code", "message", "target": null, "details": [], "additionalInfo": []}}, as Azure's.
 */
void http_respond_error(struct http_request *request, unsigned status, const char *code,
	const char *format, ...) _printf_(4, 5);

/* For metrics: connections open, requests held, and what was answered to whom. */
struct http_counts {
	size_t n_connections;
	size_t n_held;
};

void http_server_count(const struct http_server *server, struct http_counts *ret);

/* Calls back for each route and status class (200 for all 2xx) that was answered: n, and the sum of
 * seconds from request to answer, held time included. Route "none": no route fitted. */
void http_server_foreach_answer(const struct http_server *server,
	void (*callback)(
		const char *route, unsigned status, uint64_t n, double seconds, void *userdata),
	void *userdata);
