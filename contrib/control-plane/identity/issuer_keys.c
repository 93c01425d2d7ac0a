/* SPDX-License-Identifier: GPL-3.0-or-later */

/* An issuer's JWK Set. A real one has keys for encryption, curves that nobody here knows, and keys
 * without alg, which their type and curve then limit. */

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "agent/common/file.h"
#include "agent/common/strictjson.h"
#include "agent/common/text.h"
#include "contrib/control-plane/identity/issuer.h"

#define ALGORITHMS_MAX 2

static _printf_(3, 4) int fail(char **ret_error, int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(ret_error, format, arguments) < 0)
		*ret_error = NULL;
	va_end(arguments);
	if (*ret_error)
		text_make_printable(*ret_error);
	return error;
}

static const char *member(const json_t *jwk, const char *name)
{
	const char *value = json_string_value(json_object_get(jwk, name));

	return value ? value : "";
}

/* The algorithms that a key may verify; none where it is for something else. */
static size_t key_algorithms(const json_t *jwk, const char *ret[static ALGORITHMS_MAX])
{
	const char *alg = member(jwk, "alg");
	const char *crv = member(jwk, "crv");

	if (*member(jwk, "use") && strcmp(member(jwk, "use"), "sig") != 0)
		return 0;
	if (*alg) {
		ret[0] = alg;
		return algorithm_is_supported(alg) ? 1 : 0;
	}
	if (strcmp(member(jwk, "kty"), "RSA") == 0) {
		ret[0] = "RS256";
		ret[1] = "PS256";
		return 2;
	}
	if (strcmp(member(jwk, "kty"), "EC") != 0)
		return 0;
	ret[0] = strcmp(crv, "P-256") == 0 ? "ES256" : "ES384";
	return strcmp(crv, "P-256") == 0 || strcmp(crv, "P-384") == 0 ? 1 : 0;
}

static int add_key(struct issuer *issuer, const json_t *jwk, const char *alg, char **ret_error)
{
	json_auto_t *copy = json_copy((json_t *)(uintptr_t)jwk);
	char error[512];
	int r;

	json_object_set_new(copy, "alg", json_string(alg));
	/* Names of ours mean nothing here. */
	json_object_del(copy, "jit_ports");
	json_object_del(copy, "jit_max_duration");
	r = trust_key_read(&issuer->keys[issuer->n_keys++], copy, error, sizeof(error));
	return r == -EINVAL ? fail(ret_error, r, "%s: key \"%.*s\": %s", issuer->jwks,
				      TRUST_KID_MAX, member(jwk, "kid"), error)
			    : r;
}

static int add_keys(struct issuer *issuer, const json_t *list, char **ret_error)
{
	const json_t *jwk;
	size_t i;

	issuer->keys = calloc(json_array_size(list) * ALGORITHMS_MAX + 1, sizeof(*issuer->keys));
	if (!issuer->keys)
		return -ENOMEM;
	json_array_foreach (list, i, jwk) {
		const char *algorithms[ALGORITHMS_MAX];
		size_t n = key_algorithms(jwk, algorithms);

		for (size_t j = 0; j < n; j++) {
			int r = add_key(issuer, jwk, algorithms[j], ret_error);

			if (r < 0)
				return r;
		}
	}
	return issuer->n_keys > 0
		? 0
		: fail(ret_error, -EINVAL,
			  "%s: no key that signs with ES256, ES384, PS256 or RS256", issuer->jwks);
}

int issuer_load_keys(struct issuer *issuer, char **ret_error)
{
	_cleanup_(freep) char *text = NULL;
	json_auto_t *set = NULL;
	const json_t *keys;
	char error[256];
	size_t n_bytes;
	int r;

	*ret_error = NULL;
	r = file_read(issuer->jwks, TRUST_FILE_BYTES_MAX, &text, &n_bytes);
	if (r < 0)
		return fail(ret_error, r, "%s: %s", issuer->jwks, strerror(-r));
	r = json_parse_object(text, n_bytes, &set, error, sizeof(error));
	if (r == -EINVAL)
		return fail(
			ret_error, r, "%s: not JSON as RFC 8259 wants it: %s", issuer->jwks, error);
	if (r < 0)
		return r;
	keys = json_object_get(set, "keys");
	if (!json_is_array(keys) || json_array_size(keys) > TRUST_KEYS_MAX)
		return fail(ret_error, -EINVAL,
			"%s: not a JWK Set: it has no list \"keys\", or more than %d in it",
			issuer->jwks, TRUST_KEYS_MAX);
	return add_keys(issuer, keys, ret_error);
}
