/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <jose/b64.h>
#include <jose/jwk.h>
#include <openssl/evp.h>
#include <string.h>
#include <strings.h>

#include "agent/cli/fingerprint.h"
#include "agent/common/base64url.h"

#define SCHEME "SHA256:"

int fingerprint_of_key(const json_t *jwk, struct fingerprint *ret)
{
	size_t n = jose_jwk_thp_buf(NULL, jwk, "S256", ret->bytes, sizeof(ret->bytes));

	return n == sizeof(ret->bytes) ? 0 : -EINVAL;
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, FINGERPRINT_BYTES);
}

int fingerprint_of_trust(const struct trust *trust, struct fingerprint *ret)
{
	_cleanup_(freep) struct fingerprint *keys = calloc(trust->n_keys + 1, sizeof(*keys));
	int r;

	if (!keys)
		return -ENOMEM;
	if (trust->n_keys == 0)
		return -EINVAL;
	for (size_t i = 0; i < trust->n_keys; i++) {
		r = fingerprint_of_key(trust->keys[i].jwk, &keys[i]);
		if (r < 0)
			return r;
	}
	if (trust->n_keys == 1) {
		*ret = keys[0];
		return 0;
	}
	qsort(keys, trust->n_keys, sizeof(*keys), compare);
	return EVP_Digest(keys, trust->n_keys * sizeof(*keys), ret->bytes, NULL, EVP_sha256(),
		       NULL) == 1
		? 0
		: -ENOMEM;
}

const char *fingerprint_format(
	const struct fingerprint *fingerprint, char text[static FINGERPRINT_STRING_MAX])
{
	size_t n_scheme = strlen(SCHEME), n;

	memcpy(text, SCHEME, n_scheme);
	n = jose_b64_enc_buf(fingerprint->bytes, sizeof(fingerprint->bytes), text + n_scheme,
		FINGERPRINT_STRING_MAX - n_scheme - 1);
	text[n_scheme + n] = '\0';
	return text;
}

static int digit_read(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *found = c ? strchr(digits, c | ('A' <= c && c <= 'F' ? 0x20 : 0)) : NULL;

	return found ? (int)(found - digits) : -1;
}

static int hexadecimal_read(const char *text, struct fingerprint *ret)
{
	for (size_t i = 0; i < sizeof(ret->bytes); i++) {
		int high, low;

		if (i > 0 && *text == ':')
			text++;
		high = digit_read(text[0]);
		low = high < 0 ? -1 : digit_read(text[1]);
		if (low < 0)
			return -EINVAL;
		ret->bytes[i] = high << 4 | low;
		text += 2;
	}
	return *text ? -EINVAL : 0;
}

int fingerprint_parse(const char *text, struct fingerprint *ret)
{
	_cleanup_(freep) char *bytes = NULL;
	size_t n;

	if (strncasecmp(text, SCHEME, strlen(SCHEME)) == 0)
		text += strlen(SCHEME);
	if (strlen(text) >= 2 * sizeof(ret->bytes))
		return hexadecimal_read(text, ret);
	if (base64url_decode(text, strlen(text), &bytes, &n) < 0 || n != sizeof(ret->bytes))
		return -EINVAL;
	memcpy(ret->bytes, bytes, n);
	return 0;
}

bool fingerprint_is_equal(const struct fingerprint *a, const struct fingerprint *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}
