/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Durations (ISO 8601) and points in time, as machines and as people read them. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define USEC_PER_MSEC UINT64_C(1000)
#define USEC_PER_SEC UINT64_C(1000000)

/* The longest duration that is read: 366 days. */
#define DURATION_SECONDS_MAX (INT64_C(366) * 24 * 3600)

#define TIME_STRING_MAX 64

/*
 * Reads an ISO 8601 duration of weeks, days, hours, minutes and seconds: "PT3H", "P1DT12H",
 * "PT90M". Weeks stand alone ("P2W"). No fractions, years or months (their length is not fixed).
 * Returns 0; -EINVAL where it is not one, is zero, or is longer than DURATION_SECONDS_MAX.
 */
int duration_parse(const char *text, int64_t *ret_seconds);

/* Writes ISO 8601, each unit that is not zero: 10800 is "PT3H", 5400 is "PT1H30M". Returns text. */
const char *duration_format(int64_t seconds, char text[static TIME_STRING_MAX]);

/* Writes a duration for people, two units at most: "45 s", "12 min", "3 h 5 min", "2 d 1 h". */
const char *duration_describe(int64_t seconds, char text[static TIME_STRING_MAX]);

/* Writes UTC, RFC 3339: "2026-01-01T10:00:00Z". Returns text. */
const char *time_format_utc(int64_t seconds, char text[static TIME_STRING_MAX]);

/* Reads RFC 3339 ("2026-01-01T10:00:00Z", with an offset or a fraction too). Returns 0 or -EINVAL.
 */
int time_parse_utc(const char *text, int64_t *ret_seconds);

/* Writes local time for people: "10:00:00" today, "2026-01-02 10:00:00" otherwise. Returns text. */
const char *time_format_local(
	int64_t seconds, int64_t now_seconds, char text[static TIME_STRING_MAX]);

/* The clocks in microseconds. */
uint64_t clock_realtime_usec(void);
uint64_t clock_boottime_usec(void);
uint64_t clock_monotonic_usec(void);
