/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What a store promises to whoever calls it. */

#include <fcntl.h>
#include <sys/epoll.h>

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

static void test_range_bounds_order_and_limit(void **state)
{
	struct fixture *fixture = *state;
	struct transcript result;

	put(fixture, "a", "1");
	put(fixture, "a/1", "2");
	put(fixture, "a/2", "3");
	put(fixture, "a0", "4");
	put(fixture, "b", "5");
	assert_range(fixture, "a", NULL, "a=1@1 ");
	assert_range(fixture, "c", NULL, "");
	assert_range(fixture, "a/", "a0", "a/1=2@2 a/2=3@3 ");
	assert_range(fixture, "b", "a", "");
	assert_range(fixture, "a/1", "a/1", "");

	range(fixture, &(struct store_range){ .from = "", .to = "z", .limit = 2 }, &result);
	assert_string_equal(result.text, "a=1@1 a/1=2@2 ");
	assert_true(result.more);
	assert_int_equal(result.revision, 5);
	range(fixture, &(struct store_range){ .from = "", .to = "z", .limit = 5 }, &result);
	assert_false(result.more);
	assert_int_equal(result.n_entries, 5);
	range(fixture,
		&(struct store_range){ .from = "", .to = "z", .limit = 2, .descending = true },
		&result);
	assert_string_equal(result.text, "b=5@5 a0=4@4 ");
	assert_true(result.more);
	range(fixture,
		&(struct store_range){ .from = "", .to = "z", .limit = 5, .descending = true },
		&result);
	assert_string_equal(result.text, "b=5@5 a0=4@4 a/2=3@3 a/1=2@2 a=1@1 ");
	assert_false(result.more);
	range(fixture,
		&(struct store_range){
			.from = "", .to = "z", .limit = SIZE_MAX, .keys_only = true },
		&result);
	assert_string_equal(result.text, "a=@1 a/1=@2 a/2=@3 a0=@4 b=@5 ");
}

static void test_prefix_end_is_behind_all_that_begin_with_it(void **state)
{
	struct fixture *fixture = *state;
	static const struct {
		const char *prefix, *end;
	} cases[] = { { "a", "b" }, { "a/", "a0" }, { "a\xff", "b" }, { "a\xff\xff", "b" },
		{ "a\xfe", "a\xff" }, { "\x7f", "\x80" } };
	char highest[STORE_KEY_BYTES_MAX + 1];
	struct transcript result;

	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		_cleanup_(freep) char *end = store_prefix_end(cases[i].prefix);

		assert_string_equal(end, cases[i].end);
	}
	memset(highest, 0xff, sizeof(highest) - 1);
	highest[sizeof(highest) - 1] = '\0';
	put(fixture, "a", "1");
	put(fixture, "\xff", "2");
	put(fixture, "\xff\xff", "3");
	put(fixture, highest, "4");
	for (const char *const *prefix = (const char *const[]){ "", "\xff", "\xff\xff", NULL };
		*prefix; prefix++) {
		_cleanup_(freep) char *end = store_prefix_end(*prefix);

		range(fixture, &(struct store_range){ .from = *prefix, .to = end }, &result);
		assert_int_equal(result.n_entries, 4 - strlen(*prefix));
	}
	range(fixture, &(struct store_range){ .from = highest }, &result);
	assert_int_equal(result.n_entries, 1);
}

static void check_entry(int error, const struct store_range_result *result, void *userdata)
{
	const struct store_entry *wanted = userdata;

	assert_int_equal(error, 0);
	assert_int_equal(result->n_entries, 1);
	assert_string_equal(result->entries->key, wanted->key);
	assert_int_equal(result->entries->n_value, wanted->n_value);
	assert_memory_equal(result->entries->value, wanted->value, wanted->n_value);
	assert_int_equal(result->entries->value[wanted->n_value], 0);
	assert_int_equal(result->entries->create_revision, wanted->create_revision);
	assert_int_equal(result->entries->mod_revision, wanted->mod_revision);
	assert_int_equal(result->entries->version, wanted->version);
	assert_int_equal(result->entries->lease, wanted->lease);
}

static void assert_entry(struct fixture *fixture, struct store_entry wanted)
{
	struct outcome outcome = { 0 };

	assert_int_equal(store_range(fixture->store, &(struct store_range){ .from = wanted.key },
				 check_entry, &wanted),
		0);
	/* Handlers are called in order. */
	assert_int_equal(store_commit(fixture->store, &(struct store_transaction){ 0 }, on_outcome,
				 &outcome),
		0);
	await(fixture->event, outcome.is_there);
}

static void test_entry_tells_its_revisions_and_bytes(void **state)
{
	struct fixture *fixture = *state;
	const int64_t lease = grant(fixture, 100);
	const struct store_operation bytes = {
		.type = STORE_PUT, .key = "a", .value = "\0\xff\0", .n_value = 3, .lease = lease
	};

	put(fixture, "other", "");
	put(fixture, "a", "1");
	put(fixture, "a", "2");
	assert_entry(fixture, (struct store_entry){ "a", "2", 1, 2, 3, 2, 0 });
	commit(fixture, NULL, 0, &bytes, 1);
	assert_entry(fixture, (struct store_entry){ "a", "\0\xff\0", 3, 2, 4, 3, lease });
	delete (fixture, "a");
	put(fixture, "a", "6");
	assert_entry(fixture, (struct store_entry){ "a", "6", 1, 6, 6, 1, 0 });
	fixture_reopen(fixture);
	assert_entry(fixture, (struct store_entry){ "a", "6", 1, 6, 6, 1, 0 });
}

static void test_compare_that_does_not_hold_changes_nothing(void **state)
{
	struct fixture *fixture = *state;
	const struct store_operation operations[] = { put_of("a", "new", 0),
		put_of("b", "new", 0) };
	struct store_compare compares[] = { { "a", 0 }, { "b", 0 } };
	struct outcome outcome;

	outcome = commit(fixture, compares, 2, operations, 1);
	assert_int_equal(outcome.error, 0);
	assert_int_equal(outcome.result, 1);
	outcome = commit(fixture, compares, 2, operations, 2);
	assert_int_equal(outcome.error, STORE_CONFLICT);
	assert_int_equal(outcome.result, 1);
	compares[0].mod_revision = 2;
	assert_int_equal(commit(fixture, compares, 2, operations, 2).error, STORE_CONFLICT);
	assert_range(fixture, "", "z", "a=new@1 ");
	compares[0].mod_revision = 1;
	outcome = commit(fixture, compares, 2, operations, 2);
	assert_int_equal(outcome.error, 0);
	assert_int_equal(outcome.result, 2);
	/* Compares alone are a question. */
	compares[0].mod_revision = compares[1].mod_revision = 2;
	outcome = commit(fixture, compares, 2, NULL, 0);
	assert_int_equal(outcome.error, 0);
	assert_int_equal(outcome.result, 2);
}

static void test_what_changes_nothing_makes_no_revision(void **state)
{
	struct fixture *fixture = *state;
	const struct store_operation operations[] = { delete_of("none"), put_of("a", "1", 0) };

	assert_int_equal(delete (fixture, "none"), 0);
	assert_int_equal(commit(fixture, NULL, 0, operations, 2).result, 1);
	assert_int_equal(delete (fixture, "none"), 1);
	assert_int_equal(commit(fixture, NULL, 0, NULL, 0).result, 1);
}

static void assert_refused(struct fixture *fixture, const struct store_operation *operations,
	size_t n_operations, int error)
{
	const struct store_transaction transaction = { NULL, 0, operations, n_operations };

	assert_int_equal(store_commit(fixture->store, &transaction, on_outcome, NULL), error);
}

static void test_bounds_are_kept(void **state)
{
	struct fixture *fixture = *state;
	_cleanup_(freep) char *value = calloc(1, STORE_VALUE_BYTES_MAX + 1);
	_cleanup_(freep) struct store_operation *many =
		calloc(STORE_OPERATIONS_MAX + 1, sizeof(*many));
	_cleanup_(freep) char(*keys)[16] = calloc(STORE_OPERATIONS_MAX + 1, sizeof(*keys));
	char key[STORE_KEY_BYTES_MAX + 2];
	struct store_operation operation = put_of(key, "1", 0);
	struct store_watch *watch = NULL;
	struct transcript result;

	memset(key, 'k', sizeof(key) - 1);
	key[sizeof(key) - 1] = '\0';
	assert_refused(fixture, &operation, 1, -EINVAL);
	key[sizeof(key) - 2] = '\0';
	put(fixture, key, "1");
	operation.key = "";
	assert_refused(fixture, &operation, 1, -EINVAL);
	operation.key = "a";
	operation.value = value;
	operation.n_value = STORE_VALUE_BYTES_MAX + 1;
	assert_refused(fixture, &operation, 1, -E2BIG);
	operation.n_value = STORE_VALUE_BYTES_MAX;
	assert_int_equal(commit(fixture, NULL, 0, &operation, 1).error, 0);

	for (size_t i = 0; i <= STORE_OPERATIONS_MAX; i++) {
		sprintf(keys[i], "many/%05zu", i);
		many[i] = put_of(keys[i], "v", 0);
	}
	assert_refused(fixture, many, STORE_OPERATIONS_MAX + 1, -E2BIG);
	many[7].key = keys[STORE_OPERATIONS_MAX - 1];
	assert_refused(fixture, many, STORE_OPERATIONS_MAX, -EINVAL);
	many[7].key = keys[7];
	assert_int_equal(commit(fixture, NULL, 0, many, STORE_OPERATIONS_MAX).error, 0);
	range(fixture, &(struct store_range){ .from = "many/", .to = "many0" }, &result);
	assert_int_equal(result.n_entries, STORE_OPERATIONS_MAX);
	for (size_t i = 0; i < 65; i++) {
		many[i].value = value;
		many[i].n_value = STORE_VALUE_BYTES_MAX;
	}
	assert_refused(fixture, many, 65, -E2BIG);

	operation = put_of("a", "1", -1);
	assert_refused(fixture, &operation, 1, -EINVAL);
	assert_int_equal(store_lease_grant(fixture->store, 0, on_outcome, NULL), -EINVAL);
	assert_int_equal(store_lease_grant(fixture->store, INT64_MAX, on_outcome, NULL), -EINVAL);
	assert_int_equal(store_watch(fixture->store, "", -1, on_events, NULL, &watch), -EINVAL);
}

static void test_queue_is_bounded(void **state)
{
	struct fixture *fixture = *state;
	const struct store_operation operation = put_of("a", "1", 0);
	const struct store_transaction transaction = { NULL, 0, &operation, 1 };
	size_t n_called = 0, n_taken = 0;
	int r;

	while ((r = store_commit(fixture->store, &transaction, on_counted, &n_called)) == 0)
		n_taken++;
	assert_int_equal(r, -EAGAIN);
	assert_in_range(n_taken, 10000, 1000000);
	await(fixture->event, n_called == n_taken);
	assert_int_equal(store_revision(fixture->store), n_taken);
	put(fixture, "a", "2");
}

/* The order in which handlers were called, as text. */
struct called {
	char text[256];
};

struct call {
	struct called *called;
	const char *name;
};

static void call_note(struct call *call)
{
	strcat(call->called->text, call->name);
}

static void on_call(int error, int64_t result, void *userdata)
{
	(void)error;
	(void)result;
	call_note(userdata);
}

static void on_range_call(int error, const struct store_range_result *result, void *userdata)
{
	struct call *call = userdata;

	assert_int_equal(error, 0);
	call_note(call);
	/* What was called before it is done. */
	assert_int_equal(result->n_entries, 1);
	assert_string_equal(result->entries->key, call->name);
}

static void on_events_call(int error, int64_t revision, const struct store_event *events,
	size_t n_events, void *userdata)
{
	(void)error;
	(void)revision;
	(void)events;
	(void)n_events;
	call_note(userdata);
}

static void test_handlers_are_called_in_order_of_the_calls(void **state)
{
	struct fixture *fixture = *state;
	struct store *store = fixture->store;
	const struct store_operation a = put_of("a", "1", 0), c = put_of("c", "2", 0);
	const struct store_transaction put_a = { NULL, 0, &a, 1 }, put_c = { NULL, 0, &c, 1 };
	_cleanup_(store_watch_freep) struct store_watch *watch = NULL;
	struct called called = { "" };
	struct call calls[] = { { &called, "1" }, { &called, "a" }, { &called, "3" },
		{ &called, "4" }, { &called, "c" }, { &called, "w" }, { &called, "7" } };
	const struct store_range range_a = { .from = "a" }, range_c = { .from = "c" };

	assert_int_equal(store_commit(store, &put_a, on_call, &calls[0]), 0);
	assert_int_equal(store_range(store, &range_a, on_range_call, &calls[1]), 0);
	assert_int_equal(store_lease_grant(store, 9, on_call, &calls[2]), 0);
	assert_int_equal(store_commit(store, &put_c, on_call, &calls[3]), 0);
	assert_int_equal(store_range(store, &range_c, on_range_call, &calls[4]), 0);
	assert_int_equal(store_watch(store, "", 0, on_events_call, &calls[5], &watch), 0);
	assert_int_equal(store_lease_keep_alive(store, 12, on_call, &calls[6]), 0);
	assert_string_equal(called.text, "");
	await(fixture->event, strlen(called.text) == N_ELEMENTS(calls));
	assert_string_equal(called.text, "1a34cw7");
}

#define GROUP 500

struct group {
	struct transcript told;
	struct outcome outcomes[GROUP];
	size_t n_called;
};

static struct group group;

static void on_group_commit(int error, int64_t revision, void *userdata)
{
	struct outcome *outcome = userdata;

	assert_ptr_equal(outcome, &group.outcomes[group.n_called]);
	group.n_called++;
	on_outcome(error, revision, outcome);
	/* All of the group is done, and told, before the first handler is called. */
	assert_int_equal(group.told.revision, GROUP - GROUP / 5);
}

static void test_calls_of_one_turn_share_a_commit_and_no_fate(void **state)
{
	struct fixture *fixture = *state;
	_cleanup_(store_watch_freep) struct store_watch *watch = NULL;
	char key[16];
	int64_t revision = 0;

	group = (struct group){ 0 };
	assert_int_equal(store_watch(fixture->store, "", 0, on_events, &group.told, &watch), 0);
	settle(fixture->event);
	for (size_t i = 0; i < GROUP; i++) {
		/* Of five, one is in conflict with one before it, or its lease is gone. */
		const bool is_first = i % 5 != 4, is_leased = i % 2 == 0;
		const struct store_operation operation =
			put_of(key, "v", !is_first && is_leased ? 77 : 0);
		const struct store_compare compare = { key, 0 };
		const struct store_transaction transaction = { &compare,
			is_first || !is_leased ? 1 : 0, &operation, 1 };

		sprintf(key, "%zu", is_first ? i : i - 1);
		assert_int_equal(store_commit(fixture->store, &transaction, on_group_commit,
					 &group.outcomes[i]),
			0);
	}
	await(fixture->event, group.n_called == GROUP);
	for (size_t i = 0; i < GROUP; i++) {
		const struct outcome *outcome = &group.outcomes[i];

		if (i % 5 != 4) {
			assert_int_equal(outcome->error, 0);
			assert_int_equal(outcome->result, ++revision);
		} else if (i % 2 == 0) {
			assert_int_equal(outcome->error, -ENOENT);
		} else {
			assert_int_equal(outcome->error, STORE_CONFLICT);
			assert_int_equal(outcome->result, revision);
		}
	}
	assert_int_equal(group.told.n_calls, GROUP - GROUP / 5);
}

static void test_lone_commit_takes_one_turn(void **state)
{
	struct fixture *fixture = *state;
	const struct store_operation operation = put_of("a", "1", 0);
	const struct store_transaction transaction = { NULL, 0, &operation, 1 };
	struct outcome outcome = { 0 };

	settle(fixture->event);
	assert_int_equal(store_commit(fixture->store, &transaction, on_outcome, &outcome), 0);
	assert_int_equal(sd_event_run(fixture->event, 0), 1);
	assert_true(outcome.is_there);
}

/* Calls that beget calls, until somebody else has had a turn. */
struct chain {
	struct store *store;
	size_t n_calls;
	bool is_over;
};

static void on_link(int error, const struct store_range_result *result, void *userdata)
{
	struct chain *chain = userdata;

	(void)result;
	assert_int_equal(error, 0);
	chain->n_calls++;
	if (!chain->is_over)
		assert_int_equal(store_range(chain->store, &(struct store_range){ .from = "a" },
					 on_link, chain),
			0);
}

static int on_other(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct chain *chain = userdata;

	(void)source, (void)fd, (void)revents;
	chain->is_over = true;
	return 0;
}

static void test_others_have_their_turn_between_calls(void **state)
{
	struct fixture *fixture = *state;
	struct chain chain = { .store = fixture->store };
	sd_event_source *source;
	int pipes[2];

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_int_equal(
		sd_event_add_io(fixture->event, &source, pipes[0], EPOLLIN, on_other, &chain), 0);
	on_link(0, NULL, &chain);
	for (int i = 0; i < 10; i++)
		assert_true(sd_event_run(fixture->event, 0) > 0);
	assert_true(chain.n_calls > 5);
	chain.n_calls = 0;
	assert_int_equal(write(pipes[1], "x", 1), 1);
	while (!chain.is_over && chain.n_calls < 100)
		assert_true(sd_event_run(fixture->event, 0) > 0);
	assert_in_range(chain.n_calls, 0, 2);
	sd_event_source_disable_unref(source);
	settle(fixture->event);
	close(pipes[0]);
	close(pipes[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_what_was_put_is_there),
		TEST(test_range_bounds_order_and_limit),
		TEST(test_prefix_end_is_behind_all_that_begin_with_it),
		TEST(test_entry_tells_its_revisions_and_bytes),
		TEST(test_compare_that_does_not_hold_changes_nothing),
		TEST(test_what_changes_nothing_makes_no_revision),
		TEST(test_bounds_are_kept),
		TEST(test_queue_is_bounded),
		TEST(test_handlers_are_called_in_order_of_the_calls),
		TEST(test_calls_of_one_turn_share_a_commit_and_no_fate),
		TEST(test_lone_commit_takes_one_turn),
		TEST(test_others_have_their_turn_between_calls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
