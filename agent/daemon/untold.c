/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>

#include "agent/daemon/agent.h"
#include "agent/daemon/submit.h"
#include "agent/daemon/untold.h"

/* So far behind a ledger's record the log is searched for what is told of it, and twice as far as
 * there are records and ids: what starts that failed have written may lie between. And as far as
 * there are grants that may have ended. */
#define SEARCHED 256
#define BYTES_PER_LINE 4096

#define KEY_BYTES_MAX 256

void untold_init(struct untold *untold, const struct agent *agent)
{
	*untold = (struct untold){ .records = json_array(), .ends = json_object() };
	untold->all_told = !audit_goes_on(agent->audit, &untold->newest);
}

void untold_done(struct untold *untold)
{
	json_decref(untold->records);
	json_decref(untold->ends);
}

static void note_end(struct untold *untold, const struct agent *agent, const json_t *id)
{
	const char *text = json_string_value(id);
	const struct registry_entry *entry = text ? registry_find(agent->registry, text) : NULL;

	if (text && !(entry && entry->revoked))
		json_object_set_new(untold->ends, text, json_true());
}

void untold_note(struct untold *untold, const struct agent *agent, json_t *record)
{
	json_int_t number = json_integer_value(json_object_get(record, "sequence"));
	uint64_t sequence = number > 0 ? (uint64_t)number : 0;
	const json_t *id;
	size_t i;

	if (untold->all_told || sequence == 0 || sequence < untold->after)
		return;
	if (sequence > untold->after && sequence <= untold->newest) {
		untold->after = sequence;
		json_array_clear(untold->records);
		json_object_clear(untold->ends);
	}
	note_end(untold, agent, json_object_get(record, "revoked"));
	json_array_foreach (json_object_get(record, "revokes"), i, id)
		note_end(untold, agent, id);
	json_array_append(untold->records, record);
}

static const char *told_key(const char *type, const char *id, char key[static KEY_BYTES_MAX])
{
	snprintf(key, KEY_BYTES_MAX, "%s %s", type, id);
	return key;
}

/* Does the list reach from the number that is asked for to the log's end? What is not in it may be
 * before, or behind. */
static bool is_whole(const struct untold *untold, const struct audit *audit, const json_t *list)
{
	const json_t *first = json_array_get(list, 0);
	const json_t *last = json_array_get(list, json_array_size(list) - 1);

	return first &&
		json_integer_value(json_object_get(first, "sequence")) ==
		(json_int_t)untold->after &&
		json_integer_value(json_object_get(last, "sequence")) ==
		(json_int_t)audit_newest(audit);
}

/* What the log has told from that number on, as keys. Returns 1; 0 where that can't be known;
 * -ENOMEM. */
static int read_told(const struct untold *untold, const struct agent *agent, json_t *told)
{
	size_t n = SEARCHED + 2 * json_array_size(untold->records) +
		2 * json_object_size(untold->ends) + registry_count(agent->registry);
	struct audit *audit = agent->audit;
	json_auto_t *list = json_array();
	const json_t *record;
	size_t i;
	int status;

	status = audit_list(audit, untold->after - 1, n, n * BYTES_PER_LINE, list);
	if (status < 0)
		return status == -ENOMEM ? status : 0;
	if (!is_whole(untold, audit, list))
		return 0;
	json_array_foreach (list, i, record) {
		const char *type = json_string_value(json_object_get(record, "type"));
		const char *id = json_string_value(json_object_get(record, "grant"));
		char key[KEY_BYTES_MAX];

		if (type && id)
			json_object_set_new(told, told_key(type, id, key), json_true());
	}
	return 1;
}

static bool is_untold(const json_t *told, enum audit_type type, const char *id)
{
	char key[KEY_BYTES_MAX];

	return !json_object_get(told, told_key(audit_type_name(type), id, key));
}

static void judge_grant(const json_t *told, struct registry_entry *entry)
{
	entry->untold_admission = is_untold(told, AUDIT_DOCUMENT_ADMITTED, entry->id);
	entry->untold_begin = is_untold(told, AUDIT_GRANT_ACTIVE, entry->id);
}

static int judge_end(const struct untold *untold, struct agent *agent, const json_t *told,
	const char *id, const char *reason)
{
	struct registry_entry *entry = id ? registry_find(agent->registry, id) : NULL;

	if (!entry || entry->untold_end || !json_object_get(untold->ends, id) ||
		!is_untold(told, AUDIT_GRANT_REVOKED, id))
		return 0;
	entry->untold_end = strdup(reason);
	return entry->untold_end ? 0 : -ENOMEM;
}

/* A revocation or a policy. It is told of where one who is trusted now has signed it; what it
 * revokes, in any case. */
static int judge_document(const struct untold *untold, struct agent *agent, const json_t *told,
	const json_t *record, const struct registry_entry *entry)
{
	const char *text = json_string_value(json_object_get(record, "document"));
	_cleanup_(document_freep) struct document *document = NULL;
	const char *reason = REVOKED_BY_DOCUMENT;
	struct refusal refusal;
	const json_t *id;
	size_t i;
	int status;

	status = document_read(
		text, strlen(text), agent->trust, agent->config->vm_id, &document, &refusal);
	if (status < 0)
		return status;
	if (document && entry && is_untold(told, AUDIT_DOCUMENT_ADMITTED, document->id))
		submit_announce(agent, document, entry->durable);
	if (document && document->reason)
		reason = document->reason;
	status = 0;
	json_array_foreach (json_object_get(record, "revokes"), i, id) {
		if (status == 0)
			status = judge_end(untold, agent, told, json_string_value(id), reason);
	}
	return status;
}

/* The entry of what the record is of: a document or a local grant. */
static struct registry_entry *find_entry(const struct agent *agent, const json_t *record)
{
	const json_t *local = json_object_get(record, "local");
	const json_t *id = local ? json_object_get(local, "jti") : json_object_get(record, "id");
	struct registry_entry *entry =
		json_is_string(id) ? registry_find(agent->registry, json_string_value(id)) : NULL;

	return entry && entry->has_document ? entry : NULL;
}

static int judge_record(
	const struct untold *untold, struct agent *agent, const json_t *told, const json_t *record)
{
	const char *begun = json_string_value(json_object_get(record, "begun"));
	const char *revoked = json_string_value(json_object_get(record, "revoked"));
	const char *reason = json_string_value(json_object_get(record, "reason"));
	struct registry_entry *entry = find_entry(agent, record);

	if (entry && entry->kind == DOCUMENT_GRANT)
		judge_grant(told, entry);
	else if (json_is_string(json_object_get(record, "document")))
		return judge_document(untold, agent, told, record, entry);
	entry = begun ? registry_find(agent->registry, begun) : NULL;
	if (entry)
		entry->untold_begin = is_untold(told, AUDIT_GRANT_ACTIVE, begun);
	return judge_end(untold, agent, told, revoked, reason ? reason : REVOKED_BY_DOCUMENT);
}

/* Ends are told first, and noted then: by the clock, for all of one moment. */
static void mark_expired(struct agent *agent, json_t *told)
{
	const char *type = audit_type_name(AUDIT_GRANT_EXPIRED);
	size_t n = strlen(type);
	struct registry_entry *entry;
	const char *key;
	json_t *value;

	json_object_foreach (told, key, value) {
		entry = strncmp(key, type, n) == 0 && key[n] == ' '
			? registry_find(agent->registry, key + n + 1)
			: NULL;
		if (entry)
			entry->told_expiry = true;
	}
}

int untold_judge(struct untold *untold, struct agent *agent)
{
	json_auto_t *told = json_object();
	const json_t *record;
	size_t i;
	int status;

	if (json_array_size(untold->records) == 0)
		return 0;
	if (untold->after == 0)
		untold->after = untold->newest;
	status = read_told(untold, agent, told);
	if (status <= 0)
		return status;
	mark_expired(agent, told);
	status = 0;
	json_array_foreach (untold->records, i, record) {
		if (status == 0)
			status = judge_record(untold, agent, told, record);
	}
	return status;
}
