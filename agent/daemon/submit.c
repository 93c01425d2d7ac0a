/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>
#include <syslog.h>
#include <systemd/sd-id128.h>

#include "agent/common/memory.h"
#include "agent/common/text.h"
#include "agent/common/times.h"
#include "agent/daemon/admission.h"
#include "agent/daemon/gatekeeper.h"
#include "agent/daemon/lifecycle.h"
#include "agent/daemon/owed.h"
#include "agent/daemon/record.h"
#include "agent/daemon/submit.h"

int document_digest(const char *text, size_t n_bytes, uint8_t ret[static DOCUMENT_DIGEST_BYTES])
{
	const char *signature = memrchr(text, '.', n_bytes);
	const size_t n_failed = memory_n_failed();

	if (signature)
		n_bytes = signature - text;
	if (EVP_Digest(text, n_bytes, ret, NULL, EVP_sha256(), NULL) == 1)
		return 0;
	return memory_n_failed() != n_failed ? -ENOMEM : -EIO;
}

/* digest: NULL where the document can't be read. */
static void audit_refused(struct agent *agent, const struct document *document,
	const uint8_t *digest, const struct refusal *refusal)
{
	struct refusals *refusals = &agent->refusals;
	char message[1024];

	if (!refusals_tell(refusals, digest, refusal->code, clock_boottime_usec()))
		return;
	snprintf(message, sizeof(message), "A document was refused (%s): %s",
		refusal_code_name(refusal->code), refusal->message);
	audit_write(agent->audit,
		&(struct audit_record){
			.type = AUDIT_DOCUMENT_REFUSED,
			.message = message,
			.grant = document ? document->id : NULL,
			.subject = document ? document->subject : NULL,
			.reason = refusal->message,
			.code = refusal_code_name(refusal->code),
			.details = refusals->n_untold ? json_pack("{s:I}", "notRecordedBefore",
								(json_int_t)refusals->n_untold)
						      : NULL,
		});
	refusals->n_untold = 0;
}

void submit_announce(struct agent *agent, const struct document *document, bool durable)
{
	char message[512];

	text_fill(message, sizeof(message), "The %s %s by %s was admitted",
		document_kind_name(document->kind), document->id, document->issuer);
	audit_write(agent->audit,
		&(struct audit_record){
			.type = AUDIT_DOCUMENT_ADMITTED,
			.message = message,
			.grant = document->id,
			.subject = document->subject,
			.reason = document->justification ? document->justification
							  : document->reason,
			.details = json_pack("{s:s, s:s, s:b}", "kind",
				document_kind_name(document->kind), "issuer", document->issuer,
				"durable", durable),
		});
}

static void entry_set_document(struct registry_entry *entry, enum document_kind kind,
	const uint8_t digest[static DOCUMENT_DIGEST_BYTES])
{
	entry->has_document = true;
	entry->kind = kind;
	memcpy(entry->digest, digest, DOCUMENT_DIGEST_BYTES);
}

static void submission_fill(
	struct submission *submission, const struct registry_entry *entry, bool durable)
{
	submission->kind = document_kind_name(entry->kind);
	snprintf(submission->id, sizeof(submission->id), "%s", entry->id);
	submission->state = entry->grant ? grant_state_name(entry->grant->state) : "admitted";
	submission->durable = durable;
}

/* In the kernel first: whoever waits for the grant should not wait for the disk. */
static int admit_grant(struct agent *agent, struct document **document, const char *text,
	const uint8_t *digest, const struct moment *now, struct submission *ret)
{
	struct registry_entry *entry;
	struct grant *grant;
	int status;

	status = registry_get(agent->registry, (*document)->id, &entry);
	if (status < 0)
		return status;
	if (entry->grant && grant_is_live(entry->grant))
		return -EBUSY; /* what an admission that failed has done is not taken back yet */
	entry_set_document(entry, DOCUMENT_GRANT, digest);
	status = grant_new(*document, GRANT_SIGNED, &grant);
	if (status < 0) {
		registry_drop(agent->registry, entry);
		return status;
	}
	*document = NULL;
	status = lifecycle_admit(agent, entry, grant, now);
	if (status < 0)
		return status;
	grant->durable = record_keep(agent, record_grant(agent, text, now->wall_usec, grant)) == 0;
	if (now->wall_usec > agent->latest_usec)
		agent->latest_usec = now->wall_usec;
	submission_fill(ret, entry, grant->durable);
	submit_announce(agent, grant->document, grant->durable);
	lifecycle_announce(agent, grant, NULL);
	return 0;
}

/* The sessions of a grant that has ended, too; but a narrowed key's say is over ports, and which
 * they were must be known. */
static bool ends_sessions(const struct document *revocation, const struct registry_entry *revoked)
{
	if (revocation->sessions != SESSIONS_KILL)
		return false;
	return !revocation->key || !revocation->key->narrowed_ports ||
		(revoked->grant && revoked->grant->document->n_ports > 0);
}

static int revoke_each(struct agent *agent, const struct document *document)
{
	int status = 0;

	for (size_t i = 0; i < document->n_revokes; i++) {
		struct registry_entry *revoked;
		int error = registry_get(agent->registry, document->revokes[i], &revoked);

		if (error == 0) {
			registry_mark_revoked(agent->registry, revoked);
			if (revoked->grant && grant_is_live(revoked->grant))
				error = lifecycle_revoke(agent, revoked->grant,
					document->sessions == SESSIONS_KILL,
					document->reason ? document->reason : REVOKED_BY_DOCUMENT,
					NULL);
			else if (ends_sessions(document, revoked))
				(void)lifecycle_kill_sessions(agent, revoked->id);
		}
		if (error < 0 && status == 0)
			status = error;
	}
	return status;
}

/*
 * On disk before the kernel changes: a crash in between must not open again. What could not be
 * done, or would be forgotten with this daemon, is no success: the document may come again.
 */
static int admit_revocation(struct agent *agent, const struct document *document, const char *text,
	const uint8_t *digest, const struct moment *now, struct submission *ret)
{
	struct registry_entry *entry;
	int kept, status;

	status = registry_get(agent->registry, document->id, &entry);
	if (status < 0)
		return status;
	entry_set_document(entry, DOCUMENT_REVOCATION, digest);
	kept = record_keep(agent, record_revocation(agent, text, now->wall_usec, document));
	entry->durable = kept == 0;
	submission_fill(ret, entry, entry->durable);
	if (kept != -ENOMEM) {
		submit_announce(agent, document, entry->durable);
		status = revoke_each(agent, document);
	}
	if (status == 0 && kept < 0)
		status = kept;
	if (status < 0)
		entry->has_document = false;
	return status;
}

static int admit_policy(struct agent *agent, struct document **document, const char *text,
	const uint8_t *digest, const struct moment *now, struct submission *ret)
{
	struct document *old_policy = agent->policy;
	struct policies old_policies = agent->policies;
	struct registry_entry *entry;
	bool durable;
	int status;

	status = policies_init(&agent->policies, agent->config, *document, agent->stand_in);
	if (status == 0) {
		agent->policy = *document;
		status = registry_get(agent->registry, (*document)->id, &entry);
	}
	if (status == 0)
		status = gatekeeper_install(agent);
	if (status < 0) {
		policies_done(&agent->policies);
		agent->policies = old_policies;
		agent->policy = old_policy;
		return status;
	}
	agent->policy->key = NULL;
	*document = NULL;
	policies_done(&old_policies);
	document_free(old_policy);
	entry_set_document(entry, DOCUMENT_POLICY, digest);
	durable =
		record_keep(agent, record_policy(agent, text, now->wall_usec, agent->policy)) == 0;
	entry->durable = durable;
	submission_fill(ret, entry, durable);
	submit_announce(agent, agent->policy, durable);
	return lifecycle_reconsider(agent);
}

static int judge(struct agent *agent, const struct document *document, const uint8_t *digest,
	const struct moment *now, struct refusal *refusal)
{
	const struct admission admission = {
		.policies = &agent->policies,
		.registry = agent->registry,
		.now = moment_seconds(now),
		.latest = (int64_t)(agent->latest_usec / USEC_PER_SEC),
		.policy = agent->policy,
		.max_grants = agent->config->max_grants,
		.ledger_unread = agent->unread_usec > 0,
	};

	return admission_judge(&admission, document, digest, refusal);
}

static int admit(struct agent *agent, struct document **document, const char *text,
	const uint8_t *digest, const struct moment *now, struct submission *ret)
{
	switch ((*document)->kind) {
	case DOCUMENT_GRANT:
		return admit_grant(agent, document, text, digest, now, ret);
	case DOCUMENT_REVOCATION:
		return admit_revocation(agent, *document, text, digest, now, ret);
	case DOCUMENT_POLICY:
		return admit_policy(agent, document, text, digest, now, ret);
	}
	return -EINVAL;
}

int submit_document(struct agent *agent, const char *text, size_t n_bytes, struct submission *ret,
	struct refusal *refusal)
{
	_cleanup_(document_freep) struct document *document = NULL;
	const struct moment now = moment_now();
	uint8_t digest[DOCUMENT_DIGEST_BYTES];
	struct registry_entry *entry;
	int status;

	status = document_read(
		text, n_bytes, agent->trust, agent->config->vm_id, &document, refusal);
	if (status == 0)
		status = document_digest(text, n_bytes, digest);
	if (status == 0)
		status = judge(agent, document, digest, &now, refusal);
	if (status == REFUSED)
		audit_refused(agent, document, document ? digest : NULL, refusal);
	if (status == KNOWN) {
		entry = registry_find(agent->registry, document->id);
		if (!entry->grant && !entry->durable)
			(void)owed_settle(agent);
		submission_fill(ret, entry, entry->grant ? entry->grant->durable : entry->durable);
		return 0;
	}
	if (status != 0)
		return status;
	return admit(agent, &document, text, digest, &now, ret);
}

static int local_claims(const struct agent *agent, const json_t *ports, int64_t seconds,
	const char *subject, const char *reason, const struct moment *now, json_t **ret)
{
	char id[sizeof("local-") + SD_ID128_STRING_MAX];
	sd_id128_t random;
	int status = sd_id128_randomize(&random);

	if (status < 0)
		return status;
	snprintf(id, sizeof(id), "local-" SD_ID128_FORMAT_STR, SD_ID128_FORMAT_VAL(random));
	id[sizeof("local-") - 1 + 16] = '\0'; /* 64 bits are enough to tell them apart */
	*ret = json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:s, s:O}", "iss", "local", "aud",
		agent->config->vm_id, "jti", id, "iat", (json_int_t)moment_seconds(now), "exp",
		(json_int_t)(moment_seconds(now) + seconds), "sub", subject, "justification",
		reason, "ports", ports);
	return *ret ? 0 : -ENOMEM;
}

int submit_local_grant(struct agent *agent, const json_t *ports, int64_t seconds,
	const char *subject, const char *reason, struct submission *ret, struct refusal *refusal)
{
	static const uint8_t no_digest[DOCUMENT_DIGEST_BYTES];
	_cleanup_(document_freep) struct document *document = NULL;
	const struct moment now = moment_now();
	json_auto_t *claims = NULL;
	struct registry_entry *entry;
	struct grant *grant;
	int status;

	status = local_claims(agent, ports, seconds, subject, reason, &now, &claims);
	if (status == 0)
		status = document_from_claims(DOCUMENT_GRANT, claims, &document, refusal);
	if (status == 0)
		status = policies_check_ports(&agent->policies, document, refusal);
	if (status == 0 && registry_count_live(agent->registry) >= 2 * agent->config->max_grants)
		status = refuse(refusal, REFUSAL_CAPACITY,
			"%zu grants are live, twice max_grants: revoke some",
			registry_count_live(agent->registry));
	if (status == REFUSED)
		audit_refused(agent, document, NULL, refusal);
	if (status != 0)
		return status;
	status = registry_get(agent->registry, document->id, &entry);
	if (status < 0)
		return status;
	status = grant_new(document, GRANT_LOCAL, &grant);
	if (status < 0) {
		registry_drop(agent->registry, entry);
		return status;
	}
	document = NULL;
	entry_set_document(entry, DOCUMENT_GRANT, no_digest);
	status = lifecycle_admit(agent, entry, grant, &now);
	if (status < 0)
		return status;
	record_keep_runtime(agent, record_local(agent, claims, now.wall_usec, grant));
	submission_fill(ret, entry, grant->durable);
	submit_announce(agent, grant->document, grant->durable);
	lifecycle_announce(agent, grant, NULL);
	return 0;
}

int submit_local_revocation(struct agent *agent, const char *id, bool kill_sessions,
	const char *reason, size_t *ret_killed)
{
	struct registry_entry *entry = registry_find(agent->registry, id);
	const struct moment now = moment_now();

	bool live = entry && entry->grant && grant_is_live(entry->grant);
	int kept, status = 0;
	json_t *record;

	if (!live && !(entry && entry->unrecorded)) {
		*ret_killed = kill_sessions ? lifecycle_kill_sessions(agent, id) : 0;
		return *ret_killed > 0 ? 0 : -ENOENT;
	}
	record = record_revoked(id, reason, kill_sessions, now.wall_usec);
	kept = record_keep(agent, live ? record_to_tell(agent, record) : record);
	if (kept == -ENOMEM)
		return kept;
	if (kept == RECORD_UNTIL_REBOOT)
		log_line(LOG_WARNING,
			"the revocation of %s will not survive a reboot until %s can be written",
			id, agent->config->state_directory);
	/* Closed all the same; it may be called again. */
	entry->unrecorded = kept < 0;
	registry_mark_revoked(agent->registry, entry);
	if (live)
		status = lifecycle_revoke(agent, entry->grant, kill_sessions, reason, ret_killed);
	return status == 0 && kept < 0 ? kept : status;
}
