/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>
#include <syslog.h>

#include "agent/common/times.h"
#include "agent/daemon/compaction.h"
#include "agent/daemon/gatekeeper.h"
#include "agent/daemon/lifecycle.h"
#include "agent/daemon/record.h"
#include "agent/daemon/restoration.h"
#include "agent/daemon/restore.h"
#include "agent/daemon/sessions.h"
#include "agent/daemon/submit.h"

/* How long after it failed a ledger is read again. */
#define UNREAD_USEC_MIN (10 * USEC_PER_SEC)
#define UNREAD_USEC_MAX (600 * USEC_PER_SEC)

/* The wall clock has been past its end. */
static bool pending_is_past(const struct agent *agent, const struct pending *pending)
{
	return pending->document->expires <= (int64_t)(agent->latest_usec / USEC_PER_SEC);
}

/* And that was told: by the clock's last record. */
static bool pending_is_over(const struct agent *agent, const struct pending *pending)
{
	return pending->document->expires <= (int64_t)(agent->told_usec / USEC_PER_SEC);
}

/* Those that local root gave while the clock is behind go by it. */
static bool pending_goes_by_clock(
	const struct agent *agent, const struct pending *pending, const struct moment *now)
{
	return pending->origin == GRANT_LOCAL && agent_clock_is_behind(agent, now);
}

/* May it come back where policies allow it? A revoked one stays known, so that it can't come again.
 */
static bool pending_stands(
	const struct agent *agent, const struct pending *pending, const struct moment *now)
{
	if (pending->entry->revoked || agent->unread_usec > 0)
		return false;
	if (pending_is_over(agent, pending) && !pending_goes_by_clock(agent, pending, now))
		return false;
	if (pending->origin == GRANT_LOCAL)
		return pending->same_boot;
	return pending->same_boot || !agent_clock_is_behind(agent, now);
}

/* Do policies, as they are now, allow it? Returns 0 or REFUSED. */
static int pending_check(
	const struct agent *agent, const struct pending *pending, struct refusal *refusal)
{
	const struct document *document = pending->document;

	if (pending->origin == GRANT_LOCAL)
		return policies_check_ports(&agent->policies, document, refusal);
	return policies_check(&agent->policies, document->key, document, 0, refusal);
}

static bool pending_may_return(
	const struct agent *agent, const struct pending *pending, const struct moment *now)
{
	struct refusal refusal;

	return pending_stands(agent, pending, now) && pending_check(agent, pending, &refusal) == 0;
}

/* A revoked grant that is known again only for the sessions it has let in, or to be told of. */
static int restore_let_in(struct pending *pending)
{
	struct grant *grant;
	int status = grant_new(pending->document, pending->origin, &grant);

	if (status < 0)
		return status;
	pending->document = NULL;
	grant->state = GRANT_REVOKED;
	grant->deadline_usec = pending->deadline_usec;
	pending->entry->let_in = grant;
	return 0;
}

static int restore_grant(struct agent *agent, struct pending *pending, const struct moment *now)
{
	struct grant *grant;
	int status;

	/* Its sessions are of this boot, or none. */
	if ((pending->entry->kill_sessions && pending->same_boot) ||
		(pending->entry->untold_end && !pending_is_over(agent, pending)))
		return restore_let_in(pending);
	if (!pending_may_return(agent, pending, now)) {
		/* Behind the clock, or behind a ledger that is not read, it is not known either, so
		 * that it is read again later. A revocation is of use until its grant's time is
		 * over. */
		if (!pending->entry->revoked || pending_is_past(agent, pending))
			registry_drop(agent->registry, pending->entry);
		return 0;
	}
	/* Back only to be told that it has ended. */
	if (pending_is_past(agent, pending) && !pending_goes_by_clock(agent, pending, now) &&
		pending->deadline_usec > now->boot_usec)
		pending->deadline_usec = now->boot_usec;
	status = grant_new(pending->document, pending->origin, &grant);
	if (status < 0)
		return status;
	pending->document = NULL;
	grant->durable = pending->durable;
	grant->deadline_usec = pending->deadline_usec;
	status = lifecycle_restore(agent, pending->entry, grant, now);
	/* It began while no daemon was there, unless all of it has passed. */
	if (status == 0 && pending->was_ahead && !pending->entry->begun)
		pending->entry->untold_begin = grant->deadline_usec > now->boot_usec;
	return status;
}

/* Neither over nor revoked, and not to be allowed any more. */
static bool pending_is_refused(const struct agent *agent, const struct pending *pending,
	const struct moment *now, struct refusal *refusal)
{
	return pending_stands(agent, pending, now) && !agent_clock_is_behind(agent, now) &&
		pending->document->expires > moment_seconds(now) &&
		pending->deadline_usec > now->boot_usec &&
		pending_check(agent, pending, refusal) == REFUSED;
}

/* As a reload does it: what ended with what had allowed it must not come back with it. On disk
 * before the kernel changes; told once it has. */
static int revoke_refused(struct restoration *restoration, const struct moment *now)
{
	struct agent *agent = restoration->agent;
	json_t *records = json_array();
	struct refusal refusal;

	for (size_t i = 0; i < restoration->n_pending; i++) {
		const struct pending *pending = &restoration->pending[i];
		struct registry_entry *entry = pending->entry;

		if (!pending_is_refused(agent, pending, now, &refusal))
			continue;
		entry->untold_end = strdup(refusal.message);
		if (!entry->untold_end) {
			json_decref(records);
			return -ENOMEM;
		}
		registry_mark_revoked(agent->registry, entry);
		json_array_append_new(records,
			record_to_tell(agent,
				record_revoked(entry->id, refusal.message, false, now->wall_usec)));
	}
	(void)record_keep_all(agent, records);
	return 0;
}

/* Unless something has failed before. Frees what is pending in any case. */
static int restore_pending(struct restoration *restoration, int status)
{
	const struct moment now = moment_now();

	if (status == 0)
		status = revoke_refused(restoration, &now);
	for (size_t i = 0; i < restoration->n_pending; i++) {
		struct pending *pending = &restoration->pending[i];

		if (status == 0)
			status = restore_grant(restoration->agent, pending, &now);
		document_free(pending->document);
	}
	free(restoration->pending);
	return status;
}

/* Revocations of which nothing is of use any more; else they would gather for ever. */
static void forget_revocations(struct agent *agent, const json_t *records)
{
	const json_t *record;
	size_t i;

	json_array_foreach (records, i, record) {
		const char *id = json_string_value(json_object_get(record, "id"));
		struct registry_entry *entry = id ? registry_find(agent->registry, id) : NULL;

		if (entry && entry->has_document && entry->kind == DOCUMENT_REVOCATION &&
			!entry->revoked && !revocation_is_needed(agent, record))
			registry_drop(agent->registry, entry);
	}
}

static void report_damage(struct agent *agent, const char *directory,
	const struct ledger_damage *damage, size_t n_unverified)
{
	char message[384];

	if (damage->torn_bytes == 0 && damage->bad_lines == 0 && n_unverified == 0)
		return;
	snprintf(message, sizeof(message),
		"The ledger in %s was damaged: %zu bytes at its end and %zu records could not be "
		"read, "
		"%zu documents do not verify; the rest is in force",
		directory, damage->torn_bytes, damage->bad_lines, n_unverified);
	audit_write(agent->audit,
		&(struct audit_record){
			.type = AUDIT_LEDGER_DAMAGED,
			.message = message,
			.details = json_pack("{s:I, s:I, s:I}", "tornBytes",
				(json_int_t)damage->torn_bytes, "badLines",
				(json_int_t)damage->bad_lines, "unverified",
				(json_int_t)n_unverified),
		});
}

/* Told once, though it is read again and again. */
static void report_unread(struct agent *agent, const char *directory, int error)
{
	char message[512];

	if (agent->unread_usec > 0)
		return;
	snprintf(message, sizeof(message),
		"The ledger in %s could not be read to its end, where revocations may stand: no "
		"grant comes back, and none is admitted by document, until it can be",
		directory);
	log_line(LOG_ERR,
		"%s (%s); it is tried again; where it is lost, stop jitgated, remove it, and start "
		"jitgated again: grants are then submitted anew",
		message, strerror(-error));
	audit_write(agent->audit,
		&(struct audit_record){
			.type = AUDIT_LEDGER_DAMAGED,
			.message = message,
			.reason = strerror(-error),
			.details = json_pack("{s:b}", "unread", true),
		});
}

static int open_ledger(const char *directory, struct ledger **ledger)
{
	_cleanup_(freep) char *path = NULL;

	if (*ledger)
		return 0;
	if (asprintf(&path, "%s/ledger", directory) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	return ledger_open(path, ledger);
}

int restore_open(struct agent *agent)
{
	const struct config *config = agent->config;
	int status = open_ledger(config->state_directory, &agent->ledger);

	if (status != -EWOULDBLOCK && status != -ENOMEM)
		status = open_ledger(config->runtime_directory, &agent->runtime);
	return status == -EWOULDBLOCK || status == -ENOMEM ? status : 0;
}

/* Returns 0, -ENOMEM, or another -errno where not all of it was read. */
static int read_ledger(
	struct restoration *restoration, struct ledger **ledger, const char *directory)
{
	struct ledger_damage damage;
	int status = open_ledger(directory, ledger);

	/* Without its directory there has been none. */
	if (status == -ENOENT || status == -ENOTDIR) {
		log_line(LOG_ERR, "can't make a ledger in %s: %s; what comes now will not survive",
			directory, strerror(-status));
		return 0;
	}
	restoration->n_unverified = 0;
	if (status == 0)
		status = ledger_read(*ledger, restoration_take, restoration, &damage);
	if (status == 0)
		/* Where nobody is trusted, no document verifies. */
		report_damage(restoration->agent, directory, &damage,
			restoration->agent->trust_failed ? 0 : restoration->n_unverified);
	else if (status != -ENOMEM)
		report_unread(restoration->agent, directory, status);
	return status;
}

/* Both, also where the first can't be: each may have what closes. */
static int read_ledgers(struct restoration *restoration)
{
	struct agent *agent = restoration->agent;
	const struct config *config = agent->config;
	int durable, runtime;

	restoration->durable = true;
	durable = read_ledger(restoration, &agent->ledger, config->state_directory);
	restoration->durable = false;
	runtime = durable == -ENOMEM
		? 0
		: read_ledger(restoration, &agent->runtime, config->runtime_directory);
	if (durable == -ENOMEM || runtime == -ENOMEM)
		return -ENOMEM;
	if (durable == 0 && runtime == 0)
		agent->unread_usec = 0;
	else if (agent->unread_usec == 0)
		agent->unread_usec = clock_boottime_usec();
	agent->unread_error = durable < 0 ? durable : runtime;
	return 0;
}

/* What the unread policy manages, as far as the kernel knows of it, stays shut until it is read. */
static int stand_in(struct agent *agent)
{
	_cleanup_(port_range_list_done) struct port_range_list tcp = {}, udp = {};
	_cleanup_(document_freep) struct document *document = NULL;
	struct policies policies;
	int status = 0;

	if ((agent->unread_usec > 0) == (agent->stand_in != NULL))
		return 0;
	if (agent->unread_usec > 0) {
		status = gate_read_ports(agent->gate, &tcp, &udp);
		if (status == 0)
			status = policies_stand_in(&agent->policies, &tcp, &udp, &document);
	}
	if (status == 0)
		status = policies_init(&policies, agent->config, agent->policy, document);
	if (status < 0)
		return status;
	policies_done(&agent->policies);
	agent->policies = policies;
	document_free(agent->stand_in);
	agent->stand_in = TAKE_PTR(document);
	return 0;
}

static int on_session_record(json_t *record, void *userdata)
{
	struct agent *agent = userdata;

	return sessions_restore(agent->sessions, record) == -ENOMEM ? -ENOMEM : 0;
}

static int on_unread(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct agent *agent = userdata;

	(void)source, (void)usec;
	agent->unread_source = sd_event_source_disable_unref(agent->unread_source);
	restore_again(agent);
	return 0;
}

/* Less and less often: a read that fails may take its time. */
static void watch_unread(struct agent *agent)
{
	agent->unread_source = sd_event_source_disable_unref(agent->unread_source);
	if (agent->unread_usec == 0)
		return;
	(void)sd_event_add_time_relative(agent->event, &agent->unread_source, CLOCK_BOOTTIME,
		moment_again(agent->unread_usec, UNREAD_USEC_MIN, UNREAD_USEC_MAX), USEC_PER_SEC,
		on_unread, agent);
}

int restore_all(struct agent *agent)
{
	json_auto_t *revocations = json_array();
	struct restoration restoration = {
		.agent = agent,
		.revocations = revocations,
	};
	struct ledger_damage damage;
	int shut, status;

	untold_init(&restoration.untold, agent);
	shut = read_ledgers(&restoration);
	if (shut == 0)
		shut = stand_in(agent);
	status = shut;
	if (status == 0)
		status = untold_judge(&restoration.untold, agent);
	untold_done(&restoration.untold);
	status = restore_pending(&restoration, status);
	forget_revocations(agent, revocations);
	if (status == 0 && agent->runtime)
		status = ledger_read(agent->runtime, on_session_record, agent, &damage);
	watch_unread(agent);
	return shut < 0 || status == -ENOMEM ? status : 0;
}

static int tell_entry(struct registry_entry *entry, void *userdata)
{
	const struct grant *grant = entry->grant ? entry->grant : entry->let_in;
	struct agent *agent = userdata;

	if (grant && entry->untold_admission)
		submit_announce(agent, grant->document, entry->durable);
	if (grant && entry->untold_end)
		lifecycle_announce(agent, grant, entry->untold_end);
	else if (grant && entry->untold_begin)
		lifecycle_announce_begun(agent, grant);
	entry->untold_admission = entry->untold_begin = false;
	free(TAKE_PTR(entry->untold_end));
	if (!entry->kill_sessions)
		entry->let_in = grant_free(entry->let_in);
	return 0;
}

/* Once the gate is as they say: tells the audit log of the beginnings and ends that a daemon before
 * this one had no time to tell. */
static int tell(struct agent *agent)
{
	return registry_foreach(agent->registry, tell_entry, agent);
}

/* A daemon before this one was told to, and may have died over it. */
static int kill_sessions(struct registry_entry *entry, void *userdata)
{
	struct agent *agent = userdata;

	/* One that could not be closed yet ends them once it is. */
	if (!entry->kill_sessions || (entry->grant && grant_is_live(entry->grant)))
		return 0;
	if (entry->let_in)
		(void)sessions_update(agent->sessions, entry->let_in);
	entry->let_in = grant_free(entry->let_in);
	entry->kill_sessions = false;
	(void)lifecycle_kill_sessions(agent, entry->id);
	return 0;
}

void restore_again(struct agent *agent)
{
	const uint64_t latest_usec = agent->latest_usec;
	int status = restore_all(agent);

	if (status < 0) {
		log_line(LOG_ERR, "can't restore grants: %s", strerror(-status));
		(void)sd_event_exit(agent->event, status);
		return;
	}
	/* Tried again where it fails. */
	(void)gatekeeper_install(agent);
	(void)tell(agent);
	(void)registry_foreach(agent->registry, kill_sessions, agent);
	/* Of those that are known only now, some may have ended since the start. */
	sessions_check_all(agent->sessions);
	/* What is read late may be of a time that the clock has not come to. */
	if (agent->latest_usec > latest_usec)
		(void)agent_await_clock(agent);
}

int restore_count_connections(struct agent *agent)
{
	_cleanup_(element_list_done) struct element_list elements = {};
	int status = gate_read_grants(agent->gate, &elements);

	for (size_t i = 0; status == 0 && i < elements.n; i++) {
		const struct element *element = &elements.elements[i];
		const struct registry_entry *entry =
			registry_find(agent->registry, element->comment);
		struct grant *grant = NULL;

		if (entry)
			grant = entry->grant ? entry->grant : entry->let_in;
		if (grant)
			grant->n_connections += element->n_packets;
	}
	/* Others may take the table away while it is read: then its counts are gone. */
	return status == -ENOMEM ? status : 0;
}

/* Each start leaves a record, if only one that says nothing: a ledger that is empty is lost, unless
 * this is the first start that the audit log knows of. */
static void begin_ledger(struct agent *agent)
{
	char message[384];
	uint64_t newest;

	if (agent->unread_usec > 0 || (agent->ledger && ledger_count(agent->ledger) > 0))
		return;
	snprintf(message, sizeof(message),
		"The ledger in %s is gone: what was granted, revoked and managed by document "
		"counts once it is submitted again",
		agent->config->state_directory);
	if (audit_goes_on(agent->audit, &newest))
		audit_write(agent->audit,
			&(struct audit_record){
				.type = AUDIT_LEDGER_DAMAGED,
				.message = message,
				.details = json_pack("{s:b}", "lost", true),
			});
	(void)record_keep(agent, record_clock(agent->told_usec, agent->latest_usec));
}

int restore_finish(struct agent *agent)
{
	int status;

	begin_ledger(agent);
	status = tell(agent);
	if (status == 0)
		status = registry_foreach(agent->registry, kill_sessions, agent);
	/* Others may have taken the gate away just now: the loop puts it back. */
	if (status == 0 && sessions_update(agent->sessions, NULL) == -ENOMEM)
		status = -ENOMEM;
	if (status == 0)
		lifecycle_expire(agent);
	return status;
}
