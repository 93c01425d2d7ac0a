/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What the ledger keeps, whatever the file that it finds. */

#include <errno.h>

#include "tests/unit/ledger_fixture.h"

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
	const char *const bad[] = { "garbage", "[1]", "\"text\"", "{\"n\":1,\"n\":2}",
		"{\"n\":1} {}", "{\"n\":\xff}", " ", "\x01\x02" };
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

	/* Of two at the end, the last is torn. */
	file_write_text(fixture->path, "{\"n\":0}\ngarbage\n\n{\"n\"");
	ledger = open_ledger(fixture->path);
	damage = read_all(ledger);
	assert_int_equal(damage.bad_lines, 1);
	assert_int_equal(damage.torn_bytes, 4);
	assert_int_equal(ledger_count(ledger), 2);
	ledger_free(ledger);
	assert_file_text(fixture->path, "{\"n\":0}\ngarbage\n");

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
	for (json_int_t i = 5; i < 40; i++)
		assert_int_equal(append(ledger, i, (size_t)(i * 34567) % n_fitting), 0);
	ledger_free(ledger);
	assert_records(fixture->path, 0, 40);
}

static off_t file_size(const char *path)
{
	struct stat status;

	assert_int_equal(stat(path, &status), 0);
	return status.st_size;
}

static void test_room_is_made_ahead_and_used(void **state)
{
	const struct fixture *fixture = *state;
	struct ledger *ledger = open_ledger(fixture->path);
	off_t n_bytes = 0;
	size_t n_grown = 0;

	for (json_int_t i = 0; i < 200; i++) {
		if (i > 100) {
			ledger_free(ledger);
			ledger = open_ledger(fixture->path);
		}
		assert_int_equal(append(ledger, i, 900), 0);
		n_grown += file_size(fixture->path) != n_bytes;
		n_bytes = file_size(fixture->path);
	}
	ledger_free(ledger);
	assert_int_equal(n_grown, 3);
	assert_records(fixture->path, 0, 200);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_what_was_appended_is_there_again),
		TEST(test_torn_at_any_byte_loses_only_what_was_torn),
		TEST(test_torn_tail_is_cut_off_when_read),
		TEST(test_garbage_costs_no_other_record),
		TEST(test_record_bound),
		TEST(test_room_is_made_ahead_and_used),
		TEST(test_reader_may_stop_and_append_goes_behind_all),
		TEST(test_second_daemon_is_refused),
		TEST(test_only_a_file_is_a_ledger),
		TEST(test_rewrite_leaves_what_it_was_given),
	};

	return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}
