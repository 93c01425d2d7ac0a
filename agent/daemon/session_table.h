/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The sessions that are known, by their flow: whose they are, not what becomes of them. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "address.h"

#define SESSIONS_MAX 65536

struct session {
	struct flow flow; /* as the sender made it */
	struct flow translated; /* the socket's, where destination NAT brought it to another port or
				   address */
	char *grant; /* NULL: no longer known */
	char *subject;
	uint64_t since_usec; /* wall clock */
	bool open; /* the handshake is done */
	bool unheard; /* nobody tells its end: there is no socket here, but a container's */
	unsigned n_checks;
	struct sessions *sessions;
	sd_event_source *timer;
	struct session *next; /* session_table_list() */
};

struct session_table {
	void *tree; /* tsearch(3), by flow */
	size_t n;
	size_t n_translated;
};

/* An order of flows, for bsearch(3) and the like. */
int flows_compare(const void *a, const void *b);

/* Ends all of them, and the table. */
void session_table_done(struct session_table *table);

/* The session of that flow, as the sender made it, or NULL. */
struct session *session_table_find(const struct session_table *table, const struct flow *flow);

/* The session whose socket's flow that is, or NULL; one by one, where there is destination NAT. */
struct session *session_table_find_socket(
	const struct session_table *table, const struct flow *translated);

/* Adds a session that is not in it. grant and subject may be NULL. Returns 0 and the session, the
 * table's; -ENOSPC when there are SESSIONS_MAX; -ENOMEM. */
int session_table_add(struct session_table *table, const struct flow *flow, const char *grant,
	const char *subject, uint64_t since_usec, struct session **ret);

void session_table_translate(
	struct session_table *table, struct session *session, const struct flow *translated);

void session_table_drop(struct session_table *table, struct session *session);

/* All of them, linked by next, or NULL: each may be dropped once its next one is known. Good until
 * the next call. */
struct session *session_table_list(const struct session_table *table);
