/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * What libjose would let pass is settled here, once, when the file is read: it picks the algorithm
 * by the document's header and the curve by the key, without asking whether they fit; it takes any
 * public exponent; it signs and verifies with symmetric keys. A key that passes can only be used
 * one way.
 */

#include <errno.h>
#include <jose/openssl.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <string.h>

#include "agent/common/base64url.h"
#include "agent/common/file.h"
#include "agent/common/memory.h"
#include "agent/common/strictjson.h"
#include "agent/common/text.h"
#include "agent/common/times.h"
#include "agent/common/trust.h"

DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)

/* RFC 7518 section 3.1. crv NULL: RSA. */
static const struct algorithm {
	const char *name;
	const char *kty;
	const char *crv;
	size_t n_coordinate_bytes;
} algorithms[] = {
	{ "ES256", "EC", "P-256", 32 },
	{ "ES384", "EC", "P-384", 48 },
	{ "PS256", "RSA", NULL, 0 },
	{ "RS256", "RSA", NULL, 0 },
};

static const struct algorithm *algorithm_find(const char *name)
{
	for (size_t i = 0; i < N_ELEMENTS(algorithms); i++)
		if (strcmp(algorithms[i].name, name) == 0)
			return &algorithms[i];
	return NULL;
}

bool algorithm_is_supported(const char *alg)
{
	return algorithm_find(alg) != NULL;
}

static _printf_(3, 4) int invalid(char *error, size_t n_error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(error, n_error, format, arguments);
	va_end(arguments);
	return -EINVAL;
}

/* RFC 7518 sections 6.2.2, 6.3.2 and 6.4: "k" is all of a symmetric key. */
static int jwk_check_public(const json_t *jwk, char *error, size_t n_error)
{
	static const char *const private_members[] = { "d", "p", "q", "dp", "dq", "qi", "oth" };

	if (json_object_get(jwk, "k"))
		return invalid(error, n_error, "\"k\" makes it a symmetric key: only public keys");
	for (size_t i = 0; i < N_ELEMENTS(private_members); i++)
		if (json_object_get(jwk, private_members[i]))
			return invalid(error, n_error,
				"\"%s\" makes it a private key: only its public half belongs here",
				private_members[i]);
	return 0;
}

/* RFC 7517 sections 4.2 and 4.3. */
static int jwk_check_use(const json_t *jwk, char *error, size_t n_error)
{
	const json_t *use = json_object_get(jwk, "use");
	const json_t *operations = json_object_get(jwk, "key_ops");
	const json_t *operation;
	bool may_verify = false;
	size_t i;

	if (use && (!json_is_string(use) || strcmp(json_string_value(use), "sig") != 0))
		return invalid(error, n_error, "use is not \"sig\"");
	if (!operations)
		return 0;
	json_array_foreach (operations, i, operation)
		if (json_is_string(operation) &&
			strcmp(json_string_value(operation), "verify") == 0)
			may_verify = true;
	return may_verify ? 0 : invalid(error, n_error, "key_ops has no \"verify\"");
}

/* Decodes a member that must be base64url. */
static int jwk_bytes(const json_t *jwk, const char *member, char **ret, size_t *ret_bytes,
	char *error, size_t n_error)
{
	const json_t *value = json_object_get(jwk, member);
	int r = -EINVAL;

	if (json_is_string(value))
		r = base64url_decode(
			json_string_value(value), json_string_length(value), ret, ret_bytes);
	if (r == -EINVAL)
		return invalid(error, n_error, "%s is missing or not base64url", member);
	return r;
}

static int jwk_check_ec(
	const json_t *jwk, const struct algorithm *algorithm, char *error, size_t n_error)
{
	static const char *const coordinates[] = { "x", "y" };
	const char *crv = json_string_value(json_object_get(jwk, "crv"));
	int r;

	if (!crv || strcmp(crv, algorithm->crv) != 0)
		return invalid(
			error, n_error, "alg %s needs crv \"%s\"", algorithm->name, algorithm->crv);
	for (size_t i = 0; i < N_ELEMENTS(coordinates); i++) {
		_cleanup_(freep) char *bytes = NULL;
		size_t n_bytes;

		r = jwk_bytes(jwk, coordinates[i], &bytes, &n_bytes, error, n_error);
		if (r < 0)
			return r;
		if (n_bytes != algorithm->n_coordinate_bytes)
			return invalid(error, n_error, "%s is %zu bytes long instead of %zu",
				coordinates[i], n_bytes, algorithm->n_coordinate_bytes);
	}
	return 0;
}

/* With an exponent of 1 anyone signs. An even one is no RSA key. */
static int jwk_check_rsa(const json_t *jwk, char *error, size_t n_error)
{
	_cleanup_(freep) char *exponent = NULL;
	_cleanup_(freep) char *modulus = NULL;
	size_t n_exponent, n_modulus;
	int r;

	r = jwk_bytes(jwk, "n", &modulus, &n_modulus, error, n_error);
	if (r < 0)
		return r;
	/* Before OpenSSL computes with it. */
	if (n_modulus > TRUST_RSA_BITS_MAX / 8)
		return invalid(error, n_error, "the RSA modulus has more than %d bits",
			TRUST_RSA_BITS_MAX);
	r = jwk_bytes(jwk, "e", &exponent, &n_exponent, error, n_error);
	if (r < 0)
		return r;
	if (n_exponent == 0 || n_exponent > 4 || exponent[0] == 0 ||
		(exponent[n_exponent - 1] & 1) == 0 || (n_exponent == 1 && exponent[0] == 1))
		return invalid(error, n_error,
			"the RSA exponent is not an odd number from 3 to 4294967295");
	return 0;
}

int trust_check_jwk(const json_t *jwk, char *error, size_t n_error)
{
	const json_t *kid = json_object_get(jwk, "kid");
	const char *alg = json_string_value(json_object_get(jwk, "alg"));
	const char *kty = json_string_value(json_object_get(jwk, "kty"));
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *key = NULL;
	const struct algorithm *algorithm;
	int r;

	if (!json_is_object(jwk))
		return invalid(error, n_error, "not an object");
	if (!json_is_string(kid) || json_string_length(kid) == 0)
		return invalid(error, n_error, "kid is missing");
	if (json_string_length(kid) > TRUST_KID_MAX || !text_is_printable(json_string_value(kid)))
		return invalid(error, n_error,
			"kid is longer than %d bytes or has control characters", TRUST_KID_MAX);
	if (!alg)
		return invalid(error, n_error, "alg is missing");
	algorithm = algorithm_find(alg);
	if (!algorithm)
		return invalid(error, n_error,
			"alg \"%.32s\" is not supported: ES256, ES384, PS256 and RS256 are", alg);
	if (!kty || strcmp(kty, algorithm->kty) != 0)
		return invalid(
			error, n_error, "alg %s needs kty \"%s\"", algorithm->name, algorithm->kty);
	r = jwk_check_public(jwk, error, n_error);
	if (r == 0)
		r = jwk_check_use(jwk, error, n_error);
	if (r == 0)
		r = algorithm->crv ? jwk_check_ec(jwk, algorithm, error, n_error)
				   : jwk_check_rsa(jwk, error, n_error);
	if (r < 0)
		return r;

	/* libjose checks that the point lies on the curve. */
	key = jose_openssl_jwk_to_EVP_PKEY(NULL, jwk);
	if (!key)
		return invalid(error, n_error, "no valid %s key", algorithm->kty);
	if (!algorithm->crv && EVP_PKEY_bits(key) < TRUST_RSA_BITS_MIN)
		return invalid(error, n_error, "the RSA modulus has %d bits, fewer than %d",
			EVP_PKEY_bits(key), TRUST_RSA_BITS_MIN);
	return 0;
}

/* A copy with only what verifying needs, so that no other member has a say in it. */
static json_t *jwk_reduce(const json_t *jwk)
{
	static const char *const members[] = { "kty", "kid", "alg", "crv", "x", "y", "n", "e" };
	bool is_rsa = strcmp(json_string_value(json_object_get(jwk, "kty")), "RSA") == 0;
	json_t *reduced = json_object();

	for (size_t i = 0; i < N_ELEMENTS(members); i++) {
		json_t *value = json_object_get(jwk, members[i]);

		if (!value || (is_rsa ? i >= 3 && i < 6 : i >= 6))
			continue;
		json_object_set_new(reduced, members[i], json_deep_copy(value));
	}
	return reduced;
}

static int key_narrow_ports(struct trust_key *key, const json_t *list, char *error, size_t n_error)
{
	const json_t *value;
	size_t i;

	if (!json_is_array(list))
		return invalid(error, n_error, "jit_ports is not a list");
	if (json_array_size(list) > TRUST_KEY_PORTS_MAX)
		return invalid(
			error, n_error, "jit_ports has more than %d elements", TRUST_KEY_PORTS_MAX);
	key->narrowed_ports = true;
	json_array_foreach (list, i, value) {
		struct trust_key_ports *ports = &key->ports[i];
		const char *text = json_string_value(value);

		if (!text)
			return invalid(
				error, n_error, "jit_ports has an element that is no string");
		if (port_range_protocol_parse(text, &ports->ports, &ports->protocols) < 0)
			return invalid(error, n_error,
				"\"%.64s\" in jit_ports is not a port or range with its protocol, "
				"as \"22/tcp\" or \"5000-5010/udp\"",
				text);
		key->n_ports++;
	}
	return 0;
}

static int key_narrow(struct trust_key *key, const json_t *jwk, char *error, size_t n_error)
{
	const json_t *ports = json_object_get(jwk, "jit_ports");
	const json_t *duration = json_object_get(jwk, "jit_max_duration");
	const char *text = json_string_value(duration);

	if (duration && (!text || duration_parse(text, &key->max_duration) < 0))
		return invalid(error, n_error,
			"jit_max_duration is not an ISO 8601 duration of at most 366 days, as "
			"\"PT3H\"");
	return ports ? key_narrow_ports(key, ports, error, n_error) : 0;
}

int trust_key_read(struct trust_key *key, const json_t *jwk, char *error, size_t n_error)
{
	int r;

	r = trust_check_jwk(jwk, error, n_error);
	if (r < 0)
		return r;
	r = key_narrow(key, jwk, error, n_error);
	if (r < 0)
		return r;
	key->jwk = jwk_reduce(jwk);
	key->kid = strdup(json_string_value(json_object_get(jwk, "kid")));
	key->alg = strdup(json_string_value(json_object_get(jwk, "alg")));
	return key->kid && key->alg ? 0 : -ENOMEM;
}

/* Names the key by its kid where it has one, and by its place in the list otherwise. */
static char *key_error_format(const char *path, const json_t *jwk, size_t i, const char *error)
{
	const char *kid = json_string_value(json_object_get(jwk, "kid"));
	char *text = NULL;
	int n;

	if (kid && *kid)
		n = asprintf(&text, "%s: key \"%.*s\": %s", path, TRUST_KID_MAX, kid, error);
	else
		n = asprintf(&text, "%s: key %zu of the set: %s", path, i + 1, error);
	if (n < 0)
		return NULL;
	text_make_printable(text);
	return text;
}

static _printf_(3, 4) int fail(char **ret_error, int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(ret_error, format, arguments) < 0)
		*ret_error = NULL;
	va_end(arguments);
	return error;
}

static int trust_read_keys(
	struct trust *trust, const json_t *keys, const char *path, char **ret_error)
{
	const json_t *jwk;
	size_t i;

	if (json_array_size(keys) == 0)
		return 0;
	trust->keys = calloc(json_array_size(keys), sizeof(*trust->keys));
	if (!trust->keys)
		return -ENOMEM;
	json_array_foreach (keys, i, jwk) {
		const char *kid = json_string_value(json_object_get(jwk, "kid"));
		char error[512] = "";
		int r;

		if (kid && trust_find(trust, kid)) {
			*ret_error = key_error_format(path, jwk, i, "kid is given twice");
			return -EINVAL;
		}
		/* Counted before it is whole, so that trust_free() sees it. */
		trust->n_keys++;
		r = trust_key_read(&trust->keys[i], jwk, error, sizeof(error));
		if (r == -EINVAL)
			*ret_error = key_error_format(path, jwk, i, error);
		if (r < 0)
			return r;
	}
	return 0;
}

int trust_parse(
	const char *text, size_t n_bytes, const char *path, struct trust **ret, char **ret_error)
{
	_cleanup_(trust_freep) struct trust *trust = NULL;
	json_auto_t *set = NULL;
	const json_t *keys;
	char error[256];
	int r;

	*ret_error = NULL;
	if (n_bytes > TRUST_FILE_BYTES_MAX)
		return fail(ret_error, -EFBIG, "%s: longer than %d KiB", path,
			TRUST_FILE_BYTES_MAX / 1024);
	r = json_parse_object(text, n_bytes, &set, error, sizeof(error));
	if (r < 0) {
		text_make_printable(error);
		return fail(ret_error, r, "%s: not JSON as RFC 8259 wants it: %s", path, error);
	}
	keys = json_object_get(set, "keys");
	if (!json_is_array(keys))
		return fail(ret_error, -EINVAL, "%s: not a JWK Set: it has no list \"keys\"", path);
	if (json_array_size(keys) > TRUST_KEYS_MAX)
		return fail(ret_error, -EINVAL, "%s: more than %d keys", path, TRUST_KEYS_MAX);

	trust = calloc(1, sizeof(*trust));
	if (!trust)
		return -ENOMEM;
	r = trust_read_keys(trust, keys, path, ret_error);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(trust);
	return 0;
}

int trust_load(const char *path, struct trust **ret, char **ret_error)
{
	_cleanup_(freep) char *text = NULL;
	size_t n_failed = memory_n_failed();
	size_t n_bytes;
	int r;

	*ret_error = NULL;
	r = file_read(path, TRUST_FILE_BYTES_MAX, &text, &n_bytes);
	if (r == -EFBIG)
		return fail(
			ret_error, r, "%s: longer than %d KiB", path, TRUST_FILE_BYTES_MAX / 1024);
	if (r == -EINVAL)
		return fail(ret_error, r, "%s: not a regular file", path);
	if (r < 0)
		return fail(ret_error, r, "%s: %s", path, strerror(-r));
	r = trust_parse(text, n_bytes, path, ret, ret_error);
	return r < 0 && memory_n_failed() != n_failed ? -ENOMEM : r;
}

const struct trust_key *trust_find(const struct trust *trust, const char *kid)
{
	for (size_t i = 0; i < trust->n_keys; i++)
		if (strcmp(trust->keys[i].kid, kid) == 0)
			return &trust->keys[i];
	return NULL;
}

void trust_key_done(struct trust_key *key)
{
	free(key->kid);
	free(key->alg);
	json_decref(key->jwk);
	*key = (struct trust_key){ 0 };
}

struct trust *trust_free(struct trust *trust)
{
	if (!trust)
		return NULL;
	for (size_t i = 0; i < trust->n_keys; i++)
		trust_key_done(&trust->keys[i]);
	free(trust->keys);
	free(trust);
	return NULL;
}
