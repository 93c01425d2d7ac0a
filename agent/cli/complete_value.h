/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What may stand for a value, by what the help calls it: "FILE|-", "keep|kill", "PORT/PROTO". */

#include "agent/cli/command.h"

/* Takes a candidate, and what it is. */
struct candidates {
	void (*add)(struct candidates *candidates, const char *text, const char *help);
	bool files; /* names of files, too */
};

/* command is the one that the value is for. */
void complete_value(const struct cli *cli, const struct command *command, const char *placeholder,
	struct candidates *candidates);
