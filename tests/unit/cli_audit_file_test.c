/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What a reader of the audit log finds, and that no sequence number comes twice. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "agent/cli/chain.h"
#include "agent/daemon/audit_file.h"
#include "agent/daemon/audit_sequence.h"
#include "cleanup.h"

static char directory[64];
static char path[80], rotated[80];

static int directory_setup(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/audit-test-XXXXXX");
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/audit.jsonl", directory);
	snprintf(rotated, sizeof(rotated), "%s/audit.jsonl.1", directory);
	return 0;
}

static int directory_teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	return system(command);
}

static struct audit_file file_open(uint64_t n_bytes_max, uint64_t *ret_sequence)
{
	struct audit_file file;
	int error;

	assert_int_equal(audit_file_open(&file, directory, n_bytes_max, ret_sequence, &error), 0);
	assert_int_equal(error, 0);
	return file;
}

/* Records of many lengths: the search must not depend on where lines begin. */
static void append(struct audit_file *file, uint64_t sequence)
{
	json_auto_t *record = NULL;
	char filler[1200];
	size_t n = sequence * 7919 % (sizeof(filler) - 1);

	memset(filler, 'x', n);
	filler[n] = '\0';
	record = json_pack("{s:I, s:s}", "sequence", (json_int_t)sequence, "message", filler);
	assert_int_equal(audit_file_append(file, record), 0);
	assert_null(json_object_get(record, "previous"));
}

static size_t list(struct audit_file *file, uint64_t after, size_t n_max, size_t n_bytes_max,
	uint64_t *ret_first, uint64_t *ret_last)
{
	json_auto_t *found = json_array();
	uint64_t previous = after;
	const json_t *record;
	size_t i;

	assert_int_equal(audit_file_list(file, after, n_max, n_bytes_max, found), 0);
	*ret_first = *ret_last = 0;
	json_array_foreach (found, i, record) {
		uint64_t sequence =
			(uint64_t)json_integer_value(json_object_get(record, "sequence"));

		assert_null(json_object_get(record, "previous"));
		assert_true(sequence > previous);
		previous = *ret_last = sequence;
		*ret_first = *ret_first ? *ret_first : sequence;
	}
	return json_array_size(found);
}

static void each_position_is_found(void **state)
{
	uint64_t last, first;
	struct audit_file file = file_open(UINT64_C(1) << 40, &last);

	(void)state;
	assert_int_equal(last, 0);
	assert_int_equal(list(&file, 0, 10, 1 << 20, &first, &last), 0);
	for (uint64_t i = 1; i <= 500; i++)
		append(&file, i);
	for (uint64_t after = 0; after < 500; after++) {
		size_t n = 500 - after < 10 ? 500 - after : 10;

		assert_int_equal(list(&file, after, 10, 1 << 20, &first, &last), n);
		assert_int_equal(first, after + 1);
		assert_int_equal(last, after + n);
	}
	assert_int_equal(list(&file, 500, 10, 1 << 20, &first, &last), 0);
	assert_int_equal(list(&file, UINT64_MAX, 10, 1 << 20, &first, &last), 0);
	audit_file_done(&file);
}

static void an_answer_is_bounded_in_bytes(void **state)
{
	uint64_t last, first;
	struct audit_file file = file_open(UINT64_C(1) << 40, &last);

	(void)state;
	for (uint64_t i = 1; i <= 100; i++)
		append(&file, i);
	/* At least one, however large. */
	assert_int_equal(list(&file, 3, 100, 1, &first, &last), 1);
	assert_int_equal(first, 4);
	assert_in_range(list(&file, 0, 100, 10000, &first, &last), 5, 40);
	audit_file_done(&file);
}

static void what_is_no_record_is_passed_over(void **state)
{
	static const char junk[] =
		"\n\nnonsense\n{\"sequence\":\"7\"}\n[]\n{\"sequence\":-1}\n{\"a\":1}\n";
	uint64_t last, first;
	struct audit_file file = file_open(UINT64_C(1) << 40, &last);

	(void)state;
	for (uint64_t i = 1; i <= 60; i++) {
		append(&file, i);
		for (uint64_t j = 0; j < i % 5; j++)
			assert_int_equal(write(file.fd, junk, sizeof(junk) - 1), sizeof(junk) - 1);
	}
	assert_true(write(file.fd, "{\"sequence\":61", 14) == 14); /* has no end */
	for (uint64_t after = 0; after < 60; after++) {
		assert_int_equal(list(&file, after, 100, 1 << 20, &first, &last), 60 - after);
		assert_int_equal(first, after + 1);
	}
	assert_int_equal(list(&file, 60, 100, 1 << 20, &first, &last), 0);
	audit_file_done(&file);
}

static void both_files_are_one_log(void **state)
{
	uint64_t last, first, oldest;
	struct audit_file file = file_open(40000, &last);
	struct stat status;

	(void)state;
	for (uint64_t i = 1; i <= 200; i++) {
		append(&file, i);
		assert_int_equal(stat(path, &status), 0);
		assert_in_range(status.st_size, 1, 40000);
	}
	assert_int_equal(stat(rotated, &status), 0);
	assert_in_range(status.st_size, 38000, 40000);
	assert_in_range(list(&file, 0, 1000, 1 << 20, &oldest, &last), 60, 140);
	assert_int_equal(last, 200);
	assert_true(oldest > 1); /* dropped */
	for (uint64_t after = oldest - 1; after < 200; after++) {
		assert_int_equal(list(&file, after, 1000, 1 << 20, &first, &last), 200 - after);
		assert_int_equal(first, after + 1);
	}
	audit_file_done(&file);
}

static void chain_over(struct chain *chain, const char *name)
{
	_cleanup_(fclosep) FILE *file = fopen(name, "re");
	_cleanup_(freep) char *line = NULL;
	size_t n_allocated = 0;
	ssize_t n;

	assert_non_null(file);
	while ((n = getline(&line, &n_allocated, file)) > 0)
		if (chain_add(chain, line, (size_t)n - 1) != 0)
			fail_msg("%s", chain->problem);
}

static void the_chain_goes_on_over_files_and_starts(void **state)
{
	struct chain chain = {};
	uint64_t last = 0;

	(void)state;
	for (int start = 0; start < 10; start++) {
		struct audit_file file = file_open(20000, &last);

		assert_int_equal(last, start * 10);
		for (uint64_t i = 1; i <= 10; i++)
			append(&file, last + i);
		audit_file_done(&file);
		/* A start that finds the file renamed, and none in its place. */
		if (start == 4)
			assert_int_equal(rename(path, rotated), 0);
	}
	chain_over(&chain, rotated);
	chain_over(&chain, path);
	assert_int_equal(chain.sequence, 100);
	assert_true(chain.continued);
}

static uint64_t sequence_open(struct audit_sequence *sequence, uint64_t last)
{
	uint64_t from;

	assert_int_equal(
		audit_sequence_open(sequence, directory, "/nonexistent", last, false, &from), 0);
	return from;
}

static void no_number_comes_twice(void **state)
{
	struct audit_sequence sequence;

	(void)state;
	assert_int_equal(sequence_open(&sequence, 0), 0);
	for (uint64_t i = 1; i <= 3000; i++) {
		audit_sequence_reserve(&sequence, i);
		audit_sequence_logged(&sequence, i, true);
	}
	audit_sequence_done(&sequence);

	/* The log has its lines: it goes on behind the last. */
	assert_int_equal(sequence_open(&sequence, 3000), 3000);
	audit_sequence_done(&sequence);

	/* The log is gone. */
	assert_in_range(sequence_open(&sequence, 0), 3000, 3000 + 1024);
	audit_sequence_done(&sequence);

	/* The log is there, but could not be written for a while. */
	assert_int_equal(sequence_open(&sequence, 3000), 3000);
	for (uint64_t i = 3001; i <= 5000; i++) {
		audit_sequence_reserve(&sequence, i);
		audit_sequence_logged(&sequence, i, false);
	}
	audit_sequence_done(&sequence);
	assert_in_range(sequence_open(&sequence, 3000), 5000, 5000 + 1024);

	/* It can be written again: nothing is left out any more. */
	audit_sequence_logged(&sequence, 6100, true);
	audit_sequence_done(&sequence);
	assert_int_equal(sequence_open(&sequence, 6100), 6100);
	audit_sequence_done(&sequence);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, directory_setup, directory_teardown)
	static const struct CMUnitTest tests[] = {
		TEST(each_position_is_found),
		TEST(an_answer_is_bounded_in_bytes),
		TEST(what_is_no_record_is_passed_over),
		TEST(both_files_are_one_log),
		TEST(the_chain_goes_on_over_files_and_starts),
		TEST(no_number_comes_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
