/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What programs that serve have in common: their command line, their signals, their loop. */

#include <stdbool.h>
#include <systemd/sd-event.h>

enum {
	EXIT_USAGE = 2,
};

struct program {
	const char *name;
	const char *config; /* the default path */
	void (*print_help)(void);
	/* Each returns the exit status. */
	int (*check)(const char *config_path);
	int (*serve)(const char *config_path);
	/* What --extra_option does instead of serving. NULL: there is none. */
	const char *extra_option;
	int (*extra)(const char *config_path);
	/* What stands behind the options, n words or more. NULL: nothing may. */
	int (*command)(const char *config_path, int n, char **words);
};

/* Reads [-c FILE] [-n] [--extra_option] [-h] [--version], and does what it says. Returns the exit
 * status. */
int program_main(const struct program *program, int argc, char **argv);

/* SIGTERM, SIGINT and, with_hangup, SIGHUP are kept for program_loop(); no write ends the program.
 * Returns 0 or -errno. */
int program_block_signals(bool with_hangup);

/*
 * Tells systemd that the program is ready, keeps its watchdog content, and runs the loop until
 * SIGTERM, SIGINT or sd_event_exit(). SIGHUP calls reload (NULL: it was not blocked). Returns what
 * the loop was ended with, or -errno.
 */
int program_loop(sd_event *event, void (*reload)(void *userdata), void *userdata);
