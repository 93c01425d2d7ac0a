/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Tables of routes, and what was answered on each. */

#include "contrib/control-plane/http/http.h"
#include "contrib/control-plane/http/uri.h"

#define STATUS_CLASSES 5 /* 1xx to 5xx */

struct answers {
	uint64_t n[STATUS_CLASSES];
	uint64_t usec[STATUS_CLASSES];
};

struct router_table {
	const struct http_route *routes;
	size_t n_routes;
	void *userdata;
	struct answers *answers; /* one for each route */
};

struct router {
	struct router_table *tables;
	size_t n_tables;
	struct answers unrouted;
};

/* routes (borrowed) end with a NULL method. Returns 0 or -ENOMEM. */
int router_add(struct router *router, const struct http_route *routes, void *userdata);
void router_done(struct router *router);

/* What router_find() returns besides 0. */
enum {
	ROUTER_NO_PATH = 1,
	ROUTER_NO_METHOD = 2,
};

struct router_match {
	const struct http_route *route;
	void *userdata;
	struct answers *answers;
};

/* Finds the first route that fits. HEAD goes where GET does. */
int router_find(const struct router *router, const char *method, const struct uri *uri,
	struct router_match *ret);

/* The methods of the routes whose path fits, "GET, HEAD, PUT". Returns text. */
#define ROUTER_ALLOW_MAX 64
const char *router_allow(
	const struct router *router, const struct uri *uri, char text[static ROUTER_ALLOW_MAX]);

void answers_add(struct answers *answers, unsigned status, uint64_t usec);
