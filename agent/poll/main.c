/* SPDX-License-Identifier: GPL-3.0-or-later */

/* jitgate-poll: arguments, configuration, privilege, the loop. */

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "agent/poll/log.h"
#include "agent/poll/poll.h"
#include "agent/poll/privilege.h"

#define DEFAULT_CONFIG "/etc/jitgate/agent.conf"

enum {
	EXIT_USAGE = 2,
};

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

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	(void)info, (void)userdata;
	return sd_event_exit(sd_event_source_get_event(source), 0);
}

static int run(sd_event *event, struct config *config)
{
	_cleanup_(poll_freep) struct poll *poll = NULL;
	int r;

	r = poll_new(event, config, &poll);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGTERM, on_signal, NULL);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGINT, on_signal, NULL);
	if (r >= 0)
		r = sd_event_set_watchdog(event, true);
	if (r < 0)
		return r;
	sd_notify(0, "READY=1");
	r = sd_event_loop(event);
	sd_notify(0, "STOPPING=1");
	return r;
}

static int block_signals(void)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	signal(SIGPIPE, SIG_IGN);
	return sigprocmask(SIG_BLOCK, &signals, NULL) < 0 ? -errno : 0;
}

/* Systemd takes a service that ends before it was ready for one that failed. */
static int nothing_to_do(const char *path)
{
	poll_log(LOG_INFO, "%s has no [feed] with a url: there is nothing to do", path);
	sd_notify(0, "READY=1\nSTATUS=There is no feed");
	return EXIT_SUCCESS;
}

static int start(const char *path, bool check_only)
{
	_cleanup_(sd_event_unrefp) sd_event *event = NULL;
	_cleanup_(config_freep) struct config *config = NULL;
	_cleanup_(freep) char *error = NULL;
	char privilege_error[PRIVILEGE_ERROR_MAX];
	int r;

	if (config_load(path, &config, &error) < 0) {
		fprintf(stderr, "jitgate-poll: %s\n", error ? error : "out of memory");
		return EXIT_FAILURE;
	}
	if (check_only) {
		printf("%s: ok (%s)\n", path,
			config->feed.url ? config->feed.shown_url : "no feed");
		return EXIT_SUCCESS;
	}
	if (!config->feed.url)
		return nothing_to_do(path);
	if (privilege_drop(config, privilege_error) < 0) {
		poll_log(LOG_ERR, "%s", privilege_error);
		return EXIT_FAILURE;
	}
	r = block_signals();
	if (r >= 0)
		r = sd_event_default(&event);
	if (r >= 0)
		r = run(event, TAKE_PTR(config));
	if (r < 0) {
		poll_log(LOG_ERR, "stopped: %s", strerror(-r));
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	enum { OPTION_VERSION = 256 };
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "check", no_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, OPTION_VERSION },
		{},
	};
	const char *path = DEFAULT_CONFIG;
	bool check_only = false;
	int option;

	while ((option = getopt_long(argc, argv, "c:nh", options, NULL)) >= 0) {
		switch (option) {
		case 'c':
			path = optarg;
			break;
		case 'n':
			check_only = true;
			break;
		case 'h':
			print_help();
			return EXIT_SUCCESS;
		case OPTION_VERSION:
			printf("jitgate-poll %s\n", JITGATE_VERSION);
			return EXIT_SUCCESS;
		default:
			fprintf(stderr, "Try 'jitgate-poll --help'.\n");
			return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr,
			"jitgate-poll: unexpected argument '%s'\nTry 'jitgate-poll --help'.\n",
			argv[optind]);
		return EXIT_USAGE;
	}
	return start(path, check_only);
}
