/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Documents as they come from outside: signed, forged, and what reading them says. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "agent/common/document.h"
#include "tests/unit/signing.h"

#define VM_ID "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/web-1"
#define NOW 1767261600
#define HEADER_ES256 "{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"jit-grant+jwt\"}"

static struct {
	json_t *es256, *es384, *ps256, *rs256;
	json_t *stranger; /* in no trust file, but calls itself "es256" */
	struct trust *trust;
} keys;

static inline int keys_setup(void **state)
{
	_cleanup_(freep) char *text = NULL;
	_cleanup_(freep) char *error = NULL;
	json_auto_t *set = NULL;

	(void)state;
	keys.es256 = key_generate("ES256", "es256");
	keys.es384 = key_generate("ES384", "es384");
	keys.ps256 = key_generate("PS256", "ps256");
	keys.rs256 = key_generate("RS256", "rs256");
	keys.stranger = key_generate("ES256", "es256");
	set = json_pack("{s:[o, o, o, o]}", "keys", key_public(keys.es256), key_public(keys.es384),
		key_public(keys.ps256), key_public(keys.rs256));
	text = json_dumps(set, 0);
	if (trust_parse(text, strlen(text), "trust.jwks", &keys.trust, &error) < 0)
		fail_msg("%s", error);
	return 0;
}

static inline int keys_teardown(void **state)
{
	(void)state;
	json_decref(keys.es256);
	json_decref(keys.es384);
	json_decref(keys.ps256);
	json_decref(keys.rs256);
	json_decref(keys.stranger);
	trust_free(keys.trust);
	return 0;
}

static inline json_t *grant_claims(void)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:s, s:[{s:i, s:s, s:s}]}", "iss",
		"https://jit.example", "aud", VM_ID, "jti", "grant-1", "sub", "ada@example.com",
		"iat", NOW, "exp", NOW + 3600, "justification", "deploy \xc3\xa4", "ports",
		"number", 22, "protocol", "TCP", "allowedSourceAddressPrefix", "203.0.113.7");
}

static inline json_t *revocation_claims(void)
{
	return json_pack("{s:s, s:[s, s], s:s, s:i, s:[s, s], s:s, s:s}", "iss",
		"https://jit.example", "aud", "other", VM_ID, "jti", "revocation-1", "iat", NOW,
		"revokes", "grant-1", "grant-2", "sessions", "kill", "reason", "left");
}

static inline json_t *policy_claims(void)
{
	return json_pack("{s:s, s:s, s:s, s:i, s:i, s:[{s:i, s:s, s:[s, s], s:s}]}", "iss",
		"https://jit.example", "aud", VM_ID, "jti", "policy-1", "iat", NOW, "version", 7,
		"ports", "number", 3389, "protocol", "*", "allowedSourceAddressPrefixes",
		"10.0.0.0/8", "2001:db8::/32", "maxRequestAccessDuration", "PT3H");
}

static inline char *sign(enum document_kind kind, const json_t *claims, const json_t *jwk)
{
	char *text = NULL;

	assert_int_equal(document_sign(kind, claims, jwk, &text), 0);
	return text;
}

/* Reads what must pass. */
static struct document *read_passes(const char *text)
{
	struct document *document = NULL;
	struct refusal refusal = { 0 };

	if (document_read(text, strlen(text), keys.trust, VM_ID, &document, &refusal) != 0)
		fail_msg("%s: %s", refusal_code_name(refusal.code), refusal.message);
	return document;
}

/* Reads what must not. */
static struct refusal read_refused(const char *text, size_t n_bytes)
{
	struct document *document = NULL;
	struct refusal refusal = { 0 };

	if (document_read(text, n_bytes, keys.trust, VM_ID, &document, &refusal) != REFUSED)
		fail_msg("passes: %.*s", (int)n_bytes, text);
	assert_null(document);
	assert_int_not_equal(refusal.code, REFUSAL_NONE);
	assert_true(strlen(refusal.message) > 0);
	assert_int_not_equal(refusal.message[strlen(refusal.message) - 1], '.');
	return refusal;
}

static inline void assert_code(const struct refusal *refusal, enum refusal_code code)
{
	if (refusal->code != code)
		fail_msg("%s instead of %s: %s", refusal_code_name(refusal->code),
			refusal_code_name(code), refusal->message);
}

static inline void assert_refused(const char *text, enum refusal_code code)
{
	struct refusal refusal = read_refused(text, strlen(text));

	assert_code(&refusal, code);
}

/* Signed by the right key with header and payload as they stand; takes code for the answer. */
static inline void assert_signed_refused(
	const char *header, const char *payload, enum refusal_code code)
{
	_cleanup_(freep) char *text = sign_text(header, payload, keys.es256);

	assert_refused(text, code);
}

static inline char *grant_text(const json_t *jwk)
{
	json_auto_t *claims = grant_claims();

	return sign(DOCUMENT_GRANT, claims, jwk);
}

static inline char *grant_payload(void)
{
	json_auto_t *claims = grant_claims();

	return json_dumps(claims, JSON_COMPACT);
}
