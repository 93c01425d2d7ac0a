/* SPDX-License-Identifier: GPL-3.0-or-later */

/* jitgate-server: arguments, configuration, the server, the loop. */

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <syslog.h>
#include <systemd/sd-daemon.h>

#include "agent/common/times.h"
#include "contrib/control-plane/command.h"
#include "contrib/control-plane/jit/signer.h"
#include "contrib/control-plane/server.h"

#define DEFAULT_CONFIG "/etc/jitgate-server/server.conf"

static void print_help(void)
{
	printf("jitgate-server: checks who asks for access to a VM, signs grants, and has the VM's "
	       "agent fetch them\n"
	       "\n"
	       "Usage: jitgate-server [-c FILE] [-n]\n");
	command_print_help(stdout);
	printf("\n"
	       "  -c, --config FILE   the configuration (default: " DEFAULT_CONFIG ")\n"
	       "  -n, --check         check the configuration and what it names, and exit\n"
	       "  -h, --help          this text; behind a command, the command's\n"
	       "      --version       the version\n"
	       "\n"
	       "SIGHUP reads certificate, keys, issuers and assignments again. SIGTERM stops.\n"
	       "\n"
	       "Exit status: 0 stopped or done; 1 failed; 2 usage.\n"
	       "\n"
	       "Example: jitgate-server -n -c ./server.conf\n");
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	(void)info, (void)userdata;
	return sd_event_exit(sd_event_source_get_event(source), 0);
}

static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	(void)source, (void)info;
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%ju", (uintmax_t)clock_monotonic_usec());
	(void)server_reload(userdata);
	sd_notify(0, "READY=1");
	return 0;
}

static int run(sd_event *event, const char *path, struct server_config *config)
{
	_cleanup_(server_freep) struct server *server = NULL;
	int r;

	r = server_new(event, path, config, &server);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGTERM, on_signal, NULL);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGINT, on_signal, NULL);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGHUP, on_hangup, server);
	if (r >= 0)
		r = sd_event_set_watchdog(event, true);
	if (r < 0)
		return r;
	server_log(LOG_INFO, "ready: %s", server->config->url);
	sd_notify(0, "READY=1");
	r = sd_event_loop(event);
	sd_notify(0, "STOPPING=1");
	return r;
}

/* Each agent holds a descriptor. Nothing that is kept here is for a core dump or a debugger. */
static int prepare_process(void)
{
	struct rlimit limit;
	sigset_t signals;

	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	return sigprocmask(SIG_BLOCK, &signals, NULL) < 0 ? -errno : 0;
}

static int serve(const char *path)
{
	_cleanup_(sd_event_unrefp) sd_event *event = NULL;
	_cleanup_(freep) char *error = NULL;
	struct server_config *config = NULL;
	int r;

	r = server_config_load(path, &config, &error);
	if (r < 0) {
		server_log(LOG_ERR, "%s", error ? error : "out of memory");
		return EXIT_FAILURE;
	}
	r = prepare_process();
	if (r >= 0)
		r = sd_event_default(&event);
	if (r < 0)
		server_config_free(config);
	else
		r = run(event, path, config);
	if (r < 0)
		server_log(LOG_ERR, "stopped: %s", strerror(-r));
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int check(const char *path)
{
	_cleanup_(server_config_freep) struct server_config *config = NULL;
	_cleanup_(signer_freep) struct signer *signer = NULL;
	_cleanup_(freep) char *certificate = NULL;
	_cleanup_(freep) char *error = NULL;
	_cleanup_(freep) char *key = NULL;
	int r;

	r = server_config_load(path, &config, &error);
	if (r >= 0)
		r = server_config_read_tls(config, &certificate, &key, &error);
	if (r >= 0)
		r = signer_load(config->signing_key, &signer, &error);
	if (r < 0) {
		fprintf(stderr, "jitgate-server: %s\n", error ? error : "out of memory");
		return EXIT_FAILURE;
	}
	printf("%s: ok (%zu issuers, %zu assignments)\n", path, config->n_issuers,
		config->n_assignments);
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

	/* "+": what follows the first word is the command's. */
	while ((option = getopt_long(argc, argv, "+c:nh", options, NULL)) >= 0) {
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
			printf("jitgate-server %s\n", JITGATE_VERSION);
			return EXIT_SUCCESS;
		default:
			fprintf(stderr, "Try 'jitgate-server --help'.\n");
			return EXIT_USAGE;
		}
	}
	if (optind < argc)
		return command_run(path, argc - optind, argv + optind);
	return check_only ? check(path) : serve(path);
}
