/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <stdarg.h>
#include <string.h>

#include "agent/common/refusal.h"
#include "agent/common/text.h"

static const char *const code_names[REFUSAL_CODE_COUNT] = {
	[REFUSAL_NONE] = "none",
	[REFUSAL_MALFORMED] = "malformed",
	[REFUSAL_TOO_LARGE] = "too_large",
	[REFUSAL_UNSUPPORTED_ALGORITHM] = "unsupported_algorithm",
	[REFUSAL_UNKNOWN_KEY] = "unknown_key",
	[REFUSAL_BAD_SIGNATURE] = "bad_signature",
	[REFUSAL_WRONG_AUDIENCE] = "wrong_audience",
	[REFUSAL_EXPIRED] = "expired",
	[REFUSAL_DUPLICATE_ID] = "duplicate_id",
	[REFUSAL_REVOKED] = "revoked",
	[REFUSAL_PORT_NOT_MANAGED] = "port_not_managed",
	[REFUSAL_SOURCE_NOT_ALLOWED] = "source_not_allowed",
	[REFUSAL_DURATION_TOO_LONG] = "duration_too_long",
	[REFUSAL_STALE_POLICY] = "stale_policy",
	[REFUSAL_CLOCK_BEHIND] = "clock_behind",
	[REFUSAL_CAPACITY] = "capacity",
	[REFUSAL_LEDGER_UNREAD] = "ledger_unread",
};

const char *refusal_code_name(enum refusal_code code)
{
	if ((unsigned)code >= REFUSAL_CODE_COUNT)
		return "unknown";
	return code_names[code];
}

enum refusal_code refusal_code_find(const char *name)
{
	for (size_t i = 0; i < N_ELEMENTS(code_names); i++)
		if (strcmp(code_names[i], name) == 0)
			return (enum refusal_code)i;
	return REFUSAL_NONE;
}

bool refusal_passes(enum refusal_code code)
{
	return code == REFUSAL_CLOCK_BEHIND || code == REFUSAL_CAPACITY ||
		code == REFUSAL_LEDGER_UNREAD;
}

bool refusal_is_of_trust(enum refusal_code code)
{
	return code == REFUSAL_UNKNOWN_KEY || code == REFUSAL_BAD_SIGNATURE ||
		code == REFUSAL_UNSUPPORTED_ALGORITHM;
}

int refuse(struct refusal *refusal, enum refusal_code code, const char *format, ...)
{
	va_list arguments;

	refusal->code = code;
	va_start(arguments, format);
	text_vfill(refusal->message, sizeof(refusal->message), format, arguments);
	va_end(arguments);
	text_make_printable(refusal->message);
	return REFUSED;
}
