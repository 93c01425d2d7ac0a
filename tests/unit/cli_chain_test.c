/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Whoever tampers with the audit file is noticed, at the line. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "agent/cli/chain.h"
#include "cleanup.h"

#define LINES 8
#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

struct file {
	char lines[LINES][256];
	size_t n_lines;
};

static void hash(const char *line, char hex[65])
{
	unsigned char bytes[32];

	EVP_Digest(line, strlen(line), bytes, NULL, EVP_sha256(), NULL);
	for (int i = 0; i < 32; i++)
		snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
}

static void file_write(struct file *file, int first_sequence, const char *previous)
{
	char hex[65];

	strcpy(hex, previous);
	file->n_lines = LINES;
	for (int i = 0; i < LINES; i++) {
		snprintf(file->lines[i], sizeof(file->lines[i]),
			"{\"sequence\":%d,\"message\":\"event %d\",\"previous\":\"%s\"}",
			first_sequence + i, i, hex);
		hash(file->lines[i], hex);
	}
}

static void file_remove(struct file *file, size_t line)
{
	memmove(file->lines[line], file->lines[line + 1],
		(file->n_lines - line - 1) * sizeof(file->lines[0]));
	file->n_lines--;
}

/* Returns the number of the first line that is wrong, from 1; 0 where none is. */
static size_t file_check(const struct file *file, struct chain *chain)
{
	*chain = (struct chain){ 0 };
	for (size_t i = 0; i < file->n_lines; i++) {
		int r = chain_add(chain, file->lines[i], strlen(file->lines[i]));

		assert_true(r >= 0);
		if (r == CHAIN_BROKEN)
			return i + 1;
	}
	return 0;
}

static void untouched_file_is_intact(void **state)
{
	struct chain chain;
	struct file file;

	(void)state;
	file_write(&file, 1, ZEROS);
	assert_int_equal(file_check(&file, &chain), 0);
	assert_int_equal(chain.n_lines, LINES);
	assert_int_equal(chain.first_sequence, 1);
	assert_int_equal(chain.sequence, LINES);
	assert_false(chain.continued);
}

static void rotated_file_goes_on(void **state)
{
	struct chain chain;
	struct file file;
	char hex[65];

	(void)state;
	hash("the last line of the file before", hex);
	file_write(&file, 1000, hex);
	assert_int_equal(file_check(&file, &chain), 0);
	assert_true(chain.continued);
}

static void changed_line_is_noticed(void **state)
{
	struct chain chain;
	struct file file;

	(void)state;
	file_write(&file, 1, ZEROS);
	strchr(strstr(file.lines[3], "event"), '3')[0] = '4';
	assert_int_equal(file_check(&file, &chain), 5);
	assert_string_equal(
		chain.problem, "does not carry the hash of line 4: one of the two was changed");
}

static void removed_and_swapped_lines_are_noticed(void **state)
{
	struct chain chain;
	struct file file;
	char line[256];

	(void)state;
	for (size_t i = 1; i < LINES - 1; i++) {
		file_write(&file, 1, ZEROS);
		file_remove(&file, i);
		assert_int_equal(file_check(&file, &chain), i + 1);
	}
	file_write(&file, 1, ZEROS);
	strcpy(line, file.lines[2]);
	strcpy(file.lines[2], file.lines[3]);
	strcpy(file.lines[3], line);
	assert_int_equal(file_check(&file, &chain), 3);
}

static void what_is_no_record_is_noticed(void **state)
{
	static const char *const lines[] = {
		"",
		"nonsense",
		"[]",
		"{}",
		"{\"sequence\":1}",
		"{\"sequence\":\"1\",\"previous\":\"" ZEROS "\"}",
		"{\"sequence\":1,\"previous\":\"0\"}",
		"{\"sequence\":1,\"previous\":7}",
		"{\"sequence\":-1,\"previous\":\"" ZEROS "\"}",
		"{\"sequence\":9223372036854775807,\"previous\":\"" ZEROS "\"}",
		"{\"sequence\":1,\"sequence\":1,\"previous\":\"" ZEROS "\"}",
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(lines); i++) {
		struct chain chain = { 0 };

		assert_int_equal(chain_add(&chain, lines[i], strlen(lines[i])), CHAIN_BROKEN);
		assert_true(chain.problem[0]);
	}
}

/* jansson's reason quotes the line: told as JSON, it has to be UTF-8. */
static void problem_of_a_line_in_no_encoding_can_be_told(void **state)
{
	static const char line[] = "\"\\\xd9\xac";
	struct chain chain = { 0 };
	json_auto_t *problem = NULL;

	(void)state;
	assert_int_equal(chain_add(&chain, line, strlen(line)), CHAIN_BROKEN);
	problem = json_string(chain.problem);
	assert_non_null(problem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(untouched_file_is_intact),
		cmocka_unit_test(rotated_file_goes_on),
		cmocka_unit_test(changed_line_is_noticed),
		cmocka_unit_test(removed_and_swapped_lines_are_noticed),
		cmocka_unit_test(what_is_no_record_is_noticed),
		cmocka_unit_test(problem_of_a_line_in_no_encoding_can_be_told),
	};

	return cmocka_run_group_tests_name("cli_chain", tests, NULL, NULL);
}
