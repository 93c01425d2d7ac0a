/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>
#include <syslog.h>

#include "agent/common/text.h"
#include "agent/common/times.h"
#include "agent/daemon/compaction.h"
#include "agent/daemon/gatekeeper.h"
#include "agent/daemon/lifecycle.h"
#include "agent/daemon/record.h"
#include "agent/daemon/sessions.h"
#include "agent/daemon/shapes.h"

#define TIMER_ACCURACY_USEC (1 * USEC_PER_MSEC)

/* What there was no memory for is tried again. */
#define AGAIN_USEC (100 * USEC_PER_MSEC)

/* So many grants end at once, then others have their turn: the gate, if it was taken away, and the
 * watchdog. */
#define DUE_MAX 128

/* What the wall clock has been slewed by changes nothing as long as it is less. */
#define SLEWED_USEC_MAX ((int64_t)USEC_PER_SEC / 2)

/* "alice's grant g-1 of 22/TCP from 192.0.2.7": what audit records say of a grant; more prefixes
 * and ports are counted. */
static void describe(const struct grant *grant, char *text, size_t n)
{
	const struct document *document = grant->document;
	char prefix[PREFIX_STRING_MAX];

	text_fill(text, n, "%s's grant %s of %u/%s%s from %s%s", document->subject, document->id,
		document->ports[0].ports.first, protocol_format(document->ports[0].protocols),
		document->n_ports > 1 ? " and more" : "",
		prefix_format(&document->ports[0].prefixes[0], prefix),
		document->ports[0].n_prefixes > 1 ? " and more" : "");
}

static void grant_audit(struct agent *agent, const struct grant *grant, enum audit_type type,
	const char *what, const char *reason)
{
	char text[384], message[512], prefix[PREFIX_STRING_MAX];
	const struct document *document = grant->document;

	describe(grant, text, sizeof(text));
	text_fill(message, sizeof(message), "%s %s", text, what);
	audit_write(agent->audit,
		&(struct audit_record){
			.type = type,
			.message = message,
			.grant = document->id,
			.subject = document->subject,
			.source = prefix_format(&document->ports[0].prefixes[0], prefix),
			.port = document->ports[0].ports.first,
			.protocol = protocol_format(document->ports[0].protocols),
			.reason = reason ? reason : document->justification,
			.details = json_pack("{s:o, s:s*, s:s, s:I}", "ports",
				shape_ports(document->ports, document->n_ports), "issuer",
				document->issuer, "origin", grant_origin_name(grant->origin),
				"newConnections", (json_int_t)grant->n_connections),
		});
}

/*
 * Puts covers into the map, or takes them out, and tells the kernel the difference. Where that
 * fails, grant->covered says what the map has; what the kernel lacks then, the gatekeeper has yet
 * to do, or a second call does.
 */
static int change_covers(struct agent *agent, struct grant *grant, bool add)
{
	_cleanup_(access_delta_done) struct access_delta delta = {};
	_cleanup_(freep) struct access *covers = NULL;
	size_t n;
	int status;

	if (grant->covered == add)
		return gatekeeper_catch_up(agent);
	status = grant_covers(grant, &covers, &n);
	if (status == 0)
		status = access_map_change(agent->access, add ? covers : NULL, add ? n : 0,
			add ? NULL : covers, add ? 0 : n, &delta);
	/* Covers whose time is over leave the map, and the kernel, by themselves. */
	if (status == -ENOENT && !add) {
		grant->covered = false;
		return gatekeeper_catch_up(agent);
	}
	if (status < 0)
		return status;
	grant->covered = add;
	return gatekeeper_apply(agent, &delta);
}

static int on_grant_timer(sd_event_source *source, uint64_t usec, void *userdata);

static int grant_set_timer(struct agent *agent, struct grant *grant)
{
	uint64_t usec = grant->state == GRANT_SCHEDULED ? grant->starts_usec : grant->deadline_usec;
	int status;

	if (grant->timer) {
		status = sd_event_source_set_time(grant->timer, usec);
		return status < 0 ? status
				  : sd_event_source_set_enabled(grant->timer, SD_EVENT_ONESHOT);
	}
	status = sd_event_add_time(agent->event, &grant->timer, CLOCK_BOOTTIME, usec,
		TIMER_ACCURACY_USEC, on_grant_timer, agent);
	if (status < 0)
		return status;
	/* The loop knows the agent, the source knows its grant. */
	return sd_event_source_set_description(grant->timer, grant->document->id);
}

/* Has the grant's timer come soon: that takes no memory. */
static void grant_try_again(struct grant *grant)
{
	(void)sd_event_source_set_time(grant->timer, clock_boottime_usec() + AGAIN_USEC);
	(void)sd_event_source_set_enabled(grant->timer, SD_EVENT_ONESHOT);
}

/* Takes back what an admission that failed has done. */
static void lifecycle_withdraw(struct agent *agent, struct registry_entry *entry)
{
	struct grant *grant = entry->grant;

	grant->withdrawn = true;
	entry->has_document = false;
	if (grant->covered && change_covers(agent, grant, false) < 0 && grant->covered)
		grant_try_again(grant);
	else
		registry_drop(agent->registry, entry);
}

void lifecycle_announce(struct agent *agent, const struct grant *grant, const char *reason)
{
	if (grant->state == GRANT_ACTIVE)
		grant_audit(agent, grant, AUDIT_GRANT_ACTIVE, "is in force", reason);
	else if (grant->state == GRANT_REVOKED)
		grant_audit(agent, grant, AUDIT_GRANT_REVOKED, "was revoked", reason);
}

void lifecycle_announce_begun(struct agent *agent, const struct grant *grant)
{
	if (grant->state == GRANT_ACTIVE)
		record_keep_begun(agent, grant);
	lifecycle_announce(agent, grant, NULL);
}

static bool grant_kills_on_expiry(const struct agent *agent, const struct grant *grant)
{
	const struct document *document = grant->document;

	for (size_t i = 0; i < document->n_ports; i++)
		if (policies_kill_on_expiry(&agent->policies, document->ports[i].ports.first,
			    document->ports[i].protocols))
			return true;
	return false;
}

static void end_in_registry(struct agent *agent, struct grant *grant)
{
	registry_grant_ended(agent->registry, grant, (int64_t)(agent->latest_usec / USEC_PER_SEC));
	compaction_schedule(agent);
}

/* Appends to ends where note_usec, which will be noted then, does not tell that it has ended. */
static void expire(struct agent *agent, struct grant *grant, const struct moment *now,
	uint64_t note_usec, json_t *ends)
{
	const struct registry_entry *entry = registry_find(agent->registry, grant->document->id);

	/* The kernel closes by itself, to within a tick. Where sessions are to be ended, none may
	 * begin in it. */
	if (grant_kills_on_expiry(agent, grant)) {
		(void)change_covers(agent, grant, false);
		(void)sessions_update(agent->sessions, grant);
	}
	(void)access_map_expire(agent->access, now->boot_usec);
	grant->state = GRANT_EXPIRED;
	grant->timer = sd_event_source_disable_unref(grant->timer);
	if (!entry->told_expiry)
		grant_audit(agent, grant, AUDIT_GRANT_EXPIRED, "has ended", NULL);
	(void)sessions_kill(agent->sessions, grant->document->id, &agent->policies);
	/* Where the wall clock was set back: it would be told of once more, or come back after a
	 * reboot. */
	if (grant->document->expires > (int64_t)(note_usec / USEC_PER_SEC) ||
		agent_clock_is_behind(agent, now))
		(void)json_array_append_new(ends,
			record_revoked(grant->document->id, "ended by the clock that nobody sets",
				false, now->wall_usec));
	end_in_registry(agent, grant);
}

struct due {
	struct grant *items[DUE_MAX];
	size_t n; /* also those for which there is no room */
	uint64_t now_usec;
	int64_t next_expires; /* of those that are not due */
};

static int collect_due(struct registry_entry *entry, void *userdata)
{
	struct due *due = userdata;
	struct grant *grant = entry->grant;

	if (!grant || !grant_is_live(grant) || grant->withdrawn || entry->revoked)
		return 0;
	if (grant->deadline_usec > due->now_usec) {
		if (grant->document->expires < due->next_expires)
			due->next_expires = grant->document->expires;
		return 0;
	}
	if (due->n < DUE_MAX)
		due->items[due->n] = grant;
	due->n++;
	return 0;
}

/* The wall clock may have passed an end that CLOCK_BOOTTIME has not: it is slewed, and two readings
 * are never of one moment. What is noted must not say that it was told. */
static uint64_t time_to_note(const struct due *due, const struct moment *now)
{
	if (due->next_expires <= moment_seconds(now))
		return (uint64_t)due->next_expires * USEC_PER_SEC - 1;
	return now->wall_usec;
}

/* Ends some of the grants whose time is over; returns how many are left. The time is noted once
 * there are none: where some have ended, or in any case. */
static size_t expire_some(struct agent *agent, bool note)
{
	const struct moment now = moment_now();
	struct due due = { .now_usec = now.boot_usec, .next_expires = INT64_MAX };
	json_t *ends = json_array();
	uint64_t note_usec;

	(void)registry_foreach(agent->registry, collect_due, &due);
	note_usec = time_to_note(&due, &now);
	for (size_t i = 0; i < due.n && i < DUE_MAX; i++)
		expire(agent, due.items[i], &now, note_usec, ends);
	(void)record_keep_all(agent, ends);
	if (due.n > DUE_MAX)
		return due.n - DUE_MAX;
	if (due.n > 0 || note)
		record_time(agent, note_usec);
	return 0;
}

void lifecycle_expire(struct agent *agent)
{
	while (expire_some(agent, false) > 0)
		;
}

void lifecycle_note_time(struct agent *agent)
{
	while (expire_some(agent, true) > 0)
		;
}

static void grant_begin(struct agent *agent, struct grant *grant)
{
	int status = change_covers(agent, grant, true);

	if (status < 0)
		log_line(LOG_ERR, "can't open for grant %s yet: %s", grant->document->id,
			strerror(-status));
	if (!grant->covered) {
		grant_try_again(grant);
		return;
	}
	/* What the kernel lacks, the gatekeeper adds. */
	grant->state = GRANT_ACTIVE;
	lifecycle_announce_begun(agent, grant);
	(void)grant_set_timer(agent, grant);
}

static int on_grant_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct agent *agent = userdata;
	const char *id = NULL;
	struct registry_entry *entry;
	int status;

	(void)usec;
	status = sd_event_source_get_description(source, &id);
	entry = status < 0 ? NULL : registry_find(agent->registry, id);
	if (!entry || !entry->grant || !grant_is_live(entry->grant))
		return 0;
	if (entry->grant->withdrawn)
		lifecycle_withdraw(agent, entry);
	else if (entry->revoked)
		(void)lifecycle_revoke(
			agent, entry->grant, entry->kill_sessions, "revoked before", NULL);
	else if (entry->grant->outdated)
		lifecycle_recompute(agent);
	/* The whole of it may have passed while this machine slept, or its clock was set. */
	else if (entry->grant->deadline_usec <= clock_boottime_usec())
		(void)expire_some(agent, false);
	else if (entry->grant->state == GRANT_SCHEDULED)
		grant_begin(agent, entry->grant);
	else
		(void)grant_set_timer(agent, entry->grant);
	return 0;
}

static int lifecycle_register(struct agent *agent, struct registry_entry *entry,
	struct grant *grant, const struct moment *now)
{
	int status;

	agent_note_time(agent);
	grant_set_times(grant, now);
	grant->state = grant->starts_usec > now->boot_usec ? GRANT_SCHEDULED : GRANT_ACTIVE;
	status = registry_add_grant(agent->registry, entry, grant);
	if (status < 0) {
		grant_free(grant);
		registry_drop(agent->registry, entry);
	}
	return status;
}

int lifecycle_admit(struct agent *agent, struct registry_entry *entry, struct grant *grant,
	const struct moment *now)
{
	int status;

	lifecycle_follow_clock(agent, now);
	status = lifecycle_register(agent, entry, grant, now);
	if (status < 0)
		return status;
	status = grant_set_timer(agent, grant);
	if (status >= 0 && grant->state == GRANT_ACTIVE)
		status = change_covers(agent, grant, true);
	if (status < 0) {
		lifecycle_withdraw(agent, entry);
		return status;
	}
	return 0;
}

int lifecycle_restore(struct agent *agent, struct registry_entry *entry, struct grant *grant,
	const struct moment *now)
{
	_cleanup_(access_delta_done) struct access_delta delta = {};
	_cleanup_(freep) struct access *covers = NULL;
	size_t n;
	int status = lifecycle_register(agent, entry, grant, now);

	if (status < 0)
		return status;
	status = grant_set_timer(agent, grant);
	if (status >= 0 && grant->state == GRANT_ACTIVE)
		status = grant_covers(grant, &covers, &n);
	if (status >= 0 && grant->state == GRANT_ACTIVE)
		status = access_map_change(agent->access, covers, n, NULL, 0, &delta);
	grant->covered = status >= 0 && grant->state == GRANT_ACTIVE;
	if (status < 0)
		registry_drop(agent->registry, entry);
	return status < 0 ? status : 0;
}

size_t lifecycle_kill_sessions(struct agent *agent, const char *id)
{
	size_t n_killed = sessions_kill(agent->sessions, id, NULL);

	/* Until then a start would do it. */
	record_keep_runtime(agent, record_killed(id));
	return n_killed;
}

int lifecycle_revoke(struct agent *agent, struct grant *grant, bool kill_sessions,
	const char *reason, size_t *ret_killed)
{
	size_t n_killed = 0;
	int status = 0;

	if (grant->state == GRANT_ACTIVE)
		status = change_covers(agent, grant, false);
	if (grant->covered) {
		/* It lets in, so it is active. */
		registry_find(agent->registry, grant->document->id)->kill_sessions = kill_sessions;
		grant_try_again(grant);
		return status;
	}
	/* Closed first: none can begin between the looking and the ending. */
	if (kill_sessions)
		(void)sessions_update(agent->sessions, grant);
	grant->state = GRANT_REVOKED;
	grant->timer = sd_event_source_disable_unref(grant->timer);
	lifecycle_announce(agent, grant, reason);
	if (kill_sessions)
		n_killed = lifecycle_kill_sessions(agent, grant->document->id);
	end_in_registry(agent, grant);
	if (ret_killed)
		*ret_killed = n_killed;
	return status;
}

struct recomputation {
	struct agent *agent;
	struct moment now;
};

/* A deadline only ever comes nearer; a beginning may move either way. The map's covers and the
 * grant always have the same deadline: what can't be changed in both is tried again. */
static int recompute_grant(struct agent *agent, struct grant *grant, const struct moment *now)
{
	uint64_t deadline_usec = grant->deadline_usec;
	_cleanup_(access_delta_done) struct access_delta delta = {};
	_cleanup_(freep) struct access *before = NULL, *after = NULL;
	size_t n_before = 0, n_after = 0;
	int status = 0;

	if (grant->covered)
		status = grant_covers(grant, &before, &n_before);
	if (status == 0)
		grant_set_times(grant, now);
	if (status == 0 && grant->covered && grant->deadline_usec != deadline_usec) {
		status = grant_covers(grant, &after, &n_after);
		if (status == 0)
			status = access_map_change(
				agent->access, after, n_after, before, n_before, &delta);
		if (status == -ENOENT) /* over, and out of the map: its timer will say so */
			status = 0;
	}
	grant->outdated = status < 0;
	if (status == 0)
		return grant_set_timer(agent, grant);
	grant->deadline_usec = deadline_usec;
	grant_try_again(grant);
	return status;
}

static int recompute(struct registry_entry *entry, void *userdata)
{
	struct recomputation *recomputation = userdata;
	struct grant *grant = entry->grant;
	int status;

	/* What could not be closed yet is about to be: its timer is not to be set off. */
	if (!grant || !grant_is_live(grant) || grant->withdrawn || entry->revoked)
		return 0;
	status = recompute_grant(recomputation->agent, grant, &recomputation->now);
	if (status < 0)
		log_line(LOG_ERR, "can't work out grant %s's times yet: %s", grant->document->id,
			strerror(-status));
	return 0;
}

void lifecycle_recompute(struct agent *agent)
{
	struct recomputation recomputation = { .agent = agent, .now = moment_now() };

	agent->timed_ahead_usec = moment_ahead(&recomputation.now);
	(void)registry_foreach(agent->registry, recompute, &recomputation);
	/* The kernel's own timeouts stood still while the machine slept: all are compared. */
	(void)gatekeeper_install(agent);
}

void lifecycle_follow_clock(struct agent *agent, const struct moment *now)
{
	int64_t moved_usec = moment_ahead(now) - agent->timed_ahead_usec;

	if (moved_usec >= SLEWED_USEC_MAX || -moved_usec >= SLEWED_USEC_MAX)
		lifecycle_recompute(agent);
}

/* Local root's grants need managed ports only: an element for a port that is not managed opens
 * nothing. */
static int judge_again(const struct agent *agent, const struct trust_key *key,
	const struct grant *grant, struct refusal *refusal)
{
	if (grant->origin == GRANT_LOCAL)
		return policies_check_ports(&agent->policies, grant->document, refusal);
	return policies_check(&agent->policies, key, grant->document, 0, refusal);
}

/* May it live on? The refusal says why not. */
static bool grant_may_stay(
	const struct agent *agent, const struct grant *grant, struct refusal *refusal)
{
	const struct trust_key *key = NULL;

	if (grant->origin == GRANT_SIGNED) {
		key = trust_find(agent->trust, grant->kid);
		if (!key) {
			(void)refuse(refusal, REFUSAL_UNKNOWN_KEY,
				"the key that signed it is not trusted any more");
			return false;
		}
	}
	return judge_again(agent, key, grant, refusal) != REFUSED;
}

struct live_grants {
	struct grant **items;
	size_t n;
};

static int collect_live(struct registry_entry *entry, void *userdata)
{
	struct live_grants *grants = userdata;

	if (entry->grant && grant_is_live(entry->grant))
		grants->items[grants->n++] = entry->grant;
	return 0;
}

static int collect_grants(struct agent *agent, struct live_grants *ret)
{
	ret->n = 0;
	ret->items = calloc(registry_count_live(agent->registry) + 1, sizeof(struct grant *));
	if (!ret->items)
		return -ENOMEM;
	return registry_foreach(agent->registry, collect_live, ret);
}

/* On disk before the kernel changes, as any revocation: what ended with its key must not come back
 * with it. */
static void record_ends(struct agent *agent, const struct live_grants *grants)
{
	uint64_t now_usec = clock_realtime_usec();
	json_t *records = json_array();
	struct refusal refusal;

	for (size_t i = 0; i < grants->n; i++)
		if (!grant_may_stay(agent, grants->items[i], &refusal)) {
			const char *id = grants->items[i]->document->id;

			registry_mark_revoked(agent->registry, registry_find(agent->registry, id));
			json_array_append_new(records,
				record_to_tell(agent,
					record_revoked(id, refusal.message, false, now_usec)));
		}
	(void)record_keep_all(agent, records);
}

int lifecycle_reconsider(struct agent *agent)
{
	struct live_grants grants;
	struct refusal refusal;
	int status = collect_grants(agent, &grants);

	if (status < 0)
		return status;
	record_ends(agent, &grants);
	for (size_t i = 0; i < grants.n; i++) {
		struct grant *grant = grants.items[i];
		int revoked = grant_may_stay(agent, grant, &refusal)
			? 0
			: lifecycle_revoke(agent, grant, false, refusal.message, NULL);

		/* One that can't be closed yet keeps none of the others open. */
		if (status == 0)
			status = revoked;
	}
	free(grants.items);
	sessions_check_all(agent->sessions);
	return status;
}
