/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Documents: signed JSON messages to an agent, JWS in compact form (RFC 7515, RFC 7519 claims).
 *
 * document_read() checks everything that a document says of itself: form, bounds, signature,
 * audience. Whether it may pass now (time, policy, duplicates) is the daemon's to decide.
 */

#include <stdint.h>

#include "agent/common/prefix.h"
#include "agent/common/refusal.h"
#include "agent/common/trust.h"

#define DOCUMENT_BYTES_MAX (16 * 1024)
#define DOCUMENT_PORTS_MAX 64
#define DOCUMENT_PREFIXES_MAX 64
#define DOCUMENT_REVOKES_MAX 256
#define DOCUMENT_ID_MAX 128
#define DOCUMENT_STRING_MAX 1024

enum document_kind {
	DOCUMENT_GRANT,
	DOCUMENT_REVOCATION,
	DOCUMENT_POLICY,
};

/* What happens to the sessions that a grant let in. */
enum sessions_action {
	SESSIONS_DEFAULT, /* as the port's on_expiry says for expiry; keep for a revocation */
	SESSIONS_KEEP,
	SESSIONS_KILL,
};

/* One element of "ports": of a grant (max_duration 0) or of a policy. */
struct document_port {
	struct port_range ports; /* one number: first equals last */
	unsigned protocols;
	struct prefix *prefixes;
	size_t n_prefixes;
	int64_t max_duration; /* seconds */
};

struct document {
	enum document_kind kind;
	char *id;
	char *issuer;
	int64_t issued_at; /* iat */
	/* Of the key that signed it; NULL for a grant of local root. Not owned. */
	const struct trust_key *key;

	struct document_port *ports; /* grant, policy */
	size_t n_ports;

	char *subject; /* grant */
	char *justification; /* grant, may be NULL */
	int64_t not_before; /* grant: nbf, or iat where there is none */
	int64_t expires; /* grant: exp */

	char **revokes; /* revocation */
	size_t n_revokes;
	enum sessions_action sessions; /* revocation */
	char *reason; /* revocation, may be NULL */

	uint64_t version; /* policy */
};

const char *document_kind_name(enum document_kind kind);
/* "jit-grant+jwt", … and back. Returns 0 or -EINVAL. */
const char *document_kind_type(enum document_kind kind);
int document_kind_parse_name(const char *name, enum document_kind *ret);

/* 1 to 128 of A-Z a-z 0-9 . _ ~ - */
bool document_id_is_valid(const char *id);

/*
 * Reads and verifies a document. vm_id NULL skips the audience check. Returns 0 and the document,
 * owned by the caller; REFUSED with the refusal filled in; -ENOMEM.
 *
 * The order of checks: size (too_large), form of the compact JWS and its header (malformed: not
 * three base64url parts, header not strict JSON, crit, typ not one of ours, no kid), alg
 * (unsupported_algorithm), kid (unknown_key), alg against the key's own alg
 * (unsupported_algorithm), signature (bad_signature), claims (malformed, too_large for more than
 * the bounds of list lengths), audience (wrong_audience).
 */
int document_read(const char *text, size_t n_bytes, const struct trust *trust, const char *vm_id,
	struct document **ret, struct refusal *refusal);

/*
 * Builds a document's claims' struct from JSON, without signature: what document_read() does with
 * the payload, and what `jitgate sign` checks before signing. Returns as document_read().
 */
int document_from_claims(enum document_kind kind, const json_t *claims, struct document **ret,
	struct refusal *refusal);

/* True where aud (a string or a list) names the VM; ids that begin with '/' compare without case.
 */
bool document_audience_matches(const json_t *claims, const char *vm_id);

/*
 * Signs claims with a private JWK that has kid and alg. Returns 0 and the compact JWS (allocated,
 * owned by the caller); -EINVAL where the key can't sign, -ENOMEM.
 */
int document_sign(enum document_kind kind, const json_t *claims, const json_t *jwk, char **ret);

/* Frees the ports: n_ports is 0 afterwards. */
void document_forget_ports(struct document *document);

struct document *document_free(struct document *document);
DEFINE_CLEANUP(struct document *, document_free)
