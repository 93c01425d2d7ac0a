/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * What is answered for has reached the disk, by the calls that are made and their order:
 *
 *   w a write   d fdatasync   f fsync of a file   r a rename   D fsync of a directory
 *
 * Killing a program shows none of that: the kernel still has what it wrote. Cutting the power does,
 * in virtual machines (tests/kernels/host/test_power.py).
 */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/common/file.h"
#include "agent/daemon/audit_file.h"
#include "agent/daemon/ledger.h"
#include "cleanup.h"

static char calls[32];

static void note(char call)
{
	size_t n = strlen(calls);

	assert_true(n + 1 < sizeof(calls));
	calls[n] = call;
}

static void assert_calls(const char *expected)
{
	assert_string_equal(calls, expected);
	memset(calls, 0, sizeof(calls));
}

/* In the place of the C library's. */
ssize_t write(int fd, const void *bytes, size_t n)
{
	note('w');
	return syscall(SYS_write, fd, bytes, n);
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at)
{
	note('w');
	return syscall(SYS_pwrite64, fd, bytes, n, at);
}

int fdatasync(int fd)
{
	note('d');
	return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
	struct stat status;

	assert_int_equal(fstat(fd, &status), 0);
	note(S_ISDIR(status.st_mode) ? 'D' : 'f');
	return (int)syscall(SYS_fsync, fd);
}

int renameat(int old_fd, const char *old_path, int new_fd, const char *new_path)
{
	note('r');
	return (int)syscall(SYS_renameat2, old_fd, old_path, new_fd, new_path, 0);
}

int rename(const char *old_path, const char *new_path)
{
	return renameat(AT_FDCWD, old_path, AT_FDCWD, new_path);
}

static char directory[32], path[64];

static int setup(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/sync-test-XXXXXX");
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/file", directory);
	memset(calls, 0, sizeof(calls));
	return 0;
}

static int teardown(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	return system(command);
}

static void a_record_of_the_ledger(void **state)
{
	_cleanup_(ledger_freep) struct ledger *ledger = NULL;
	json_auto_t *record = json_pack("{s:s}", "id", "g"), *records = json_pack("[O]", record);

	(void)state;
	assert_int_equal(ledger_open(path, &ledger), 0);
	assert_calls("D"); /* it was made */
	assert_int_equal(ledger_append(ledger, record), 0);
	assert_int_equal(ledger_sync(ledger), 0);
	assert_calls("wd");
	assert_int_equal(ledger_rewrite(ledger, records), 0);
	assert_calls("wfrD");
	assert_int_equal(ledger_append(ledger, record), 0);
	assert_int_equal(ledger_sync(ledger), 0);
	assert_calls("wd");
}

static void a_file_in_the_place_of_another(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(file_write(path, 0600, "x", 1), 0);
		assert_calls("wdrD");
	}
}

static void append(struct audit_file *file, int sequence)
{
	json_auto_t *record = json_pack("{s:i}", "sequence", sequence);

	assert_int_equal(audit_file_append(file, record), 0);
}

/* Once it is told of: what is written is many times more than what is read. */
static void a_record_of_the_audit_log(void **state)
{
	json_auto_t *list = json_array();
	struct audit_file file;
	uint64_t sequence;
	int error;

	(void)state;
	assert_int_equal(audit_file_open(&file, directory, 1 << 20, &sequence, &error), 0);
	append(&file, 1);
	append(&file, 2);
	assert_calls("ww");
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(audit_file_list(&file, 0, 10, 1 << 20, list), 0);
		assert_calls(i == 0 ? "d" : "");
	}
	append(&file, 3);
	file.n_bytes_max = 1; /* the next has another file */
	append(&file, 4);
	assert_calls("wdrw");
	audit_file_done(&file);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_record_of_the_ledger),
		TEST(a_file_in_the_place_of_another),
		TEST(a_record_of_the_audit_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
