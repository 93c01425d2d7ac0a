/* SPDX-License-Identifier: GPL-3.0-or-later */

/* When a feed is asked again: after a failure, and after an answer. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "agent/common/times.h"
#include "agent/poll/backoff.h"
#include "agent/poll/pace.h"
#include "cleanup.h"

static void waits_grow_up_to_a_bound(void **state)
{
	struct backoff backoff = { .base_usec = 1000, .max_usec = 60000, .min_usec = 100 };
	static const uint64_t limits[] = { 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000 };

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(limits); i++) {
		struct backoff low = backoff, high = backoff;

		/* Full jitter: anything between, by chance alone. */
		assert_int_equal(backoff_next(&low, 0), 100);
		assert_int_equal(backoff_next(&high, limits[i] - 100), limits[i]);
		assert_int_equal(backoff_next(&backoff, limits[i] - 99), 100);
	}
	backoff_reset(&backoff);
	assert_int_equal(backoff_next(&backoff, 900), 1000);
	backoff.n_failures = UINT32_MAX;
	assert_int_equal(backoff_next(&backoff, 59900), 60000);
	assert_int_equal(backoff.n_failures, UINT32_MAX);
}

static void retry_after_is_seconds_or_a_date(void **state)
{
	static const struct {
		const char *value;
		int64_t seconds;
	} cases[] = {
		{ "0", 0 },
		{ "7", 7 },
		{ "007", 7 },
		{ "3600", 3600 },
		{ "3601", 3600 },
		{ "99999999999999999999999999", 3600 },
		{ "Sun, 06 Nov 1994 08:49:37 GMT", 0 },
		{ "Sun, 06 Nov 1994 08:50:37 GMT", 50 },
		{ "Sun, 06 Nov 2094 08:49:37 GMT", 3600 },
		{ "Sun, 06 Nov 1993 08:49:37 GMT", 0 },
		{ "", -EINVAL },
		{ "-1", -EINVAL },
		{ "1.5", -EINVAL },
		{ "soon", -EINVAL },
		{ "7 ", -EINVAL },
		{ "Sun, 06 Nov 1994 08:49:37", -EINVAL },
		{ "Sun, 06 Nov 1994 08:49:37 GMT+1", -EINVAL },
		{ "Sun, 06 Nvo 1994 08:49:37 GMT", -EINVAL },
		{ "Sun, 06 anF 1994 08:49:37 GMT", -EINVAL },
		{ "Sunday, 06-Nov-94 08:49:37 GMT", -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++)
		if (retry_after_parse(cases[i].value, 784111787) != cases[i].seconds)
			fail_msg("%s", cases[i].value);
}

#define INTERVAL (60 * USEC_PER_SEC)

static void who_holds_is_asked_at_once(void **state)
{
	struct pace pace;
	uint64_t now = 1000 * USEC_PER_SEC;

	(void)state;
	pace_init(&pace);
	for (int i = 0; i < 1000; i++, now += 50 * USEC_PER_SEC)
		assert_int_equal(pace_next(&pace, false, 50 * USEC_PER_SEC, now, INTERVAL), 0);
}

static void who_does_not_hold_is_asked_at_intervals(void **state)
{
	struct pace pace;
	uint64_t now = 1000 * USEC_PER_SEC;

	(void)state;
	pace_init(&pace);
	for (int i = 0; i < 3; i++, now += USEC_PER_SEC)
		assert_int_equal(pace_next(&pace, false, 1000, now, INTERVAL), USEC_PER_SEC);
	assert_int_equal(pace_next(&pace, false, 1000, now, INTERVAL), INTERVAL);
	/* News, or a question that was held, is another beginning. */
	assert_int_equal(pace_next(&pace, true, 1000, now += INTERVAL, INTERVAL), 0);
	assert_int_equal(pace_next(&pace, false, 1000, now += 1000, INTERVAL), USEC_PER_SEC);
}

static void who_runs_away_is_held_back(void **state)
{
	struct pace pace;
	uint64_t now = 1000 * USEC_PER_SEC, begin = now;

	(void)state;
	pace_init(&pace);
	for (int i = 0; i < 200; i++)
		assert_int_equal(pace_next(&pace, true, 0, now, INTERVAL), 0);
	for (int i = 0; i < 1000; i++)
		now += pace_next(&pace, true, 0, now, INTERVAL);
	assert_in_range(now - begin, 9 * USEC_PER_SEC, 11 * USEC_PER_SEC);
	/* After a while it has its burst again. */
	now += 10 * USEC_PER_SEC;
	for (int i = 0; i < 200; i++)
		assert_int_equal(pace_next(&pace, true, 0, now, INTERVAL), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(waits_grow_up_to_a_bound),
		cmocka_unit_test(retry_after_is_seconds_or_a_date),
		cmocka_unit_test(who_holds_is_asked_at_once),
		cmocka_unit_test(who_does_not_hold_is_asked_at_intervals),
		cmocka_unit_test(who_runs_away_is_held_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
