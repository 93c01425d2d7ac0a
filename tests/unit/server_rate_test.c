/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>

#include "contrib/control-plane/http/rate.h"

#define SECOND UINT64_C(1000000)

static void a_bucket_empties_and_refills(void **state)
{
	_cleanup_(rate_table_freep) struct rate_table *table = rate_table_new(10, 20);
	uint64_t now = 1000 * SECOND;
	uint64_t key;

	(void)state;
	assert_non_null(table);
	key = rate_key_name(table, "alice");
	for (int i = 0; i < 20; i++)
		assert_int_equal(rate_take(table, key, now), 0);
	assert_int_equal(rate_take(table, key, now), SECOND / 10);
	/* Asking costs nothing. */
	assert_int_equal(rate_take(table, key, now), SECOND / 10);
	now += SECOND / 10;
	assert_int_equal(rate_take(table, key, now), 0);
	assert_int_not_equal(rate_take(table, key, now), 0);
	/* No more is saved than fits. */
	now += 1000 * SECOND;
	for (int i = 0; i < 20; i++)
		assert_int_equal(rate_take(table, key, now), 0);
	assert_int_not_equal(rate_take(table, key, now), 0);
}

static void one_caller_does_not_cost_another(void **state)
{
	_cleanup_(rate_table_freep) struct rate_table *table = rate_table_new(1, 1);
	const uint64_t now = 1000 * SECOND;

	(void)state;
	assert_int_equal(rate_take(table, rate_key_name(table, "alice"), now), 0);
	assert_int_not_equal(rate_take(table, rate_key_name(table, "alice"), now), 0);
	assert_int_equal(rate_take(table, rate_key_name(table, "bob"), now), 0);
}

static void many_callers_do_not_make_one_forget_itself(void **state)
{
	_cleanup_(rate_table_freep) struct rate_table *table = rate_table_new(1, 10);
	const uint64_t now = 1000 * SECOND;
	uint64_t key = rate_key_name(table, "alice");
	unsigned n_taken = 0;

	(void)state;
	for (int i = 0; i < 10; i++)
		assert_int_equal(rate_take(table, key, now), 0);
	/* Who is emptiest is forgotten last. */
	for (int i = 0; i < 100000; i++) {
		char name[32];

		snprintf(name, sizeof(name), "%d", i);
		assert_int_equal(rate_take(table, rate_key_name(table, name), now), 0);
		n_taken += rate_take(table, key, now) == 0;
	}
	assert_int_equal(n_taken, 0);
}

static uint64_t address_key(const struct rate_table *table, int family, const char *text)
{
	struct address address = { 0 };

	assert_int_equal(inet_pton(family, text, address.bytes), 1);
	return rate_key_address(table, (uint8_t)family, &address);
}

static void a_host_has_all_of_its_64_bits(void **state)
{
	_cleanup_(rate_table_freep) struct rate_table *table = rate_table_new(1, 1);

	(void)state;
	assert_int_equal(address_key(table, AF_INET6, "2001:db8::1"),
		address_key(table, AF_INET6, "2001:db8::ffff:1"));
	assert_int_not_equal(address_key(table, AF_INET6, "2001:db8::1"),
		address_key(table, AF_INET6, "2001:db8:0:1::1"));
	assert_int_not_equal(
		address_key(table, AF_INET, "192.0.2.1"), address_key(table, AF_INET, "192.0.2.2"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bucket_empties_and_refills),
		cmocka_unit_test(one_caller_does_not_cost_another),
		cmocka_unit_test(many_callers_do_not_make_one_forget_itself),
		cmocka_unit_test(a_host_has_all_of_its_64_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
