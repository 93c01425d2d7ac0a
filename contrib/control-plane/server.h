/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * jitgate-server as a whole: what its parts stand on, and who may call them.
 *
 * A part (jit, feed, activity) is made in server_begin_parts(), where the store is open and
 * identity is there, and watches what it keeps in memory; what there is, it has been told before
 * anybody calls. Its table of routes joins those in server_serve(), with itself as userdata. Each
 * route says in `access` what it needs; nobody gets past it otherwise. What a part reads from files
 * it reads again in server_reload(). The configuration's strings of [server] stay where they are,
 * save those of its files.
 */

#include <systemd/sd-event.h>

#include "contrib/control-plane/activity/activity.h"
#include "contrib/control-plane/config.h"
#include "contrib/control-plane/http/http.h"
#include "contrib/control-plane/http/rate.h"
#include "contrib/control-plane/metrics.h"
#include "contrib/control-plane/store/store.h"

/* http_route.access. */
enum {
	/* The request's data (http_request_data) is its struct principal until the handler sets
	 * other data. */
	NEEDS_PRINCIPAL,
	/* The bearer credential is of an agent that is enrolled; of which, the handler finds out.
	 */
	NEEDS_AGENT,
	/* There is a bearer credential, and its owner does not call too often. The handler knows
	 * whose it is, or calls server_refuse_credential(). */
	NEEDS_CREDENTIAL,
	NEEDS_NOTHING,
};

struct server {
	sd_event *event;
	const char *config_path;
	struct server_config *config;
	struct store *store;
	struct identity *identity;
	struct metrics metrics;
	struct rate_table *callers; /* by name; NULL: no limit */
	struct rate_table *strangers; /* by address: who shows no credential, or a wrong one */
	struct http_server *http;
	struct leases *leases;
	struct activity activity;
	struct jit *jit;
	struct feed *feed;
};

/*
 * Opens the store and listens. Consumes config. Returns 0 or -errno, having logged why.
 */
int server_new(sd_event *event, const char *config_path, struct server_config *config,
	struct server **ret);
struct server *server_free(struct server *server);
DEFINE_CLEANUP(struct server *, server_free)

/* Reads server.conf again, and takes over certificate, issuers and assignments. Returns 0; -errno,
 * having logged why, and all is as before. */
int server_reload(struct server *server);

/* Answers 401, and counts against the address. reason: a sentence for who called. */
void server_refuse_credential(
	struct server *server, struct http_request *request, const char *reason);
