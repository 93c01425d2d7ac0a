/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <openssl/bio.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>

#include "agent/common/document.h"
#include "tests/unit/signing.h"

#define VM_ID "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/web-1"
#define NOW 1767261600

static const char header_es256[] =
	"{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"jit-grant+jwt\"}";

static struct {
	json_t *es256, *es384, *ps256, *rs256;
	json_t *stranger; /* in no trust file, but calls itself "es256" */
	struct trust *trust;
} keys;

static int keys_setup(void **state)
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

static int keys_teardown(void **state)
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

static json_t *grant_claims(void)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:s, s:[{s:i, s:s, s:s}]}", "iss",
		"https://jit.example", "aud", VM_ID, "jti", "grant-1", "sub", "ada@example.com",
		"iat", NOW, "exp", NOW + 3600, "justification", "deploy \xc3\xa4", "ports",
		"number", 22, "protocol", "TCP", "allowedSourceAddressPrefix", "203.0.113.7");
}

static json_t *revocation_claims(void)
{
	return json_pack("{s:s, s:[s, s], s:s, s:i, s:[s, s], s:s, s:s}", "iss",
		"https://jit.example", "aud", "other", VM_ID, "jti", "revocation-1", "iat", NOW,
		"revokes", "grant-1", "grant-2", "sessions", "kill", "reason", "left");
}

static json_t *policy_claims(void)
{
	return json_pack("{s:s, s:s, s:s, s:i, s:i, s:[{s:i, s:s, s:[s, s], s:s}]}", "iss",
		"https://jit.example", "aud", VM_ID, "jti", "policy-1", "iat", NOW, "version", 7,
		"ports", "number", 3389, "protocol", "*", "allowedSourceAddressPrefixes",
		"10.0.0.0/8", "2001:db8::/32", "maxRequestAccessDuration", "PT3H");
}

static char *sign(enum document_kind kind, const json_t *claims, const json_t *jwk)
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

static void assert_code(const struct refusal *refusal, enum refusal_code code)
{
	if (refusal->code != code)
		fail_msg("%s instead of %s: %s", refusal_code_name(refusal->code),
			refusal_code_name(code), refusal->message);
}

static void assert_refused(const char *text, enum refusal_code code)
{
	struct refusal refusal = read_refused(text, strlen(text));

	assert_code(&refusal, code);
}

/* Signed by the right key with header and payload as they stand; takes code for the answer. */
static void assert_signed_refused(const char *header, const char *payload, enum refusal_code code)
{
	_cleanup_(freep) char *text = sign_text(header, payload, keys.es256);

	assert_refused(text, code);
}

static char *grant_text(const json_t *jwk)
{
	json_auto_t *claims = grant_claims();

	return sign(DOCUMENT_GRANT, claims, jwk);
}

static char *grant_payload(void)
{
	json_auto_t *claims = grant_claims();

	return json_dumps(claims, JSON_COMPACT);
}

static void a_grant_by_each_algorithm_is_read(void **state)
{
	const json_t *jwks[] = { keys.es256, keys.es384, keys.ps256, keys.rs256 };

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(jwks); i++) {
		_cleanup_(document_freep) struct document *grant = NULL;
		_cleanup_(freep) char *text = grant_text(jwks[i]);

		grant = read_passes(text);
		assert_int_equal(grant->kind, DOCUMENT_GRANT);
		assert_string_equal(
			grant->key->kid, json_string_value(json_object_get(jwks[i], "kid")));
		assert_string_equal(grant->id, "grant-1");
		assert_string_equal(grant->issuer, "https://jit.example");
		assert_string_equal(grant->subject, "ada@example.com");
		assert_string_equal(grant->justification, "deploy \xc3\xa4");
		assert_int_equal(grant->issued_at, NOW);
		assert_int_equal(grant->not_before, NOW);
		assert_int_equal(grant->expires, NOW + 3600);
		assert_int_equal(grant->n_ports, 1);
		assert_int_equal(grant->ports[0].ports.first, 22);
		assert_int_equal(grant->ports[0].ports.last, 22);
		assert_int_equal(grant->ports[0].protocols, PROTOCOL_TCP);
		assert_int_equal(grant->ports[0].n_prefixes, 1);
		assert_int_equal(grant->ports[0].prefixes[0].length, 32);
		assert_int_equal(grant->ports[0].max_duration, 0);
	}
}

static void a_revocation_is_read(void **state)
{
	_cleanup_(document_freep) struct document *revocation = NULL;
	json_auto_t *claims = revocation_claims();
	_cleanup_(freep) char *text = sign(DOCUMENT_REVOCATION, claims, keys.es256);

	(void)state;
	revocation = read_passes(text);
	assert_int_equal(revocation->kind, DOCUMENT_REVOCATION);
	assert_int_equal(revocation->n_revokes, 2);
	assert_string_equal(revocation->revokes[1], "grant-2");
	assert_int_equal(revocation->sessions, SESSIONS_KILL);
	assert_string_equal(revocation->reason, "left");
}

static void a_policy_is_read(void **state)
{
	_cleanup_(document_freep) struct document *policy = NULL;
	json_auto_t *claims = policy_claims();
	_cleanup_(freep) char *text = sign(DOCUMENT_POLICY, claims, keys.es384);

	(void)state;
	policy = read_passes(text);
	assert_int_equal(policy->kind, DOCUMENT_POLICY);
	assert_int_equal(policy->version, 7);
	assert_int_equal(policy->ports[0].protocols, PROTOCOL_ANY);
	assert_int_equal(policy->ports[0].n_prefixes, 2);
	assert_int_equal(policy->ports[0].prefixes[1].family, AF_INET6);
	assert_int_equal(policy->ports[0].max_duration, 10800);
}

static void an_unsigned_document_opens_nothing(void **state)
{
	static const char *const headers[] = {
		"{\"alg\":\"none\",\"kid\":\"es256\",\"typ\":\"jit-grant+jwt\"}",
		"{\"alg\":\"None\",\"kid\":\"es256\",\"typ\":\"jit-grant+jwt\"}",
		"{\"alg\":\"\",\"kid\":\"es256\",\"typ\":\"jit-grant+jwt\"}",
	};
	_cleanup_(freep) char *payload = grant_payload();

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(headers); i++) {
		_cleanup_(freep) char *input =
			signing_input(headers[i], strlen(headers[i]), payload, strlen(payload));
		_cleanup_(freep) char *empty = append_signature(input, "", 0);

		assert_refused(empty, REFUSAL_UNSUPPORTED_ALGORITHM);
		assert_signed_refused(headers[i], payload, REFUSAL_UNSUPPORTED_ALGORITHM);
	}
	{
		_cleanup_(freep) char *input =
			signing_input(header_es256, strlen(header_es256), payload, strlen(payload));
		_cleanup_(freep) char *empty = append_signature(input, "", 0);

		assert_refused(empty, REFUSAL_BAD_SIGNATURE);
	}
}

static char *public_pem(const json_t *jwk)
{
	json_auto_t *public_jwk = key_public(jwk);
	EVP_PKEY *key = jose_openssl_jwk_to_EVP_PKEY(NULL, public_jwk);
	BIO *bio = BIO_new(BIO_s_mem());
	char *data, *text;
	long n;

	assert_int_equal(PEM_write_bio_PUBKEY(bio, key), 1);
	n = BIO_get_mem_data(bio, &data);
	text = strndup(data, (size_t)n);
	BIO_free(bio);
	EVP_PKEY_free(key);
	return text;
}

/* The public key is public: a MAC keyed with it proves nothing. */
static void a_mac_with_the_public_key_opens_nothing(void **state)
{
	const json_t *jwks[] = { keys.es256, keys.rs256 };
	_cleanup_(freep) char *payload = grant_payload();

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(jwks); i++) {
		json_auto_t *public_jwk = key_public(jwks[i]);
		_cleanup_(freep) char *pem = public_pem(jwks[i]);
		_cleanup_(freep) char *json = json_dumps(public_jwk, JSON_COMPACT);
		const char *secrets[] = { pem, json, "",
			json_string_value(json_object_get(public_jwk, i == 0 ? "x" : "n")) };

		for (size_t j = 0; j < N_ELEMENTS(secrets); j++) {
			_cleanup_(freep) char *header = NULL;
			_cleanup_(freep) char *input = NULL;
			_cleanup_(freep) char *text = NULL;
			unsigned char mac[EVP_MAX_MD_SIZE];
			unsigned n_mac;

			assert_true(
				asprintf(&header,
					"{\"alg\":\"HS256\",\"kid\":\"%s\",\"typ\":\"jit-grant+"
					"jwt\"}",
					json_string_value(json_object_get(jwks[i], "kid"))) > 0);
			input = signing_input(header, strlen(header), payload, strlen(payload));
			HMAC(EVP_sha256(), secrets[j], (int)strlen(secrets[j]),
				(const unsigned char *)input, strlen(input), mac, &n_mac);
			text = append_signature(input, mac, n_mac);
			assert_refused(text, REFUSAL_UNSUPPORTED_ALGORITHM);
		}
	}
}

/* libjose's own comparison lets an alg pass that sorts behind the key's. */
static void an_algorithm_that_is_not_the_keys_opens_nothing(void **state)
{
	static const struct {
		const char *alg, *kid;
	} pairs[] = { { "ES384", "es256" }, { "ES256", "es384" }, { "RS256", "es256" },
		{ "PS256", "es256" }, { "RS256", "ps256" }, { "PS256", "rs256" },
		{ "ES256", "rs256" } };
	_cleanup_(freep) char *payload = grant_payload();

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(pairs); i++) {
		_cleanup_(freep) char *header = NULL;

		assert_true(asprintf(&header,
				    "{\"alg\":\"%s\",\"kid\":\"%s\",\"typ\":\"jit-grant+jwt\"}",
				    pairs[i].alg, pairs[i].kid) > 0);
		assert_signed_refused(header, payload, REFUSAL_UNSUPPORTED_ALGORITHM);
	}
	{
		/* A true RS256 signature of a key that is trusted for PS256. */
		json_auto_t *jwk = json_deep_copy(keys.ps256);
		_cleanup_(freep) char *text = NULL;

		json_object_set_new(jwk, "alg", json_string("RS256"));
		text = grant_text(jwk);
		assert_refused(text, REFUSAL_UNSUPPORTED_ALGORITHM);
	}
}

static void an_algorithm_nobody_chose_opens_nothing(void **state)
{
	static const char *const algorithms[] = { "ES512", "RS384", "RS512", "PS384", "PS512",
		"HS384", "HS512", "EdDSA", "ES256K", "es256", "ES256 ", "ECDH-ES", "A128KW", "dir",
		"S256" };
	_cleanup_(freep) char *payload = grant_payload();

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(algorithms); i++) {
		_cleanup_(freep) char *header = NULL;

		assert_true(asprintf(&header,
				    "{\"alg\":\"%s\",\"kid\":\"es256\",\"typ\":\"jit-grant+jwt\"}",
				    algorithms[i]) > 0);
		assert_signed_refused(header, payload, REFUSAL_UNSUPPORTED_ALGORITHM);
	}
	/* Told before the key is looked for, so that the answer does not depend on it. */
	assert_signed_refused("{\"alg\":\"none\",\"kid\":\"x\",\"typ\":\"jit-grant+jwt\"}", payload,
		REFUSAL_UNSUPPORTED_ALGORITHM);
}

static void another_key_under_a_trusted_name_opens_nothing(void **state)
{
	_cleanup_(freep) char *text = grant_text(keys.stranger);

	(void)state;
	assert_refused(text, REFUSAL_BAD_SIGNATURE);
}

static void a_key_that_is_not_in_the_trust_file_opens_nothing(void **state)
{
	static const char *const kids[] = { "es25", "ES256", "es256 ", "es2567", "../es256" };
	_cleanup_(freep) char *payload = grant_payload();

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(kids); i++) {
		_cleanup_(freep) char *header = NULL;

		assert_true(asprintf(&header,
				    "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"jit-grant+jwt\"}",
				    kids[i]) > 0);
		assert_signed_refused(header, payload, REFUSAL_UNKNOWN_KEY);
	}
}

static void a_key_that_the_document_brings_opens_nothing(void **state)
{
	json_auto_t *jwk = key_public(keys.stranger);
	_cleanup_(freep) char *jwk_text = json_dumps(jwk, JSON_COMPACT);
	_cleanup_(freep) char *payload = grant_payload();
	static const char *const members[] = { "\"jku\":\"https://evil.example/keys\"",
		"\"x5u\":\"https://evil.example/chain\"", "\"x5c\":[\"AAAA\"]" };
	_cleanup_(freep) char *header = NULL;
	_cleanup_(freep) char *text = NULL;

	(void)state;
	assert_true(asprintf(&header,
			    "{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"jit-grant+jwt\","
			    "\"jwk\":%s}",
			    jwk_text) > 0);
	text = sign_text(header, payload, keys.stranger);
	assert_refused(text, REFUSAL_MALFORMED);
	for (size_t i = 0; i < N_ELEMENTS(members); i++) {
		_cleanup_(freep) char *other = NULL;

		assert_true(asprintf(&other,
				    "{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"jit-grant+"
				    "jwt\",%s}",
				    members[i]) > 0);
		assert_signed_refused(other, payload, REFUSAL_MALFORMED);
	}
}

static void a_header_that_is_not_ours_is_malformed(void **state)
{
	static const char *const headers[] = {
		"",
		"{}",
		"[]",
		"null",
		"\"ES256\"",
		"{\"alg\":\"ES256\",\"kid\":\"es256\"}",
		"{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"JWT\"}",
		"{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"JIT-GRANT+JWT\"}",
		"{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"application/jit-grant+jwt\"}",
		"{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"jit-grant+jwt \"}",
		"{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":[\"jit-grant+jwt\"]}",
		"{\"alg\":\"ES256\",\"typ\":\"jit-grant+jwt\"}",
		"{\"alg\":\"ES256\",\"kid\":\"\",\"typ\":\"jit-grant+jwt\"}",
		"{\"alg\":\"ES256\",\"kid\":7,\"typ\":\"jit-grant+jwt\"}",
		"{\"alg\":\"ES256\",\"kid\":null,\"typ\":\"jit-grant+jwt\"}",
		"{\"kid\":\"es256\",\"typ\":\"jit-grant+jwt\"}",
		"{\"alg\":[\"ES256\"],\"kid\":\"es256\",\"typ\":\"jit-grant+jwt\"}",
		"{\"alg\":null,\"kid\":\"es256\",\"typ\":\"jit-grant+jwt\"}",
		"{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"jit-grant+jwt\",\"crit\":[]}",
		("{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"jit-grant+jwt\",\"crit\":[\"exp\"]"
		 ","
		 "\"exp\":1}"),
		"{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"jit-grant+jwt\",\"crit\":null}",
		"{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"jit-grant+jwt\",\"b64\":false}",
		"{\"alg\":\"none\",\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"jit-grant+jwt\"}",
		"{\"alg\":\"ES256\",\"kid\":\"x\",\"kid\":\"es256\",\"typ\":\"jit-grant+jwt\"}",
		"{\"alg\":\"ES256\",\"k\\u0069d\":\"x\",\"kid\":\"es256\",\"typ\":\"jit-grant+"
		"jwt\"}",
		"{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"jit-grant+jwt\"}}",
		"{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"jit-grant+jwt\"} {}",
		"{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"jit-grant+jwt\",}",
		"{\"alg\":\"ES256\",\"kid\":\"es256\\u0000\",\"typ\":\"jit-grant+jwt\"}",
		"{'alg':'ES256','kid':'es256','typ':'jit-grant+jwt'}",
		"\xef\xbb\xbf{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"jit-grant+jwt\"}",
	};
	_cleanup_(freep) char *payload = grant_payload();

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(headers); i++)
		assert_signed_refused(headers[i], payload, REFUSAL_MALFORMED);
}

static void an_unknown_header_member_or_claim_does_not_matter(void **state)
{
	static const char header[] =
		"{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"jit-grant+jwt\","
		"\"x5t\":\"AAAA\",\"cty\":\"JSON\"}";
	_cleanup_(document_freep) struct document *grant = NULL;
	json_auto_t *claims = grant_claims();
	_cleanup_(freep) char *payload = NULL;
	_cleanup_(freep) char *text = NULL;

	(void)state;
	json_object_set_new(claims, "https://example/claim", json_pack("{s:[]}", "deep"));
	payload = json_dumps(claims, 0);
	text = sign_text(header, payload, keys.es256);
	grant = read_passes(text);
}

static void a_payload_that_is_not_strict_json_is_malformed(void **state)
{
	static const char *const payloads[] = { "", "null", "[]", "{", "{}", "{}{}", "{} x",
		"{\"a\":1,\"a\":1}", "{\"a\":{\"b\":1,\"b\":2}}", "{\"a\":\"\\u0000\"}",
		"{\"a\\u0000\":1}", "{\"a\":\"\xff\"}", "{\"a\":\"\xc0\x80\"}",
		"{\"a\":\"\xed\xa0\x80\"}", "{\"a\":\"\\ud800\"}", "{\"a\":NaN}", "{\"a\":01}",
		"{\"a\":99999999999999999999}", "{\"a\":1e999}", "{\"a\":\"\n\"}", "{/**/}" };

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(payloads); i++)
		assert_signed_refused(header_es256, payloads[i], REFUSAL_MALFORMED);
}

static void the_last_of_two_claims_does_not_win(void **state)
{
	_cleanup_(freep) char *payload = grant_payload();
	_cleanup_(freep) char *twice = NULL;

	(void)state;
	assert_true(asprintf(&twice, "{\"exp\":%d,%s", NOW + 99999, payload + 1) > 0);
	assert_signed_refused(header_es256, twice, REFUSAL_MALFORMED);
	free(twice);
	assert_true(asprintf(&twice, "{\"\\u0065xp\":%d,%s", NOW + 99999, payload + 1) > 0);
	assert_signed_refused(header_es256, twice, REFUSAL_MALFORMED);
}

static void a_nul_byte_hides_nothing(void **state)
{
	_cleanup_(freep) char *payload = grant_payload();
	_cleanup_(freep) char *document = grant_text(keys.es256);
	size_t n = strlen(payload), n_document = strlen(document);
	_cleanup_(freep) char *with_nul = calloc(1, n + 1);
	_cleanup_(freep) char *document_with_nul = calloc(1, n_document + 2);
	struct refusal refusal;

	(void)state;
	for (size_t at = 0; at <= n; at++) {
		_cleanup_(freep) char *text = NULL;

		memcpy(with_nul, payload, at);
		with_nul[at] = '\0';
		memcpy(with_nul + at + 1, payload + at, n - at);
		text = sign_bytes(header_es256, strlen(header_es256), with_nul, n + 1, keys.es256);
		assert_refused(text, REFUSAL_MALFORMED);
	}
	memcpy(document_with_nul, document, n_document);
	refusal = read_refused(document_with_nul, n_document + 1);
	assert_code(&refusal, REFUSAL_MALFORMED);
	for (size_t i = 0; i < n_document; i += 7) {
		memcpy(document_with_nul, document, n_document);
		document_with_nul[i] = '\0';
		refusal = read_refused(document_with_nul, n_document);
		assert_code(&refusal, REFUSAL_MALFORMED);
	}
}

/* {"a":[[[…]]]} with so many levels in all. */
static char *nested(size_t n_levels)
{
	size_t n = n_levels - 1;
	char *text = calloc(1, n_levels * 2 + 8);
	char *end = stpcpy(text, "{\"a\":");

	memset(end, '[', n);
	memset(end + n, ']', n);
	strcpy(end + 2 * n, "}");
	return text;
}

static void deep_nesting_exhausts_no_stack(void **state)
{
	_cleanup_(freep) char *as_deep = nested(32);
	_cleanup_(freep) char *too_deep = nested(33);
	_cleanup_(freep) char *far_too_deep = nested(5000);
	_cleanup_(freep) char *text = NULL;
	struct refusal refusal;

	(void)state;
	/* 32 levels are JSON that lacks claims; 33 are not looked at. */
	text = sign_text(header_es256, as_deep, keys.es256);
	refusal = read_refused(text, strlen(text));
	assert_string_equal(refusal.message, "jti is missing");
	free(text);
	text = sign_text(header_es256, too_deep, keys.es256);
	refusal = read_refused(text, strlen(text));
	assert_non_null(strstr(refusal.message, "32 levels"));
	assert_signed_refused(header_es256, far_too_deep, REFUSAL_MALFORMED);
	assert_signed_refused(far_too_deep, "{}", REFUSAL_MALFORMED);
	/* Brackets in a string nest nothing. */
	assert_signed_refused(header_es256,
		"{\"a\":\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}",
		REFUSAL_MALFORMED);
}

static void a_megabyte_is_refused_for_its_size(void **state)
{
	size_t n = 1024 * 1024;
	_cleanup_(freep) char *text = malloc(n);
	struct refusal refusal;

	(void)state;
	memset(text, 'A', n);
	refusal = read_refused(text, n);
	assert_code(&refusal, REFUSAL_TOO_LARGE);
	memset(text, '.', n);
	refusal = read_refused(text, n);
	assert_code(&refusal, REFUSAL_TOO_LARGE);
}

/* A grant whose document has exactly so many bytes, made up with an unknown claim. */
static char *grant_of_size(size_t n_bytes)
{
	for (size_t n_filler = n_bytes / 2; n_filler < n_bytes; n_filler++) {
		json_auto_t *claims = grant_claims();
		_cleanup_(freep) char *filler = calloc(1, n_filler + 1);
		char *text;

		memset(filler, 'x', n_filler);
		json_object_set_new(claims, "filler", json_string(filler));
		text = sign(DOCUMENT_GRANT, claims, keys.es256);
		if (strlen(text) == n_bytes)
			return text;
		free(text);
	}
	return NULL;
}

static void a_document_may_have_16_kib_and_no_more(void **state)
{
	_cleanup_(document_freep) struct document *grant = NULL;
	_cleanup_(freep) char *largest = grant_of_size(DOCUMENT_BYTES_MAX);
	_cleanup_(freep) char *too_large = grant_of_size(DOCUMENT_BYTES_MAX + 1);

	(void)state;
	if (!largest)
		largest = grant_of_size(DOCUMENT_BYTES_MAX - 1);
	if (!too_large)
		too_large = grant_of_size(DOCUMENT_BYTES_MAX + 2);
	grant = read_passes(largest);
	assert_refused(too_large, REFUSAL_TOO_LARGE);
}

static void a_document_cut_short_anywhere_opens_nothing(void **state)
{
	_cleanup_(freep) char *text = grant_text(keys.es256);

	(void)state;
	for (size_t n = 0; n < strlen(text); n++) {
		/* Of its own size, so that reading past it would be seen. */
		_cleanup_(freep) char *cut = malloc(n + 1);
		struct refusal refusal;

		memcpy(cut, text, n);
		cut[n] = 'A';
		refusal = read_refused(cut, n);
		assert_true(
			refusal.code == REFUSAL_MALFORMED || refusal.code == REFUSAL_BAD_SIGNATURE);
	}
}

static void a_document_with_any_bit_flipped_opens_nothing(void **state)
{
	_cleanup_(freep) char *text = grant_text(keys.es256);
	size_t n = strlen(text);

	(void)state;
	for (size_t i = 0; i < n; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			text[i] = (char)(text[i] ^ 1 << bit);
			read_refused(text, n);
			text[i] = (char)(text[i] ^ 1 << bit);
		}
	document_free(read_passes(text));
}

/* One document has one spelling: a second would be "other content" under the same jti. */
static void another_spelling_of_a_document_is_refused(void **state)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	static const char *const additions[] = { "=", "==", "A", " ", "\n", "\r\n", ".", ".A",
		"\t" };
	_cleanup_(freep) char *text = grant_text(keys.es256);
	size_t n = strlen(text), at;

	(void)state;
	/* 64 bytes leave four spare bits in the last of 86 digits. */
	at = (size_t)(strchr(alphabet, text[n - 1]) - alphabet);
	for (size_t i = 1; i < 16; i++) {
		_cleanup_(freep) char *other = strdup(text);

		other[n - 1] = alphabet[at | i];
		assert_refused(other, REFUSAL_MALFORMED);
	}
	for (size_t i = 0; i < N_ELEMENTS(additions); i++) {
		_cleanup_(freep) char *behind = NULL;
		_cleanup_(freep) char *before = NULL;
		_cleanup_(freep) char *within = NULL;
		size_t n_header = strcspn(text, ".");

		assert_true(asprintf(&behind, "%s%s", text, additions[i]) > 0);
		read_refused(behind, strlen(behind));
		assert_true(asprintf(&before, "%s%s", additions[i], text) > 0);
		read_refused(before, strlen(before));
		assert_true(asprintf(&within, "%.*s%s%s", (int)n_header, text, additions[i],
				    text + n_header) > 0);
		read_refused(within, strlen(within));
	}
}

static void what_is_no_compact_jws_is_malformed(void **state)
{
	static const char *const texts[] = { "", ".", "..", "...", "a", "a.b", "a.b.c.d", "....",
		"{\"payload\":\"e30\",\"protected\":\"e30\",\"signature\":\"\"}", "e30.e30.",
		"e30.e30.AAAA", "e30", "+/==.e30.AAAA", "A.A.A", "AB.AB.AB" };
	_cleanup_(freep) char *text = grant_text(keys.es256);
	_cleanup_(freep) char *four = NULL;
	_cleanup_(freep) char *detached = NULL;
	size_t n_header = strcspn(text, ".");
	size_t n_input = n_header + 1 + strcspn(text + n_header + 1, ".");

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(texts); i++)
		assert_refused(texts[i], REFUSAL_MALFORMED);
	assert_true(asprintf(&four, "%s.%s", text, text + n_input + 1) > 0);
	assert_refused(four, REFUSAL_MALFORMED);
	assert_true(asprintf(&detached, "%.*s.%s", (int)n_header, text, text + n_input) > 0);
	read_refused(detached, strlen(detached));
}

static void a_signature_in_another_format_opens_nothing(void **state)
{
	_cleanup_(freep) char *payload = grant_payload();
	_cleanup_(freep) char *input =
		signing_input(header_es256, strlen(header_es256), payload, strlen(payload));
	_cleanup_(freep) char *in_der = NULL;
	unsigned char raw[65] = { 0 }, der[80];
	size_t n_der = sizeof(der);

	(void)state;
	es256_sign(input, keys.es256, raw, der, &n_der);
	in_der = append_signature(input, der, n_der);
	assert_refused(in_der, REFUSAL_BAD_SIGNATURE);
	for (size_t n = 0; n <= sizeof(raw); n++) {
		_cleanup_(freep) char *text = append_signature(input, raw, n);

		if (n == 64)
			document_free(read_passes(text));
		else
			assert_refused(text, REFUSAL_BAD_SIGNATURE);
	}
}

/* CVE-2022-21449: zeros satisfy the equation of a careless verifier for every message. */
static void a_signature_of_zeros_opens_nothing(void **state)
{
	static const char n_text[] =
		"FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551";
	_cleanup_(freep) char *payload = grant_payload();
	_cleanup_(freep) char *input =
		signing_input(header_es256, strlen(header_es256), payload, strlen(payload));
	unsigned char good[64], der[80], order[32];
	size_t n_der = sizeof(der);
	BIGNUM *n = NULL;

	(void)state;
	es256_sign(input, keys.es256, good, der, &n_der);
	assert_int_equal(BN_hex2bn(&n, n_text), 64);
	BN_bn2binpad(n, order, 32);
	BN_free(n);
	for (unsigned which = 1; which < 4; which++) {
		static const unsigned char zero[32];
		const unsigned char *const values[] = { zero, order };

		for (size_t i = 0; i < N_ELEMENTS(values); i++) {
			_cleanup_(freep) char *text = NULL;
			unsigned char raw[64];

			memcpy(raw, good, sizeof(raw));
			if (which & 1)
				memcpy(raw, values[i], 32);
			if (which & 2)
				memcpy(raw + 32, values[i], 32);
			text = append_signature(input, raw, sizeof(raw));
			assert_refused(text, REFUSAL_BAD_SIGNATURE);
		}
	}
}

/* Takes the claims over, changes one, signs and reads. value NULL removes the claim. */
static struct refusal read_changed(enum document_kind kind, const char *name, json_t *value)
{
	json_auto_t *claims = kind == DOCUMENT_GRANT ? grant_claims()
		: kind == DOCUMENT_POLICY            ? policy_claims()
						     : revocation_claims();
	_cleanup_(document_freep) struct document *document = NULL;
	_cleanup_(freep) char *text = NULL;
	struct refusal refusal = { 0 };

	if (value)
		assert_int_equal(json_object_set_new(claims, name, value), 0);
	else
		assert_int_equal(json_object_del(claims, name), 0);
	text = sign(kind, claims, keys.es256);
	if (document_read(text, strlen(text), keys.trust, VM_ID, &document, &refusal) < 0)
		fail();
	return refusal;
}

static void assert_changed(
	enum document_kind kind, const char *name, const char *json, enum refusal_code code)
{
	json_t *value = json ? json_loads(json, JSON_DECODE_ANY, NULL) : NULL;
	struct refusal refusal;

	if (json && !value)
		fail_msg("%s", json);
	refusal = read_changed(kind, name, value);
	if (refusal.code != code)
		fail_msg("%s = %s: %s (%s) instead of %s", name, json ? json : "(absent)",
			refusal_code_name(refusal.code), refusal.message, refusal_code_name(code));
}

static void a_document_for_another_vm_opens_nothing_here(void **state)
{
	static const char *const others[] = { "\"other\"", "[\"other\"]",
		"[\"other\", \"another\"]", "\"*\"", "\"/subscriptions/s\"", "\"" VM_ID "/\"",
		"\"" VM_ID " \"" };
	static const char *const bad[] = { NULL, "null", "7", "{}", "[]", "\"\"", "[\"\"]",
		"[7, \"" VM_ID "\"]", "[[\"" VM_ID "\"]]" };
	json_t *many = json_array();
	struct refusal refusal;

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(others); i++)
		assert_changed(DOCUMENT_GRANT, "aud", others[i], REFUSAL_WRONG_AUDIENCE);
	for (size_t i = 0; i < N_ELEMENTS(bad); i++)
		assert_changed(DOCUMENT_GRANT, "aud", bad[i], REFUSAL_MALFORMED);
	assert_changed(DOCUMENT_GRANT, "aud", "[\"other\", \"" VM_ID "\"]", REFUSAL_NONE);
	for (size_t i = 0; i < 65; i++)
		json_array_append_new(many, json_string(VM_ID));
	refusal = read_changed(DOCUMENT_GRANT, "aud", many);
	assert_code(&refusal, REFUSAL_TOO_LARGE);
	refusal = read_changed(DOCUMENT_GRANT, "aud", json_string("web-2"));
	assert_string_equal(
		refusal.message, "the document is for \"web-2\", and this is \"" VM_ID "\"");
}

static void an_azure_id_is_the_same_whatever_its_case(void **state)
{
	json_auto_t *claims = json_pack("{s:s}", "aud", "/SUBSCRIPTIONS/S/web-1");
	json_auto_t *plain = json_pack("{s:s}", "aud", "Web-1");

	(void)state;
	assert_true(document_audience_matches(claims, "/subscriptions/s/WEB-1"));
	assert_false(document_audience_matches(claims, "/subscriptions/s/web-2"));
	assert_true(document_audience_matches(plain, "Web-1"));
	assert_false(document_audience_matches(plain, "web-1"));
}

static void a_document_is_read_without_a_vm_where_none_is_asked_for(void **state)
{
	_cleanup_(freep) char *text = grant_text(keys.es256);
	_cleanup_(document_freep) struct document *grant = NULL;
	struct refusal refusal;

	(void)state;
	assert_int_equal(document_read(text, strlen(text), keys.trust, NULL, &grant, &refusal), 0);
}

static void a_kind_under_another_typ_is_malformed(void **state)
{
	json_auto_t *grant = grant_claims(), *revocation = revocation_claims(),
		    *policy = policy_claims();
	const json_t *claims[] = { grant, revocation, policy };

	(void)state;
	for (size_t i = 0; i < 3; i++)
		for (size_t j = 0; j < 3; j++) {
			_cleanup_(freep) char *text =
				sign((enum document_kind)j, claims[i], keys.es256);

			if (i == j)
				document_free(read_passes(text));
			else
				assert_refused(text, REFUSAL_MALFORMED);
		}
}

static void a_claim_of_the_wrong_type_is_malformed(void **state)
{
	static const char *const strings[] = { NULL, "null", "7", "true", "[]", "{}", "\"\"",
		"[\"text\"]", "\"a\\nb\"", "\"\\u001b[2J\"", "\"\\u007f\"", "\"\\u0085\"",
		"\"\\u2028\"", "\"\\u202e\"" };
	static const char *const times[] = { NULL, "null", "\"1767261600\"", "1767261600.0", "-1",
		"253402300800", "9223372036854775807", "true", "[]", "1.8e9" };
	static const char *const ids[] = { NULL, "null", "7", "\"\"", "\"a b\"", "\"a/b\"",
		"\"\\u00e4\"", "\"a\\n\"", "\"a:b\"", "[\"a\"]" };

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(strings); i++) {
		assert_changed(DOCUMENT_GRANT, "iss", strings[i], REFUSAL_MALFORMED);
		assert_changed(DOCUMENT_GRANT, "sub", strings[i], REFUSAL_MALFORMED);
		if (!strings[i] || strcmp(strings[i], "\"\"") == 0)
			continue;
		assert_changed(DOCUMENT_GRANT, "justification", strings[i], REFUSAL_MALFORMED);
		assert_changed(DOCUMENT_REVOCATION, "reason", strings[i], REFUSAL_MALFORMED);
	}
	for (size_t i = 0; i < N_ELEMENTS(times); i++) {
		assert_changed(DOCUMENT_GRANT, "iat", times[i], REFUSAL_MALFORMED);
		assert_changed(DOCUMENT_GRANT, "exp", times[i], REFUSAL_MALFORMED);
		assert_changed(DOCUMENT_POLICY, "iat", times[i], REFUSAL_MALFORMED);
		if (times[i])
			assert_changed(DOCUMENT_GRANT, "nbf", times[i], REFUSAL_MALFORMED);
	}
	for (size_t i = 0; i < N_ELEMENTS(ids); i++)
		assert_changed(DOCUMENT_GRANT, "jti", ids[i], REFUSAL_MALFORMED);
}

static void a_string_is_bounded(void **state)
{
	_cleanup_(freep) char *text = calloc(1, DOCUMENT_STRING_MAX + 2);
	struct refusal refusal;

	(void)state;
	memset(text, 'x', DOCUMENT_STRING_MAX);
	refusal = read_changed(DOCUMENT_GRANT, "justification", json_string(text));
	assert_code(&refusal, REFUSAL_NONE);
	text[DOCUMENT_STRING_MAX] = 'x';
	refusal = read_changed(DOCUMENT_GRANT, "justification", json_string(text));
	assert_code(&refusal, REFUSAL_MALFORMED);
	text[DOCUMENT_ID_MAX] = '\0';
	refusal = read_changed(DOCUMENT_GRANT, "jti", json_string(text));
	assert_code(&refusal, REFUSAL_NONE);
	text[DOCUMENT_ID_MAX] = 'x';
	text[DOCUMENT_ID_MAX + 1] = '\0';
	refusal = read_changed(DOCUMENT_GRANT, "jti", json_string(text));
	assert_code(&refusal, REFUSAL_MALFORMED);
}

static void a_grant_that_ends_before_it_begins_is_malformed(void **state)
{
	json_auto_t *claims = grant_claims();
	_cleanup_(document_freep) struct document *grant = NULL;
	struct refusal refusal;

	(void)state;
	refusal = read_changed(DOCUMENT_GRANT, "exp", json_integer(NOW));
	assert_code(&refusal, REFUSAL_MALFORMED);
	refusal = read_changed(DOCUMENT_GRANT, "exp", json_integer(NOW + 1));
	assert_code(&refusal, REFUSAL_NONE);
	refusal = read_changed(DOCUMENT_GRANT, "nbf", json_integer(NOW + 3600));
	assert_string_equal(refusal.message,
		"exp (2026-01-01T11:00:00Z) is not after nbf (2026-01-01T11:00:00Z)");
	/* nbf in front of iat shortens nothing, nor lengthens it. */
	refusal = read_changed(DOCUMENT_GRANT, "nbf", json_integer(0));
	assert_code(&refusal, REFUSAL_NONE);
	json_object_set_new(claims, "nbf", json_integer(NOW + 60));
	assert_int_equal(document_from_claims(DOCUMENT_GRANT, claims, &grant, &refusal), 0);
	assert_int_equal(grant->not_before, NOW + 60);
}

static void a_port_that_says_too_little_or_too_much_is_malformed(void **state)
{
#define PORTS(text) "[{" text "}]"
#define SOURCE "\"allowedSourceAddressPrefix\":\"203.0.113.7\""
#define SOURCES "\"allowedSourceAddressPrefixes\":[\"203.0.113.7\"]"
	static const char *const good[] = {
		PORTS("\"number\":1,\"protocol\":\"udp\"," SOURCES),
		PORTS("\"number\":65535,\"protocol\":\"*\"," SOURCE),
		PORTS("\"number\":22,\"protocol\":\"TCP\",\"allowedSourceAddressPrefix\":\"*\""),
	};
	static const char *const bad[] = {
		NULL,
		"null",
		"{}",
		"[]",
		"[7]",
		"[[]]",
		"[null]",
		PORTS(""),
		PORTS("\"protocol\":\"TCP\"," SOURCE),
		PORTS("\"number\":0,\"protocol\":\"TCP\"," SOURCE),
		PORTS("\"number\":65536,\"protocol\":\"TCP\"," SOURCE),
		PORTS("\"number\":-1,\"protocol\":\"TCP\"," SOURCE),
		PORTS("\"number\":22.0,\"protocol\":\"TCP\"," SOURCE),
		PORTS("\"number\":\"22\",\"protocol\":\"TCP\"," SOURCE),
		PORTS("\"number\":4294967318,\"protocol\":\"TCP\"," SOURCE),
		PORTS("\"number\":22," SOURCE),
		PORTS("\"number\":22,\"protocol\":\"SCTP\"," SOURCE),
		PORTS("\"number\":22,\"protocol\":\"\"," SOURCE),
		PORTS("\"number\":22,\"protocol\":6," SOURCE),
		PORTS("\"number\":22,\"protocol\":\"TCP\""),
		PORTS("\"number\":22,\"protocol\":\"TCP\"," SOURCE "," SOURCES),
		PORTS("\"number\":22,\"protocol\":\"TCP\",\"allowedSourceAddressPrefixes\":[]"),
		PORTS("\"number\":22,\"protocol\":\"TCP\",\"allowedSourceAddressPrefixes\":\"*\""),
		PORTS("\"number\":22,\"protocol\":\"TCP\",\"allowedSourceAddressPrefixes\":[7]"),
		PORTS("\"number\":22,\"protocol\":\"TCP\",\"allowedSourceAddressPrefix\":[\"*\"]"),
		PORTS("\"number\":22,\"protocol\":\"TCP\",\"allowedSourceAddressPrefix\":\"\""),
		PORTS("\"number\":22,\"protocol\":\"TCP\",\"allowedSourceAddressPrefix\":"
		      "\"::ffff:10.0.0.1\""),
		PORTS("\"number\":22,\"protocol\":\"TCP\",\"allowedSourceAddressPrefix\":\"any\""),
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(good); i++)
		assert_changed(DOCUMENT_GRANT, "ports", good[i], REFUSAL_NONE);
	for (size_t i = 0; i < N_ELEMENTS(bad); i++)
		assert_changed(DOCUMENT_GRANT, "ports", bad[i], REFUSAL_MALFORMED);
}

static void a_refusal_tells_which_value_is_wrong(void **state)
{
	json_t *ports = json_loads("[{\"number\":22,\"protocol\":\"TCP\"," SOURCE "},"
				   "{\"number\":22,\"protocol\":\"TCP\"," SOURCE "},"
				   "{\"number\":22,\"protocol\":\"TCP\","
				   "\"allowedSourceAddressPrefix\":\"10.0.0.1/8\"}]",
		0, NULL);
	struct refusal refusal = read_changed(DOCUMENT_GRANT, "ports", ports);

	(void)state;
	assert_string_equal(refusal.message,
		"port 3 of the list: allowedSourceAddressPrefix "
		"\"10.0.0.1/8\" has host bits set beyond its length");
}

static void a_refusal_carries_no_escape_to_a_terminal(void **state)
{
	struct refusal refusal;
	char text[2000];

	(void)state;
	assert_int_equal(
		refuse(&refusal, REFUSAL_REVOKED, "%s",
			"a\x1b[31m\n\x7f \xc2\x9b \xe2\x80\xae \xff\xc3 \xc3\xa4 \xf0\x9f\x94\x91"),
		REFUSED);
	assert_string_equal(refusal.message, "a?[31m?? ? ? ?? \xc3\xa4 \xf0\x9f\x94\x91");
	/* What does not fit is cut in front of a character, not within one. */
	for (size_t n = 600; n < 700; n++) {
		memset(text, 'x', n);
		strcpy(text + n, "\xf0\x9f\x94\x91\xf0\x9f\x94\x91\xf0\x9f\x94\x91");
		refuse(&refusal, REFUSAL_REVOKED, "%s", text);
		assert_null(strchr(refusal.message, '?'));
	}
	assert_string_equal(refusal.message + strlen(refusal.message) - 4, "x\xe2\x80\xa6");
}

static json_t *repeat(const char *json, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_loads(json, JSON_DECODE_ANY, NULL));
	return list;
}

static void lists_are_bounded(void **state)
{
	static const char port[] = "{\"number\":22,\"protocol\":\"TCP\"," SOURCE "}";
	static const struct {
		const char *json;
		size_t n;
		enum refusal_code code;
	} prefixes[] = { { "\"10.0.0.0/8\"", 64, REFUSAL_NONE },
		{ "\"10.0.0.0/8\"", 65, REFUSAL_TOO_LARGE } };
	struct refusal refusal;

	(void)state;
	refusal = read_changed(DOCUMENT_GRANT, "ports", repeat(port, 64));
	assert_code(&refusal, REFUSAL_NONE);
	refusal = read_changed(DOCUMENT_GRANT, "ports", repeat(port, 65));
	assert_code(&refusal, REFUSAL_TOO_LARGE);
	for (size_t i = 0; i < N_ELEMENTS(prefixes); i++) {
		json_t *ports = json_pack("[{s:i, s:s, s:o}]", "number", 22, "protocol", "TCP",
			"allowedSourceAddressPrefixes", repeat(prefixes[i].json, prefixes[i].n));

		refusal = read_changed(DOCUMENT_GRANT, "ports", ports);
		assert_code(&refusal, prefixes[i].code);
	}
	refusal = read_changed(DOCUMENT_REVOCATION, "revokes", repeat("\"grant-1\"", 256));
	assert_code(&refusal, REFUSAL_NONE);
	refusal = read_changed(DOCUMENT_REVOCATION, "revokes", repeat("\"grant-1\"", 257));
	assert_code(&refusal, REFUSAL_TOO_LARGE);
}

static void a_revocation_that_revokes_nothing_is_malformed(void **state)
{
	static const char *const revokes[] = { NULL, "null", "[]", "\"grant-1\"", "[7]", "[\"\"]",
		"[\"grant-1\", \"a b\"]", "[null]" };
	static const char *const sessions[] = { "null", "\"\"", "\"KILL\"", "\"default\"", "true",
		"[]" };

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(revokes); i++)
		assert_changed(DOCUMENT_REVOCATION, "revokes", revokes[i], REFUSAL_MALFORMED);
	for (size_t i = 0; i < N_ELEMENTS(sessions); i++)
		assert_changed(DOCUMENT_REVOCATION, "sessions", sessions[i], REFUSAL_MALFORMED);
	assert_changed(DOCUMENT_REVOCATION, "sessions", NULL, REFUSAL_NONE);
	assert_changed(DOCUMENT_REVOCATION, "sessions", "\"keep\"", REFUSAL_NONE);
}

static void a_policy_without_bounds_is_malformed(void **state)
{
	static const char *const versions[] = { NULL, "null", "0", "-1", "1.0", "\"1\"", "true" };
	static const char *const ports[] = {
		NULL,
		"null",
		"{}",
		PORTS("\"number\":22,\"protocol\":\"TCP\"," SOURCE),
		PORTS("\"number\":22,\"protocol\":\"TCP\",\"maxRequestAccessDuration\":\"PT1H\""),
		PORTS("\"number\":22,\"protocol\":\"TCP\","
		      "\"maxRequestAccessDuration\":\"\"," SOURCE),
		PORTS("\"number\":22,\"protocol\":\"TCP\","
		      "\"maxRequestAccessDuration\":\"3h\"," SOURCE),
		PORTS("\"number\":22,\"protocol\":\"TCP\","
		      "\"maxRequestAccessDuration\":3600," SOURCE),
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(versions); i++)
		assert_changed(DOCUMENT_POLICY, "version", versions[i], REFUSAL_MALFORMED);
	for (size_t i = 0; i < N_ELEMENTS(ports); i++)
		assert_changed(DOCUMENT_POLICY, "ports", ports[i], REFUSAL_MALFORMED);
	assert_changed(DOCUMENT_POLICY, "version", "9223372036854775807", REFUSAL_NONE);
	/* So a control plane lets go of a VM. */
	assert_changed(DOCUMENT_POLICY, "ports", "[]", REFUSAL_NONE);
}

static void a_key_that_can_not_sign_signs_nothing(void **state)
{
	json_auto_t *claims = grant_claims();
	json_auto_t *public_jwk = key_public(keys.es256);
	json_auto_t *nameless = json_deep_copy(keys.es256);
	json_auto_t *misfit = json_deep_copy(keys.es384);
	json_auto_t *symmetric = key_generate("HS256", "hs256");
	json_auto_t *reader = json_deep_copy(keys.es256);
	const json_t *jwks[] = { public_jwk, nameless, misfit, symmetric, reader, claims };
	char *text = NULL;

	(void)state;
	json_object_del(nameless, "kid");
	json_object_set_new(misfit, "alg", json_string("ES256"));
	json_object_set_new(reader, "key_ops", json_pack("[s]", "verify"));
	for (size_t i = 0; i < N_ELEMENTS(jwks); i++)
		assert_int_equal(document_sign(DOCUMENT_GRANT, claims, jwks[i], &text), -EINVAL);
	assert_null(text);
}

static void a_kind_has_its_name_and_type(void **state)
{
	enum document_kind kind;

	(void)state;
	assert_string_equal(document_kind_name(DOCUMENT_POLICY), "policy");
	assert_string_equal(document_kind_type(DOCUMENT_REVOCATION), "jit-revocation+jwt");
	assert_int_equal(document_kind_parse_name("grant", &kind), 0);
	assert_int_equal(kind, DOCUMENT_GRANT);
	assert_int_equal(document_kind_parse_name("Grant", &kind), -EINVAL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_grant_by_each_algorithm_is_read),
		cmocka_unit_test(a_revocation_is_read),
		cmocka_unit_test(a_policy_is_read),
		cmocka_unit_test(an_unsigned_document_opens_nothing),
		cmocka_unit_test(a_mac_with_the_public_key_opens_nothing),
		cmocka_unit_test(an_algorithm_that_is_not_the_keys_opens_nothing),
		cmocka_unit_test(an_algorithm_nobody_chose_opens_nothing),
		cmocka_unit_test(another_key_under_a_trusted_name_opens_nothing),
		cmocka_unit_test(a_key_that_is_not_in_the_trust_file_opens_nothing),
		cmocka_unit_test(a_key_that_the_document_brings_opens_nothing),
		cmocka_unit_test(a_header_that_is_not_ours_is_malformed),
		cmocka_unit_test(an_unknown_header_member_or_claim_does_not_matter),
		cmocka_unit_test(a_payload_that_is_not_strict_json_is_malformed),
		cmocka_unit_test(the_last_of_two_claims_does_not_win),
		cmocka_unit_test(a_nul_byte_hides_nothing),
		cmocka_unit_test(deep_nesting_exhausts_no_stack),
		cmocka_unit_test(a_megabyte_is_refused_for_its_size),
		cmocka_unit_test(a_document_may_have_16_kib_and_no_more),
		cmocka_unit_test(a_document_cut_short_anywhere_opens_nothing),
		cmocka_unit_test(a_document_with_any_bit_flipped_opens_nothing),
		cmocka_unit_test(another_spelling_of_a_document_is_refused),
		cmocka_unit_test(what_is_no_compact_jws_is_malformed),
		cmocka_unit_test(a_signature_in_another_format_opens_nothing),
		cmocka_unit_test(a_signature_of_zeros_opens_nothing),
		cmocka_unit_test(a_document_for_another_vm_opens_nothing_here),
		cmocka_unit_test(an_azure_id_is_the_same_whatever_its_case),
		cmocka_unit_test(a_document_is_read_without_a_vm_where_none_is_asked_for),
		cmocka_unit_test(a_kind_under_another_typ_is_malformed),
		cmocka_unit_test(a_claim_of_the_wrong_type_is_malformed),
		cmocka_unit_test(a_string_is_bounded),
		cmocka_unit_test(a_grant_that_ends_before_it_begins_is_malformed),
		cmocka_unit_test(a_port_that_says_too_little_or_too_much_is_malformed),
		cmocka_unit_test(a_refusal_tells_which_value_is_wrong),
		cmocka_unit_test(a_refusal_carries_no_escape_to_a_terminal),
		cmocka_unit_test(lists_are_bounded),
		cmocka_unit_test(a_revocation_that_revokes_nothing_is_malformed),
		cmocka_unit_test(a_policy_without_bounds_is_malformed),
		cmocka_unit_test(a_key_that_can_not_sign_signs_nothing),
		cmocka_unit_test(a_kind_has_its_name_and_type),
	};

	return cmocka_run_group_tests(tests, keys_setup, keys_teardown);
}
