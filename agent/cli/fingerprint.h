/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * By what people know a signing key, and a set of them, again.
 *
 * A key's fingerprint is its SHA-256 JWK thumbprint (RFC 7638), which any JOSE tool prints too.
 * That of a set with one key is the key's; that of several is SHA-256 over the thumbprints' 32
 * bytes each, in ascending order: a fingerprint of the whole, so that nobody can slip a key in
 * beside one that was checked. Written as "SHA256:" and base64url.
 */

#include <stdint.h>

#include "agent/common/trust.h"

#define FINGERPRINT_BYTES 32
#define FINGERPRINT_STRING_MAX 56

struct fingerprint {
	uint8_t bytes[FINGERPRINT_BYTES];
};

/* Return 0; -EINVAL for what is no key, or a set without keys; -ENOMEM. */
int fingerprint_of_key(const json_t *jwk, struct fingerprint *ret);
int fingerprint_of_trust(const struct trust *trust, struct fingerprint *ret);

/* Returns text. */
const char *fingerprint_format(
	const struct fingerprint *fingerprint, char text[static FINGERPRINT_STRING_MAX]);

/* Reads base64url, or 64 hexadecimal digits with or without colons; "SHA256:" may stand in front.
 * Returns 0 or -EINVAL. */
int fingerprint_parse(const char *text, struct fingerprint *ret);

bool fingerprint_is_equal(const struct fingerprint *a, const struct fingerprint *b);
