/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * What the files of this folder share: a server, its connections, and a request on its way.
 *
 *   receiving ──▶ handed to its handler ──▶ answered ──▶ sent, and freed
 *       └── refused before its body is there ──▶ ┘
 *
 * A request that its handler has not answered when it returns is held: its connection is suspended,
 * libmicrohttpd has no timeout for it and does not read from it, and we watch whether the client
 * goes away. To answer resumes it.
 */

#include <microhttpd.h>
#include <sys/queue.h>

#include "contrib/control-plane/http/listener.h"
#include "contrib/control-plane/http/router.h"

#define REQUEST_HEADERS_MAX 4

/* libmicrohttpd in the event loop. One retires when the certificate changes, and lives as long as
 * its connections. */
struct http_daemon {
	struct http_server *server;
	struct MHD_Daemon *mhd;
	int listen_fd; /* a duplicate of the server's, -1 when it accepts no more */
	sd_event_source *ready;
	sd_event_source *again;
	size_t n_connections;
	uint64_t n_steps; /* callbacks: something happened */
	unsigned n_idle_runs; /* in which nothing did */
	bool retired;
	LIST_ENTRY(http_daemon) daemons;
};

/* While it is waited for (a request to be there whole, or an answer to be taken), it is in the
 * server's list, which is in the order of the deadlines. */
struct connection {
	struct http_daemon *daemon;
	int fd;
	uint64_t deadline_usec; /* 0: not waited for */
	TAILQ_ENTRY(connection) waiting;
};

TAILQ_HEAD(connections, connection);
LIST_HEAD(requests, http_request);
LIST_HEAD(daemons, http_daemon);

struct http_server {
	sd_event *event;
	struct listener listener;
	struct daemons daemons; /* the first is the one that accepts */
	struct router router;
	bool (*admit)(struct http_request *request, const struct http_route *route, void *userdata);
	void *userdata;
	bool is_tls;
	unsigned n_connections_max;
	unsigned n_connections_per_address;
	uint64_t patience_usec;

	struct connections waiting;
	sd_event_source *deadline;

	struct requests held;
	size_t n_held;
	int hangup_fd; /* an epoll instance with the connections of what is held */
	sd_event_source *hangup;

	size_t n_body_bytes; /* of all requests */
	bool is_ending; /* no handler is called any more */
	char message[256]; /* libmicrohttpd's last */
};

struct http_request {
	struct http_server *server;
	struct connection *connection;
	struct MHD_Connection *mhd;
	const char *method;
	struct uri uri;
	const char *uri_error; /* why uri is not to be used */
	struct router_match match; /* route NULL: none */
	uint64_t begun_usec;

	char *body;
	size_t n_body;
	size_t n_discarded; /* of the body of a refused request */
	json_t *json;

	bool is_misframed; /* where its body ends is not known */
	bool is_received; /* whole */
	bool is_answered;
	bool is_held;
	LIST_ENTRY(http_request) held;

	void *data;
	void (*data_done)(void *data);
	sd_event_source *timer;
	void (*on_timeout)(struct http_request *request, void *userdata);
	void *timeout_userdata;

	char *headers[REQUEST_HEADERS_MAX][2];
	size_t n_headers;
	struct MHD_Response *response; /* NULL when answered: close */
	unsigned status;
};

/* Waits for the connection's peer from now on, or no more. */
void connection_wait(struct connection *connection);
void connection_wait_done(struct connection *connection);

/* Runs libmicrohttpd after a time. */
void daemon_run_again(struct http_daemon *daemon, uint64_t delay_usec);

/* libmicrohttpd's callbacks. */
void *request_begin(void *userdata, const char *target, struct MHD_Connection *mhd);
enum MHD_Result request_proceed(void *userdata, struct MHD_Connection *mhd, const char *target,
	const char *method, const char *version, const char *body, size_t *n_body, void **context);
void request_end(void *userdata, struct MHD_Connection *mhd, void **context,
	enum MHD_RequestTerminationCode code);

/* Frees what belongs to whoever handles it. */
void request_forget(struct http_request *request);

/* Lets a held request go on, to be answered. */
void request_release(struct http_request *request);

/* The client of a held request is gone, or the server ends: whoever holds it answers. */
void request_hang_up(struct http_request *request);

/* Answers 503: the server ends. */
void request_turn_away(struct http_request *request);

/* Judges a request by what stands before its body: answers where that cannot be. */
void request_check(struct http_request *request);

/* The longest body that its route takes. */
size_t request_body_max(const struct http_request *request);
