/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <openssl/bio.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>

#include "tests/unit/document_fixture.h"

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
			signing_input(HEADER_ES256, strlen(HEADER_ES256), payload, strlen(payload));
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

static void a_signature_in_another_format_opens_nothing(void **state)
{
	_cleanup_(freep) char *payload = grant_payload();
	_cleanup_(freep) char *input =
		signing_input(HEADER_ES256, strlen(HEADER_ES256), payload, strlen(payload));
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
		signing_input(HEADER_ES256, strlen(HEADER_ES256), payload, strlen(payload));
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

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_unsigned_document_opens_nothing),
		cmocka_unit_test(a_mac_with_the_public_key_opens_nothing),
		cmocka_unit_test(an_algorithm_that_is_not_the_keys_opens_nothing),
		cmocka_unit_test(an_algorithm_nobody_chose_opens_nothing),
		cmocka_unit_test(another_key_under_a_trusted_name_opens_nothing),
		cmocka_unit_test(a_key_that_is_not_in_the_trust_file_opens_nothing),
		cmocka_unit_test(a_key_that_the_document_brings_opens_nothing),
		cmocka_unit_test(a_header_that_is_not_ours_is_malformed),
		cmocka_unit_test(an_unknown_header_member_or_claim_does_not_matter),
		cmocka_unit_test(a_signature_in_another_format_opens_nothing),
		cmocka_unit_test(a_signature_of_zeros_opens_nothing),
		cmocka_unit_test(a_key_that_can_not_sign_signs_nothing),
	};

	return cmocka_run_group_tests(tests, keys_setup, keys_teardown);
}
