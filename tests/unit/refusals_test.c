/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Which refusals the audit log tells of: bounded, each that passes once. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "agent/common/times.h"
#include "agent/daemon/refusals.h"

static void digest_make(unsigned i, uint8_t digest[static DOCUMENT_DIGEST_BYTES])
{
	uint64_t spread = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);

	memset(digest, 0, DOCUMENT_DIGEST_BYTES);
	memcpy(digest, &spread, sizeof(spread));
}

static unsigned count_told(struct refusals *refusals, const uint8_t *digest, uint64_t now_usec)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 1000; i++)
		n += refusals_tell(refusals, digest, REFUSAL_EXPIRED, now_usec);
	return n;
}

static void a_burst_and_then_a_rate(void **state)
{
	struct refusals refusals = {};
	uint8_t digest[DOCUMENT_DIGEST_BYTES];
	uint64_t now_usec = 1000 * USEC_PER_SEC;

	(void)state;
	digest_make(1, digest);
	assert_int_equal(count_told(&refusals, NULL, now_usec), REFUSALS_BURST);
	assert_int_equal(refusals.n_untold, 1000 - REFUSALS_BURST);
	/* Nonsense keeps nothing out of the log that somebody signed. */
	assert_int_equal(count_told(&refusals, digest, now_usec), REFUSALS_BURST);
	now_usec += 10 * USEC_PER_SEC;
	assert_int_equal(count_told(&refusals, NULL, now_usec), 2);
	assert_int_equal(count_told(&refusals, digest, now_usec), 50);
}

static void what_is_brought_again_is_told_once(void **state)
{
	struct refusals refusals = {};
	uint8_t digest[DOCUMENT_DIGEST_BYTES];
	uint64_t now_usec = 0;

	(void)state;
	for (unsigned round = 0; round < 5; round++) {
		for (unsigned i = 0; i < 1024; i++) {
			digest_make(i, digest);
			now_usec += USEC_PER_SEC;
			assert_int_equal(
				refusals_tell(&refusals, digest, REFUSAL_CLOCK_BEHIND, now_usec),
				round == 0);
		}
	}
	assert_int_equal(refusals.n_untold, 4 * 1024);
	/* For another reason it is told, and what does not pass is told each time. */
	assert_true(refusals_tell(&refusals, digest, REFUSAL_CAPACITY, now_usec));
	for (unsigned i = 0; i < 3; i++)
		assert_true(refusals_tell(&refusals, digest, REFUSAL_EXPIRED, now_usec));
}

/* A name that means something else would be tried again for ever, or never. */
static void what_passes_is_known_by_its_name(void **state)
{
	(void)state;
	for (unsigned code = 0; code < REFUSAL_CODE_COUNT; code++)
		assert_int_equal(refusal_code_find(refusal_code_name(code)), code);
	assert_int_equal(refusal_code_find("clock"), REFUSAL_NONE);
	assert_int_equal(refusal_code_find(""), REFUSAL_NONE);
	assert_true(refusal_passes(REFUSAL_CLOCK_BEHIND) && refusal_passes(REFUSAL_CAPACITY));
	assert_false(refusal_passes(REFUSAL_NONE) || refusal_passes(REFUSAL_EXPIRED));
	assert_true(refusal_is_of_trust(REFUSAL_UNKNOWN_KEY));
	assert_false(refusal_is_of_trust(REFUSAL_NONE) || refusal_is_of_trust(REFUSAL_EXPIRED));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_burst_and_then_a_rate),
		cmocka_unit_test(what_is_brought_again_is_told_once),
		cmocka_unit_test(what_passes_is_known_by_its_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
