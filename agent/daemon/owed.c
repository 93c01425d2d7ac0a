/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>

#include "agent/common/times.h"
#include "agent/daemon/compaction.h"
#include "agent/daemon/owed.h"

/* How long after it failed it is tried again. */
#define AGAIN_USEC_MIN (5 * USEC_PER_SEC)
#define AGAIN_USEC_MAX (600 * USEC_PER_SEC)

static int on_again(sd_event_source *source, uint64_t usec, void *userdata);

static void watch(struct agent *agent)
{
	if (!agent->owed_source)
		(void)sd_event_add_time_relative(agent->event, &agent->owed_source, CLOCK_BOOTTIME,
			moment_again(agent->owed_usec, AGAIN_USEC_MIN, AGAIN_USEC_MAX),
			USEC_PER_SEC, on_again, agent);
}

static int on_again(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct agent *agent = userdata;

	(void)source, (void)usec;
	agent->owed_source = sd_event_source_disable_unref(agent->owed_source);
	if (owed_settle(agent) < 0)
		watch(agent);
	return 0;
}

bool owed_is(const json_t *record)
{
	return json_object_get(record, "revoked") || json_object_get(record, "revokes") ||
		json_object_get(record, "policy");
}

void owed_add(struct agent *agent, json_t *record)
{
	if (!owed_is(record))
		return;
	if (!agent->owed) {
		agent->owed = json_array();
		agent->owed_usec = clock_boottime_usec();
	}
	(void)json_array_append(agent->owed, record);
	watch(agent);
}

/* Appends in order, without syncing. Returns how many are done with. */
static size_t append_needed(struct agent *agent, int *ret_status)
{
	json_t *record;
	size_t i;

	*ret_status = 0;
	json_array_foreach (agent->owed, i, record) {
		if (!record_is_needed(agent, record))
			continue;
		/* The audit log was told of it long since. */
		(void)json_object_del(record, "sequence");
		*ret_status = ledger_append(agent->ledger, record);
		if (*ret_status < 0)
			break;
	}
	return i;
}

static void mark_durable(const struct agent *agent, const json_t *record)
{
	const char *id = json_string_value(json_object_get(record, "id"));
	struct registry_entry *entry = id ? registry_find(agent->registry, id) : NULL;

	if (entry && entry->has_document && entry->kind != DOCUMENT_GRANT &&
		record_is_needed(agent, record))
		entry->durable = true;
}

static void drop_first(json_t **records, size_t n)
{
	json_t *rest = NULL;

	for (size_t i = n; i < json_array_size(*records); i++) {
		if (!rest)
			rest = json_array();
		(void)json_array_append(rest, json_array_get(*records, i));
	}
	json_decref(*records);
	*records = rest;
}

int owed_settle(struct agent *agent)
{
	int status, synced;
	size_t n;

	if (!agent->owed)
		return 0;
	if (!agent->ledger)
		return -ENOENT;
	n = append_needed(agent, &status);
	if (n == 0)
		return status;
	synced = ledger_sync(agent->ledger);
	if (synced < 0)
		return synced;
	for (size_t i = 0; i < n; i++)
		mark_durable(agent, json_array_get(agent->owed, i));
	drop_first(&agent->owed, n);
	compaction_schedule(agent);
	return status;
}
