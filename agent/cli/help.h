/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The help, made from the tables of commands and options. */

#include "agent/cli/command.h"

/* commands ends with NULL. */
void help_print_program(
	const struct command *const *commands, const struct option_spec *shared_options);
void help_print_command(const struct command *command, const struct option_spec *shared_options);
