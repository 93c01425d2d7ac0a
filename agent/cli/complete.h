/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * What may come next on a command line, for the shells of packaging/completions:
 *
 *   jitgate complete -- WORD...      the words behind "jitgate", the last one being completed
 *
 * prints "files" where names of files may stand there, otherwise "words"; then a candidate a line,
 * each with a tab and what it is. Quiet whatever happens, and it asks nobody but the agent.
 */

#include "agent/cli/command.h"

/* commands ends with NULL. Returns EXIT_DONE. */
int complete_print(struct cli *cli, const struct command *const *commands,
	const struct option_spec *shared_options, char *const *words, int n);
