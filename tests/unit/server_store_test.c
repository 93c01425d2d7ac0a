/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What a store promises to whoever calls it. */

#include "tests/unit/server_store.h"

static void test_what_was_put_is_there(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(store_revision(fixture->store), 0);
	assert_range(fixture, "", "\xff", "");
	assert_int_equal(put(fixture, "a", "1"), 1);
	assert_int_equal(put(fixture, "b", ""), 2);
	assert_int_equal(put(fixture, "a", "3"), 3);
	assert_int_equal(store_revision(fixture->store), 3);
	assert_range(fixture, "a", NULL, "a=3@3 ");
	assert_range(fixture, "", "\xff", "a=3@3 b=@2 ");
	assert_int_equal(delete (fixture, "a"), 4);
	assert_range(fixture, "", "\xff", "b=@2 ");
}

static void test_watch_tells_what_is_there_and_then_what_changes(void **state)
{
	struct fixture *fixture = *state;
	_cleanup_(store_watch_freep) struct store_watch *watch = NULL;
	struct transcript told = { 0 };
	const struct store_operation operations[] = { put_of("a/3", "x", 0), delete_of("a/1"),
		put_of("b/1", "y", 0), delete_of("a/none") };

	put(fixture, "a/1", "1");
	put(fixture, "b/1", "2");
	put(fixture, "a/2", "3");
	assert_int_equal(store_watch(fixture->store, "a/", 0, on_events, &told, &watch), 0);
	assert_false(told.is_there);
	await(fixture->event, told.is_there);
	assert_string_equal(told.text, "a/1=1@1 a/2=3@3 |");
	assert_int_equal(commit(fixture, NULL, 0, operations, 4).result, 4);
	put(fixture, "b/1", "5");
	put(fixture, "a/2", "6");
	assert_string_equal(told.text, "a/1=1@1 a/2=3@3 |a/3=x@4 a/1!@4 |a/2=6@6 |");
}

static void test_keys_of_a_lease_go_when_it_ends(void **state)
{
	struct fixture *fixture = *state;
	_cleanup_(store_watch_freep) struct store_watch *watch = NULL;
	struct transcript told = { 0 };
	int64_t lease = grant(fixture, 1);

	put_leased(fixture, "a", "1", lease);
	put_leased(fixture, "b", "2", lease);
	put(fixture, "b", "3");
	assert_int_equal(store_watch(fixture->store, "", 4, on_events, &told, &watch), 0);
	await(fixture->event, told.is_there);
	assert_string_equal(told.text, "a!@4 |");
	assert_range(fixture, "", "\xff", "b=3@3 ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_was_put_is_there, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_watch_tells_what_is_there_and_then_what_changes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_keys_of_a_lease_go_when_it_ends, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
