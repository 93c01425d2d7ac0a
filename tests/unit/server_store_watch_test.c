/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What watches are told, and when leases end. */

#include "tests/unit/server_store.h"

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

static struct store_watch *watch_from(
	struct fixture *fixture, const char *prefix, int64_t from_revision, struct transcript *told)
{
	struct store_watch *watch = NULL;

	*told = (struct transcript){ 0 };
	assert_int_equal(
		store_watch(fixture->store, prefix, from_revision, on_events, told, &watch), 0);
	settle(fixture->event);

	return watch;
}

static void test_watch_from_a_revision_tells_all_since(void **state)
{
	struct fixture *fixture = *state;
	const struct store_operation operations[] = { put_of("a/3", "4", 0), delete_of("a/1"),
		put_of("b", "4", 0) };
	struct transcript told;
	struct store_watch *watch;

	put(fixture, "a/1", "1");
	put(fixture, "a/1", "2");
	put(fixture, "a/2", "3");
	commit(fixture, NULL, 0, operations, 3);
	delete (fixture, "b");
	for (int i = 0; i < 2; i++) {
		watch = watch_from(fixture, "a/", 1, &told);
		assert_string_equal(told.text, "a/1=1@1 |a/1=2@2 |a/2=3@3 |a/3=4@4 a/1!@4 |");
		store_watch_free(watch);
		watch = watch_from(fixture, "", 4, &told);
		assert_string_equal(told.text, "a/3=4@4 a/1!@4 b=4@4 |b!@5 |");
		store_watch_free(watch);
		watch = watch_from(fixture, "c", 1, &told);
		assert_false(told.is_there);
		store_watch_free(watch);
		fixture_reopen(fixture);
	}
	/* One that is still to come: what is before it is not told. */
	watch = watch_from(fixture, "", 7, &told);
	put(fixture, "c", "6");
	put(fixture, "c", "7");
	assert_string_equal(told.text, "c=7@7 |");
	store_watch_free(watch);
}

static void test_watch_without_entries_is_not_called(void **state)
{
	struct fixture *fixture = *state;
	_cleanup_(store_watch_freep) struct store_watch *watch = NULL;
	struct transcript told;

	put(fixture, "b", "1");
	watch = watch_from(fixture, "a", 0, &told);
	assert_false(told.is_there);
	put(fixture, "a", "2");
	assert_string_equal(told.text, "a=2@2 |");
}

#define VALUE_BYTES (64 * 1024)

/* Overwrites a key until history is sure to be compacted. Returns the last revision. */
static int64_t overwrite(struct fixture *fixture, size_t n_times)
{
	_cleanup_(freep) char *value = malloc(VALUE_BYTES + 1);
	int64_t revision = 0;

	assert_non_null(value);
	memset(value, 'v', VALUE_BYTES);
	value[VALUE_BYTES] = '\0';
	for (size_t i = 0; i < n_times; i++)
		revision = put(fixture, "a", value);

	return revision;
}

static off_t file_bytes(const char *path, const char *suffix)
{
	char name[128];
	struct stat status;

	sprintf(name, "%s%s", path, suffix);
	assert_int_equal(stat(name, &status), 0);
	return status.st_size;
}

static void test_history_and_file_are_bounded(void **state)
{
	struct fixture *fixture = *state;
	_cleanup_(store_watch_freep) struct store_watch *running = NULL;
	struct transcript told, all;
	struct store_watch *watch;
	int64_t revision;

	put(fixture, "kept", "for ever");
	running = watch_from(fixture, "a", 0, &all);
	revision = overwrite(fixture, 1500);
	/* 94 MiB were written, and at most 32 MiB are kept. */
	assert_in_range(file_bytes(fixture->path, ""), 1, 45 * 1024 * 1024);
	assert_in_range(file_bytes(fixture->path, "-wal"), 1, 20 * 1024 * 1024);
	/* Who watched all the time missed nothing. */
	assert_int_equal(all.error, 0);
	assert_int_equal(all.n_entries, 1500);

	for (int i = 0; i < 2; i++) {
		watch = watch_from(fixture, "a", 1, &told);
		assert_int_equal(told.error, -ESTALE);
		assert_int_equal(told.n_calls, 1);
		put(fixture, "a", "more");
		assert_int_equal(told.n_calls, 1);
		store_watch_free(watch);
		watch = watch_from(fixture, "a", revision - 200, &told);
		assert_int_equal(told.error, 0);
		assert_int_equal(told.n_calls, 202 + i);
		store_watch_free(watch);
		running = store_watch_free(running);
		fixture_reopen(fixture);
	}
	assert_range(fixture, "kept", NULL, "kept=for ever@1 ");
	watch = watch_from(fixture, "", 0, &told);
	assert_int_equal(told.n_entries, 2);
	store_watch_free(watch);
}

/* Handlers that do what they may: call, free, and add. */
struct busy {
	struct fixture *fixture;
	struct store_watch *watches[4];
	size_t n_calls[4];
	struct transcript added;
	size_t n_commits;
};

static struct busy busy;

static void on_busy_commit(int error, int64_t revision, void *userdata)
{
	(void)userdata;
	assert_int_equal(error, 0);
	assert_true(revision > 0);
	busy.n_commits++;
}

static void on_busy(int error, int64_t revision, const struct store_event *events, size_t n_events,
	void *userdata)
{
	const size_t i = (size_t)userdata;
	const struct store_operation operation = put_of("other", "1", 0);
	const struct store_transaction transaction = { NULL, 0, &operation, 1 };

	(void)revision;
	(void)events;
	assert_int_equal(error, 0);
	assert_int_equal(n_events, 1);
	busy.n_calls[i]++;
	if (i != 1)
		return;
	/* The first of four, itself, and the next. */
	busy.watches[0] = store_watch_free(busy.watches[0]);
	busy.watches[1] = store_watch_free(busy.watches[1]);
	busy.watches[2] = store_watch_free(busy.watches[2]);
	assert_int_equal(
		store_watch(busy.fixture->store, "a", 0, on_events, &busy.added, &busy.watches[1]),
		0);
	assert_int_equal(store_commit(busy.fixture->store, &transaction, on_busy_commit, NULL), 0);
	assert_int_equal(busy.n_commits, 0);
}

static void test_handlers_may_call_free_and_add(void **state)
{
	struct fixture *fixture = *state;

	busy = (struct busy){ .fixture = fixture };
	for (size_t i = 0; i < 4; i++)
		/* The handler's number is all that it is given. */
		assert_int_equal(
			store_watch(fixture->store, "a", 0, on_busy, (void *)i, &busy.watches[i]),
			0);
	settle(fixture->event);
	put(fixture, "a", "1");
	await(fixture->event, busy.n_commits == 1);
	settle(fixture->event);
	put(fixture, "a", "3");
	assert_int_equal(busy.n_calls[0], 1);
	assert_int_equal(busy.n_calls[1], 1);
	assert_int_equal(busy.n_calls[2], 0);
	assert_int_equal(busy.n_calls[3], 2);
	assert_string_equal(busy.added.text, "a=1@1 |a=3@3 |");
	for (size_t i = 0; i < 4; i++)
		store_watch_free(busy.watches[i]);
}

static void on_free_store(int error, int64_t revision, void *userdata)
{
	struct fixture *fixture = userdata;

	(void)error;
	(void)revision;
	fixture->store = store_free(fixture->store);
}

static void on_never(int error, int64_t revision, void *userdata)
{
	(void)error;
	(void)revision;
	(void)userdata;
	fail_msg("a handler of a store that is freed was called");
}

static void test_freed_store_calls_nobody(void **state)
{
	struct fixture *fixture = *state;
	const struct store_operation operation = put_of("a", "1", 0);
	const struct store_transaction transaction = { NULL, 0, &operation, 1 };
	struct transcript told = { 0 };
	struct store_watch *watch = NULL;

	assert_int_equal(store_commit(fixture->store, &transaction, on_free_store, fixture), 0);
	assert_int_equal(store_commit(fixture->store, &transaction, on_never, NULL), 0);
	await(fixture->event, !fixture->store);
	fixture_open(fixture);
	/* Both were under way in one go. */
	assert_range(fixture, "", "z", "a=1@2 ");

	assert_int_equal(store_commit(fixture->store, &transaction, on_never, NULL), 0);
	assert_int_equal(store_watch(fixture->store, "", 0, on_events, &told, &watch), 0);
	store_watch_free(watch);
	fixture_reopen(fixture);
	settle(fixture->event);
	assert_false(told.is_there);
	assert_range(fixture, "", "z", "a=1@2 ");
}

static void test_keys_of_a_lease_go_when_it_ends(void **state)
{
	struct fixture *fixture = *state;
	_cleanup_(store_watch_freep) struct store_watch *watch = NULL;
	struct transcript told = { 0 };
	int64_t lease = grant(fixture, 2);

	put_leased(fixture, "a", "1", lease);
	put_leased(fixture, "b", "2", lease);
	put(fixture, "b", "3");
	assert_int_equal(store_watch(fixture->store, "", 4, on_events, &told, &watch), 0);
	await(fixture->event, told.is_there);
	assert_string_equal(told.text, "a!@4 |");
	assert_range(fixture, "", "\xff", "b=3@3 ");
}

static void test_lease_lives_while_it_is_kept_alive(void **state)
{
	struct fixture *fixture = *state;
	const uint64_t start_usec = now_usec();
	int64_t lease = grant(fixture, 2);
	int64_t other = grant(fixture, 2);
	struct transcript result;

	put_leased(fixture, "kept", "1", lease);
	put_leased(fixture, "gone", "2", other);
	/* Twice as long as it lives on its own. */
	while (now_usec() < start_usec + 4000000) {
		assert_int_equal(lease_call(fixture, store_lease_keep_alive, lease).error, 0);
		assert_true(sd_event_run(fixture->event, 200000) >= 0);
	}
	assert_range(fixture, "", "z", "kept=1@1 ");
	assert_int_equal(lease_call(fixture, store_lease_keep_alive, other).error, -ENOENT);
	do
		range(fixture, &(struct store_range){ .from = "kept" }, &result);
	while (result.n_entries == 1);
	assert_in_range(now_usec() - start_usec, 5500000, 12000000);
}

static void test_revoked_lease_takes_its_keys(void **state)
{
	struct fixture *fixture = *state;
	_cleanup_(store_watch_freep) struct store_watch *watch = NULL;
	struct transcript told;
	int64_t lease = grant(fixture, 1000);
	const struct store_operation operation = put_of("d", "1", lease);

	put_leased(fixture, "a", "1", lease);
	put_leased(fixture, "b", "2", lease);
	put(fixture, "c", "3");
	delete (fixture, "b");
	put_leased(fixture, "b", "5", lease);
	watch = watch_from(fixture, "", 6, &told);
	assert_int_equal(lease_call(fixture, store_lease_revoke, lease).error, 0);
	assert_string_equal(told.text, "a!@6 b!@6 |");
	assert_int_equal(lease_call(fixture, store_lease_revoke, lease).error, -ENOENT);
	assert_int_equal(commit(fixture, NULL, 0, &operation, 1).error, -ENOENT);
	assert_range(fixture, "", "z", "c=3@3 ");
}

static void test_large_lease_takes_all_its_keys(void **state)
{
	struct fixture *fixture = *state;
	_cleanup_(freep) struct store_operation *operations = calloc(10000, sizeof(*operations));
	_cleanup_(freep) char(*keys)[16] = calloc(10000, sizeof(*keys));
	int64_t lease = grant(fixture, 1000);
	struct transcript result;

	for (size_t half = 0; half < 2; half++) {
		for (size_t i = 0; i < 10000; i++) {
			sprintf(keys[i], "%zu/%zu", half, i);
			operations[i] = put_of(keys[i], "", lease);
		}
		assert_int_equal(commit(fixture, NULL, 0, operations, 10000).error, 0);
	}
	assert_int_equal(lease_call(fixture, store_lease_revoke, lease).error, 0);
	range(fixture, &(struct store_range){ .from = "", .to = "z" }, &result);
	assert_int_equal(result.n_entries, 0);
	/* More than a transaction may do: two revisions. */
	assert_int_equal(store_revision(fixture->store), 4);
}

static void test_lease_ends_while_no_store_is_open(void **state)
{
	struct fixture *fixture = *state;
	int64_t lease = grant(fixture, 2), longer = grant(fixture, 1000);
	const uint64_t end_usec = now_usec() + 2100000;

	put_leased(fixture, "a", "1", lease);
	put_leased(fixture, "b", "2", longer);
	fixture->store = store_free(fixture->store);
	while (now_usec() < end_usec)
		usleep(10000);
	fixture_open(fixture);
	/* What is read first knows it. */
	assert_range(fixture, "", "z", "b=2@2 ");
	assert_int_equal(store_revision(fixture->store), 3);
}

static void test_many_leases_end_at_once(void **state)
{
	struct fixture *fixture = *state;
	_cleanup_(store_watch_freep) struct store_watch *watch = NULL;
	struct transcript told;
	struct outcome *outcomes = calloc(6000, sizeof(*outcomes));
	size_t n_put = 0;
	char key[16];

	watch = watch_from(fixture, "", 0, &told);
	for (size_t i = 0; i < 6000; i++)
		assert_int_equal(store_lease_grant(fixture->store, 3, on_outcome, &outcomes[i]), 0);
	await(fixture->event, outcomes[5999].is_there);
	for (size_t i = 0; i < 6000; i++) {
		const struct store_operation operation = put_of(key, "", outcomes[i].result);
		const struct store_transaction transaction = { NULL, 0, &operation, 1 };

		sprintf(key, "%zu", i);
		assert_int_equal(store_commit(fixture->store, &transaction, on_counted, &n_put), 0);
	}
	await(fixture->event, n_put == 6000);
	await(fixture->event, told.n_entries == 12000);
	assert_int_equal(store_revision(fixture->store), 12000);
	free(outcomes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_watch_tells_what_is_there_and_then_what_changes),
		TEST(test_watch_from_a_revision_tells_all_since),
		TEST(test_watch_without_entries_is_not_called),
		TEST(test_history_and_file_are_bounded),
		TEST(test_handlers_may_call_free_and_add),
		TEST(test_freed_store_calls_nobody),
		TEST(test_keys_of_a_lease_go_when_it_ends),
		TEST(test_lease_lives_while_it_is_kept_alive),
		TEST(test_revoked_lease_takes_its_keys),
		TEST(test_large_lease_takes_all_its_keys),
		TEST(test_lease_ends_while_no_store_is_open),
		TEST(test_many_leases_end_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
