/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <jose/b64.h>
#include <jose/openssl.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <string.h>

#include "contrib/control-plane/jit/signature.h"

#define SIGNATURE_BYTES_MAX (TRUST_RSA_BITS_MAX / 8)

DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free)
DEFINE_CLEANUP(ECDSA_SIG *, ECDSA_SIG_free)

/* RFC 7518 section 3.1. */
static const struct algorithm {
	const char *name;
	const EVP_MD *(*digest)(void);
	size_t n_coordinate_bytes; /* 0: RSA */
	int padding;
} algorithms[] = {
	{ "ES256", EVP_sha256, 32, 0 },
	{ "ES384", EVP_sha384, 48, 0 },
	{ "PS256", EVP_sha256, 0, RSA_PKCS1_PSS_PADDING },
	{ "RS256", EVP_sha256, 0, RSA_PKCS1_PADDING },
};

struct signature {
	const struct algorithm *algorithm;
	EVP_PKEY *key;
	char *headers[3]; /* of each kind of document, encoded, with a dot behind */
};

/* base64url (allocated), with room for n_more bytes behind it. */
static char *encode(const void *bytes, size_t n_bytes, size_t n_more)
{
	size_t n = jose_b64_enc_buf(NULL, n_bytes, NULL, 0);
	char *text = malloc(n + n_more + 1);

	if (!text || jose_b64_enc_buf(bytes, n_bytes, text, n) != n) {
		free(text);
		return NULL;
	}
	text[n] = '\0';
	return text;
}

static char *header_make(const json_t *jwk, enum document_kind kind)
{
	json_auto_t *header = json_pack("{s:O, s:O, s:s}", "alg", json_object_get(jwk, "alg"),
		"kid", json_object_get(jwk, "kid"), "typ", document_kind_type(kind));
	_cleanup_(freep) char *text = header ? json_dumps(header, JSON_COMPACT) : NULL;
	char *encoded = text ? encode(text, strlen(text), 1) : NULL;

	return encoded ? strcat(encoded, ".") : NULL;
}

int signature_new(const json_t *jwk, struct signature **ret)
{
	_cleanup_(signature_freep) struct signature *signature = calloc(1, sizeof(*signature));
	const char *alg = json_string_value(json_object_get(jwk, "alg"));

	if (!signature)
		return -ENOMEM;
	for (size_t i = 0; alg && i < N_ELEMENTS(algorithms); i++)
		if (strcmp(algorithms[i].name, alg) == 0)
			signature->algorithm = &algorithms[i];
	signature->key = jose_openssl_jwk_to_EVP_PKEY(NULL, jwk);
	if (!signature->algorithm || !signature->key)
		return -EINVAL;
	for (size_t i = 0; i < N_ELEMENTS(signature->headers); i++) {
		signature->headers[i] = header_make(jwk, (enum document_kind)i);
		if (!signature->headers[i])
			return -ENOMEM;
	}
	*ret = TAKE_PTR(signature);
	return 0;
}

struct signature *signature_free(struct signature *signature)
{
	if (!signature)
		return NULL;
	EVP_PKEY_free(signature->key);
	for (size_t i = 0; i < N_ELEMENTS(signature->headers); i++)
		free(signature->headers[i]);
	free(signature);
	return NULL;
}

/* DER's two numbers as RFC 7518 section 3.4 has them: of fixed length, one behind the other. */
static int to_raw(unsigned char *bytes, size_t *n_bytes, size_t n_coordinate)
{
	const unsigned char *cursor = bytes;
	_cleanup_(ECDSA_SIG_freep) ECDSA_SIG *numbers =
		d2i_ECDSA_SIG(NULL, &cursor, (long)*n_bytes);

	if (!numbers || BN_bn2binpad(ECDSA_SIG_get0_r(numbers), bytes, (int)n_coordinate) < 0 ||
		BN_bn2binpad(ECDSA_SIG_get0_s(numbers), bytes + n_coordinate, (int)n_coordinate) <
			0)
		return -EINVAL;
	*n_bytes = 2 * n_coordinate;
	return 0;
}

static int sign(const struct signature *signature, const char *text,
	unsigned char bytes[static SIGNATURE_BYTES_MAX], size_t *ret_bytes)
{
	_cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *context = EVP_MD_CTX_new();
	const struct algorithm *algorithm = signature->algorithm;
	EVP_PKEY_CTX *options = NULL;

	*ret_bytes = SIGNATURE_BYTES_MAX;
	if (!context)
		return -ENOMEM;
	if (EVP_DigestSignInit(context, &options, algorithm->digest(), NULL, signature->key) != 1)
		return -EINVAL;
	if (algorithm->padding && EVP_PKEY_CTX_set_rsa_padding(options, algorithm->padding) != 1)
		return -EINVAL;
	if (algorithm->padding == RSA_PKCS1_PSS_PADDING &&
		EVP_PKEY_CTX_set_rsa_pss_saltlen(options, RSA_PSS_SALTLEN_DIGEST) != 1)
		return -EINVAL;
	if (EVP_DigestSign(context, bytes, ret_bytes, (const unsigned char *)text, strlen(text)) !=
		1)
		return -EINVAL;
	return algorithm->n_coordinate_bytes
		? to_raw(bytes, ret_bytes, algorithm->n_coordinate_bytes)
		: 0;
}

int signature_sign(const struct signature *signature, enum document_kind kind, const json_t *claims,
	char **ret)
{
	_cleanup_(freep) char *text = json_dumps(claims, JSON_COMPACT);
	_cleanup_(freep) char *payload = text ? encode(text, strlen(text), 0) : NULL;
	_cleanup_(freep) char *input = NULL, *last = NULL;
	unsigned char bytes[SIGNATURE_BYTES_MAX];
	size_t n_bytes;
	int r;

	if (!payload)
		return -ENOMEM;
	if (asprintf(&input, "%s%s", signature->headers[kind], payload) < 0) {
		input = NULL;
		return -ENOMEM;
	}
	r = sign(signature, input, bytes, &n_bytes);
	if (r < 0)
		return r;
	last = encode(bytes, n_bytes, 0);
	if (!last)
		return -ENOMEM;
	return asprintf(ret, "%s.%s", input, last) < 0 ? -ENOMEM : 0;
}
