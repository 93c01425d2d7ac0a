/* SPDX-License-Identifier: GPL-3.0-or-later */

/* A trial's file: what it says is believed only of this boot, and within a trial's bounds. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/daemon/trial.h"

#define NOW UINT64_C(1000000000)
#define SECOND UINT64_C(1000000)
#define BOOT "0123456789abcdef0123456789abcdef"

static char directory[] = "/tmp/jitgate-trial-XXXXXX";

static int make_directory(void **state)
{
	(void)state;
	return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
	(void)state;
	(void)trial_forget(directory);
	return rmdir(directory);
}

static void write_file(const char *text)
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "%s/trial", directory);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static void what_was_saved_is_read(void **state)
{
	struct trial trial = { .deadline_usec = NOW + 60 * SECOND, .seconds = 60, .by = "ann" };
	struct trial read;

	(void)state;
	assert_int_equal(trial_save(directory, BOOT, &trial), 0);
	assert_int_equal(trial_load(directory, BOOT, NOW, &read), 0);
	assert_int_equal(read.deadline_usec, trial.deadline_usec);
	assert_int_equal(read.seconds, 60);
	assert_string_equal(read.by, "ann");
	/* Over: still told, so that its end can be. */
	assert_int_equal(trial_load(directory, BOOT, NOW + 100 * SECOND, &read), 0);
	trial.deadline_usec = NOW + SECOND;
	trial.seconds = 1;
	assert_int_equal(trial_save(directory, BOOT, &trial), 0);
	assert_int_equal(trial_load(directory, BOOT, NOW, &read), 0);
	assert_int_equal(read.deadline_usec, NOW + SECOND);
	assert_int_equal(trial_forget(directory), 0);
	assert_int_equal(trial_load(directory, BOOT, NOW, &read), -ENOENT);
	assert_int_equal(trial_forget(directory), 0);
}

static void what_is_none_is_not_believed(void **state)
{
	static const struct {
		const char *text;
		int status;
	} cases[] = {
		{ "{\"boot\":\"" BOOT "\",\"deadline\":1000000001,\"seconds\":60,\"by\":\"ann\"}",
			0 },
		{ "{\"boot\":\"0\",\"deadline\":1000000001,\"seconds\":60,\"by\":\"ann\"}",
			-ENOENT },
		/* Further off than it was given. */
		{ "{\"boot\":\"" BOOT "\",\"deadline\":1060000001,\"seconds\":60,\"by\":\"ann\"}",
			-EBADMSG },
		{ "{\"boot\":\"" BOOT "\",\"deadline\":9223372036854775807,\"seconds\":86400,"
		  "\"by\":\"ann\"}",
			-EBADMSG },
		{ "{\"boot\":\"" BOOT "\",\"deadline\":1000000001,\"seconds\":86401,\"by\":\"a\"}",
			-EBADMSG },
		{ "{\"boot\":\"" BOOT "\",\"deadline\":1000000001,\"seconds\":0,\"by\":\"a\"}",
			-EBADMSG },
		{ "{\"boot\":\"" BOOT "\",\"deadline\":0,\"seconds\":60,\"by\":\"ann\"}",
			-EBADMSG },
		{ "{\"boot\":\"" BOOT "\",\"deadline\":-1,\"seconds\":60,\"by\":\"ann\"}",
			-EBADMSG },
		{ "{\"boot\":\"" BOOT "\",\"deadline\":1,\"deadline\":2,\"seconds\":60,"
		  "\"by\":\"ann\"}",
			-EBADMSG },
		{ "{\"boot\":\"" BOOT "\",\"deadline\":\"1\",\"seconds\":60,\"by\":\"ann\"}",
			-EBADMSG },
		{ "{\"boot\":\"" BOOT "\",\"deadline\":1,\"seconds\":60,\"by\":\"a\\nb\"}",
			-EBADMSG },
		{ "{\"boot\":\"" BOOT "\",\"deadline\":1,\"seconds\":60}", -EBADMSG },
		{ "[]", -EBADMSG },
		{ "{", -EBADMSG },
		{ "", -EBADMSG },
	};
	struct trial read;
	char text[2048];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		write_file(cases[i].text);
		assert_int_equal(trial_load(directory, BOOT, NOW, &read), cases[i].status);
	}
	snprintf(text, sizeof(text),
		"{\"boot\":\"" BOOT "\",\"deadline\":1,\"seconds\":60,\"by\":\"%0200d\"}", 0);
	write_file(text);
	assert_int_equal(trial_load(directory, BOOT, NOW, &read), -EBADMSG);
	snprintf(text, sizeof(text), "%01500d", 0);
	write_file(text);
	assert_int_equal(trial_load(directory, BOOT, NOW, &read), -EFBIG);
}

static void a_directory_that_is_not_there(void **state)
{
	const struct trial trial = { .deadline_usec = NOW, .seconds = 1 };
	struct trial read;

	(void)state;
	assert_int_equal(trial_save("/nonexistent", BOOT, &trial), -ENOENT);
	assert_int_equal(trial_load("/nonexistent", BOOT, NOW, &read), -ENOENT);
	assert_int_equal(trial_forget("/nonexistent"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_saved_is_read),
		cmocka_unit_test(what_is_none_is_not_believed),
		cmocka_unit_test(a_directory_that_is_not_there),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
