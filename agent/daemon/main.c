/* SPDX-License-Identifier: GPL-3.0-or-later */

/* jitgated: arguments, configuration, the agent, the loop. */

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <string.h>
#include <syslog.h>
#include <systemd/sd-daemon.h>

#include "agent/common/memory.h"
#include "agent/common/times.h"
#include "agent/daemon/agent.h"

#define DEFAULT_CONFIG "/etc/jitgate/agent.conf"

enum {
	EXIT_USAGE = 2,
};

static void print_help(void)
{
	printf("jitgated: keeps this machine's management ports shut, and opens them for signed "
	       "grants\n"
	       "\n"
	       "Usage: jitgated [-c FILE] [-n]\n"
	       "\n"
	       "  -c, --config FILE   the configuration (default: " DEFAULT_CONFIG ")\n"
	       "  -n, --check         check configuration and trust file, and exit\n"
	       "  -h, --help          this text\n"
	       "      --version       the version\n"
	       "\n"
	       "SIGHUP reads configuration and trust file again. SIGTERM stops; what is left "
	       "then,\n"
	       "on_stop says. Needs CAP_NET_ADMIN.\n"
	       "\n"
	       "Exit status: 0 stopped or checked; 1 failed; 2 usage.\n"
	       "\n"
	       "Example: jitgated -n -c ./agent.conf\n");
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	(void)info, (void)userdata;
	return sd_event_exit(sd_event_source_get_event(source), 0);
}

static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	_cleanup_(freep) char *error = NULL;

	(void)source, (void)info;
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%ju", (uintmax_t)clock_monotonic_usec());
	(void)agent_reload(userdata, &error);
	sd_notify(0, "READY=1");
	return 0;
}

static int run(sd_event *event, const char *path, struct config *config, struct trust *trust)
{
	_cleanup_(agent_freep) struct agent *agent = NULL;
	int status;

	status = agent_new(event, path, config, trust, &agent);
	if (status >= 0)
		status = sd_event_add_signal(event, NULL, SIGTERM, on_signal, NULL);
	if (status >= 0)
		status = sd_event_add_signal(event, NULL, SIGINT, on_signal, NULL);
	if (status >= 0)
		status = sd_event_add_signal(event, NULL, SIGHUP, on_hangup, agent);
	if (status >= 0)
		status = sd_event_set_watchdog(event, true);
	if (status < 0)
		return status;
	sd_notify(0, "READY=1");
	memory_release();
	status = sd_event_loop(event);
	sd_notify(0, "STOPPING=1");
	return status;
}

static int block_signals(void)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	return sigprocmask(SIG_BLOCK, &signals, NULL);
}

static int start(const char *path, bool check_only)
{
	_cleanup_(sd_event_unrefp) sd_event *event = NULL;
	_cleanup_(freep) char *error = NULL;
	struct config *config = NULL;
	struct trust *trust = NULL;
	int status;

	status = agent_load(path, &config, &trust, &error);
	if (status < 0 && (check_only || !config)) {
		fprintf(stderr, "jitgated: %s\n", error ? error : "out of memory");
		config_free(config);
		return EXIT_FAILURE;
	}
	if (status < 0)
		agent_log(LOG_ERR, "%s: the gate is shut, and only local root can open it",
			error ? error : "out of memory");
	if (check_only) {
		printf("%s: ok (%zu sections of ports, %zu trusted keys)\n", path, config->n_ports,
			trust->n_keys);
		config_free(config);
		trust_free(trust);
		return EXIT_SUCCESS;
	}
	status = block_signals() < 0 ? -errno : sd_event_default(&event);
	if (status < 0) {
		config_free(config);
		trust_free(trust);
	} else {
		status = run(event, path, config, trust);
	}
	if (status < 0) {
		agent_log(LOG_ERR, "stopped: %s", strerror(-status));
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
			printf("jitgated %s\n", JITGATE_VERSION);
			return EXIT_SUCCESS;
		default:
			fprintf(stderr, "Try 'jitgated --help'.\n");
			return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "jitgated: unexpected argument '%s'\nTry 'jitgated --help'.\n",
			argv[optind]);
		return EXIT_USAGE;
	}
	return start(path, check_only);
}
