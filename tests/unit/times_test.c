/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#include "agent/common/times.h"
#include "cleanup.h"

static void a_duration_lasts_as_long_as_is_written(void **state)
{
	static const struct {
		const char *text;
		int64_t seconds;
	} durations[] = { { "PT1S", 1 }, { "PT3H", 10800 }, { "PT90M", 5400 },
		{ "P1DT12H", 129600 }, { "P1D", 86400 }, { "P2W", 1209600 }, { "PT1H1M1S", 3661 },
		{ "PT05M", 300 }, { "P366D", DURATION_SECONDS_MAX }, { "PT0H1S", 1 },
		{ "PT31622400S", DURATION_SECONDS_MAX } };
	int64_t seconds;

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(durations); i++) {
		if (duration_parse(durations[i].text, &seconds) < 0)
			fail_msg("\"%s\" does not parse", durations[i].text);
		assert_int_equal(seconds, durations[i].seconds);
	}
}

static void what_is_no_duration_grants_no_time(void **state)
{
	static const char *const texts[] = { "", "P", "PT", "P1", "PT1", "1H", "PT0S", "P0D",
		"P1DT", "P1Y", "P1M", "PT1.5H", "PT1,5H", "-PT1H", "PT-1H", "PT+1H", "pt1h", "PT1h",
		"PT1H ", " PT1H", "PT 1H", "PTH", "PT1M1H", "PT1H1H", "P1W1D", "P1D1W", "P1WT1H",
		"PT1W", "PT1D", "P1H", "P1S", "PT1HT1M", "P367D", "P366DT1S", "P53W",
		"PT99999999999999999999S", "PT18446744073709551617S", "PT9223372036854775807S",
		"P1D2D", "TP1H", "PPT1H" };
	int64_t seconds = 42;

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(texts); i++)
		if (duration_parse(texts[i], &seconds) != -EINVAL)
			fail_msg("\"%s\" parses", texts[i]);
	assert_int_equal(seconds, 42);
}

static void a_duration_prints_as_it_would_be_written(void **state)
{
	static const struct {
		int64_t seconds;
		const char *text;
	} durations[] = { { 0, "PT0S" }, { 1, "PT1S" }, { 60, "PT1M" }, { 5400, "PT1H30M" },
		{ 10800, "PT3H" }, { 86400, "P1D" }, { 86401, "P1DT1S" }, { 129600, "P1DT12H" },
		{ -60, "-PT1M" }, { INT64_MIN, "-P106751991167300DT15H30M8S" } };
	char text[TIME_STRING_MAX];
	int64_t back;

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(durations); i++)
		assert_string_equal(duration_format(durations[i].seconds, text), durations[i].text);
	for (int64_t seconds = 1; seconds < DURATION_SECONDS_MAX; seconds = seconds * 3 + 1) {
		assert_int_equal(duration_parse(duration_format(seconds, text), &back), 0);
		assert_int_equal(back, seconds);
	}
}

static void a_person_is_told_how_long_in_two_units(void **state)
{
	char text[TIME_STRING_MAX];

	(void)state;
	assert_string_equal(duration_describe(0, text), "0 s");
	assert_string_equal(duration_describe(45, text), "45 s");
	assert_string_equal(duration_describe(90, text), "1 min 30 s");
	assert_string_equal(duration_describe(720, text), "12 min");
	assert_string_equal(duration_describe(11100, text), "3 h 5 min");
	assert_string_equal(duration_describe(3600 + 20, text), "1 h");
	assert_string_equal(duration_describe(2 * 86400 + 3600 + 59, text), "2 d 1 h");
	assert_string_equal(duration_describe(-45, text), "-45 s");
}

static void a_time_prints_in_utc_wherever_the_reader_is(void **state)
{
	char text[TIME_STRING_MAX];

	(void)state;
	assert_string_equal(time_format_utc(0, text), "1970-01-01T00:00:00Z");
	assert_string_equal(time_format_utc(1767261600, text), "2026-01-01T10:00:00Z");
	assert_string_equal(time_format_utc(253402300799, text), "9999-12-31T23:59:59Z");
	assert_string_equal(time_format_utc(-62167219200, text), "0000-01-01T00:00:00Z");
	assert_string_equal(time_format_utc(INT64_MAX, text), "9223372036854775807");
}

static void a_written_time_is_the_time_that_is_meant(void **state)
{
	static const struct {
		const char *text;
		int64_t seconds;
	} times[] = { { "1970-01-01T00:00:00Z", 0 }, { "2026-01-01T10:00:00Z", 1767261600 },
		{ "2026-01-01T11:00:00+01:00", 1767261600 },
		{ "2026-01-01T04:30:00-05:30", 1767261600 },
		{ "2026-01-01T10:00:00.999Z", 1767261600 }, { "2026-01-01t10:00:00z", 1767261600 },
		{ "2024-02-29T00:00:00Z", 1709164800 }, { "9999-12-31T23:59:59Z", 253402300799 },
		{ "0000-01-01T00:00:00Z", -62167219200 } };
	static const char *const bad[] = { "", "2026-01-01", "2026-01-01T10:00:00",
		"2026-01-01 10:00:00Z", "2026-1-1T10:00:00Z", "2026-13-01T10:00:00Z",
		"2026-00-01T10:00:00Z", "2026-02-29T10:00:00Z", "2026-04-31T10:00:00Z",
		"2026-01-00T10:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T10:60:00Z",
		"2026-01-01T10:00:61Z", "2026-01-01T10:00:00.Z", "2026-01-01T10:00:00+1:00",
		"2026-01-01T10:00:00+0100", "2026-01-01T10:00:00Z ", "+026-01-01T10:00:00Z",
		"1767261600", "2026-01-01T10:00:00+24:00", "9999-12-31T23:59:59-00:01",
		"0000-01-01T00:00:00+00:01" };
	int64_t seconds;

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(times); i++) {
		if (time_parse_utc(times[i].text, &seconds) < 0)
			fail_msg("\"%s\" does not parse", times[i].text);
		assert_int_equal(seconds, times[i].seconds);
	}
	for (size_t i = 0; i < N_ELEMENTS(bad); i++)
		if (time_parse_utc(bad[i], &seconds) == 0)
			fail_msg("\"%s\" parses", bad[i]);
}

static void a_local_time_names_the_day_unless_it_is_today(void **state)
{
	char text[TIME_STRING_MAX];

	(void)state;
	setenv("TZ", "UTC-2", 1);
	tzset();
	assert_string_equal(time_format_local(1767261600, 1767270000, text), "12:00:00");
	assert_string_equal(time_format_local(1767261600, 1767348000, text), "2026-01-01 12:00:00");
	/* The same day of another year. */
	assert_string_equal(time_format_local(1767261600, 1767261600 + INT64_C(365) * 86400, text),
		"2026-01-01 12:00:00");
	assert_string_equal(time_format_local(INT64_MAX, 0, text), "9223372036854775807");
}

static void the_clocks_run(void **state)
{
	uint64_t boottime = clock_boottime_usec();
	time_t now = time(NULL);

	(void)state;
	assert_true(clock_boottime_usec() >= boottime);
	assert_true(boottime > 0);
	assert_in_range(clock_realtime_usec() / USEC_PER_SEC, now - 1, now + 5);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_duration_lasts_as_long_as_is_written),
		cmocka_unit_test(what_is_no_duration_grants_no_time),
		cmocka_unit_test(a_duration_prints_as_it_would_be_written),
		cmocka_unit_test(a_person_is_told_how_long_in_two_units),
		cmocka_unit_test(a_time_prints_in_utc_wherever_the_reader_is),
		cmocka_unit_test(a_written_time_is_the_time_that_is_meant),
		cmocka_unit_test(a_local_time_names_the_day_unless_it_is_today),
		cmocka_unit_test(the_clocks_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
