/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Lines of the log: nobody whose words stand in one writes another. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "agent/common/log.h"

/* What it writes, behind the program's name (allocated). */
static char *logged(const char *word)
{
	int errors = dup(STDERR_FILENO), ends[2];
	char text[4096];
	ssize_t n;

	unsetenv("JOURNAL_STREAM");
	assert_true(errors >= 0 && pipe(ends) == 0);
	dup2(ends[1], STDERR_FILENO);
	log_line(LOG_WARNING, "refused: %s", word);
	dup2(errors, STDERR_FILENO);
	close(ends[1]);
	n = read(ends[0], text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = '\0';
	close(ends[0]);
	close(errors);
	assert_int_equal(
		strncmp(text, program_invocation_short_name, strlen(program_invocation_short_name)),
		0);
	return strdup(text + strlen(program_invocation_short_name));
}

static void a_word_from_outside_stays_in_its_line(void **state)
{
	_cleanup_(freep) char *line = logged("a\nb\x1b[2J \xe2\x80\xae\xff \xc3\xa4");

	(void)state;
	assert_string_equal(line, ": refused: a?b?[2J ?? \xc3\xa4\n");
}

static void a_line_is_cut_between_characters(void **state)
{
	_cleanup_(freep) char *line = NULL;
	char word[4096];

	(void)state;
	for (size_t i = 0; i < sizeof(word) - 1; i += 3)
		memcpy(word + i, "\xe2\x82\xac", 3);
	word[sizeof(word) - 1] = '\0';
	line = logged(word);
	assert_true(strlen(line) < 2048);
	assert_null(strstr(line, "\xe2\n"));
	assert_null(strstr(line, "\xe2\x82\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_word_from_outside_stays_in_its_line),
		cmocka_unit_test(a_line_is_cut_between_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
