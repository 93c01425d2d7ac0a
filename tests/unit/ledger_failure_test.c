/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The ledger where it can't be written, where there is no room and where it is killed.
 * JITGATE_TEST_SEED repeats a run. */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/unit/ledger_fixture.h"

static uint64_t random_state;

static uint64_t random_below(uint64_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;

	return (random_state >> 11) % n;
}

static off_t file_size(const char *path)
{
	struct stat status;

	assert_int_equal(stat(path, &status), 0);
	return status.st_size;
}

/* Runs a check as a user for whom permissions count, where we are root. */
static void run_as_nobody(
	void (*check)(const struct fixture *fixture), const struct fixture *fixture)
{
	pid_t child;
	int status;

	if (geteuid() != 0) {
		check(fixture);
		return;
	}

	assert_int_equal(chown(fixture->directory, 65534, 65534), 0);
	(void)!chown(fixture->path, 65534, 65534);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		if (setgid(65534) < 0 || setuid(65534) < 0)
			_exit(1);
		check(fixture);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* In a child, cmocka's assertions would go on with the parent's tests. */
#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

static void check_read_only_file(const struct fixture *fixture)
{
	_cleanup_(ledger_freep) struct ledger *ledger = NULL;
	json_auto_t *records = json_pack("[{s:i}]", "n", 0);
	struct ledger_damage damage;

	CHECK(chmod(fixture->path, 0400) == 0);
	CHECK(ledger_open(fixture->path, &ledger) == 0);
	numbers.n_items = 0;
	CHECK(ledger_read(ledger, collect, &numbers, &damage) == 0);
	CHECK(numbers.n_items == 2 && damage.torn_bytes == 4);
	CHECK(append(ledger, 2, 0) == -EACCES);
	CHECK(ledger_sync(ledger) == -EACCES);

	/* The directory can be written: a rewrite brings it back. */
	CHECK(ledger_rewrite(ledger, records) == 0);
	CHECK(append(ledger, 1, 0) == 0);
	CHECK(ledger_sync(ledger) == 0);
}

static void test_read_only_file_is_read(void **state)
{
	const struct fixture *fixture = *state;

	file_write_text(fixture->path, "{\"n\":0}\n{\"n\":1}\n{\"n\"");
	run_as_nobody(check_read_only_file, fixture);
	assert_records(fixture->path, 0, 2);
}

static void check_read_only_directory(const struct fixture *fixture)
{
	_cleanup_(ledger_freep) struct ledger *ledger = NULL;
	json_auto_t *records = json_array();

	CHECK(chmod(fixture->directory, 0500) == 0);
	CHECK(ledger_open(fixture->path, &ledger) == 0);
	numbers.n_items = 0;
	CHECK(ledger_read(ledger, collect, &numbers, NULL) == 0);
	CHECK(numbers.n_items == 0);
	CHECK(append(ledger, 0, 0) == -EACCES);
	CHECK(ledger_sync(ledger) == -EACCES);
	CHECK(ledger_rewrite(ledger, records) == -EACCES);

	CHECK(chmod(fixture->directory, 0700) == 0);
	CHECK(append(ledger, 0, 0) == 0);
	CHECK(ledger_sync(ledger) == 0);

	/* A rewrite that fails leaves what was there, in use. */
	CHECK(chmod(fixture->directory, 0500) == 0);
	CHECK(ledger_rewrite(ledger, records) == -EACCES);
	CHECK(append(ledger, 1, 0) == 0);
	CHECK(ledger_count(ledger) == 2);
	CHECK(chmod(fixture->directory, 0700) == 0);
}

static void test_directory_that_becomes_writable(void **state)
{
	const struct fixture *fixture = *state;

	run_as_nobody(check_read_only_directory, fixture);
	assert_records(fixture->path, 0, 2);
}

static void limit_file_size(rlim_t n_bytes)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = n_bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Appends until there is no room, and sees to it that nothing but whole records is there, also
 * then. */
static size_t append_until_full(
	struct ledger *ledger, json_int_t first, size_t n_padding, int error)
{
	for (size_t i = 0;; i++) {
		int r = append(ledger, first + (json_int_t)i, n_padding);

		if (r == 0)
			continue;
		assert_int_equal(r, error);
		assert_int_equal(append(ledger, first + (json_int_t)i, n_padding), error);
		assert_int_equal(read_all(ledger).torn_bytes, 0);
		assert_int_equal(numbers.n_items, first + (json_int_t)i);
		return i;
	}
}

static void test_bound_on_file_size_tears_nothing(void **state)
{
	const struct fixture *fixture = *state;

	for (size_t n_limit = 4000; n_limit < 4100; n_limit += 7) {
		struct ledger *ledger;
		size_t n_records;

		(void)unlink(fixture->path);
		ledger = open_ledger(fixture->path);
		limit_file_size(n_limit);
		n_records = append_until_full(ledger, 0, 100, -EFBIG);
		assert_int_equal(ledger_sync(ledger), 0);
		assert_true(n_records > 25);
		/* A smaller one finds room still. */
		while (append(ledger, (json_int_t)n_records, 0) == 0)
			n_records++;
		limit_file_size(RLIM_INFINITY);
		assert_int_equal(append(ledger, (json_int_t)n_records++, 1000), 0);
		ledger_free(ledger);
		assert_records(fixture->path, 0, n_records);
	}
}

static void test_mending_that_fails_is_made_up_for(void **state)
{
	const struct fixture *fixture = *state;
	struct ledger *ledger;

	/* The last newline can't be written, then it can. */
	file_write_text(fixture->path, "{\"n\":0}");
	ledger = open_ledger(fixture->path);
	limit_file_size((rlim_t)file_size(fixture->path));
	read_all(ledger);
	assert_int_equal(numbers.n_items, 1);
	assert_int_equal(append(ledger, 1, 0), -EFBIG);
	limit_file_size(RLIM_INFINITY);
	assert_int_equal(append(ledger, 1, 0), 0);
	ledger_free(ledger);
	assert_records(fixture->path, 0, 2);
}

static void test_full_disk_tears_nothing(void **state)
{
	const struct fixture *fixture = *state;
	json_auto_t *records = json_array();
	struct ledger *ledger;
	size_t n_records;

	if (geteuid() != 0 ||
		mount("tmpfs", fixture->directory, "tmpfs", 0, "size=256k,mode=0700") < 0) {
		print_message("needs a small tmpfs, which takes root\n");
		skip();
	}
	ledger = open_ledger(fixture->path);
	n_records = append_until_full(ledger, 0, 1000, -ENOSPC);
	assert_true(n_records > 200);

	/* Nothing can be rewritten now, and nothing is lost by trying. */
	for (size_t i = 0; i < n_records; i++)
		json_array_append_new(records, make_record((json_int_t)i, 1000));
	assert_int_equal(ledger_rewrite(ledger, records), -ENOSPC);
	assert_int_equal(access(fixture->new_path, F_OK), -1);
	assert_int_equal(read_all(ledger).torn_bytes, 0);
	assert_int_equal(numbers.n_items, n_records);

	json_array_clear(records);
	json_array_append_new(records, make_record(0, 0));
	ledger_free(ledger);
	ledger = open_ledger(fixture->path);
	assert_int_equal(mount("tmpfs", fixture->directory, "tmpfs", MS_REMOUNT, "size=1m"), 0);
	assert_int_equal(ledger_rewrite(ledger, records), 0);
	assert_int_equal(append(ledger, 1, 1000), 0);
	ledger_free(ledger);
	assert_records(fixture->path, 0, 2);
	assert_int_equal(umount(fixture->directory), 0);
}

/* Makes a child that goes on until it is killed, and kills it when it has said something for a
 * while. Gives the last number that it told. */
static json_int_t kill_while(
	void (*work)(struct ledger *ledger, int fd), const char *path, unsigned usec)
{
	json_int_t told = -1, number;
	int fds[2], status;
	pid_t child;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct ledger *ledger = NULL;

		if (ledger_open(path, &ledger) < 0)
			_exit(1);
		work(ledger, fds[1]);
		_exit(1);
	}
	close(fds[1]);

	assert_int_equal(read(fds[0], &told, sizeof(told)), sizeof(told));
	usleep(usec);
	assert_int_equal(kill(child, SIGKILL), 0);
	while (read(fds[0], &number, sizeof(number)) == sizeof(number))
		told = number;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	close(fds[0]);

	return told;
}

static void append_for_ever(struct ledger *ledger, int fd)
{
	json_int_t next;

	(void)ledger_read(ledger, NULL, NULL, NULL);
	next = (json_int_t)ledger_count(ledger);
	/* As many as the test can hold; on a slow machine with a fast disk that is not for ever. */
	for (; next < (json_int_t)N_ELEMENTS(numbers.items); next++) {
		CHECK(append(ledger, next, 100 + (size_t)next % 900) == 0);
		CHECK(ledger_sync(ledger) == 0);
		CHECK(write(fd, &next, sizeof(next)) == sizeof(next));
	}
	for (;;)
		pause();
}

static void test_acknowledged_record_outlives_kill(void **state)
{
	const struct fixture *fixture = *state;

	for (size_t i = 0; i < 40; i++) {
		json_int_t told =
			kill_while(append_for_ever, fixture->path, (unsigned)random_below(5000));
		_cleanup_(ledger_freep) struct ledger *ledger = open_ledger(fixture->path);

		assert_int_equal(read_all(ledger).bad_lines, 0);
		assert_true(numbers.n_items > (size_t)told);
		for (size_t j = 0; j < numbers.n_items; j++)
			assert_int_equal(numbers.items[j], j);
		if (numbers.n_items > N_ELEMENTS(numbers.items) / 2)
			assert_int_equal(truncate(fixture->path, 0), 0);
	}
}

/* All records of a file are of one generation. */
static void rewrite_for_ever(struct ledger *ledger, int fd)
{
	for (json_int_t generation = 1;; generation++) {
		json_auto_t *records = json_array();

		for (json_int_t i = 0; i < 50; i++)
			json_array_append_new(records, make_record(generation, 1000));
		CHECK(ledger_rewrite(ledger, records) == 0);
		CHECK(write(fd, &generation, sizeof(generation)) == sizeof(generation));
	}
}

static void test_kill_while_rewriting_leaves_old_or_new(void **state)
{
	const struct fixture *fixture = *state;

	for (size_t i = 0; i < 40; i++) {
		json_int_t told =
			kill_while(rewrite_for_ever, fixture->path, (unsigned)random_below(3000));
		_cleanup_(ledger_freep) struct ledger *ledger = open_ledger(fixture->path);
		struct ledger_damage damage = read_all(ledger);

		assert_int_equal(damage.bad_lines + damage.torn_bytes, 0);
		assert_int_equal(numbers.n_items, 50);
		assert_true(numbers.items[0] == told || numbers.items[0] == told + 1);
		for (size_t j = 0; j < 50; j++)
			assert_int_equal(numbers.items[j], numbers.items[0]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_read_only_file_is_read),
		TEST(test_directory_that_becomes_writable),
		TEST(test_bound_on_file_size_tears_nothing),
		TEST(test_mending_that_fails_is_made_up_for),
		TEST(test_full_disk_tears_nothing),
		TEST(test_acknowledged_record_outlives_kill),
		TEST(test_kill_while_rewriting_leaves_old_or_new),
	};
	const char *seed = getenv("JITGATE_TEST_SEED");

	random_state = seed ? strtoull(seed, NULL, 0) : 20;
	printf("JITGATE_TEST_SEED=%" PRIu64 "\n", random_state);
	random_state = random_state * 0x9e3779b97f4a7c15 + 1;
	signal(SIGXFSZ, SIG_IGN);

	return cmocka_run_group_tests_name("ledger failure", tests, NULL, NULL);
}
