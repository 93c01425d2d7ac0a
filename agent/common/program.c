/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "agent/common/notify.h"
#include "agent/common/program.h"
#include "agent/common/times.h"

struct hangup {
	void (*reload)(void *userdata);
	void *userdata;
};

static int fail_usage(const struct program *program)
{
	fprintf(stderr, "Try '%s --help'.\n", program->name);
	return EXIT_USAGE;
}

static int program_do(const struct program *program, const char *config_path,
	int (*act)(const char *config_path), int n, char **words)
{
	/* Whoever checks means to change nothing. */
	if (n > 0 && program->command && act == program->serve)
		return program->command(config_path, n, words);
	if (n > 0) {
		fprintf(stderr, "%s: unexpected argument '%s'\n", program->name, words[0]);
		return fail_usage(program);
	}
	return act(config_path);
}

/* Of two things to do in place of serving neither is done: whoever checks means to change nothing.
 */
static int choose(const struct program *program, int (**act)(const char *config_path),
	int (*wanted)(const char *config_path))
{
	if (*act != program->serve && *act != wanted) {
		fprintf(stderr, "%s: --check and --%s exclude one another\n", program->name,
			program->extra_option);
		return fail_usage(program);
	}
	*act = wanted;
	return EXIT_SUCCESS;
}

int program_main(const struct program *program, int argc, char **argv)
{
	enum { OPTION_VERSION = 256, OPTION_EXTRA };
	const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "check", no_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, OPTION_VERSION },
		{ program->extra_option, no_argument, NULL, OPTION_EXTRA },
		{},
	};
	/* "+": what follows the first word is the command's. */
	const char *letters = program->command ? "+c:nh" : "c:nh";
	const char *config_path = program->config;
	int (*act)(const char *config_path) = program->serve;
	int option, status;

	/* What is made is for its user and group, whatever the program was started with. */
	(void)umask(umask(077) | 027);
	while ((option = getopt_long(argc, argv, letters, options, NULL)) >= 0) {
		switch (option) {
		case 'c':
			config_path = optarg;
			break;
		case 'n':
		case OPTION_EXTRA:
			status = choose(
				program, &act, option == 'n' ? program->check : program->extra);
			if (status != EXIT_SUCCESS)
				return status;
			break;
		case 'h':
			program->print_help();
			return EXIT_SUCCESS;
		case OPTION_VERSION:
			printf("%s %s\n", program->name, JITGATE_VERSION);
			return EXIT_SUCCESS;
		default:
			return fail_usage(program);
		}
	}
	return program_do(program, config_path, act, argc - optind, argv + optind);
}

int program_block_signals(bool with_hangup)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	if (with_hangup)
		sigaddset(&signals, SIGHUP);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	return sigprocmask(SIG_BLOCK, &signals, NULL) < 0 ? -errno : 0;
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	(void)info, (void)userdata;
	return sd_event_exit(sd_event_source_get_event(source), 0);
}

static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	const struct hangup *hangup = userdata;

	(void)source, (void)info;
	notify("RELOADING=1\nMONOTONIC_USEC=%ju", (uintmax_t)clock_monotonic_usec());
	hangup->reload(hangup->userdata);
	notify("READY=1");
	return 0;
}

int program_loop(sd_event *event, void (*reload)(void *userdata), void *userdata)
{
	struct hangup hangup = { reload, userdata };
	sd_event_source *source = NULL;
	int r;

	r = sd_event_add_signal(event, NULL, SIGTERM, on_signal, NULL);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGINT, on_signal, NULL);
	if (r >= 0 && reload)
		r = sd_event_add_signal(event, &source, SIGHUP, on_hangup, &hangup);
	if (r >= 0)
		r = notify_watchdog(event);
	if (r >= 0) {
		notify_ready();
		r = sd_event_loop(event);
		notify("STOPPING=1");
	}
	sd_event_source_unref(source);
	return r;
}
