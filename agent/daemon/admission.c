/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <inttypes.h>
#include <string.h>

#include "agent/common/times.h"
#include "agent/daemon/admission.h"

static int judge_id(const struct admission *admission, const struct document *document,
	const uint8_t *digest, struct refusal *refusal)
{
	const struct registry_entry *entry = registry_find(admission->registry, document->id);

	if (!entry || !entry->has_document)
		return ADMITTED;
	if (memcmp(entry->digest, digest, DOCUMENT_DIGEST_BYTES) != 0)
		return refuse(refusal, REFUSAL_DUPLICATE_ID,
			"the id %s came before with other content", document->id);
	if (document->kind == DOCUMENT_GRANT && !(entry->grant && grant_is_live(entry->grant)))
		return ADMITTED; /* it has ended: what follows says why it can't come again */
	return KNOWN;
}

static int judge_clock(
	const struct admission *admission, const struct document *document, struct refusal *refusal)
{
	char now[TIME_STRING_MAX], other[TIME_STRING_MAX];

	if (admission->now < admission->latest)
		return refuse(refusal, REFUSAL_CLOCK_BEHIND,
			"this machine's clock says %s, but it has been %s before: set the clock",
			time_format_utc(admission->now, now),
			time_format_utc(admission->latest, other));
	if (document->issued_at > admission->now + CLOCK_LEEWAY_SECONDS)
		return refuse(refusal, REFUSAL_CLOCK_BEHIND,
			"this machine's clock says %s, but the grant was issued at %s: "
			"one of the two clocks is wrong",
			time_format_utc(admission->now, now),
			time_format_utc(document->issued_at, other));
	return 0;
}

size_t admission_prefixes_max(size_t max_grants)
{
	size_t n = PREFIXES_PER_GRANT * max_grants;

	if (n > PREFIXES_LIVE_MAX)
		n = PREFIXES_LIVE_MAX;
	return n > max_grants ? n : max_grants;
}

static int judge_grant(
	const struct admission *admission, const struct document *document, struct refusal *refusal)
{
	const struct registry_entry *entry = registry_find(admission->registry, document->id);
	char now[TIME_STRING_MAX], expires[TIME_STRING_MAX];
	size_t n_prefixes_max;
	int status;

	if (admission->ledger_unread)
		return refuse(refusal, REFUSAL_LEDGER_UNREAD,
			"a ledger can't be read to its end, where the grant may have been revoked: "
			"the agent's log says what to do");
	status = judge_clock(admission, document, refusal);
	if (status != 0)
		return status;
	if (document->expires <= admission->now)
		return refuse(refusal, REFUSAL_EXPIRED,
			"it ended at %s, and this machine's clock says %s",
			time_format_utc(document->expires, expires),
			time_format_utc(admission->now, now));
	if (entry && (entry->revoked || (entry->grant && entry->grant->state == GRANT_REVOKED)))
		return refuse(refusal, REFUSAL_REVOKED, "the grant %s was revoked", document->id);
	if (entry && entry->grant && !entry->grant->withdrawn)
		return refuse(refusal, REFUSAL_EXPIRED,
			"the grant %s has ended here: the clock has been set since", document->id);
	status = policies_check(
		admission->policies, document->key, document, admission->now, refusal);
	if (status != 0)
		return status;
	if (registry_count_live(admission->registry) >= admission->max_grants)
		return refuse(refusal, REFUSAL_CAPACITY, "%zu grants are live, which is max_grants",
			admission->max_grants);
	n_prefixes_max = admission_prefixes_max(admission->max_grants);
	if (registry_count_prefixes(admission->registry) + document_count_prefixes(document) >
		n_prefixes_max)
		return refuse(refusal, REFUSAL_CAPACITY,
			"live grants would have more than %zu prefixes at ports", n_prefixes_max);
	return ADMITTED;
}

static int judge_revocation(
	const struct admission *admission, const struct document *document, struct refusal *refusal)
{
	size_t n_unknown = 0;
	int status;

	/* Closing is never refused for the clock's sake. */
	for (size_t i = 0; i < document->n_revokes; i++) {
		const struct registry_entry *entry =
			registry_find(admission->registry, document->revokes[i]);

		n_unknown += !entry;
		if (!entry || !entry->grant || !document->key)
			continue;
		status = key_check_ports(document->key, entry->grant->document->ports,
			entry->grant->document->n_ports, refusal);
		if (status != 0)
			return status;
	}
	/* Only memory bounds it, and only where it would be remembered for grants that may never
	 * come. */
	if (n_unknown > 0 &&
		registry_count_revoked(admission->registry) + n_unknown > REGISTRY_REVOKED_MAX)
		return refuse(refusal, REFUSAL_CAPACITY,
			"%d revoked ids whose grants never came are remembered already",
			REGISTRY_REVOKED_MAX);
	return ADMITTED;
}

/* It takes the place of the policy in force, so its key must have a say over that one's ports too:
 * leaving a port out opens it. */
static int judge_policy(
	const struct admission *admission, const struct document *document, struct refusal *refusal)
{
	const struct document *old = admission->policy;
	int status;

	if (old && document->version <= old->version)
		return refuse(refusal, REFUSAL_STALE_POLICY,
			"policy version %" PRIu64 " is not above version %" PRIu64
			", which is in force",
			document->version, old->version);
	if (!document->key)
		return ADMITTED;
	status = key_check_ports(document->key, document->ports, document->n_ports, refusal);
	if (status == 0 && old)
		status = key_check_ports(document->key, old->ports, old->n_ports, refusal);
	return status;
}

int admission_judge(const struct admission *admission, const struct document *document,
	const uint8_t digest[static DOCUMENT_DIGEST_BYTES], struct refusal *refusal)
{
	int answer = judge_id(admission, document, digest, refusal);

	if (answer != ADMITTED)
		return answer;
	switch (document->kind) {
	case DOCUMENT_GRANT:
		return judge_grant(admission, document, refusal);
	case DOCUMENT_REVOCATION:
		return judge_revocation(admission, document, refusal);
	case DOCUMENT_POLICY:
		return judge_policy(admission, document, refusal);
	}
	return refuse(refusal, REFUSAL_MALFORMED, "it is of no kind that is known here");
}
