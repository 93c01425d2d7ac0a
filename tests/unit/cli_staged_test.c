/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Files are replaced together, or all stay as they were. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/cli/staged.h"
#include "agent/common/file.h"
#include "agent/common/memory.h"

static char directory[] = "/tmp/jitgate-staged-XXXXXX";

static void file_make(const char *name, const char *text, mode_t mode)
{
	FILE *file = fopen(name, "we");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	assert_int_equal(chmod(name, mode), 0);
}

static void assert_file(const char *name, const char *text, mode_t mode)
{
	_cleanup_(freep) char *found = NULL;
	struct stat status;
	size_t n;

	assert_int_equal(file_read(name, 4096, &found, &n), 0);
	assert_string_equal(found, text);
	assert_int_equal(stat(name, &status), 0);
	assert_int_equal(status.st_mode & 07777, mode);
}

static size_t count_entries(void)
{
	DIR *stream = opendir(".");
	size_t n = 0;

	while (readdir(stream))
		n++;
	closedir(stream);
	return n - 2;
}

static int empty_directory(void **state)
{
	DIR *stream = opendir(".");
	struct dirent *entry;

	(void)state;
	while ((entry = readdir(stream)))
		if (unlink(entry->d_name) < 0)
			rmdir(entry->d_name);
	closedir(stream);
	return 0;
}

static int stage(struct staged *staged, const char *path, const char *text, bool secret)
{
	int index = staged_add(staged, path, secret ? 0600 : 0644, secret, 64, ".before");

	return index < 0 ? index : staged_write(staged, index, text, strlen(text));
}

static void all_are_replaced(void **state)
{
	_cleanup_(staged_done) struct staged staged = { 0 };

	(void)state;
	file_make("old", "was", 0640);
	file_make("secret", "was", 0644);
	assert_int_equal(stage(&staged, "old", "is", false), 0);
	assert_int_equal(stage(&staged, "new", "is", false), 0);
	assert_int_equal(stage(&staged, "secret", "is", true), 0);
	assert_file("old", "was", 0640);
	assert_int_equal(staged_place(&staged), 0);
	assert_file("old", "is", 0640);
	assert_file("old.before", "was", 0640);
	assert_file("new", "is", 0644);
	assert_file("secret", "is", 0640);
	assert_int_equal(count_entries(), 5);
}

static void nothing_stays_beside_where_the_program_ends(void **state)
{
	struct staged staged = { 0 };

	(void)state;
	file_make("old", "was", 0640);
	assert_int_equal(stage(&staged, "old", "is", false), 0);
	assert_int_equal(stage(&staged, "new", "is", false), 0);
	assert_int_equal(count_entries(), 3);
	memory_on_end();
	assert_file("old", "was", 0640);
	assert_int_equal(count_entries(), 1);
	assert_null(memory_on_end);
}

static void one_that_fails_takes_all_back(void **state)
{
	_cleanup_(staged_done) struct staged staged = { 0 };

	(void)state;
	file_make("old", "was", 0640);
	assert_int_equal(stage(&staged, "old", "is", false), 0);
	assert_int_equal(stage(&staged, "new", "is", false), 0);
	assert_int_equal(stage(&staged, "blocked", "is", false), 0);
	assert_int_equal(stage(&staged, "never", "is", false), 0);
	/* A file does not replace a directory. */
	assert_int_equal(mkdir("blocked", 0755), 0);
	assert_true(staged_place(&staged) < 0);
	assert_non_null(strstr(staged.error, "blocked"));
	staged_done(&staged);
	assert_file("old", "was", 0640);
	assert_int_equal(count_entries(), 2);
}

static void nothing_is_left_without_placing(void **state)
{
	struct staged staged = { 0 };

	(void)state;
	assert_int_equal(stage(&staged, "new", "is", false), 0);
	assert_int_equal(count_entries(), 1);
	staged_done(&staged);
	assert_int_equal(count_entries(), 0);
}

static void a_link_stays_one(void **state)
{
	_cleanup_(staged_done) struct staged staged = { 0 };
	struct stat status;

	(void)state;
	file_make("target", "was", 0600);
	assert_int_equal(symlink("target", "link"), 0);
	assert_int_equal(stage(&staged, "link", "is", false), 0);
	assert_int_equal(staged_place(&staged), 0);
	assert_int_equal(lstat("link", &status), 0);
	assert_true(S_ISLNK(status.st_mode));
	assert_file("target", "is", 0600);
	assert_file("target.before", "was", 0600);
}

static void what_is_no_file_is_left_alone(void **state)
{
	_cleanup_(staged_done) struct staged staged = { 0 };

	(void)state;
	assert_int_equal(symlink("nothing", "dangling"), 0);
	assert_int_equal(mkdir("directory", 0755), 0);
	assert_int_equal(mkfifo("fifo", 0600), 0);
	assert_int_equal(stage(&staged, "dangling", "is", false), -ENOENT);
	assert_non_null(strstr(staged.error, "link to nothing"));
	assert_int_equal(stage(&staged, "directory", "is", false), -EINVAL);
	assert_int_equal(stage(&staged, "fifo", "is", false), -EINVAL);
	assert_int_equal(stage(&staged, "no/where", "is", false), -ENOENT);
	staged_done(&staged);
	assert_int_equal(count_entries(), 3);
}

static int enter(void **state)
{
	(void)state;
	umask(022);
	return mkdtemp(directory) && chdir(directory) == 0 ? 0 : -1;
}

static int leave(void **state)
{
	(void)state;
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(all_are_replaced, empty_directory),
		cmocka_unit_test_teardown(
			nothing_stays_beside_where_the_program_ends, empty_directory),
		cmocka_unit_test_teardown(one_that_fails_takes_all_back, empty_directory),
		cmocka_unit_test_teardown(nothing_is_left_without_placing, empty_directory),
		cmocka_unit_test_teardown(a_link_stays_one, empty_directory),
		cmocka_unit_test_teardown(what_is_no_file_is_left_alone, empty_directory),
	};

	return cmocka_run_group_tests(tests, enter, leave);
}
