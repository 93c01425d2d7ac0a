/* SPDX-License-Identifier: GPL-3.0-or-later */

/* jitgate-poll: arguments, configuration, privilege, the loop. */

#include <string.h>
#include <unistd.h>

#include "agent/common/last_good.h"
#include "agent/common/log.h"
#include "agent/common/notify.h"
#include "agent/common/program.h"
#include "agent/poll/poll.h"
#include "agent/poll/privilege.h"

static void print_help(void)
{
	printf("jitgate-poll: brings signed documents from the feed to jitgated, and what happened "
	       "back\n"
	       "\n"
	       "Usage: jitgate-poll [-c FILE] [-n]\n"
	       "\n"
	       "  -c, --config FILE   the configuration (default: " CONFIG_PATH ")\n"
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
	if (r >= 0)
		r = poll_introduce(poll);
	return r < 0 ? r : program_loop(event, NULL, NULL);
}

static int fail_to_load(const char *error)
{
	fprintf(stderr, "jitgate-poll: %s\n", error ? error : "out of memory");
	return EXIT_FAILURE;
}

/* Where the file is bad, the last good one: that nobody could be let in is no help. It is known
 * where systemd names the directory. */
static int load(const char *path, struct config **ret, bool *ret_is_last_good, char **ret_error)
{
	int r = config_load(path, ret, ret_error);

	*ret_is_last_good = r < 0 && *ret_error && last_good_counts(r) &&
		last_good_load(path, NULL, 0, ret) == 0;
	if (!*ret_is_last_good)
		return r;
	log_line(LOG_ERR,
		"%s: the last good configuration is in force; mend it, then systemctl restart "
		"jitgate-poll",
		*ret_error);
	return 0;
}

static int serve(const char *path)
{
	_cleanup_(config_freep) struct config *config = NULL;
	_cleanup_(freep) char *error = NULL;
	char privilege_error[PRIVILEGE_ERROR_MAX];
	bool is_last_good;
	int r;

	if (load(path, &config, &is_last_good, &error) < 0)
		return fail_to_load(error);
	/* Root's own start has no place for a copy: that is the user's. */
	if (!is_last_good && geteuid() != 0)
		last_good_keep(path, NULL, config);
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
	_cleanup_(freep) char *error = NULL;

	if (config_load(path, &config, &error) < 0)
		return fail_to_load(error);
	printf("%s: ok (%s)\n", path, config->feed.url ? config->feed.shown_url : "no feed");
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static const struct program program = {
		.name = "jitgate-poll",
		.config = CONFIG_PATH,
		.print_help = print_help,
		.check = check,
		.serve = serve,
	};

	return program_main(&program, argc, argv);
}
