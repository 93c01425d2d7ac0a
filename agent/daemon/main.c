/* SPDX-License-Identifier: GPL-3.0-or-later */

/* jitgated: arguments, configuration, the agent, the loop. */

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "agent/common/confine.h"
#include "agent/common/last_good.h"
#include "agent/common/memory.h"
#include "agent/common/program.h"
#include "agent/common/users.h"
#include "agent/daemon/agent.h"
#include "agent/daemon/removal.h"

static void print_help(void)
{
	printf("jitgated: keeps this machine's management ports shut, and opens them for signed "
	       "grants\n"
	       "\n"
	       "Usage: jitgated [-c FILE] [-n | --remove-gate]\n"
	       "\n"
	       "  -c, --config FILE   the configuration (default: " CONFIG_PATH ")\n"
	       "  -n, --check         check configuration and trust file, and exit\n"
	       "      --remove-gate   take away the gate that a jitgated which has ended left, "
	       "and exit\n"
	       "  -h, --help          this text\n"
	       "      --version       the version\n"
	       "\n"
	       "SIGHUP reads configuration and trust file again. SIGTERM stops; what is left "
	       "then,\n"
	       "on_stop says. Needs CAP_NET_ADMIN.\n"
	       "\n"
	       "Exit status: 0 stopped, checked or removed; 1 failed; 2 usage.\n"
	       "\n"
	       "Example: jitgated -n -c ./agent.conf\n");
}

static void reload(void *userdata)
{
	_cleanup_(freep) char *error = NULL;

	(void)agent_reload(userdata, &error);
}

/*
 * Its unit starts it so. Started by root, it keeps what changing the gate takes, and becomes the
 * user whose the state directory is, who must be able to go on with what it writes. Shut with too
 * many privileges is better than not shut.
 */
static void confine(const struct config *config)
{
	const uint64_t kept = CAPABILITY(CAP_NET_ADMIN);
	int given_up[3];

	/* Each for itself: one that can't be had takes none of the others away. */
	given_up[0] = confine_to_owner(config->state_directory, kept);
	given_up[1] = confine_capabilities(kept);
	given_up[2] = confine_process();
	for (size_t i = 0; i < N_ELEMENTS(given_up); i++)
		if (given_up[i] < 0)
			log_line(LOG_WARNING, "can't give up privileges: %s",
				strerror(-given_up[i]));
}

static int run(
	const char *path, struct config *config, struct trust *trust, const char *config_error)
{
	_cleanup_(sd_event_unrefp) sd_event *event = NULL;
	_cleanup_(agent_freep) struct agent *agent = NULL;
	int status;

	status = program_block_signals(true);
	if (status >= 0)
		status = sd_event_default(&event);
	if (status < 0) {
		config_free(config);
		trust_free(trust);
		return status;
	}
	status = agent_new(event, path, config, trust, config_error, &agent);
	if (status < 0)
		return status;
	memory_release();
	status = program_loop(event, reload, agent);
	/* Nobody stopped it: as a start that fails, it leaves what stands. */
	if (status < 0)
		agent->config->on_stop = ON_STOP_KEEP;
	return status;
}

/* Root reads all that there is; its service does not. */
static void tell_unreadable(int status)
{
	if (status == -EACCES)
		fprintf(stderr,
			"jitgated: uid %u, which it runs as, must be able to read configuration "
			"and trust file, and to enter the directories above them\n",
			(unsigned)geteuid());
}

/* Checks as the user that the service runs as, and remains it: nothing comes after. What is wrong
 * then is told, and is no failure: a file may be checked before it is where it belongs. */
static void check_as_service(const char *path)
{
	_cleanup_(config_freep) struct config *config = NULL;
	_cleanup_(trust_freep) struct trust *trust = NULL;
	_cleanup_(freep) char *error = NULL;
	const struct passwd *user = geteuid() == 0 ? getpwnam(AGENT_USER) : NULL;
	int status;

	if (!user || initgroups(user->pw_name, user->pw_gid) < 0 ||
		setresgid(user->pw_gid, user->pw_gid, user->pw_gid) < 0 ||
		setresuid(user->pw_uid, user->pw_uid, user->pw_uid) < 0)
		return;
	status = agent_load(path, &config, &trust, &error);
	if (status < 0)
		fprintf(stderr,
			"jitgated: its service runs as the user " AGENT_USER
			", who can't read this: %s\n",
			error ? error : strerror(-status));
}

static int serve(const char *path)
{
	_cleanup_(freep) char *error = NULL;
	_cleanup_(freep) char *config_error = NULL;
	struct config *config = NULL;
	struct trust *trust = NULL;
	int status;

	status = agent_load(path, &config, &trust, &error);
	if (!config && error && last_good_counts(status) &&
		last_good_load(path, CONFIG_STATE_DIRECTORY, CAPABILITY(CAP_NET_ADMIN), &config) ==
			0) {
		config_error = TAKE_PTR(error);
		log_line(LOG_ERR,
			"%s: the last good configuration is in force; mend it, then systemctl "
			"reload jitgated",
			config_error);
		tell_unreadable(status);
		status = trust_load(config->trust, &trust, &error);
	}
	if (!config || status == -ENOMEM) {
		config_free(config);
		fprintf(stderr, "jitgated: %s\n", error ? error : "out of memory");
		tell_unreadable(status);
		return EXIT_FAILURE;
	}
	tell_unreadable(status);
	if (status < 0)
		log_line(LOG_ERR, "%s: the gate is shut, and only local root can open it",
			error ? error : "out of memory");
	confine(config);
	status = run(path, config, trust, config_error);
	if (status < 0) {
		log_line(LOG_ERR, "stopped: %s", strerror(-status));
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}

static int check(const char *path)
{
	_cleanup_(config_freep) struct config *config = NULL;
	_cleanup_(trust_freep) struct trust *trust = NULL;
	_cleanup_(freep) char *error = NULL;
	int status;

	status = agent_load(path, &config, &trust, &error);
	if (status < 0) {
		fprintf(stderr, "jitgated: %s\n", error ? error : "out of memory");
		if (config && status == -ENOENT)
			fprintf(stderr,
				"jitgated: the trust file is what 'jitgate key public' prints, or "
				"'jitgate enroll' fetches\n");
		return EXIT_FAILURE;
	}
	printf("%s: ok (ports: %zu, trusted keys: %zu)\n", path, config->n_ports, trust->n_keys);
	fflush(stdout);
	check_as_service(path);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static const struct program program = {
		.name = "jitgated",
		.config = CONFIG_PATH,
		.print_help = print_help,
		.check = check,
		.serve = serve,
		.extra_option = "remove-gate",
		.extra = removal_run,
	};

	return program_main(&program, argc, argv);
}
