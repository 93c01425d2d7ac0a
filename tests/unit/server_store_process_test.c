/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * Several processes on one file, and processes that are killed. The others are this program again:
 * a fork would share what SQLite knows of locks.
 */

#include <signal.h>
#include <spawn.h>
#include <sqlite3.h>
#include <sys/wait.h>

#include "tests/unit/server_store.h"

extern char **environ;

#define N_EACH 200
#define N_CONCURRENT 20
#define N_ROUNDS 60
#define VALUE_BYTES (256 * 1024)

/* Starts this program with a role. Its output comes through ret_output, where that is wanted. */
static pid_t spawn(const struct fixture *fixture, const char *role, int *ret_output)
{
	char program[] = "/proc/self/exe";
	_cleanup_(freep) char *role_copy = strdup(role), *path = strdup(fixture->path);
	char *const arguments[] = { program, role_copy, path, NULL };
	posix_spawn_file_actions_t actions;
	int ends[2] = { -1, -1 };
	pid_t pid;

	assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
	if (ret_output) {
		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		assert_int_equal(posix_spawn_file_actions_adddup2(&actions, ends[1], 1), 0);
	}
	assert_int_equal(posix_spawn(&pid, program, &actions, NULL, arguments, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	if (ret_output) {
		close(ends[1]);
		*ret_output = ends[0];
	}

	return pid;
}

static void assert_ended_well(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* Role: puts keys, one after the other. */
static void put_each(struct fixture *fixture, const char *prefix)
{
	char key[32];

	for (int i = 0; i < N_EACH; i++) {
		sprintf(key, "%s%03d", prefix, i);
		put(fixture, key, "");
	}
}

static void be_writer(struct fixture *fixture)
{
	put_each(fixture, "child/");
}

/* Role: the same, while it watches what all write. */
static void be_peer(struct fixture *fixture)
{
	struct transcript told = { 0 };
	struct store_watch *watch = NULL;

	assert_int_equal(store_watch(fixture->store, "", 0, on_events, &told, &watch), 0);
	put_each(fixture, "child/");
	await(fixture->event, told.n_entries == 2 * N_EACH);
	store_watch_free(watch);
}

static void be_lessor(struct fixture *fixture)
{
	put_leased(fixture, "leased", "", grant(fixture, 2));
}

static void be_overwriter(struct fixture *fixture)
{
	_cleanup_(freep) char *value = malloc(VALUE_BYTES + 1);

	memset(value, 'v', VALUE_BYTES);
	value[VALUE_BYTES] = '\0';
	for (int i = 0; i < 200; i++)
		put(fixture, "a", value);
}

/* Role: puts pairs for ever, many at once, and writes the number of each that is acknowledged. */
struct pair {
	struct fixture *fixture;
	int number;
};

static int n_pairs;

static void put_pair(struct pair *pair);

static void on_pair(int error, int64_t revision, void *userdata)
{
	struct pair *pair = userdata;

	(void)revision;
	if (error || write(1, &pair->number, sizeof(pair->number)) != sizeof(pair->number))
		_exit(1);
	put_pair(pair);
}

static void put_pair(struct pair *pair)
{
	char a[32], b[32];
	struct store_operation operations[2];
	const struct store_transaction transaction = { NULL, 0, operations, 2 };

	pair->number = n_pairs++;
	sprintf(a, "a/%08d", pair->number);
	sprintf(b, "b/%08d", pair->number);
	operations[0] = put_of(a, a, 0);
	operations[1] = put_of(b, b, 0);
	assert_int_equal(store_commit(pair->fixture->store, &transaction, on_pair, pair), 0);
}

static void on_first_range(int error, const struct store_range_result *result, void *userdata)
{
	(void)userdata;
	if (!error && result->n_entries > 0)
		n_pairs = atoi(result->entries->key + 2) + 1;
}

static void be_victim(struct fixture *fixture)
{
	struct pair pairs[N_CONCURRENT];
	const struct store_range last = {
		.from = "a/", .to = "a0", .limit = 1, .descending = true
	};

	n_pairs = 1;
	assert_int_equal(store_range(fixture->store, &last, on_first_range, NULL), 0);
	settle(fixture->event);
	for (size_t i = 0; i < N_CONCURRENT; i++) {
		pairs[i].fixture = fixture;
		put_pair(&pairs[i]);
	}
	for (;;)
		sd_event_run(fixture->event, UINT64_MAX);
}

static void test_changes_of_another_process_are_told(void **state)
{
	struct fixture *fixture = *state;
	_cleanup_(store_watch_freep) struct store_watch *watch = NULL;
	struct transcript told = { 0 };
	pid_t pid;

	assert_int_equal(store_watch(fixture->store, "", 0, on_events, &told, &watch), 0);
	settle(fixture->event);
	pid = spawn(fixture, "writer", NULL);
	await(fixture->event, told.n_entries == N_EACH);
	assert_int_equal(told.n_calls, N_EACH);
	assert_int_equal(store_revision(fixture->store), N_EACH);
	assert_ended_well(pid);
}

static void test_change_is_told_though_who_made_it_died_at_once(void **state)
{
	struct fixture *fixture = *state;
	_cleanup_(store_watch_freep) struct store_watch *watch = NULL;
	struct transcript told = { 0 };
	sqlite3 *other = NULL;

	assert_int_equal(store_watch(fixture->store, "", 0, on_events, &told, &watch), 0);
	assert_int_equal(sqlite3_open(fixture->path, &other), SQLITE_OK);
	/* Nothing but the end of the process tells of it. Where root opens the file that does too.
	 */
	assert_int_equal(sqlite3_exec(other, "SELECT * FROM state", NULL, NULL, NULL), SQLITE_OK);
	settle(fixture->event);
	assert_int_equal(sqlite3_exec(other,
				 "BEGIN;"
				 "INSERT INTO records VALUES (16384, 'a', 1, 1, 0, NULL, x'31');"
				 "UPDATE state SET revision = 1;"
				 "COMMIT",
				 NULL, NULL, NULL),
		SQLITE_OK);
	settle(fixture->event);
	assert_false(told.is_there);
	sqlite3_close(other);
	await(fixture->event, told.is_there);
	assert_string_equal(told.text, "a=1@1 |");
}

static void test_two_processes_write_and_both_are_told_all(void **state)
{
	struct fixture *fixture = *state;
	_cleanup_(store_watch_freep) struct store_watch *watch = NULL;
	struct transcript told = { 0 };
	pid_t pid;

	assert_int_equal(store_watch(fixture->store, "", 0, on_events, &told, &watch), 0);
	/* What is there when it begins comes in one call. */
	settle(fixture->event);
	pid = spawn(fixture, "peer", NULL);
	put_each(fixture, "parent/");
	await(fixture->event, told.n_entries == 2 * N_EACH);
	assert_int_equal(told.n_calls, 2 * N_EACH);
	assert_ended_well(pid);
}

static void test_lease_of_a_process_that_is_gone_ends_once(void **state)
{
	struct fixture *fixture = *state;
	_cleanup_(store_watch_freep) struct store_watch *watch = NULL;
	struct transcript told = { 0 };
	struct fixture other = *fixture;

	/* Two that would end it. */
	fixture_open(&other);
	assert_int_equal(store_watch(fixture->store, "", 0, on_events, &told, &watch), 0);
	assert_ended_well(spawn(fixture, "lessor", NULL));
	await(fixture->event, told.n_entries == 2);
	assert_string_equal(told.text, "leased=@1 |leased!@2 |");
	await(fixture->event, store_revision(other.store) == 2);
	assert_int_equal(put(fixture, "a", ""), 3);
	store_free(other.store);
}

static void test_watch_that_fell_too_far_behind_is_told_so(void **state)
{
	struct fixture *fixture = *state;
	_cleanup_(store_watch_freep) struct store_watch *watch = NULL;
	struct store_watch *anew = NULL;
	struct transcript told = { 0 }, told_anew = { 0 };

	assert_int_equal(store_watch(fixture->store, "", 0, on_events, &told, &watch), 0);
	settle(fixture->event);
	assert_ended_well(spawn(fixture, "overwriter", NULL));
	await(fixture->event, told.is_there);
	assert_int_equal(told.error, -ESTALE);
	assert_int_equal(store_watch(fixture->store, "", 0, on_events, &told_anew, &anew), 0);
	await(fixture->event, told_anew.n_entries == 1);
	put(fixture, "b", "");
	assert_int_equal(told_anew.n_entries, 2);
	assert_int_equal(told.n_calls, 1);
	store_watch_free(anew);
}

static void test_many_processes_may_make_the_file(void **state)
{
	struct fixture *fixture = *state;
	pid_t pids[6];

	for (int round = 0; round < 5; round++) {
		fixture->store = store_free(fixture->store);
		assert_int_equal(unlink(fixture->path), 0);
		for (size_t i = 0; i < N_ELEMENTS(pids); i++)
			pids[i] = spawn(fixture, "lessor", NULL);
		for (size_t i = 0; i < N_ELEMENTS(pids); i++)
			assert_ended_well(pids[i]);
		fixture_open(fixture);
		assert_int_equal(store_revision(fixture->store), N_ELEMENTS(pids));
	}
}

static void test_lock_of_another_holds_up_writes_not_the_loop(void **state)
{
	struct fixture *fixture = *state;
	const struct store_operation operation = put_of("a", "1", 0);
	const struct store_transaction transaction = { NULL, 0, &operation, 1 };
	struct outcome outcome = { 0 };
	struct transcript told = { 0 };
	sqlite3 *other = NULL;
	uint64_t until_usec, turn_usec;

	assert_int_equal(sqlite3_open(fixture->path, &other), SQLITE_OK);
	assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(
		store_range(fixture->store, &(struct store_range){ .from = "b" }, on_range, &told),
		0);
	assert_int_equal(store_commit(fixture->store, &transaction, on_outcome, &outcome), 0);
	until_usec = now_usec() + 300000;
	while (now_usec() < until_usec) {
		turn_usec = now_usec();
		sd_event_run(fixture->event, 1000);
		assert_in_range(now_usec() - turn_usec, 0, 1000000);
		assert_false(outcome.is_there);
	}
	assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	await(fixture->event, outcome.is_there);
	assert_int_equal(outcome.error, 0);
	assert_true(told.is_there);

	/* For ever is too long. */
	outcome = (struct outcome){ 0 };
	assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(store_commit(fixture->store, &transaction, on_outcome, &outcome), 0);
	await(fixture->event, outcome.is_there);
	assert_int_equal(outcome.error, -EBUSY);
	assert_range(fixture, "a", NULL, "a=1@1 ");
	assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(put(fixture, "a", "2"), 2);
	sqlite3_close(other);
}

/* Each pair is whole. Notes which are there, and as number 0, which none has, that it was called.
 */
static void on_pairs(int error, const struct store_range_result *result, void *userdata)
{
	bool *is_there = userdata;
	size_t n_half = result ? result->n_entries / 2 : 0;

	assert_int_equal(error, 0);
	assert_int_equal(result->n_entries % 2, 0);
	/* First all a/, then all b/. */
	for (size_t i = 0; i < n_half; i++) {
		assert_string_equal(
			result->entries[i].key + 1, result->entries[n_half + i].key + 1);
		assert_int_equal(
			result->entries[i].mod_revision, result->entries[n_half + i].mod_revision);
		assert_string_equal(result->entries[i].key, result->entries[i].value);
		is_there[atoi(result->entries[i].key + 2)] = true;
	}
	is_there[0] = true;
}

#define N_PAIRS_MAX 1000000

static void test_killed_process_loses_nothing_acknowledged(void **state)
{
	struct fixture *fixture = *state;
	_cleanup_(freep) bool *acknowledged = calloc(N_PAIRS_MAX, sizeof(bool));
	_cleanup_(freep) bool *is_there = calloc(N_PAIRS_MAX, sizeof(bool));
	const struct store_range all = { .from = "a/", .to = "b0" };
	size_t n_acknowledged = 0;
	int number, output;

	fixture->store = store_free(fixture->store);
	srand((unsigned)getpid());
	for (int round = 0; round < N_ROUNDS; round++) {
		pid_t pid = spawn(fixture, "victim", &output);

		if (read(output, &number, sizeof(number)) == sizeof(number)) {
			assert_in_range(number, 0, N_PAIRS_MAX - 1);
			acknowledged[number] = true;
		}
		usleep((useconds_t)(rand() % 30000));
		kill(pid, SIGKILL);
		while (read(output, &number, sizeof(number)) == sizeof(number)) {
			assert_in_range(number, 0, N_PAIRS_MAX - 1);
			acknowledged[number] = true;
			n_acknowledged++;
		}
		close(output);
		waitpid(pid, NULL, 0);

		fixture_open(fixture);
		memset(is_there, 0, N_PAIRS_MAX);
		assert_int_equal(store_range(fixture->store, &all, on_pairs, is_there), 0);
		await(fixture->event, is_there[0]);
		for (int i = 0; i < N_PAIRS_MAX; i++)
			assert_true(is_there[i] || !acknowledged[i]);
		fixture->store = store_free(fixture->store);
	}
	print_message("%zu acknowledged\n", n_acknowledged);
	assert_true(n_acknowledged > N_ROUNDS);
	fixture_open(fixture);
}

static const struct {
	const char *name;
	void (*be)(struct fixture *fixture);
} roles[] = { { "writer", be_writer }, { "peer", be_peer }, { "lessor", be_lessor },
	{ "overwriter", be_overwriter }, { "victim", be_victim } };

/* Ends with 0 where all its assertions held: outside of a test cmocka ends the process. */
static int play(const char *role, const char *path)
{
	struct fixture fixture = { 0 };

	snprintf(fixture.path, sizeof(fixture.path), "%s", path);
	assert_int_equal(sd_event_new(&fixture.event), 0);
	fixture_open(&fixture);
	for (size_t i = 0; i < N_ELEMENTS(roles); i++)
		if (strcmp(roles[i].name, role) == 0)
			roles[i].be(&fixture);
	store_free(fixture.store);
	sd_event_unref(fixture.event);

	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_changes_of_another_process_are_told),
		TEST(test_change_is_told_though_who_made_it_died_at_once),
		TEST(test_two_processes_write_and_both_are_told_all),
		TEST(test_lease_of_a_process_that_is_gone_ends_once),
		TEST(test_watch_that_fell_too_far_behind_is_told_so),
		TEST(test_many_processes_may_make_the_file),
		TEST(test_lock_of_another_holds_up_writes_not_the_loop),
		TEST(test_killed_process_loses_nothing_acknowledged),
	};

	if (argc == 3)
		return play(argv[1], argv[2]);

	return cmocka_run_group_tests(tests, NULL, NULL);
}
