/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>
#include <syslog.h>

#include "agent/daemon/compaction.h"
#include "agent/daemon/record.h"
#include "agent/daemon/sessions.h"

/* A ledger is written anew when it holds twice what may be needed, and this. */
#define COMPACT_RECORDS_MIN 256

/* So is one that the clock has ended: where the wall clock had been set back, its record alone
 * keeps it from coming back. */
static bool is_revoked(const struct agent *agent, const char *id)
{
	const struct registry_entry *entry = id ? registry_find(agent->registry, id) : NULL;

	return entry && (entry->revoked || (entry->grant && entry->grant->state == GRANT_EXPIRED));
}

bool revocation_is_needed(const struct agent *agent, const json_t *record)
{
	const json_t *id;
	size_t i;

	json_array_foreach (json_object_get(record, "revokes"), i, id) {
		if (is_revoked(agent, json_string_value(id)))
			return true;
	}
	return false;
}

struct compaction {
	struct agent *agent;
	json_t *records;
};

bool record_is_needed(const struct agent *agent, const json_t *record)
{
	const json_t *revokes = json_object_get(record, "revokes");
	const json_t *local = json_object_get(record, "local");
	const char *begun = json_string_value(json_object_get(record, "begun"));
	const char *id = json_string_value(json_object_get(record, "id"));
	const struct registry_entry *entry;

	if (is_revoked(agent, json_string_value(json_object_get(record, "revoked"))) ||
		is_revoked(agent, json_string_value(json_object_get(record, "killed"))))
		return true;
	if (revokes)
		return revocation_is_needed(agent, record);
	if (json_object_get(record, "policy"))
		return id && agent->policy && strcmp(agent->policy->id, id) == 0;
	if (local)
		id = json_string_value(json_object_get(local, "jti"));
	if (begun)
		id = begun;
	entry = id ? registry_find(agent->registry, id) : NULL;
	return entry && entry->has_document;
}

static int keep_needed(json_t *record, void *userdata)
{
	struct compaction *compaction = userdata;

	if (record_is_needed(compaction->agent, record))
		json_array_append(compaction->records, record);
	return 0;
}

static int keep_session(const struct session *session, void *userdata)
{
	struct compaction *compaction = userdata;
	json_t *record = record_session(
		&session->flow, session->grant, session->subject, session->since_usec, true);

	return json_array_append_new(compaction->records, record) < 0 ? -ENOMEM : 0;
}

static void compact_ledger(struct agent *agent, struct ledger *ledger, bool durable)
{
	json_auto_t *records = json_array();
	struct compaction compaction = { agent, records };
	struct ledger_damage damage;
	int status;

	status = ledger_read(ledger, keep_needed, &compaction, &damage);
	/* The other has it, too, unless its disk is full. */
	if (status == 0)
		status = json_array_append_new(
			records, record_clock(agent->told_usec, agent->latest_usec));
	if (status == 0 && !durable)
		status = sessions_foreach(agent->sessions, keep_session, &compaction);
	if (status == 0)
		status = ledger_rewrite(ledger, records);
	if (status < 0)
		log_line(LOG_WARNING, "can't write a ledger anew: %s", strerror(-status));
}

static bool has_grown(const struct agent *agent, const struct ledger *ledger)
{
	size_t n_needed = registry_count(agent->registry) + sessions_count(agent->sessions);

	return ledger && ledger_count(ledger) > 2 * n_needed + COMPACT_RECORDS_MIN;
}

static int on_compact(sd_event_source *source, void *userdata)
{
	struct agent *agent = userdata;
	const struct moment now = moment_now();
	bool has_ledger_grown;

	(void)source;
	agent->compact_source = sd_event_source_disable_unref(agent->compact_source);
	/* What the clock, or a trust file or a ledger that can't be read, keeps from coming back
	 * must still be there when it may. */
	if (agent_clock_is_behind(agent, &now) || agent->trust_failed || agent->unread_usec > 0)
		return 0;
	/* What closes is in both: left in the runtime ledger alone, it would be taken for what the
	 * other has lost, and for good, its grant being unknown. */
	has_ledger_grown = has_grown(agent, agent->ledger);
	if (agent->runtime && (has_ledger_grown || has_grown(agent, agent->runtime)))
		compact_ledger(agent, agent->runtime, false);
	if (has_ledger_grown)
		compact_ledger(agent, agent->ledger, true);
	return 0;
}

/* Not at once: who ends several grants must have ended them all before their records are looked at.
 */
void compaction_schedule(struct agent *agent)
{
	if (agent->compact_source ||
		(!has_grown(agent, agent->ledger) && !has_grown(agent, agent->runtime)))
		return;
	if (sd_event_add_defer(agent->event, &agent->compact_source, on_compact, agent) >= 0)
		(void)sd_event_source_set_priority(agent->compact_source, SD_EVENT_PRIORITY_IDLE);
}
