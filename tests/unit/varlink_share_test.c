/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Who takes more of a server's time than its share goes behind, and comes back. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "agent/common/times.h"
#include "agent/common/varlink_share.h"

static void a_burst_is_nobodys_business(void **state)
{
	struct share share = {};
	uint64_t now_usec = 1000 * USEC_PER_SEC;

	(void)state;
	share_use(&share, SHARE_BURST_USEC, now_usec);
	assert_false(share_is_over(&share, now_usec));
	share_use(&share, 1, now_usec);
	assert_true(share_is_over(&share, now_usec));
	assert_false(share_is_over(&share, now_usec + SHARE_PART));
}

static void who_stays_within_the_share_never_goes_behind(void **state)
{
	struct share share = {};
	uint64_t now_usec = 0;

	(void)state;
	for (int i = 0; i < 100000; i++) {
		now_usec += SHARE_PART * USEC_PER_MSEC;
		share_use(&share, USEC_PER_MSEC, now_usec);
		assert_false(share_is_over(&share, now_usec));
	}
}

static void who_took_too_much_is_back_soon(void **state)
{
	struct share share = {};

	(void)state;
	/* The machine stood still for an hour in the middle of a call. */
	share_use(&share, 3600 * USEC_PER_SEC, 3600 * USEC_PER_SEC);
	assert_true(share_is_over(&share, 3600 * USEC_PER_SEC));
	assert_false(share_is_over(&share, 3605 * USEC_PER_SEC));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_burst_is_nobodys_business),
		cmocka_unit_test(who_stays_within_the_share_never_goes_behind),
		cmocka_unit_test(who_took_too_much_is_back_soon),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
