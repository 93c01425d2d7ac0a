/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Keys and signatures for tests, those of an attacker among them. */

#include <jansson.h>
#include <jose/b64.h>
#include <jose/jwk.h>
#include <jose/openssl.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <string.h>

#include "cleanup.h"

/* A private JWK. */
static inline json_t *key_generate(const char *alg, const char *kid)
{
	json_t *jwk = json_pack("{s:s, s:s}", "alg", alg, "kid", kid);

	assert_true(jose_jwk_gen(NULL, jwk));
	return jwk;
}

static inline json_t *key_public(const json_t *jwk)
{
	json_t *public_jwk = json_deep_copy(jwk);

	assert_true(jose_jwk_pub(NULL, public_jwk));
	return public_jwk;
}

static inline char *base64url(const void *bytes, size_t n_bytes)
{
	json_auto_t *text = jose_b64_enc(bytes, n_bytes);

	return strdup(json_string_value(text));
}

/* ES256 over text, as r and s of 32 bytes each; der gets what other formats would send. */
static inline void es256_sign(const char *text, const json_t *jwk, unsigned char raw[static 64],
	unsigned char *der, size_t *n_der)
{
	EVP_PKEY *key = jose_openssl_jwk_to_EVP_PKEY(NULL, jwk);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	const unsigned char *cursor = der;
	ECDSA_SIG *signature;

	assert_non_null(key);
	assert_int_equal(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key), 1);
	assert_int_equal(
		EVP_DigestSign(context, der, n_der, (const unsigned char *)text, strlen(text)), 1);
	signature = d2i_ECDSA_SIG(NULL, &cursor, (long)*n_der);
	assert_non_null(signature);
	assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, 32), 32);
	assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + 32, 32), 32);
	ECDSA_SIG_free(signature);
	EVP_MD_CTX_free(context);
	EVP_PKEY_free(key);
}

/* base64url(header) . base64url(payload), what a signature is over. */
static inline char *signing_input(
	const void *header, size_t n_header, const void *payload, size_t n_payload)
{
	_cleanup_(freep) char *first = base64url(header, n_header);
	_cleanup_(freep) char *second = base64url(payload, n_payload);
	char *text;

	assert_true(asprintf(&text, "%s.%s", first, second) >= 0);
	return text;
}

static inline char *append_signature(const char *input, const void *signature, size_t n_bytes)
{
	_cleanup_(freep) char *third = base64url(signature, n_bytes);
	char *text;

	assert_true(asprintf(&text, "%s.%s", input, third) >= 0);
	return text;
}

/* A JWS with any bytes as header and payload, whatever sense they make, signed with ES256. */
static inline char *sign_bytes(const void *header, size_t n_header, const void *payload,
	size_t n_payload, const json_t *jwk)
{
	_cleanup_(freep) char *input = signing_input(header, n_header, payload, n_payload);
	unsigned char raw[64], der[80];
	size_t n_der = sizeof(der);

	es256_sign(input, jwk, raw, der, &n_der);
	return append_signature(input, raw, sizeof(raw));
}

static inline char *sign_text(const char *header, const char *payload, const json_t *jwk)
{
	return sign_bytes(header, strlen(header), payload, strlen(payload), jwk);
}
