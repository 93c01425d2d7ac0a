/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Issuers of OIDC tokens (OpenID Connect Core, RFC 7519, RFC 9068), and what their tokens say. */

#include <jansson.h>
#include <stdint.h>

#include "agent/common/trust.h"
#include "cleanup.h"

#define ISSUER_TOKEN_BYTES_MAX (8 * 1024)
#define ISSUER_LEEWAY_SECONDS 60
#define ISSUER_PRINCIPAL_BYTES_MAX 256
#define ISSUER_GROUPS_MAX 1024

struct issuer {
	char *name; /* of its section */
	char *issuer; /* iss */
	char *audience; /* aud */
	char *jwks; /* a file */
	char *principal_claim;
	char *groups_claim;
	struct trust_key *keys; /* a key without alg is there once for each that fits its type */
	size_t n_keys;
};

void issuer_done(struct issuer *issuer);

/*
 * Reads the keys of issuer->jwks, a JWK Set as issuers publish it: what is not for signing, or with
 * what is not supported, is left out. Returns 0; -errno, with a sentence in ret_error (allocated,
 * owned by the caller): also where no key is left, or one is unfit.
 */
int issuer_load_keys(struct issuer *issuer, char **ret_error);

/* Whom a token names. */
struct issued {
	char *principal;
	json_t *groups; /* a list of strings; NULL: none */
};

void issued_done(struct issued *issued);

#define NOT_ISSUED 1

/*
 * Reads a token of one of the issuers, as of now (seconds). Returns 0, to be released with
 * issued_done(); NOT_ISSUED, with a sentence for who sent it; -ENOMEM.
 */
int issuer_read_token(const struct issuer *issuers, size_t n_issuers, const char *text, int64_t now,
	struct issued *ret, const char **ret_reason);
