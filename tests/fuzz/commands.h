/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A command of jitgate, run in this process, and what holds for everything that one prints. */

#include "agent/cli/command.h"
#include "tests/fuzz/fuzz.h"

#define WORDS_MAX 8

/* How it is called, as bits of a byte. */
enum {
	CALL_JSON = 0x01,
	CALL_COLOUR = 0x02,
};

struct call {
	const struct command *command;
	const char *words[WORDS_MAX];
};

static inline int call_run(const struct cli *cli, const struct call *call)
{
	_cleanup_(arguments_done) struct arguments arguments = {};
	char *words[WORDS_MAX];
	int n = 0, r;

	for (; n < WORDS_MAX && call->words[n]; n++)
		words[n] = (char *)(uintptr_t)call->words[n];
	CHECK(arguments_init(&arguments, n + 1) == 0);
	CHECK(arguments_read(&arguments, words, n, call->command->options, NULL, false) == n);
	r = call->command->run(cli, &arguments);
	CHECK(r >= EXIT_DONE && r <= EXIT_NO_AGENT);
	return r;
}

/* Runs it, and checks that something is printed, of which a terminal obeys nothing but the colours
 * that were asked for. (JSON for programs is as it came.) Returns its exit code. */
static inline int call_check(const struct call *call, unsigned how)
{
	const struct cli cli = {
		.socket = "/nowhere/agent.sock",
		.json = how & CALL_JSON,
		.colour = how & CALL_COLOUR,
		.now = 1767261600,
		.command = call->command,
	};
	FILE *terminal = stdout, *errors = stderr;
	char *output = NULL, *lines, *line;
	size_t n_output;
	int r;

	stdout = stderr = open_memstream(&output, &n_output);
	r = call_run(&cli, call);
	CHECK(r == EXIT_DONE || ftell(stdout) > 0);
	fclose(stdout);
	stdout = terminal;
	stderr = errors;
	lines = output;
	while (!cli.json && !cli.colour && (line = strsep(&lines, "\n")))
		CHECK(text_is_printable(line));
	free(output);
	return r;
}

/* What the other side of a command has still to say, a line each. */
static const char *lines_left;

/* The next line, without its newline; "" at the end. */
static inline const char *line_next(size_t *ret_bytes)
{
	const char *line = lines_left;

	*ret_bytes = strcspn(line, "\n");
	lines_left += *ret_bytes + (line[*ret_bytes] == '\n');
	return line;
}

/* Runs an input that is a byte for the command, one for how it is called, then those lines. Returns
 * the exit code. */
static inline int call_with_lines(
	const struct call *calls, size_t n_calls, const uint8_t *data, size_t size)
{
	const struct call *call = &calls[take_byte(&data, &size) % n_calls];
	unsigned how = take_byte(&data, &size);
	_cleanup_(freep) char *text = take_text(data, size);

	lines_left = text;
	return call_check(call, how);
}
