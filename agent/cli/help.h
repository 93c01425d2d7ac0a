/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The help, made from the tables of commands and options. */

#include "agent/cli/command.h"

/* commands ends with NULL. */
void help_print_program(
	const struct command *const *commands, const struct option_spec *shared_options);
/* Of the commands that begin with a word: "key new", "key public". Returns how many there are. */
size_t help_print_family(const struct command *const *commands, const char *word);
void help_print_command(const struct command *command, const struct option_spec *shared_options);
