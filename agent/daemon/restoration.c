/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>

#include "agent/common/times.h"
#include "agent/daemon/owed.h"
#include "agent/daemon/record.h"
#include "agent/daemon/restoration.h"
#include "agent/daemon/submit.h"

static int restoration_add(struct restoration *restoration, struct registry_entry *entry,
	struct document **document, enum grant_origin origin, const json_t *record)
{
	struct pending *pending;

	if (restoration->n_pending == restoration->n_allocated) {
		size_t n = restoration->n_allocated ? 2 * restoration->n_allocated : 64;

		pending = reallocarray(restoration->pending, n, sizeof(*pending));
		if (!pending)
			return -ENOMEM;
		restoration->pending = pending;
		restoration->n_allocated = n;
	}
	pending = &restoration->pending[restoration->n_pending++];
	*pending = (struct pending){
		.entry = entry,
		.document = TAKE_PTR(*document),
		.origin = origin,
		.durable = restoration->durable,
		.deadline_usec = UINT64_MAX,
	};
	pending->was_ahead = json_object_get(record, "sequence") &&
		grant_is_ahead(pending->document,
			json_integer_value(json_object_get(record, "at")) / USEC_PER_SEC);
	pending->same_boot =
		record_read_deadline(restoration->agent, record, &pending->deadline_usec);
	return 0;
}

static int take_revoked(struct restoration *restoration, const char *id, const json_t *record)
{
	struct agent *agent = restoration->agent;
	const char *sessions = json_string_value(json_object_get(record, "sessions"));
	struct registry_entry *entry;
	int status;

	if (!id || !document_id_is_valid(id))
		return 0;
	status = registry_get(agent->registry, id, &entry);
	if (status < 0)
		return status;
	restoration->owed |= !restoration->durable && !entry->revoked;
	registry_mark_revoked(agent->registry, entry);
	if (sessions && strcmp(sessions, "kill") == 0)
		entry->kill_sessions = true;
	return 0;
}

static void take_killed(struct agent *agent, const char *id)
{
	struct registry_entry *entry = id ? registry_find(agent->registry, id) : NULL;

	if (entry)
		entry->kill_sessions = false;
}

static void take_begun(struct agent *agent, const char *id)
{
	struct registry_entry *entry = id ? registry_find(agent->registry, id) : NULL;

	if (entry)
		entry->begun = true;
}

static int take_policy(struct agent *agent, struct document **document)
{
	struct policies policies;
	int status;

	if (agent->policy && agent->policy->version >= (*document)->version)
		return 0;
	status = policies_init(&policies, agent->config, *document, agent->stand_in);
	if (status < 0)
		return status;
	policies_done(&agent->policies);
	agent->policies = policies;
	document_free(agent->policy);
	agent->policy = TAKE_PTR(*document);
	agent->policy->key = NULL;
	return 0;
}

static int take_document(struct restoration *restoration, const char *text, const json_t *record)
{
	struct agent *agent = restoration->agent;
	_cleanup_(document_freep) struct document *document = NULL;
	struct registry_entry *entry;
	struct refusal refusal;
	int status;

	status = document_read(
		text, strlen(text), agent->trust, agent->config->vm_id, &document, &refusal);
	if (status == REFUSED && json_is_object(json_object_get(record, "policy")))
		status = document_from_claims(
			DOCUMENT_POLICY, json_object_get(record, "policy"), &document, &refusal);
	if (status == REFUSED) {
		restoration->n_unverified++;
		return 0;
	}
	if (status == 0)
		status = registry_get(agent->registry, document->id, &entry);
	if (status < 0)
		return status;
	if (entry->has_document)
		return 0;
	status = document_digest(text, strlen(text), entry->digest);
	if (status < 0)
		return status;
	entry->has_document = true;
	entry->durable = restoration->durable;
	entry->kind = document->kind;
	restoration->owed |= !restoration->durable && document->kind != DOCUMENT_GRANT;
	switch (document->kind) {
	case DOCUMENT_GRANT:
		return restoration_add(restoration, entry, &document, GRANT_SIGNED, record);
	case DOCUMENT_REVOCATION:
		return 0; /* what it revokes stands beside it */
	case DOCUMENT_POLICY:
		return take_policy(agent, &document);
	}
	return 0;
}

static int take_local(struct restoration *restoration, const json_t *claims, const json_t *record)
{
	struct agent *agent = restoration->agent;
	_cleanup_(document_freep) struct document *document = NULL;
	struct registry_entry *entry;
	struct refusal refusal;
	int status;

	/* Not signed: believed only where root alone can have written it, and of this boot. */
	if (restoration->durable)
		return 0;
	status = document_from_claims(DOCUMENT_GRANT, claims, &document, &refusal);
	if (status == REFUSED)
		return 0;
	if (status == 0)
		status = registry_get(agent->registry, document->id, &entry);
	if (status < 0 || entry->has_document)
		return status;
	entry->has_document = true;
	entry->kind = DOCUMENT_GRANT;
	return restoration_add(restoration, entry, &document, GRANT_LOCAL, record);
}

int restoration_take(json_t *record, void *userdata)
{
	struct restoration *restoration = userdata;
	struct agent *agent = restoration->agent;
	const char *text = json_string_value(json_object_get(record, "document"));
	const json_t *local = json_object_get(record, "local"), *id;
	json_int_t clock = json_integer_value(json_object_get(record, "clock"));
	json_int_t at = json_integer_value(json_object_get(record, "at"));
	size_t i;
	int status;

	if ((uint64_t)at > agent->latest_usec && at > 0)
		agent->latest_usec = at;
	if ((uint64_t)clock > agent->latest_usec && clock > 0)
		agent->latest_usec = clock;
	if ((uint64_t)clock > agent->told_usec && clock > 0)
		agent->told_usec = clock;
	restoration->owed = false;
	untold_note(&restoration->untold, agent, record);
	status = take_revoked(
		restoration, json_string_value(json_object_get(record, "revoked")), record);
	take_begun(agent, json_string_value(json_object_get(record, "begun")));
	take_killed(agent, json_string_value(json_object_get(record, "killed")));
	json_array_foreach (json_object_get(record, "revokes"), i, id) {
		if (status == 0)
			status = take_revoked(restoration, json_string_value(id), record);
	}
	if (i > 0)
		json_array_append(restoration->revocations, record);
	if (status == 0 && text)
		status = take_document(restoration, text, record);
	else if (status == 0 && local)
		status = take_local(restoration, local, record);
	if (status == 0 && restoration->owed)
		owed_add(agent, record);
	return status;
}
