/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What people type is read as they mean it, or refused with a reason. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "agent/cli/arguments.h"

static const struct option_spec own[] = {
	{ "port", "PORT/PROTO", "", true, true },
	{ "reason", "TEXT", "", true, false },
	{ "all", NULL, "", false, false },
	{ "for-all", NULL, "", false, false },
	{ "for-a", NULL, "", false, false },
	{ 0 },
};

static const struct option_spec shared[] = {
	{ "json", NULL, "", false, false },
	{ "help", NULL, "", false, false },
	{ "socket", "PATH", "", false, false },
	{ 0 },
};

#define WORDS_MAX 16

static int read_words(struct arguments *arguments, const char *line, bool leading)
{
	static char copy[512];
	char *words[WORDS_MAX];
	int n = 0;

	strcpy(copy, line);
	for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
		words[n++] = word;
	assert_int_equal(arguments_init(arguments, n), 0);
	return arguments_read(arguments, words, n, own, shared, leading);
}

static void options_and_operands_mix(void **state)
{
	_cleanup_(arguments_done) struct arguments arguments;
	size_t index = 0;

	(void)state;
	assert_int_equal(
		read_words(&arguments,
			"a --port 22/tcp --json b --port=53/udp --reason=x=y - --all", false),
		9);
	assert_int_equal(arguments.n_operands, 3);
	assert_string_equal(arguments_operand(&arguments, 0), "a");
	assert_string_equal(arguments_operand(&arguments, 1), "b");
	assert_string_equal(arguments_operand(&arguments, 2), "-");
	assert_null(arguments_operand(&arguments, 3));
	assert_true(arguments_have(&arguments, "json"));
	assert_true(arguments_have(&arguments, "all"));
	assert_false(arguments_have(&arguments, "help"));
	assert_string_equal(arguments_get(&arguments, "reason"), "x=y");
	assert_string_equal(arguments_next(&arguments, "port", &index), "22/tcp");
	assert_string_equal(arguments_next(&arguments, "port", &index), "53/udp");
	assert_null(arguments_next(&arguments, "port", &index));
	assert_null(arguments_get(&arguments, "socket"));
	assert_int_equal(arguments_check(&arguments, own, 0, 3), 0);
	assert_int_equal(arguments_check(&arguments, own, 4, 9), -EINVAL);
	assert_int_equal(arguments_check(&arguments, own, 0, 2), -EINVAL);
	assert_string_equal(arguments.error, "\"-\" is one argument too many");
}

static void two_dashes_end_the_options(void **state)
{
	_cleanup_(arguments_done) struct arguments arguments;

	(void)state;
	assert_int_equal(read_words(&arguments, "--json -- --all -x", false), 4);
	assert_int_equal(arguments.n_operands, 2);
	assert_string_equal(arguments_operand(&arguments, 0), "--all");
	assert_false(arguments_have(&arguments, "all"));
}

static void reading_ahead_stops_at_the_command(void **state)
{
	_cleanup_(arguments_done) struct arguments arguments;

	(void)state;
	assert_int_equal(read_words(&arguments, "--socket /x --json grants --all", true), 3);
	assert_int_equal(arguments.n_operands, 0);
	assert_string_equal(arguments_get(&arguments, "socket"), "/x");
	assert_false(arguments_have(&arguments, "all"));
}

static void short_help_is_help(void **state)
{
	_cleanup_(arguments_done) struct arguments arguments;

	(void)state;
	assert_int_equal(read_words(&arguments, "-h", false), 1);
	assert_true(arguments_have(&arguments, "help"));
}

static void mistakes_are_named(void **state)
{
	static const struct {
		const char *line;
		const char *error;
	} cases[] = {
		{ "--prot 22/tcp", "there is no option --prot; --port is one" },
		{ "--por 22/tcp", "there is no option --por; --port is one" },
		{ "--ports=22/tcp", "there is no option --ports; --port is one" },
		{ "--raeson x", "there is no option --raeson; --reason is one" },
		{ "--reasson", "there is no option --reasson; --reason is one" },
		{ "--jsin", "there is no option --jsin; --json is one" },
		{ "--sort", "there is no option --sort; --port is one" },
		{ "--fr-a", "there is no option --fr-a; --for-a is one" },
		{ "--part-of", "there is no option --part-of" },
		{ "--a", "there is no option --a" },
		{ "--", "--port PORT/PROTO is missing" },
		{ "-x", "there is no option -x" },
		{ "--all=yes", "option --all takes no value" },
		{ "--reason", "option --reason needs a value: --reason TEXT" },
		{ "--reason= --json", "option --reason needs a value: --reason TEXT" },
		{ "--reason --json", "option --reason needs a value: --reason TEXT" },
		{ "--reason a --reason b", "option --reason is given twice" },
		{ "--port 22/tcp", "--reason TEXT is missing" },
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		_cleanup_(arguments_done) struct arguments arguments;

		if (read_words(&arguments, cases[i].line, false) >= 0)
			assert_int_equal(arguments_check(&arguments, own, 0, 0), -EINVAL);
		assert_string_equal(arguments.error, cases[i].error);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_and_operands_mix),
		cmocka_unit_test(two_dashes_end_the_options),
		cmocka_unit_test(reading_ahead_stops_at_the_command),
		cmocka_unit_test(short_help_is_help),
		cmocka_unit_test(mistakes_are_named),
	};

	return cmocka_run_group_tests_name("cli_arguments", tests, NULL, NULL);
}
