/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * JWS in compact form (RFC 7515), taken apart and verified: documents, and tokens of an OIDC
 * issuer. Which keys count, and what is claimed, is its reader's to judge.
 */

#include <jansson.h>
#include <stddef.h>

#include "agent/common/refusal.h"
#include "agent/common/trust.h"

struct jws_part {
	const char *text;
	size_t n_bytes;
};

struct jws {
	const char *what; /* "document", for refusals */
	struct jws_part header_part, payload_part, signature_part; /* base64url, in the text */
	json_t *header;
	/* Members of the header, borrowed from it. typ may be NULL. */
	const char *alg;
	const char *kid;
	const char *typ;
};

/*
 * Takes a JWS apart: three parts of base64url, a header of strict JSON without "crit" and "b64",
 * with "kid" and "alg". text stays the caller's, and must outlive it. Returns 0, to be released
 * with jws_done(); REFUSED, always as malformed; -ENOMEM.
 */
int jws_read(const char *text, size_t n_bytes, const char *what, struct jws *ret,
	struct refusal *refusal);
void jws_done(struct jws *jws);

/* Fails where the header's alg is not supported. Returns 0 or REFUSED. */
int jws_check_algorithm(const struct jws *jws, struct refusal *refusal);

/* Verifies with a key whose alg is the header's. Returns 0; REFUSED (bad_signature); -ENOMEM. */
int jws_verify(const struct jws *jws, const struct trust_key *key, struct refusal *refusal);

/* The payload as a strict JSON object, a new reference. Returns 0; REFUSED (malformed); -ENOMEM.
 * Not before jws_verify(). */
int jws_claims(const struct jws *jws, json_t **ret, struct refusal *refusal);
