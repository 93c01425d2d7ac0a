/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <string.h>

#include "agent/common/bearer.h"

bool bearer_is_valid(const char *text)
{
	static const char characters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/";
	size_t n = strspn(text, characters);

	if (n == 0)
		return false;
	n += strspn(text + n, "=");
	return text[n] == '\0' && n <= BEARER_BYTES_MAX;
}

bool bearer_trim(char *text, size_t n_bytes)
{
	while (n_bytes > 0 && strchr(" \t\r\n", text[n_bytes - 1]))
		text[--n_bytes] = '\0';
	return strlen(text) == n_bytes && bearer_is_valid(text);
}
