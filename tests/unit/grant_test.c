/* SPDX-License-Identifier: GPL-3.0-or-later */

#include "agent/daemon/grant.h"
#include "tests/unit/documents.h"

#define RUNS 2000

static struct grant *grant_take(struct document *document)
{
	struct grant *grant = NULL;

	assert_int_equal(grant_new(document, GRANT_SIGNED, &grant), 0);
	return grant;
}

/* Whatever is done to the wall clock: set back, it extends nothing; set forward, it ends what is
 * over. */
static void test_a_deadline_never_moves_back(void **state)
{
	(void)state;
	for (unsigned run = 0; run < RUNS; run++) {
		struct grant *grant = grant_take(grant_make("g", NOW + 3600));
		uint64_t boot_seconds = 1000;

		chance_seed(run);
		for (unsigned i = 0; i < 20; i++) {
			int64_t wall = NOW + (int64_t)chance(20000) - 10000;
			struct moment now = moment_make(wall, boot_seconds += chance(600));
			uint64_t before = grant->deadline_usec;

			grant_set_times(grant, &now);
			assert_true(grant->deadline_usec <= before);
			assert_true(grant->deadline_usec <= moment_deadline(&now, NOW + 3600));
			/* One of the two clocks set it: nothing ends for no reason. */
			assert_true(grant->deadline_usec == before ||
				grant->deadline_usec == moment_deadline(&now, NOW + 3600));
			assert_int_equal(grant->starts_usec, 0);
		}
		grant_free(grant);
	}
}

static void test_what_is_over_ends_at_once(void **state)
{
	struct grant *grant = grant_take(grant_make("g", NOW + 3600));
	struct moment now = moment_make(NOW + 3600, 500);

	(void)state;
	grant_set_times(grant, &now);
	assert_int_equal(grant->deadline_usec, now.boot_usec);
	now = moment_make(NOW, 600);
	grant_set_times(grant, &now);
	assert_int_equal(grant->deadline_usec, 500 * USEC_PER_SEC);
	grant_free(grant);
}

static void test_moments_are_exact(void **state)
{
	const struct moment now = { 10 * USEC_PER_SEC + 1, 77 };

	(void)state;
	assert_int_equal(moment_deadline(&now, 11), 77 + USEC_PER_SEC - 1);
	assert_int_equal(moment_deadline(&now, 10), 77);
	assert_int_equal(moment_deadline(&now, 0), 77);
	assert_int_equal(moment_deadline(&now, -1), 77);
}

static struct document *scheduled_make(int64_t not_before)
{
	return document_make(DOCUMENT_GRANT,
		"{'iss': 'cp', 'aud': 'vm', 'jti': 'g', 'sub': 'alice', 'iat': %lld, 'nbf': %lld, "
		"'exp': %lld, 'ports': [{'number': 22, 'protocol': '*', "
		"'allowedSourceAddressPrefixes': ['*', '192.0.2.0/24', '2001:db8::1']}, "
		"{'number': 53, 'protocol': 'UDP', 'allowedSourceAddressPrefix': '10.0.0.0/8'}]}",
		(long long)NOW, (long long)not_before, (long long)NOW + 7200);
}

static void test_a_scheduled_grant_begins_by_the_wall_clock(void **state)
{
	struct grant *grant = grant_take(scheduled_make(NOW + 600));
	struct moment now = moment_make(NOW, 100);

	(void)state;
	grant_set_times(grant, &now);
	assert_int_equal(grant->starts_usec, 700 * USEC_PER_SEC);
	/* Its beginning may move either way, its end does not. */
	now = moment_make(NOW - 300, 100);
	grant_set_times(grant, &now);
	assert_int_equal(grant->starts_usec, 1000 * USEC_PER_SEC);
	assert_int_equal(grant->deadline_usec, 7300 * USEC_PER_SEC);
	now = moment_make(NOW + 600, 100);
	grant_set_times(grant, &now);
	assert_int_equal(grant->starts_usec, 0);
	assert_int_equal(grant->deadline_usec, 6700 * USEC_PER_SEC);
	grant_free(grant);
}

/* Without nbf a grant begins at once, though the signer's clock be ahead of ours. */
static void test_a_clock_ahead_postpones_nothing(void **state)
{
	struct grant *grant = grant_take(grant_make("g", NOW + 3600));
	const struct moment now = moment_make(NOW - 30, 100);

	(void)state;
	grant_set_times(grant, &now);
	assert_int_equal(grant->starts_usec, 0);
	grant_free(grant);
}

static void test_covers_are_each_prefix_at_each_port(void **state)
{
	struct grant *grant = grant_take(scheduled_make(NOW));
	const struct moment now = moment_make(NOW, 100);
	struct address first = {}, last;
	struct access *covers;
	unsigned n_udp53 = 0, n_every = 0;
	size_t n;

	(void)state;
	grant_set_times(grant, &now);
	grant->tag = 7;
	assert_int_equal(grant_covers(grant, &covers, &n), 0);
	/* Two protocols: "*" in two families, one of each; and one of UDP alone. */
	assert_int_equal(n, 2 * (2 + 1 + 1) + 1);
	memset(&last, 0xff, sizeof(last));
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(covers[i].tag, 7);
		assert_int_equal(covers[i].deadline_usec, grant->deadline_usec);
		n_udp53 += covers[i].service.port == 53;
		n_every += covers[i].service.family == AF_INET6 &&
			address_compare(&covers[i].first, &first) == 0 &&
			address_compare(&covers[i].last, &last) == 0;
	}
	assert_int_equal(n_udp53, 1);
	assert_int_equal(n_every, 2);
	free(covers);
	grant_free(grant);
}

static void test_includes_what_it_asks_for(void **state)
{
	struct grant *grant = grant_take(scheduled_make(NOW));
	struct address inside = { { 10, 1, 2, 3 } }, outside = { { 11, 1, 2, 3 } };

	(void)state;
	assert_true(grant_includes(grant, AF_INET, &outside, 22, PROTOCOL_TCP)); /* "*" */
	assert_true(grant_includes(grant, AF_INET, &inside, 53, PROTOCOL_UDP));
	assert_false(grant_includes(grant, AF_INET, &outside, 53, PROTOCOL_UDP));
	assert_false(grant_includes(grant, AF_INET, &inside, 53, PROTOCOL_TCP));
	assert_false(grant_includes(grant, AF_INET, &inside, 80, PROTOCOL_TCP));
	assert_false(grant_includes(grant, AF_INET6, &inside, 53, PROTOCOL_UDP));
	grant_free(grant);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_deadline_never_moves_back),
		cmocka_unit_test(test_what_is_over_ends_at_once),
		cmocka_unit_test(test_moments_are_exact),
		cmocka_unit_test(test_a_scheduled_grant_begins_by_the_wall_clock),
		cmocka_unit_test(test_a_clock_ahead_postpones_nothing),
		cmocka_unit_test(test_covers_are_each_prefix_at_each_port),
		cmocka_unit_test(test_includes_what_it_asks_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
