/* SPDX-License-Identifier: GPL-3.0-or-later */

/* jitgate-poll: arguments, configuration, privilege, the loop. */

#include <string.h>

#include "agent/common/log.h"
#include "agent/common/notify.h"
#include "agent/common/program.h"
#include "agent/poll/poll.h"
#include "agent/poll/privilege.h"

#define DEFAULT_CONFIG "/etc/jitgate/agent.conf"

static void print_help(void)
{
	printf("jitgate-poll: brings signed documents from the feed to jitgated, and what happened "
	       "back\n"
	       "\n"
	       "Usage: jitgate-poll [-c FILE] [-n]\n"
	       "\n"
	       "  -c, --config FILE   the configuration (default: " DEFAULT_CONFIG ")\n"
	       "  -n, --check         check the configuration, and exit\n"
	       "  -h, --help          this text\n"
	       "      --version       the version\n"
	       "\n"
	       "Reads [feed] of jitgated's own configuration. Without a feed there is nothing to "
	       "do, "
	       "and it\n"
	       "ends. Needs no privilege: started by root, it becomes the user jitgate-poll. "
	       "SIGTERM\n"
	       "stops it.\n"
	       "\n"
	       "Exit status: 0 stopped, checked, or no feed; 1 failed; 2 usage.\n"
	       "\n"
	       "Example: jitgate-poll -n -c ./agent.conf\n");
}

/* Systemd takes a service that ends before it was ready for one that failed. */
static int nothing_to_do(const char *path)
{
	log_line(LOG_INFO, "%s has no [feed] with a url: there is nothing to do", path);
	notify("READY=1\nSTATUS=There is no feed");
	return EXIT_SUCCESS;
}

static int run(struct config *config)
{
	_cleanup_(sd_event_unrefp) sd_event *event = NULL;
	_cleanup_(poll_freep) struct poll *poll = NULL;
	int r;

	r = program_block_signals(false);
	if (r >= 0)
		r = sd_event_default(&event);
	if (r < 0) {
		config_free(config);
		return r;
	}
	r = poll_new(event, config, &poll);
	return r < 0 ? r : program_loop(event, NULL, NULL);
}

static int load(const char *path, struct config **ret)
{
	_cleanup_(freep) char *error = NULL;
	int r;

	r = config_load(path, ret, &error);
	if (r < 0)
		fprintf(stderr, "jitgate-poll: %s\n", error ? error : "out of memory");
	return r;
}

static int serve(const char *path)
{
	_cleanup_(config_freep) struct config *config = NULL;
	char privilege_error[PRIVILEGE_ERROR_MAX];
	int r;

	if (load(path, &config) < 0)
		return EXIT_FAILURE;
	if (!config->feed.url)
		return nothing_to_do(path);
	if (privilege_drop(config, privilege_error) < 0) {
		log_line(LOG_ERR, "%s", privilege_error);
		return EXIT_FAILURE;
	}
	r = run(TAKE_PTR(config));
	if (r < 0) {
		log_line(LOG_ERR, "stopped: %s", strerror(-r));
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}

static int check(const char *path)
{
	_cleanup_(config_freep) struct config *config = NULL;

	if (load(path, &config) < 0)
		return EXIT_FAILURE;
	printf("%s: ok (%s)\n", path, config->feed.url ? config->feed.shown_url : "no feed");
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static const struct program program = {
		.name = "jitgate-poll",
		.config = DEFAULT_CONFIG,
		.print_help = print_help,
		.check = check,
		.serve = serve,
	};

	return program_main(&program, argc, argv);
}
