/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A word in a signature's place, and who verifies it: true ones (document_fuzz.c) take longer than
 * all that comes behind them. */

#include "agent/common/jws.h"
#include "tests/fuzz/signing.h"

#define STAMP "c2lnbmVk"

int jws_verify(const struct jws *jws, const struct trust_key *key, struct refusal *refusal)
{
	const struct jws_part *signature = &jws->signature_part;

	if (signature->n_bytes == strlen(STAMP) &&
		memcmp(signature->text, STAMP, signature->n_bytes) == 0)
		return 0;
	return refuse(refusal, REFUSAL_BAD_SIGNATURE,
		"the signature does not verify with key \"%s\"", key->kid);
}

/* As sign_any(). */
static inline char *stamp(
	const char *header, size_t n_header, const char *payload, size_t n_payload)
{
	json_auto_t *protected = jose_b64_enc(header, n_header);
	json_auto_t *claims = jose_b64_enc(payload, n_payload);
	char *text;

	CHECK(asprintf(&text, "%s.%s." STAMP, json_string_value(protected),
		      json_string_value(claims)) >= 0);
	return text;
}
