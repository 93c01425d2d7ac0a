/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * jose_b64_dec_buf() reads one byte past what it is given, and compares each byte with the whole
 * alphabet: hence this one for what comes from outside.
 */

#include <errno.h>
#include <stdint.h>

#include "agent/common/base64url.h"
#include "cleanup.h"

static int digit_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '-')
		return 62;
	if (c == '_')
		return 63;
	return -1;
}

int base64url_decode(const char *text, size_t n_bytes, char **ret, size_t *ret_bytes)
{
	_cleanup_(freep) char *bytes = NULL;
	uint32_t pending = 0;
	unsigned n_bits = 0;
	size_t n = 0;

	if (n_bytes % 4 == 1)
		return -EINVAL;
	bytes = malloc(n_bytes / 4 * 3 + 3);
	if (!bytes)
		return -ENOMEM;
	for (size_t i = 0; i < n_bytes; i++) {
		int value = digit_value(text[i]);

		if (value < 0)
			return -EINVAL;
		pending = pending << 6 | (uint32_t)value;
		n_bits += 6;
		if (n_bits >= 8) {
			n_bits -= 8;
			bytes[n++] = (char)(pending >> n_bits);
			pending &= (1U << n_bits) - 1;
		}
	}
	if (pending != 0)
		return -EINVAL;
	bytes[n] = '\0';
	*ret = TAKE_PTR(bytes);
	*ret_bytes = n;
	return 0;
}
