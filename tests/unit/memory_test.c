/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * JSON and digests where memory runs out: what provides it is built in here with an allocator that
 * fails when told, at each allocation in turn.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "agent/daemon/submit.h"

static size_t n_left = SIZE_MAX;

static void *failing_malloc(size_t size)
{
	if (n_left == 0)
		return NULL;
	n_left--;
	return malloc(size);
}

#define malloc failing_malloc
#include "agent/common/memory.c"
#undef malloc

/* Tokens for which jansson has to make room: it reads a string past its end, and aborts at a
 * number, where it does not notice that there was none. */
static const char text[] =
	"{\"a key of some length\": [1234567890123456789, \"a string longer than that\"]}";

static void tidy_up(void)
{
	(void)!write(STDERR_FILENO, "tidied, ", 8);
}

/* In a process of its own. Returns its status, and what it said. */
static int read_with(size_t n_allocations, char said[static 64])
{
	int status, ends[2];
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	(void)fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		json_t *json;

		(void)dup2(ends[1], STDOUT_FILENO);
		(void)dup2(ends[1], STDERR_FILENO);
		printf("printed, ");
		memory_on_end = tidy_up;
		n_left = n_allocations;
		json = json_loads(text, 0, NULL);
		n_left = SIZE_MAX;
		_exit(json_object_size(json) == 1 ? EXIT_SUCCESS : 2);
	}
	close(ends[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	n = read(ends[0], said, 63);
	close(ends[0]);
	assert_true(n >= 0);
	said[n] = '\0';
	return status;
}

static void a_program_ends_where_json_has_no_memory(void **state)
{
	char said[64];
	size_t n;
	int status;

	(void)state;
	for (n = 0; (status = read_with(n, said)) != 0; n++) {
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), EXIT_FAILURE);
		assert_string_equal(said, "printed, tidied, memory_test: out of memory\n");
	}
	assert_true(n > 5);
}

static void a_digest_says_that_there_was_no_memory(void **state)
{
	uint8_t digest[DOCUMENT_DIGEST_BYTES];
	size_t n;
	int status;

	(void)state;
	/* OpenSSL makes itself ready but once. */
	assert_int_equal(document_digest("a.b.c", 5, digest), 0);
	for (n = 0;; n++) {
		n_left = n;
		status = document_digest("a.b.c", 5, digest);
		n_left = SIZE_MAX;
		if (status == 0)
			break;
		assert_int_equal(status, -ENOMEM);
	}
	assert_true(n > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_program_ends_where_json_has_no_memory),
		cmocka_unit_test(a_digest_says_that_there_was_no_memory),
	};

	return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
