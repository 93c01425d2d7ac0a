/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "agent/common/strictjson.h"

/*
 * True where brackets nest deeper than JSON_DEPTH_MAX. jansson recurses to 2048 levels, so this is
 * asked before it is let loose; whether the brackets match is left to jansson.
 */
static bool is_too_deep(const char *text, size_t n_bytes)
{
	bool in_string = false;
	size_t depth = 0;

	for (size_t i = 0; i < n_bytes; i++) {
		switch (text[i]) {
		case '"':
			in_string = !in_string;
			break;
		case '\\':
			if (in_string)
				i++;
			break;
		case '[':
		case '{':
			if (!in_string && ++depth > JSON_DEPTH_MAX)
				return true;
			break;
		case ']':
		case '}':
			if (!in_string && depth > 0)
				depth--;
			break;
		}
	}
	return false;
}

int json_parse_object(const char *text, size_t n_bytes, json_t **ret, char *error, size_t n_error)
{
	json_auto_t *value = NULL;
	json_error_t reason;

	/* jansson skips a NUL behind a number. */
	if (memchr(text, '\0', n_bytes)) {
		snprintf(error, n_error, "a NUL byte");
		return -EINVAL;
	}
	if (is_too_deep(text, n_bytes)) {
		snprintf(error, n_error, "nested deeper than %d levels", JSON_DEPTH_MAX);
		return -EINVAL;
	}
	/* Neither JSON_ALLOW_NUL nor JSON_DISABLE_EOF_CHECK: "\u0000" and trailing bytes refuse. */
	value = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES, &reason);
	if (!value) {
		snprintf(error, n_error, "%s", reason.text);
		return -EINVAL;
	}
	if (!json_is_object(value)) {
		snprintf(error, n_error, "not an object");
		return -EINVAL;
	}
	*ret = json_incref(value);
	return 0;
}
