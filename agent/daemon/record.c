/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <syslog.h>

#include <jose/b64.h>

#include "agent/daemon/compaction.h"
#include "agent/daemon/owed.h"
#include "agent/daemon/record.h"

json_t *record_to_tell(const struct agent *agent, json_t *record)
{
	(void)json_object_set_new(
		record, "sequence", json_integer((json_int_t)audit_newest(agent->audit)));
	return record;
}

json_t *record_grant(
	const struct agent *agent, const char *text, uint64_t at_usec, const struct grant *grant)
{
	return record_to_tell(agent,
		json_pack("{s:s, s:s, s:I, s:s, s:I}", "document", text, "id", grant->document->id,
			"at", (json_int_t)at_usec, "boot", agent->boot_id, "deadline",
			(json_int_t)grant->deadline_usec));
}

json_t *record_revocation(const struct agent *agent, const char *text, uint64_t at_usec,
	const struct document *revocation)
{
	json_auto_t *revokes = json_array();

	for (size_t i = 0; i < revocation->n_revokes; i++)
		if (json_array_append_new(revokes, json_string(revocation->revokes[i])) < 0)
			return NULL;
	return record_to_tell(agent,
		json_pack("{s:s, s:s, s:I, s:O, s:s*}", "document", text, "id", revocation->id,
			"at", (json_int_t)at_usec, "revokes", revokes, "sessions",
			revocation->sessions == SESSIONS_KILL ? "kill" : NULL));
}

/* The claims are what the document says between its dots: it has been verified. */
json_t *record_policy(const struct agent *agent, const char *text, uint64_t at_usec,
	const struct document *policy)
{
	const char *payload = strchr(text, '.') + 1;
	json_auto_t *encoded = json_stringn(payload, strcspn(payload, "."));

	return record_to_tell(agent,
		json_pack("{s:s, s:s, s:I, s:o}", "document", text, "id", policy->id, "at",
			(json_int_t)at_usec, "policy", jose_b64_dec_load(encoded)));
}

json_t *record_local(
	const struct agent *agent, json_t *claims, uint64_t at_usec, const struct grant *grant)
{
	return record_to_tell(agent,
		json_pack("{s:O, s:I, s:s, s:I}", "local", claims, "at", (json_int_t)at_usec,
			"boot", agent->boot_id, "deadline", (json_int_t)grant->deadline_usec));
}

json_t *record_revoked(const char *id, const char *reason, bool kill_sessions, uint64_t at_usec)
{
	return json_pack("{s:s, s:s, s:s*, s:I}", "revoked", id, "reason", reason, "sessions",
		kill_sessions ? "kill" : NULL, "at", (json_int_t)at_usec);
}

json_t *record_killed(const char *id)
{
	return json_pack("{s:s}", "killed", id);
}

json_t *record_clock(uint64_t told_usec, uint64_t latest_usec)
{
	json_t *record = json_pack("{s:I}", "clock", (json_int_t)told_usec);

	if (latest_usec > told_usec)
		(void)json_object_set_new(record, "at", json_integer((json_int_t)latest_usec));
	return record;
}

static json_t *flow_to_json(const struct flow *flow)
{
	char remote[INET6_ADDRSTRLEN], local[INET6_ADDRSTRLEN];

	inet_ntop(flow->family, flow->remote.bytes, remote, sizeof(remote));
	inet_ntop(flow->family, flow->local.bytes, local, sizeof(local));
	return json_pack("{s:i, s:s, s:i, s:s, s:i}", "l4proto", flow->l4proto, "remote", remote,
		"remotePort", flow->remote_port, "local", local, "localPort", flow->local_port);
}

json_t *record_session(const struct flow *flow, const char *grant, const char *subject,
	uint64_t at_usec, bool open)
{
	return json_pack("{s:o, s:s*, s:s*, s:I, s:o*}", "session", flow_to_json(flow), "grant",
		grant, "subject", subject, "at", (json_int_t)at_usec, "open",
		open ? NULL : json_false());
}

json_t *record_session_ended(const struct flow *flow)
{
	return json_pack("{s:o}", "ended", flow_to_json(flow));
}

static bool read_address(const char *text, uint8_t *ret_family, struct address *ret)
{
	*ret_family = strchr(text, ':') ? AF_INET6 : AF_INET;
	memset(ret, 0, sizeof(*ret));
	return inet_pton(*ret_family, text, ret->bytes) == 1;
}

bool record_read_flow(const json_t *record, const char *key, struct flow *ret)
{
	int l4proto, remote_port, local_port;
	const char *remote, *local;
	uint8_t local_family;

	if (json_unpack(json_object_get(record, key), "{s:i, s:s, s:i, s:s, s:i}", "l4proto",
		    &l4proto, "remote", &remote, "remotePort", &remote_port, "local", &local,
		    "localPort", &local_port) < 0)
		return false;
	if ((l4proto != IPPROTO_TCP && l4proto != IPPROTO_UDP) || remote_port < 0 ||
		remote_port > UINT16_MAX || local_port < 0 || local_port > UINT16_MAX)
		return false;
	memset(ret, 0, sizeof(*ret));
	ret->l4proto = l4proto;
	ret->remote_port = remote_port;
	ret->local_port = local_port;
	return read_address(remote, &ret->family, &ret->remote) &&
		read_address(local, &local_family, &ret->local) && ret->family == local_family;
}

bool record_read_deadline(const struct agent *agent, const json_t *record, uint64_t *ret_usec)
{
	const char *boot = json_string_value(json_object_get(record, "boot"));
	json_int_t usec = json_integer_value(json_object_get(record, "deadline"));

	if (!boot || strcmp(boot, agent->boot_id) != 0 || usec <= 0)
		return false;
	*ret_usec = (uint64_t)usec;
	return true;
}

static int append_all(struct ledger *ledger, const json_t *records)
{
	const json_t *record;
	int status = 0;
	size_t i;

	json_array_foreach (records, i, record) {
		if (status == 0)
			status = ledger_append(ledger, record);
	}
	return status;
}

/* What closes, also until the reboot: the next start may find another ledger, where its file system
 * came a moment after this one. Told of it is by the first. */
static void keep_beside(struct agent *agent, const json_t *records)
{
	json_t *record;
	size_t i;

	json_array_foreach (records, i, record) {
		json_auto_t *copy = owed_is(record) ? json_copy(record) : NULL;

		if (!copy || !agent->runtime)
			continue;
		(void)json_object_del(copy, "sequence");
		(void)ledger_append(agent->runtime, copy);
	}
}

int record_keep_all(struct agent *agent, json_t *records)
{
	json_auto_t *owned = records;
	int status = -ENOENT;
	json_t *record;
	size_t i;

	if (!owned)
		return -ENOMEM;
	if (json_array_size(owned) == 0)
		return 0;
	if (agent->ledger) {
		status = append_all(agent->ledger, owned);
		if (status == 0)
			status = ledger_sync(agent->ledger);
		if (status == 0) {
			keep_beside(agent, owned);
			(void)owed_settle(agent); /* it can be written */
			return 0;
		}
	}
	log_line(LOG_WARNING, "can't write to %s: %s; it will not survive a reboot",
		agent->config->state_directory, strerror(-status));
	if (!agent->runtime || append_all(agent->runtime, owned) < 0)
		return status;
	json_array_foreach (owned, i, record)
		owed_add(agent, record);
	return RECORD_UNTIL_REBOOT;
}

int record_keep(struct agent *agent, json_t *record)
{
	return record ? record_keep_all(agent, json_pack("[o]", record)) : -ENOMEM;
}

void record_keep_begun(struct agent *agent, const struct grant *grant)
{
	json_auto_t *record =
		record_to_tell(agent, json_pack("{s:s}", "begun", grant->document->id));
	struct ledger *ledger = grant->durable ? agent->ledger : agent->runtime;

	if (record && ledger)
		(void)ledger_append(ledger, record);
}

void record_keep_runtime(struct agent *agent, json_t *record)
{
	json_auto_t *owned = record;

	if (owned && agent->runtime)
		(void)ledger_append(agent->runtime, owned);
	compaction_schedule(agent);
}

void record_time(struct agent *agent, uint64_t now_usec)
{
	if (now_usec > agent->latest_usec)
		agent->latest_usec = now_usec;
	if (now_usec > agent->told_usec &&
		record_keep(agent, record_clock(now_usec, agent->latest_usec)) >= 0)
		agent->told_usec = now_usec;
}
