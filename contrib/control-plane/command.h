/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What jitgate-server does besides serving: it reads and writes the store, while the server runs or
 * not. */

#include <stdio.h>

/* Prints its help. */
void command_print_help(FILE *file);

/*
 * Does "token new …", "token list", "token revoke ID" or "enrollment new …"; arguments[0] is the
 * first word. config_path is loaded when the arguments are good. Returns the exit status.
 */
int command_run(const char *config_path, int n_arguments, char **arguments);
