/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What is wrong with the feed: told when it changes, and not at each try. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/common/times.h"
#include "agent/poll/report.h"

#define HOUR (3600 * USEC_PER_SEC)

static void test_the_same_is_told_once(void **state)
{
	struct report report = { .state = FEED_CONNECTED };

	(void)state;
	assert_true(report_note_failure(&report, FEED_BACKING_OFF, "away", HOUR));
	for (uint64_t i = 1; i < 100; i++)
		assert_false(
			report_note_failure(&report, FEED_BACKING_OFF, "away", (i + 1) * HOUR));
	assert_true(report_note_failure(&report, FEED_UNAUTHORIZED, "away", 200 * HOUR));
}

static void test_what_changes_soon_after_is_told_later(void **state)
{
	struct report report = { .state = FEED_CONNECTED };

	(void)state;
	assert_true(report_note_failure(&report, FEED_BACKING_OFF, "it stops", HOUR));
	assert_false(report_note_failure(
		&report, FEED_BACKING_OFF, "certificate has expired", HOUR + USEC_PER_SEC));
	assert_true(report_note_failure(
		&report, FEED_BACKING_OFF, "certificate has expired", 2 * HOUR));
	assert_false(report_note_failure(
		&report, FEED_BACKING_OFF, "certificate has expired", 3 * HOUR));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_same_is_told_once),
		cmocka_unit_test(test_what_changes_soon_after_is_told_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
