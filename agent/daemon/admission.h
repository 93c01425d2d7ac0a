/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* May a document pass, now? A pure function of the document and of what the agent knows. */

#include "agent/daemon/policy.h"
#include "agent/daemon/registry.h"

/* What the question depends on, besides the document. */
struct admission {
	const struct policies *policies;
	const struct registry *registry;
	int64_t now; /* seconds */
	int64_t latest; /* the latest time this agent has seen */
	const struct document *policy; /* the signed one in force, or NULL */
	size_t max_grants;
	bool ledger_unread; /* what was revoked is not all known */
};

/* A grant may have 64 prefixes at each of 64 ports; all that are live together so many for each of
 * max_grants, and no more than the kernel can list in a second or two: the time that takes grows
 * with their square. One for each of max_grants, in any case. */
#define PREFIXES_PER_GRANT 16
#define PREFIXES_LIVE_MAX 40000

size_t admission_prefixes_max(size_t max_grants);

/* What admission says, besides REFUSED and -errno. */
enum admission_answer {
	ADMITTED = 0,
	KNOWN = 2, /* this very document was admitted before */
};

/*
 * Returns ADMITTED, KNOWN, or REFUSED with the refusal filled in. digest is document_digest()'s.
 * Codes are given in this order: duplicate_id, ledger_unread, clock_behind, expired, revoked, those
 * of policies_check(), capacity; and stale_policy.
 */
int admission_judge(const struct admission *admission, const struct document *document,
	const uint8_t digest[static DOCUMENT_DIGEST_BYTES], struct refusal *refusal);
