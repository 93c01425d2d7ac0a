/* SPDX-License-Identifier: GPL-3.0-or-later */

/* jitgate-server: arguments, configuration, the server, the loop. */

#include <string.h>
#include <sys/resource.h>

#include "agent/common/confine.h"
#include "agent/common/log.h"
#include "agent/common/program.h"
#include "contrib/control-plane/check.h"
#include "contrib/control-plane/command.h"
#include "contrib/control-plane/server.h"

#define DEFAULT_CONFIG "/etc/jitgate-server/server.conf"

static void print_help(void)
{
	printf("jitgate-server: checks who asks for access to a VM, signs grants, and has the\n"
	       "VM's agent fetch them\n"
	       "\n"
	       "Usage: jitgate-server [-c FILE] [-n]\n");
	command_print_help(stdout);
	printf("\n"
	       "  -c, --config FILE   the configuration\n"
	       "                      (default: " DEFAULT_CONFIG ")\n"
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

static void reload(void *userdata)
{
	(void)server_reload(userdata);
}

/* Each agent holds a descriptor. */
static void raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* Of root it keeps what a port below 1024 takes. */
static int confine(const struct server_config *config)
{
	const uint64_t kept = CAPABILITY(CAP_NET_BIND_SERVICE);
	int r;

	r = server_config_become_owner(config, kept);
	if (r == 0)
		r = confine_capabilities(kept);
	return r < 0 ? r : confine_process();
}

static int run(const char *path, struct server_config *config)
{
	_cleanup_(sd_event_unrefp) sd_event *event = NULL;
	_cleanup_(server_freep) struct server *server = NULL;
	int r;

	r = program_block_signals(true);
	if (r >= 0)
		r = sd_event_default(&event);
	if (r < 0) {
		server_config_free(config);
		return r;
	}
	r = server_new(event, path, config, &server);
	if (r < 0)
		return r;
	log_line(LOG_INFO, "ready: %s", server->config->url);
	return program_loop(event, reload, server);
}

static int serve(const char *path)
{
	_cleanup_(freep) char *error = NULL;
	struct server_config *config = NULL;
	int r;

	r = server_config_load(path, &config, &error);
	if (r < 0) {
		log_line(LOG_ERR, "%s", error ? error : "out of memory");
		return EXIT_FAILURE;
	}
	raise_limit();
	r = confine(config);
	if (r < 0) {
		log_line(LOG_ERR, "can't give up privileges: %s", strerror(-r));
		server_config_free(config);
		return EXIT_FAILURE;
	}
	r = run(path, config);
	if (r < 0)
		log_line(LOG_ERR, "stopped: %s", strerror(-r));
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static const struct program program = {
		.name = "jitgate-server",
		.config = DEFAULT_CONFIG,
		.print_help = print_help,
		.check = check_config,
		.serve = serve,
		.command = command_run,
	};

	return program_main(&program, argc, argv);
}
