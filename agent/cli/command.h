/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What a command is made of. Each file of this directory defines those of one family. */

#include <stdint.h>

#include "agent/cli/arguments.h"

enum {
	EXIT_DONE = 0,
	EXIT_REFUSED = 1, /* or failed */
	EXIT_USAGE = 2,
	EXIT_NO_AGENT = 3, /* or no control plane */
};

struct cli {
	const char *socket;
	bool json;
	bool colour;
	int64_t now; /* seconds */
	const struct command *command;
};

struct command {
	const char *name; /* one word, or two: "key new" */
	const char *operands; /* as the usage line shows them; NULL: none */
	size_t n_operands_min;
	size_t n_operands_max;
	const struct option_spec *options; /* NULL: none of its own */
	const char *summary; /* one line */
	const char *text; /* what it does */
	const char *example;
	/* Returns one of EXIT_…, having said what went wrong. */
	int (*run)(const struct cli *cli, const struct arguments *arguments);
};

/*
 * The command whose name the words begin with; commands ends with NULL, and has "requests revoke"
 * before "requests". Returns it and how many of the words are its name; NULL where there is none.
 */
const struct command *command_find(
	const struct command *const *commands, char *const *words, int n, int *ret_words);

/* Whether word is the first of the two that its name is made of. */
bool command_begins_with(const struct command *command, const char *word);

extern const struct command command_status;
extern const struct command command_reload;
extern const struct command command_enforce;
extern const struct command command_confirm;
extern const struct command command_grants;
extern const struct command command_grant;
extern const struct command command_revoke;
extern const struct command command_sessions;
extern const struct command command_denied;
extern const struct command command_watch;
extern const struct command command_submit;
extern const struct command command_explain;
extern const struct command command_doctor;
extern const struct command command_assess;
extern const struct command command_audit;
extern const struct command command_request;
extern const struct command command_requests;
extern const struct command command_requests_revoke;
extern const struct command command_approve;
extern const struct command command_deny;
extern const struct command command_activity;
extern const struct command command_enroll;
extern const struct command command_key_new;
extern const struct command command_key_public;
extern const struct command command_key_fingerprint;
extern const struct command command_sign;
extern const struct command command_verify;
