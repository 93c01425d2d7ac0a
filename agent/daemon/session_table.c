/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "agent/daemon/session_table.h"

_Static_assert(
	sizeof(struct flow) == 2 + 2 * ADDRESS_BYTES_MAX + 4, "flows compare by their bytes");

int flows_compare(const void *a, const void *b)
{
	/* A session begins with its flow. */
	return memcmp(a, b, sizeof(struct flow));
}

static void session_free(void *item)
{
	struct session *session = item;

	sd_event_source_disable_unref(session->timer);
	free(session->grant);
	free(session->subject);
	free(session);
}

void session_table_done(struct session_table *table)
{
	tdestroy(table->tree, session_free);
	*table = (struct session_table){};
}

struct session *session_table_find(const struct session_table *table, const struct flow *flow)
{
	void *found = tfind(flow, &table->tree, flows_compare);

	return found ? *(struct session **)found : NULL;
}

struct search {
	const struct flow *flow;
	struct session *found;
};

static void match_translated(const void *node, VISIT visit, void *userdata)
{
	struct search *search = userdata;
	struct session *session = *(struct session *const *)node;

	if ((visit == postorder || visit == leaf) &&
		flows_compare(&session->translated, search->flow) == 0)
		search->found = session;
}

struct session *session_table_find_socket(
	const struct session_table *table, const struct flow *translated)
{
	struct search search = { translated, session_table_find(table, translated) };

	if (!search.found && table->n_translated > 0)
		twalk_r(table->tree, match_translated, &search);
	return search.found;
}

int session_table_add(struct session_table *table, const struct flow *flow, const char *grant,
	const char *subject, uint64_t since_usec, struct session **ret)
{
	struct session *session;

	if (table->n >= SESSIONS_MAX)
		return -ENOSPC;
	session = calloc(1, sizeof(*session));
	if (!session)
		return -ENOMEM;
	session->flow = *flow;
	session->translated = *flow;
	session->since_usec = since_usec;
	session->grant = grant ? strdup(grant) : NULL;
	session->subject = subject ? strdup(subject) : NULL;
	/* Nobody's, it would be passed over where its grant's are ended. */
	if ((grant && !session->grant) || (subject && !session->subject) ||
		!tsearch(session, &table->tree, flows_compare)) {
		session_free(session);
		return -ENOMEM;
	}
	table->n++;
	*ret = session;
	return 0;
}

void session_table_translate(
	struct session_table *table, struct session *session, const struct flow *translated)
{
	if (flows_compare(&session->flow, &session->translated) == 0)
		table->n_translated++;
	session->translated = *translated;
}

void session_table_drop(struct session_table *table, struct session *session)
{
	tdelete(session, &table->tree, flows_compare);
	table->n--;
	if (flows_compare(&session->flow, &session->translated) != 0)
		table->n_translated--;
	session_free(session);
}

static void link_behind(const void *node, VISIT visit, void *userdata)
{
	struct session ***end = userdata;

	if (visit != postorder && visit != leaf)
		return;
	**end = *(struct session *const *)node;
	*end = &(**end)->next;
}

struct session *session_table_list(const struct session_table *table)
{
	struct session *first, **end = &first;

	twalk_r(table->tree, link_behind, &end);
	*end = NULL;
	return first;
}
