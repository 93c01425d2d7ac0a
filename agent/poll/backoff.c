/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/poll/backoff.h"

uint64_t backoff_next(struct backoff *backoff, uint64_t random)
{
	uint64_t limit = backoff->base_usec;

	for (unsigned i = 0; i < backoff->n_failures && limit < backoff->max_usec; i++)
		limit *= 2;
	if (limit > backoff->max_usec)
		limit = backoff->max_usec;
	if (backoff->n_failures < UINT32_MAX)
		backoff->n_failures++;
	if (limit <= backoff->min_usec)
		return backoff->min_usec;
	return backoff->min_usec + random % (limit - backoff->min_usec + 1);
}

void backoff_reset(struct backoff *backoff)
{
	backoff->n_failures = 0;
}

/* Not strptime(): its names of months are the locale's. */
static int date_parse(const char *value, int64_t *ret_seconds)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	char month[4];
	const char *found;
	struct tm utc = {};
	int n = 0;

	/* IMF-fixdate, the one form that is sent: "Sun, 06 Nov 1994 08:49:37 GMT". */
	if (sscanf(value, "%*3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT%n", &utc.tm_mday, month,
		    &utc.tm_year, &utc.tm_hour, &utc.tm_min, &utc.tm_sec, &n) != 6 ||
		n == 0 || value[n] != '\0' || strlen(month) != 3)
		return -EINVAL;
	found = strstr(months, month);
	if (!found || (found - months) % 3 != 0)
		return -EINVAL;
	utc.tm_mon = (int)(found - months) / 3;
	utc.tm_year -= 1900;
	*ret_seconds = timegm(&utc);
	return 0;
}

int64_t retry_after_parse(const char *value, int64_t now_seconds)
{
	size_t n = strspn(value, "0123456789");
	int64_t seconds = 0;

	if (n > 0 && value[n] == '\0') {
		for (size_t i = 0; i < n && seconds <= BACKOFF_RETRY_AFTER_MAX_SECONDS; i++)
			seconds = seconds * 10 + (value[i] - '0');
	} else if (date_parse(value, &seconds) == 0) {
		seconds -= now_seconds;
	} else {
		return -EINVAL;
	}
	if (seconds < 0)
		return 0;
	return seconds > BACKOFF_RETRY_AFTER_MAX_SECONDS ? BACKOFF_RETRY_AFTER_MAX_SECONDS
							 : seconds;
}
