/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The one way in: whatever brings a document, it is judged here, and done. */

#include "agent/daemon/agent.h"

struct submission {
	const char *kind;
	char id[DOCUMENT_ID_MAX + 1];
	const char *state; /* of a grant; "admitted" for others */
	bool durable;
};

/* Why a grant was revoked, where the document does not say. */
#define REVOKED_BY_DOCUMENT "revoked by a document"

/* Tells the audit log that a document was admitted. */
void submit_announce(struct agent *agent, const struct document *document, bool durable);

/* Returns 0; REFUSED with the refusal filled in; -errno where it could not be done: nothing has
 * changed then. */
int submit_document(struct agent *agent, const char *text, size_t n_bytes, struct submission *ret,
	struct refusal *refusal);

/*
 * A grant of local root. ports is as a document's "ports"; subject is who asked. Must be of managed
 * ports, is bounded by nothing else. Returns as submit_document().
 */
int submit_local_grant(struct agent *agent, const json_t *ports, int64_t seconds,
	const char *subject, const char *reason, struct submission *ret, struct refusal *refusal);

/* A revocation by local root. Returns 0; -ENOENT where no such grant is live; -errno. */
int submit_local_revocation(struct agent *agent, const char *id, bool kill_sessions,
	const char *reason, size_t *ret_killed);

/*
 * SHA-256 of what a document's signature is over (RFC 7515's signing input): a second valid
 * signature, which anyone can make of an ECDSA one, is still the same document. Returns 0, -ENOMEM
 * or -EIO.
 */
int document_digest(const char *text, size_t n_bytes, uint8_t ret[static DOCUMENT_DIGEST_BYTES]);
