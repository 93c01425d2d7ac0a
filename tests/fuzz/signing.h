/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Keys of this process, and signatures with them over any bytes, whatever sense they make. */

#include <jansson.h>
#include <jose/b64.h>
#include <jose/jwk.h>
#include <jose/jws.h>

#include "tests/fuzz/fuzz.h"

enum { SIGNING_KEYS = 4 };

static const char *const signing_algorithms[SIGNING_KEYS] = { "ES256", "ES384", "PS256", "RS256" };

/* Private JWKs, made anew in each process. Their names are their algorithms. */
static inline json_t *signing_key(unsigned i)
{
	static json_t *keys[SIGNING_KEYS];

	if (!keys[i]) {
		keys[i] = json_pack(
			"{s:s, s:s}", "alg", signing_algorithms[i], "kid", signing_algorithms[i]);
		CHECK(jose_jwk_gen(NULL, keys[i]));
	}
	return keys[i];
}

/* The public halves of the first n_keys as a trust file. */
static inline char *signing_trust(unsigned n_keys)
{
	json_t *keys = json_array();
	json_auto_t *set = json_pack("{s:o}", "keys", keys);

	for (unsigned i = 0; i < n_keys; i++) {
		json_t *jwk = json_deep_copy(signing_key(i));

		CHECK(jose_jwk_pub(NULL, jwk));
		json_array_append_new(keys, jwk);
	}
	return json_dumps(set, JSON_COMPACT);
}

/*
 * header . payload . signature, as RFC 7515, section 7.1. A header that libjose does not sign (not
 * an object, "crit", another key's algorithm) gets a signature that is none.
 */
static inline char *sign_any(
	unsigned key, const char *header, size_t n_header, const char *payload, size_t n_payload)
{
	json_auto_t *protected = jose_b64_enc(header, n_header);
	json_auto_t *jws = json_pack("{s:o}", "payload", jose_b64_enc(payload, n_payload));
	json_auto_t *parsed = json_loadb(header, n_header, 0, NULL);
	json_auto_t *template = json_pack("{s:O}", "protected", protected);
	char *text;

	if (!json_is_object(parsed) || json_object_get(parsed, "crit") ||
		!jose_jws_sig(NULL, jws, template, signing_key(key)))
		json_object_set_new(jws, "signature", json_string("AAAA"));
	CHECK(asprintf(&text, "%s.%s.%s", json_string_value(protected),
		      json_string_value(json_object_get(jws, "payload")),
		      json_string_value(json_object_get(jws, "signature"))) >= 0);
	return text;
}
