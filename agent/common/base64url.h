/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* base64url without padding (RFC 4648 section 5, RFC 7515 section 2), strictly. */

#include <stddef.h>

/*
 * Decodes n_bytes of text. Padding, white space, other alphabets and set bits after the last whole
 * byte refuse, so that each value has one spelling. Returns 0 and the bytes with a NUL behind them
 * (allocated, owned by the caller); -EINVAL; -ENOMEM.
 */
int base64url_decode(const char *text, size_t n_bytes, char **ret, size_t *ret_bytes);
