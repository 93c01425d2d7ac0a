/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The ledger against torn files, full disks, garbage and kill -9. JITGATE_TEST_SEED repeats a run.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/daemon/ledger.h"

struct fixture {
	char directory[64];
	char path[80];
	char new_path[96];
};

/* What reading gave: the records' numbers in order. */
struct numbers {
	json_int_t items[4096];
	size_t n_items;
};

static struct numbers numbers;
static uint64_t random_state;

static uint64_t random_below(uint64_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;

	return (random_state >> 11) % n;
}

static int fixture_setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	assert_non_null(fixture);
	strcpy(fixture->directory, "/tmp/ledger-test-XXXXXX");
	assert_non_null(mkdtemp(fixture->directory));
	snprintf(fixture->path, sizeof(fixture->path), "%s/ledger", fixture->directory);
	snprintf(fixture->new_path, sizeof(fixture->new_path), "%s.new", fixture->path);
	*state = fixture;

	return 0;
}

static int fixture_teardown(void **state)
{
	struct fixture *fixture = *state;

	(void)umount(fixture->directory);
	(void)chmod(fixture->directory, 0700);
	(void)unlink(fixture->path);
	(void)rmdir(fixture->path);
	(void)unlink(fixture->new_path);
	assert_int_equal(rmdir(fixture->directory), 0);
	free(fixture);

	return 0;
}

static void file_write(const char *path, const void *bytes, size_t n_bytes)
{
	_cleanup_(closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n_bytes), n_bytes);
}

static void file_write_text(const char *path, const char *text)
{
	file_write(path, text, strlen(text));
}

static size_t file_read(const char *path, char *bytes, size_t n_max)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	assert_true(fd >= 0);
	n = read(fd, bytes, n_max);
	assert_true(n >= 0 && (size_t)n < n_max);

	return (size_t)n;
}

/* The text of a file but for the blank lines at its end. */
static void assert_file_text(const char *path, const char *text)
{
	static char bytes[1024 * 1024];
	size_t n_bytes = file_read(path, bytes, sizeof(bytes));

	while (n_bytes > 1 && bytes[n_bytes - 1] == '\n' && bytes[n_bytes - 2] == '\n')
		n_bytes--;
	bytes[n_bytes] = '\0';
	assert_string_equal(bytes, text);
}

static off_t file_size(const char *path)
{
	struct stat status;

	assert_int_equal(stat(path, &status), 0);
	return status.st_size;
}

static json_t *make_record(json_int_t number, size_t n_padding)
{
	_cleanup_(freep) char *padding = calloc(1, n_padding + 1);
	json_t *record;

	assert_non_null(padding);
	memset(padding, 'x', n_padding);
	record = json_pack("{s:I, s:s}", "n", number, "padding", padding);
	assert_non_null(record);

	return record;
}

static int append(struct ledger *ledger, json_int_t number, size_t n_padding)
{
	json_auto_t *record = make_record(number, n_padding);

	return ledger_append(ledger, record);
}

static int collect(json_t *record, void *userdata)
{
	struct numbers *found = userdata;

	assert_true(found->n_items < N_ELEMENTS(found->items));
	found->items[found->n_items++] = json_integer_value(json_object_get(record, "n"));
	return 0;
}

static struct ledger *open_ledger(const char *path)
{
	struct ledger *ledger = NULL;

	assert_int_equal(ledger_open(path, &ledger), 0);
	return ledger;
}

static struct ledger_damage read_all(struct ledger *ledger)
{
	struct ledger_damage damage;

	numbers.n_items = 0;
	assert_int_equal(ledger_read(ledger, collect, &numbers, &damage), 0);
	return damage;
}

/* The file has the records first to first + n_records - 1, and no damage. */
static void assert_records(const char *path, json_int_t first, size_t n_records)
{
	_cleanup_(ledger_freep) struct ledger *ledger = open_ledger(path);
	struct ledger_damage damage = read_all(ledger);

	assert_int_equal(damage.torn_bytes, 0);
	assert_int_equal(damage.bad_lines, 0);
	assert_int_equal(numbers.n_items, n_records);
	assert_int_equal(ledger_count(ledger), n_records);
	for (size_t i = 0; i < n_records; i++)
		assert_int_equal(numbers.items[i], first + (json_int_t)i);
}

static void test_what_was_appended_is_there_again(void **state)
{
	const struct fixture *fixture = *state;
	struct stat status;

	for (json_int_t i = 0; i < 5; i++) {
		_cleanup_(ledger_freep) struct ledger *ledger = open_ledger(fixture->path);

		for (json_int_t j = 0; j < 100; j++)
			assert_int_equal(append(ledger, 100 * i + j, (size_t)(7 * j)), 0);
		assert_int_equal(ledger_sync(ledger), 0);
		assert_int_equal(ledger_count(ledger), 100 * (i + 1));
	}
	assert_records(fixture->path, 0, 500);
	assert_int_equal(stat(fixture->path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0600);
}

/* Cuts a file of three records at an offset, fills up with newlines, and appends. */
static void check_torn(const char *path, const char *text, size_t n_kept, size_t n_blank)
{
	const size_t n_record = strlen(text) / 3;
	char bytes[1024];
	/* The last record is whole also where only its newline is gone. */
	size_t n_whole = (n_kept + 1) / n_record;
	size_t n_torn = n_whole * n_record < n_kept ? n_kept - n_whole * n_record : 0;

	memcpy(bytes, text, n_kept);
	memset(bytes + n_kept, '\n', n_blank);
	file_write(path, bytes, n_kept + n_blank);
	for (json_int_t i = 0; i < 2; i++) {
		_cleanup_(ledger_freep) struct ledger *ledger = open_ledger(path);
		struct ledger_damage damage = read_all(ledger);

		assert_int_equal(numbers.n_items, n_whole + (size_t)i);
		assert_int_equal(damage.torn_bytes, i == 0 ? n_torn : 0);
		assert_int_equal(damage.bad_lines, 0);
		assert_int_equal(append(ledger, (json_int_t)n_whole + i, 5), 0);
		assert_int_equal(ledger_count(ledger), n_whole + (size_t)i + 1);
	}
	assert_records(path, 0, n_whole + 2);
}

static void test_torn_at_any_byte_loses_only_what_was_torn(void **state)
{
	const struct fixture *fixture = *state;
	const char text[] = "{\"n\":0,\"padding\":\"{}\\n\"}\n{\"n\":1,\"padding\":\"{}\\n\"}\n"
			    "{\"n\":2,\"padding\":\"{}\\n\"}\n";

	for (size_t n_kept = 0; n_kept < sizeof(text); n_kept++) {
		check_torn(fixture->path, text, n_kept, 0);
		check_torn(fixture->path, text, n_kept, 1);
		check_torn(fixture->path, text, n_kept, 100);
	}
}

static void test_torn_tail_is_cut_off_when_read(void **state)
{
	const struct fixture *fixture = *state;
	struct ledger *ledger;

	file_write_text(fixture->path, "{\"n\":0}\n{\"n\":1}\n{\"n\":2");
	ledger = open_ledger(fixture->path);
	assert_int_equal(read_all(ledger).torn_bytes, 6);
	ledger_free(ledger);
	assert_file_text(fixture->path, "{\"n\":0}\n{\"n\":1}\n");

	file_write_text(fixture->path, "{\"n\":0}\n{\"n\":1}");
	ledger = open_ledger(fixture->path);
	assert_int_equal(read_all(ledger).torn_bytes, 0);
	ledger_free(ledger);
	assert_file_text(fixture->path, "{\"n\":0}\n{\"n\":1}\n");
}

static void test_garbage_costs_no_other_record(void **state)
{
	const struct fixture *fixture = *state;
	_cleanup_(freep) char *bytes = calloc(1, 400 * 1024);
	const char *const bad[] = {"garbage", "[1]", "\"text\"", "{\"n\":1,\"n\":2}",
		"{\"n\":1} {}", "{\"n\":\xff}", " ", "\x01\x02"};
	struct ledger_damage damage;
	struct ledger *ledger;
	size_t n_bytes = 0, n_long = 150 * 1024;

	assert_non_null(bytes);
	for (size_t i = 0; i < N_ELEMENTS(bad); i++)
		n_bytes += (size_t)sprintf(bytes + n_bytes, "{\"n\":%zu}\n%s\n\n", i, bad[i]);
	/* Zeros where a crash has left a hole, and a line longer than a record may be. */
	n_bytes += 200;
	bytes[n_bytes++] = '\n';
	memset(bytes + n_bytes, 'x', n_long);
	n_bytes += n_long;
	n_bytes += (size_t)sprintf(bytes + n_bytes, "\n{\"n\":8}\n");
	file_write(fixture->path, bytes, n_bytes);

	ledger = open_ledger(fixture->path);
	damage = read_all(ledger);
	assert_int_equal(damage.bad_lines, N_ELEMENTS(bad) + 2);
	assert_int_equal(damage.torn_bytes, 0);
	assert_int_equal(numbers.n_items, 9);
	for (size_t i = 0; i < 9; i++)
		assert_int_equal(numbers.items[i], i);
	assert_int_equal(append(ledger, 9, 0), 0);
	assert_int_equal(ledger_count(ledger), N_ELEMENTS(bad) + 2 + 10);
	assert_int_equal(read_all(ledger).bad_lines, N_ELEMENTS(bad) + 2);
	assert_int_equal(numbers.n_items, 10);
	ledger_free(ledger);

	/* The same at the end is torn. */
	for (size_t i = 0; i < 2; i++) {
		n_bytes = (size_t)sprintf(bytes, "{\"n\":0}\n");
		memset(bytes + n_bytes, i ? 'x' : '\0', n_long);
		file_write(fixture->path, bytes, n_bytes + n_long);
		ledger = open_ledger(fixture->path);
		assert_int_equal(read_all(ledger).torn_bytes, n_long);
		assert_int_equal(append(ledger, 1, 0), 0);
		ledger_free(ledger);
		assert_records(fixture->path, 0, 2);
	}
}

static void test_record_bound(void **state)
{
	const struct fixture *fixture = *state;
	struct ledger *ledger = open_ledger(fixture->path);
	json_auto_t *no_object = json_array(),
		    *nul = json_pack("{s:i, s:s%}", "n", 4, "text", "a\0b", 3);
	/* {"n":0,"padding":""} and the newline are 21 bytes. */
	const size_t n_fitting = LEDGER_RECORD_BYTES_MAX - 21;

	assert_int_equal(append(ledger, 0, n_fitting), 0);
	assert_int_equal(append(ledger, 1, n_fitting + 1), -E2BIG);
	assert_int_equal(append(ledger, 1, 10 * n_fitting), -E2BIG);
	assert_int_equal(ledger_append(ledger, no_object), -EINVAL);
	for (json_int_t i = 1; i < 4; i++)
		assert_int_equal(append(ledger, i, n_fitting - (size_t)i), 0);
	assert_int_equal(ledger_append(ledger, nul), 0);
	ledger_free(ledger);
	assert_records(fixture->path, 0, 5);
}

static int stop_at_two(json_t *record, void *userdata)
{
	size_t *n_calls = userdata;

	(void)record;
	return ++*n_calls == 2 ? -ECANCELED : 0;
}

static void test_reader_may_stop_and_append_goes_behind_all(void **state)
{
	const struct fixture *fixture = *state;
	struct ledger *ledger;
	size_t n_calls = 0;

	file_write_text(fixture->path, "{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n{\"n\":");
	ledger = open_ledger(fixture->path);
	assert_int_equal(ledger_read(ledger, stop_at_two, &n_calls, NULL), -ECANCELED);
	assert_int_equal(n_calls, 2);
	assert_int_equal(append(ledger, 3, 0), 0);
	ledger_free(ledger);
	assert_records(fixture->path, 0, 4);
}

static void test_second_daemon_is_refused(void **state)
{
	const struct fixture *fixture = *state;
	struct ledger *ledger = open_ledger(fixture->path), *second = NULL;
	json_auto_t *records = json_pack("[{s:i}]", "n", 0);

	assert_int_equal(ledger_open(fixture->path, &second), -EWOULDBLOCK);
	assert_int_equal(ledger_rewrite(ledger, records), 0);
	assert_int_equal(ledger_open(fixture->path, &second), -EWOULDBLOCK);
	ledger_free(ledger);
	assert_null(second);
	assert_records(fixture->path, 0, 1);
}

static void test_only_a_file_is_a_ledger(void **state)
{
	const struct fixture *fixture = *state;
	struct ledger *ledger = NULL;
	char missing[128];

	file_write_text(fixture->new_path, "{\"n\":0}\n");
	assert_int_equal(symlink(fixture->new_path, fixture->path), 0);
	assert_int_equal(ledger_open(fixture->path, &ledger), -ELOOP);
	assert_int_equal(unlink(fixture->path), 0);
	assert_int_equal(mkfifo(fixture->path, 0600), 0);
	assert_int_equal(ledger_open(fixture->path, &ledger), -EINVAL);
	assert_int_equal(unlink(fixture->path), 0);
	assert_int_equal(mkdir(fixture->path, 0700), 0);
	assert_int_equal(ledger_open(fixture->path, &ledger), -EISDIR);
	snprintf(missing, sizeof(missing), "%s/missing/ledger", fixture->directory);
	assert_int_equal(ledger_open(missing, &ledger), -ENOENT);
	assert_null(ledger);
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

static void test_rewrite_leaves_what_it_was_given(void **state)
{
	const struct fixture *fixture = *state;
	struct ledger *ledger;
	json_auto_t *records = json_array(), *bad = json_pack("[{s:i}, i]", "n", 7, 7);

	file_write_text(fixture->path, "{\"n\":9}\ngarbage\n{\"n\":8}\n");
	/* What a crash between writing and renaming has left. */
	assert_int_equal(symlink("/dev/full", fixture->new_path), 0);
	ledger = open_ledger(fixture->path);
	assert_int_equal(read_all(ledger).bad_lines, 1);
	assert_int_equal(ledger_rewrite(ledger, bad), -EINVAL);
	assert_int_equal(read_all(ledger).bad_lines, 1);
	assert_int_equal(numbers.n_items, 2);

	for (json_int_t i = 0; i < 300; i++)
		json_array_append_new(records, make_record(i, (size_t)(i * 5)));
	assert_int_equal(ledger_rewrite(ledger, records), 0);
	assert_int_equal(access(fixture->new_path, F_OK), -1);
	assert_int_equal(ledger_count(ledger), 300);
	assert_int_equal(append(ledger, 300, 0), 0);
	assert_int_equal(ledger_sync(ledger), 0);
	ledger_free(ledger);
	assert_records(fixture->path, 0, 301);
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
	for (;; next++) {
		CHECK(append(ledger, next, 100 + (size_t)next % 900) == 0);
		CHECK(ledger_sync(ledger) == 0);
		CHECK(write(fd, &next, sizeof(next)) == sizeof(next));
	}
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

#define TEST(function) cmocka_unit_test_setup_teardown(function, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_what_was_appended_is_there_again),
		TEST(test_torn_at_any_byte_loses_only_what_was_torn),
		TEST(test_torn_tail_is_cut_off_when_read),
		TEST(test_garbage_costs_no_other_record),
		TEST(test_record_bound),
		TEST(test_reader_may_stop_and_append_goes_behind_all),
		TEST(test_second_daemon_is_refused),
		TEST(test_only_a_file_is_a_ledger),
		TEST(test_read_only_file_is_read),
		TEST(test_directory_that_becomes_writable),
		TEST(test_bound_on_file_size_tears_nothing),
		TEST(test_mending_that_fails_is_made_up_for),
		TEST(test_full_disk_tears_nothing),
		TEST(test_rewrite_leaves_what_it_was_given),
		TEST(test_acknowledged_record_outlives_kill),
		TEST(test_kill_while_rewriting_leaves_old_or_new),
	};
	const char *seed = getenv("JITGATE_TEST_SEED");

	random_state = seed ? strtoull(seed, NULL, 0) : 20;
	printf("JITGATE_TEST_SEED=%" PRIu64 "\n", random_state);
	random_state = random_state * 0x9e3779b97f4a7c15 + 1;
	signal(SIGXFSZ, SIG_IGN);

	return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}
