/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "agent/common/times.h"
#include "contrib/control-plane/feed/documents.h"
#include "contrib/control-plane/jit/api.h"
#include "contrib/control-plane/jit/names.h"

static unsigned rank_of(const char *jti)
{
	char request[REQUEST_ID_BYTES_MAX];
	size_t vm, port;

	if (strcmp(jti, "policy") == 0)
		return 0;
	return grant_id_parse(jti, request, &vm, &port) ? 1 : 2;
}

void feed_document_done(struct feed_document *document)
{
	free(document->jti);
	free(document->text);
}

int feed_documents_add(
	struct feed_agent *agent, const char *jti, const char *text, int64_t revision)
{
	struct feed_document document = { revision, rank_of(jti), strdup(jti), strdup(text) };
	size_t i = agent->n_documents;

	if (document.jti && document.text && i == agent->n_documents_allocated) {
		size_t n = i > 0 ? 2 * i : 1;
		struct feed_document *grown = reallocarray(agent->documents, n, sizeof(*grown));

		agent->documents = grown ? grown : agent->documents;
		agent->n_documents_allocated = grown ? n : agent->n_documents_allocated;
	}
	if (!document.jti || !document.text || i == agent->n_documents_allocated) {
		feed_document_done(&document);
		return -ENOMEM;
	}
	for (; i > 0; i--) {
		const struct feed_document *before = &agent->documents[i - 1];

		if (before->revision < revision ||
			(before->revision == revision && before->rank <= document.rank))
			break;
		agent->documents[i] = *before;
	}
	agent->documents[i] = document;
	agent->n_documents++;
	return 0;
}

void feed_documents_remove(struct feed_agent *agent, const char *jti)
{
	for (size_t i = 0; i < agent->n_documents; i++) {
		if (strcmp(agent->documents[i].jti, jti) != 0)
			continue;
		feed_document_done(&agent->documents[i]);
		agent->n_documents--;
		memmove(&agent->documents[i], &agent->documents[i + 1],
			(agent->n_documents - i) * sizeof(*agent->documents));
		return;
	}
}

bool feed_documents_page(
	const struct feed_agent *agent, int64_t after, size_t *ret_first, size_t *ret_end)
{
	size_t first = agent->n_documents, end, n_bytes = 0;

	while (first > 0 && agent->documents[first - 1].revision > after)
		first--;
	for (end = first; end < agent->n_documents; end++) {
		const struct feed_document *document = &agent->documents[end];

		if (end > first && document->revision > document[-1].revision &&
			(end - first >= PAGE_DOCUMENTS_MAX || n_bytes >= PAGE_BYTES_MAX))
			break;
		n_bytes += strlen(document->text);
	}
	*ret_first = first;
	*ret_end = end;
	return end < agent->n_documents;
}

int64_t feed_cursor_parse(const char *cursor, const char *identity, int64_t revision)
{
	size_t n = strlen(identity);
	int64_t value;
	char *end;

	if (!cursor || strncmp(cursor, identity, n) != 0 || cursor[n] != '-' ||
		cursor[n + 1] < '0' || cursor[n + 1] > '9')
		return -1;
	errno = 0;
	value = strtoll(cursor + n + 1, &end, 10);
	/* A store that was put back to an earlier state has not been there yet. */
	return *end || errno || value > revision ? -1 : value;
}

/* cursor: where there is no document that says it. */
static void respond(struct feed *feed, struct feed_agent *agent, struct http_request *call,
	int64_t after, int64_t cursor)
{
	size_t first, end;
	bool more = feed_documents_page(agent, after, &first, &end);
	json_t *documents = json_array();
	char text[128];

	for (size_t i = first; i < end; i++) {
		const struct feed_document *document = &agent->documents[i];

		json_array_append_new(documents, json_string(document->text));
		if (document->rank == 1)
			feed_note_delivered(feed, document->jti);
		cursor = document->revision;
	}
	snprintf(text, sizeof(text), "%.80s-%" PRId64, store_identity(feed->options.store), cursor);
	http_respond_json(call, 200,
		json_pack("{s:s, s:o, s:b}", "cursor", text, "documents", documents, "more", more));
}

static bool has_news(const struct feed_agent *agent, int64_t after)
{
	return agent->n_documents > 0 && agent->documents[agent->n_documents - 1].revision > after;
}

void feed_documents_end(struct feed_agent *agent)
{
	if (agent->held)
		http_respond_empty(TAKE_PTR(agent->held), 204);
}

void feed_documents_wake(struct feed *feed, struct feed_agent *agent)
{
	if (agent->held && has_news(agent, agent->held_after))
		respond(feed, agent, TAKE_PTR(agent->held), agent->held_after, 0);
}

static void on_timeout(struct http_request *call, void *userdata)
{
	struct feed_agent *agent = userdata;

	(void)call;
	feed_documents_end(agent);
}

static void hold(struct feed_agent *agent, struct http_request *call, int64_t after, int64_t wait)
{
	int r;

	feed_documents_end(agent);
	r = http_request_set_timeout(call, (uint64_t)wait * USEC_PER_SEC, on_timeout, agent);
	if (r < 0)
		return api_respond_error(call, r);
	agent->held = call;
	agent->held_after = after;
}

/* Whoever has no cursor of this store is told at once what there is, be it nothing: that gives
 * them one. */
void feed_handle_documents(struct http_request *call, void *userdata)
{
	struct feed *feed = userdata;
	struct feed_agent *agent = feed_authenticate(feed, call);
	int64_t revision = store_revision(feed->options.store), after, wait = 0;

	if (!agent || !api_number(call, "wait", INT32_MAX, &wait))
		return;
	if (wait > FEED_WAIT_SECONDS_MAX)
		wait = FEED_WAIT_SECONDS_MAX;
	after = feed_cursor_parse(
		http_request_query(call, "after"), store_identity(feed->options.store), revision);
	if (after < 0 || has_news(agent, after))
		respond(feed, agent, call, after, revision);
	else if (wait > 0)
		hold(agent, call, after, wait);
	else
		http_respond_empty(call, 204);
}
