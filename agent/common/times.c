/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/common/times.h"

#define MINUTE INT64_C(60)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define WEEK (7 * DAY)

/* 0000-01-01T00:00:00Z and 9999-12-31T23:59:59Z: what RFC 3339 can write. */
#define UTC_SECONDS_MIN INT64_C(-62167219200)
#define UTC_SECONDS_MAX INT64_C(253402300799)

/* Reads digits up to a bound that no sum of durations overflows; moves *text behind them. */
static int digits_parse(const char **text, int64_t *ret)
{
	const char *digit = *text;
	int64_t value = 0;

	for (; *digit >= '0' && *digit <= '9'; digit++) {
		value = value * 10 + (*digit - '0');
		if (value > DURATION_SECONDS_MAX)
			return -EINVAL;
	}
	if (digit == *text)
		return -EINVAL;
	*text = digit;
	*ret = value;
	return 0;
}

/* Reads numbers with their designators, each at most once and in the order of designators. */
static int fields_parse(
	const char **text, const char *designators, const int64_t *units, int64_t *seconds)
{
	const char *start = *text;

	while (**text != '\0' && **text != 'T') {
		const char *designator;
		int64_t value;

		if (digits_parse(text, &value) < 0 || **text == '\0')
			return -EINVAL;
		designator = strchr(designators, **text);
		if (!designator)
			return -EINVAL;
		*seconds += value * units[designator - designators];
		if (*seconds > DURATION_SECONDS_MAX)
			return -EINVAL;
		units += designator - designators + 1;
		designators = designator + 1;
		(*text)++;
	}
	return *text > start ? 0 : -EINVAL;
}

int duration_parse(const char *text, int64_t *ret_seconds)
{
	int64_t seconds = 0;

	if (*text++ != 'P')
		return -EINVAL;
	/* ISO 8601 has weeks stand alone. */
	if (strchr(text, 'W')) {
		if (fields_parse(&text, "W", (const int64_t[]){ WEEK }, &seconds) < 0)
			return -EINVAL;
	} else {
		if (*text != 'T' &&
			fields_parse(&text, "D", (const int64_t[]){ DAY }, &seconds) < 0)
			return -EINVAL;
		if (*text == 'T') {
			text++;
			if (fields_parse(&text, "HMS", (const int64_t[]){ HOUR, MINUTE, 1 },
				    &seconds) < 0)
				return -EINVAL;
		}
	}
	if (*text != '\0' || seconds == 0)
		return -EINVAL;
	*ret_seconds = seconds;
	return 0;
}

const char *duration_format(int64_t seconds, char text[static TIME_STRING_MAX])
{
	bool negative = seconds < 0;
	uint64_t rest = negative ? 0 - (uint64_t)seconds : (uint64_t)seconds;
	char *end = text + TIME_STRING_MAX, *to = text;
	static const struct {
		uint64_t seconds;
		char designator;
	} units[] = { { HOUR, 'H' }, { MINUTE, 'M' }, { 1, 'S' } };

	to += snprintf(to, (size_t)(end - to), "%sP", negative ? "-" : "");
	if (rest >= (uint64_t)DAY)
		to += snprintf(to, (size_t)(end - to), "%" PRIu64 "D", rest / DAY);
	else if (rest == 0)
		snprintf(to, (size_t)(end - to), "T0S");
	rest %= DAY;
	if (rest == 0)
		return text;
	*to++ = 'T';
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (rest >= units[i].seconds)
			to += snprintf(to, (size_t)(end - to), "%" PRIu64 "%c",
				rest / units[i].seconds, units[i].designator);
		rest %= units[i].seconds;
	}
	return text;
}

const char *duration_describe(int64_t seconds, char text[static TIME_STRING_MAX])
{
	static const struct {
		uint64_t seconds;
		const char *name;
	} units[] = { { DAY, "d" }, { HOUR, "h" }, { MINUTE, "min" }, { 1, "s" } };
	const char *sign = seconds < 0 ? "-" : "";
	uint64_t all = seconds < 0 ? 0 - (uint64_t)seconds : (uint64_t)seconds;
	uint64_t second;
	size_t i = 0;

	while (i < 3 && all < units[i].seconds)
		i++;
	second = i < 3 ? all % units[i].seconds / units[i + 1].seconds : 0;
	if (second > 0)
		snprintf(text, TIME_STRING_MAX, "%s%" PRIu64 " %s %" PRIu64 " %s", sign,
			all / units[i].seconds, units[i].name, second, units[i + 1].name);
	else
		snprintf(text, TIME_STRING_MAX, "%s%" PRIu64 " %s", sign, all / units[i].seconds,
			units[i].name);
	return text;
}

const char *time_format_utc(int64_t seconds, char text[static TIME_STRING_MAX])
{
	time_t clock = (time_t)seconds;
	struct tm utc;

	/* A time that the calendar can't hold is written as its number. Not strftime(): its %Y has
	 * fewer than four digits before the year 1000. */
	if (gmtime_r(&clock, &utc))
		snprintf(text, TIME_STRING_MAX, "%04" PRId64 "-%02d-%02dT%02d:%02d:%02dZ",
			(int64_t)utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour,
			utc.tm_min, utc.tm_sec);
	else
		snprintf(text, TIME_STRING_MAX, "%" PRId64, seconds);
	return text;
}

const char *time_format_local(
	int64_t seconds, int64_t now_seconds, char text[static TIME_STRING_MAX])
{
	time_t clock = (time_t)seconds, now_clock = (time_t)now_seconds;
	struct tm local, now;
	size_t n;

	if (!localtime_r(&clock, &local) || !localtime_r(&now_clock, &now))
		n = 0;
	else if (local.tm_year == now.tm_year && local.tm_yday == now.tm_yday)
		n = strftime(text, TIME_STRING_MAX, "%H:%M:%S", &local);
	else
		n = strftime(text, TIME_STRING_MAX, "%Y-%m-%d %H:%M:%S", &local);
	if (n == 0)
		snprintf(text, TIME_STRING_MAX, "%" PRId64, seconds);
	return text;
}

/* Reads exactly n digits; moves *text behind them. */
static int fixed_parse(const char **text, int n, int max, int *ret)
{
	int value = 0;

	for (; n > 0; n--, (*text)++) {
		if (**text < '0' || **text > '9')
			return -EINVAL;
		value = value * 10 + (**text - '0');
	}
	if (value > max)
		return -EINVAL;
	*ret = value;
	return 0;
}

static bool skip(const char **text, const char *accepted)
{
	if (**text == '\0' || !strchr(accepted, **text))
		return false;
	(*text)++;
	return true;
}

static int offset_parse(const char **text, int64_t *ret_seconds)
{
	int hours, minutes, sign;

	if (skip(text, "Zz")) {
		*ret_seconds = 0;
		return 0;
	}
	sign = **text == '-' ? -1 : 1;
	if (!skip(text, "+-") || fixed_parse(text, 2, 23, &hours) < 0 || !skip(text, ":") ||
		fixed_parse(text, 2, 59, &minutes) < 0)
		return -EINVAL;
	*ret_seconds = sign * (hours * HOUR + minutes * MINUTE);
	return 0;
}

int time_parse_utc(const char *text, int64_t *ret_seconds)
{
	struct tm utc = { 0 };
	int year, month, day;
	int64_t seconds, offset;

	if (fixed_parse(&text, 4, 9999, &year) < 0 || !skip(&text, "-") ||
		fixed_parse(&text, 2, 12, &month) < 0 || !skip(&text, "-") ||
		fixed_parse(&text, 2, 31, &day) < 0 || !skip(&text, "Tt") ||
		fixed_parse(&text, 2, 23, &utc.tm_hour) < 0 || !skip(&text, ":") ||
		fixed_parse(&text, 2, 59, &utc.tm_min) < 0 || !skip(&text, ":") ||
		fixed_parse(&text, 2, 59, &utc.tm_sec) < 0)
		return -EINVAL;
	if (skip(&text, ".")) {
		if (!skip(&text, "0123456789"))
			return -EINVAL;
		while (skip(&text, "0123456789"))
			;
	}
	if (offset_parse(&text, &offset) < 0 || *text != '\0')
		return -EINVAL;
	utc.tm_year = year - 1900;
	utc.tm_mon = month - 1;
	utc.tm_mday = day;
	seconds = timegm(&utc);
	/* timegm() makes 1 March of 30 February. */
	if (utc.tm_mday != day || utc.tm_mon != month - 1)
		return -EINVAL;
	seconds -= offset;
	if (seconds < UTC_SECONDS_MIN || seconds > UTC_SECONDS_MAX)
		return -EINVAL;
	*ret_seconds = seconds;
	return 0;
}

static uint64_t clock_usec(clockid_t clock)
{
	struct timespec now;

	/* Fails for no clock that this file names. */
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_realtime_usec(void)
{
	return clock_usec(CLOCK_REALTIME);
}

uint64_t clock_boottime_usec(void)
{
	return clock_usec(CLOCK_BOOTTIME);
}

uint64_t clock_monotonic_usec(void)
{
	return clock_usec(CLOCK_MONOTONIC);
}
