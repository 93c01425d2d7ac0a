/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Things by their key; times to the microsecond. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "contrib/control-plane/state/instant.h"
#include "contrib/control-plane/state/table.h"

struct item {
	char *key;
	char text[8];
};

static void test_items_stay_in_order(void **state)
{
	struct table table = { 0 };
	struct item *items = calloc(1000, sizeof(*items));

	(void)state;
	for (size_t i = 0; i < 1000; i++) {
		size_t k = i * 7919 % 1000;

		snprintf(items[k].text, sizeof(items[k].text), "%03zu", k);
		items[k].key = items[k].text;
		assert_int_equal(table_insert(&table, &items[k]), 0);
		assert_int_equal(table_insert(&table, &items[k]), -EEXIST);
	}
	assert_int_equal(table.n, 1000);
	for (size_t i = 0; i < 1000; i++)
		assert_ptr_equal(table.items[i], &items[i]);
	assert_ptr_equal(table_find(&table, "500"), &items[500]);
	assert_null(table_find(&table, "5000"));
	assert_int_equal(table_lower_bound(&table, "4995"), 500);
	assert_int_equal(table_lower_bound(&table, ""), 0);
	assert_int_equal(table_lower_bound(&table, "x"), 1000);
	assert_ptr_equal(table_remove(&table, "000"), &items[0]);
	assert_null(table_remove(&table, "000"));
	assert_ptr_equal(table_remove(&table, "999"), &items[999]);
	assert_int_equal(table.n, 998);
	assert_ptr_equal(table.items[997], &items[998]);
	table_done(&table);
	free(items);
}

static void test_instants(void **state)
{
	char text[INSTANT_STRING_MAX];
	int64_t usec;

	(void)state;
	assert_int_equal(instant_parse("2026-01-01T10:00:00Z", &usec), 0);
	assert_int_equal(usec, INT64_C(1767261600000000));
	assert_int_equal(instant_parse("2018-05-17T08:06:45.5691611+02:00", &usec), 0);
	assert_string_equal(instant_format(usec, text), "2018-05-17T06:06:45.569161Z");
	assert_int_equal(instant_parse("2026-01-01T10:00:00.5Z", &usec), 0);
	assert_string_equal(instant_format(usec, text), "2026-01-01T10:00:00.500000Z");
	assert_int_equal(instant_parse("1969-12-31T23:59:59Z", &usec), -EINVAL);
	assert_int_equal(instant_parse("2026-01-01", &usec), -EINVAL);
	assert_int_equal(instant_parse("", &usec), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_items_stay_in_order),
		cmocka_unit_test(test_instants),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
