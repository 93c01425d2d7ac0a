/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/common/times.h"
#include "contrib/control-plane/state/instant.h"

const char *instant_format(int64_t usec, char text[static INSTANT_STRING_MAX])
{
	time_t seconds = (time_t)(usec / (int64_t)USEC_PER_SEC);
	struct tm utc;
	size_t n;

	gmtime_r(&seconds, &utc);
	n = strftime(text, INSTANT_STRING_MAX, "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(text + n, INSTANT_STRING_MAX - n, ".%06dZ", (int)(usec % (int64_t)USEC_PER_SEC));
	return text;
}

int instant_parse(const char *text, int64_t *ret_usec)
{
	const char *dot = strchr(text, '.');
	int64_t seconds, fraction = 0, unit = (int64_t)USEC_PER_SEC / 10;

	if (time_parse_utc(text, &seconds) < 0 || seconds < 0)
		return -EINVAL;
	for (dot = dot ? dot + 1 : ""; *dot >= '0' && *dot <= '9' && unit > 0; dot++, unit /= 10)
		fraction += (*dot - '0') * unit;
	*ret_usec = seconds * (int64_t)USEC_PER_SEC + fraction;
	return 0;
}

json_t *instant_to_json(int64_t usec)
{
	char text[INSTANT_STRING_MAX];

	return usec > 0 ? json_string(instant_format(usec, text)) : NULL;
}

int64_t instant_from_json(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));
	int64_t usec;

	return text && instant_parse(text, &usec) == 0 ? usec : 0;
}
