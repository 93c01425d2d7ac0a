/* SPDX-License-Identifier: GPL-3.0-or-later */

/* From counting to refusing: enforce, confirm. */

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "agent/cli/client.h"
#include "agent/cli/conf_edit.h"
#include "agent/cli/origin.h"
#include "agent/cli/output.h"
#include "agent/cli/ownership.h"
#include "agent/cli/staged.h"
#include "agent/common/config.h"
#include "agent/common/file.h"
#include "agent/common/settings.h"

#define SSH_PORT 22 /* where it is not known by which port one came */
#define LINE_BYTES_ADDED 64 /* at most: "mode = enforce", and its section */
#define OTHER_MEANS \
	"have it say mode = enforce by other means, and jitgate reload: that confirms too"

/* The agent's configuration, which is to say mode = enforce once the agent does it. */
struct lasting {
	char *path;
	bool said_so; /* already: nothing is to be written */
	int lock;
	struct staged staged;
};

static void lasting_done(struct lasting *lasting)
{
	free(lasting->path);
	closep(&lasting->lock);
	staged_done(&lasting->staged);
}

_printf_(3, 4) static int give_up(const struct cli *cli, int error, const char *format, ...)
{
	char text[1024];
	va_list list;

	/* What root meets is no lack of root. */
	if ((error == -EACCES || error == -EPERM) && geteuid() != 0)
		return client_explain(
			cli, "Enforce", VARLINK_ERROR, AGENT_INTERFACE ".NotPermitted", NULL);
	va_start(list, format);
	vsnprintf(text, sizeof(text), format, list);
	va_end(list);
	output_error("%s. Nothing was changed", text);
	return EXIT_REFUSED;
}

static int read_mode(const struct cli *cli, const char *path, enum gate_mode *ret)
{
	_cleanup_(config_freep) struct config *config = NULL;
	_cleanup_(freep) char *error = NULL;
	int r;

	r = config_load(path, &config, &error);
	if (r < 0)
		return give_up(cli, r, "%s", error ? error : strerror(-r));
	*ret = config->mode;
	return EXIT_DONE;
}

/* The agent told the path. One that is taken over must not have root write where it likes. */
static int check_ownership(const struct cli *cli, const char *path)
{
	char place[PATH_MAX];
	int r = ownership_check(path, place);

	if (r == OWNERSHIP_OTHERS)
		return give_up(cli, 0,
			"%s is not written to: %s is not root's alone to change; " OTHER_MEANS,
			path, place);
	return r < 0 ? give_up(cli, r, "%s: %s", path, strerror(-r)) : EXIT_DONE;
}

static int write_mode(const struct cli *cli, struct lasting *lasting)
{
	struct staged *staged = &lasting->staged;
	_cleanup_(freep) char *text = NULL;
	enum gate_mode mode = MODE_AUDIT;
	size_t n_bytes;
	int r;

	r = check_ownership(cli, lasting->path);
	if (r != EXIT_DONE)
		return r;
	r = file_read(lasting->path, SETTINGS_FILE_BYTES_MAX, &text, &n_bytes);
	if (r < 0)
		return give_up(cli, r, "%s: %s", lasting->path, strerror(-r));
	r = conf_set(&text, "agent", "mode", "enforce");
	if (r < 0)
		return output_failure(r);
	r = staged_add(staged, lasting->path, 0644, false, n_bytes + LINE_BYTES_ADDED, NULL);
	if (r == 0)
		r = staged_write(staged, 0, text, strlen(text));
	if (r < 0)
		return give_up(
			cli, r, "%s; where it can't be changed here, " OTHER_MEANS, staged->error);
	/* Read as the daemon will read it. */
	r = read_mode(cli, staged->files[0].temporary, &mode);
	if (r == EXIT_DONE && mode != MODE_ENFORCE)
		r = give_up(cli, 0, "%s can't be changed as it should be", lasting->path);
	return r;
}

/* All that can fail has failed before the agent is asked. */
static int lasting_prepare(const struct cli *cli, const json_t *status, struct lasting *lasting)
{
	enum gate_mode mode;
	int r;

	lasting->path = strdup(member_text(status, "configFile", ""));
	if (!lasting->path)
		return output_failure(-ENOMEM);
	lasting->lock = staged_lock(lasting->path);
	if (lasting->lock == -EWOULDBLOCK)
		return give_up(cli, 0, "another jitgate is at work beside %s", lasting->path);
	r = read_mode(cli, lasting->path, &mode);
	if (r != EXIT_DONE)
		return r;
	lasting->said_so = mode == MODE_ENFORCE;
	return lasting->said_so ? EXIT_DONE : write_mode(cli, lasting);
}

static int lasting_place(struct lasting *lasting)
{
	if (staged_place(&lasting->staged) == 0)
		return EXIT_DONE;
	output_error("it is enforced, but would not last a restart: %s. Have it say mode = enforce "
		     "under [agent]",
		lasting->staged.error);
	return EXIT_REFUSED;
}

static int print_json(const char *path, bool changed, const char *reverts_at)
{
	json_auto_t *object = json_pack("{s:s, s:b, s:s*, s:s*}", "mode", "enforce", "changed",
		changed, "revertsAt", reverts_at, "configuration", path);

	return output_json(object);
}

/* Who came by ssh, and would not be let in again, hears it while the session is there. What can't
 * be asked is not told: it is enforced. */
static void warn_who_is_out(const struct cli *cli)
{
	_cleanup_(varlink_client_freep) struct varlink_client *client = NULL;
	_cleanup_(freep) char *error = NULL;
	json_auto_t *reply = NULL;
	char source[PREFIX_STRING_MAX];
	struct origin origin;

	origin_find(&origin);
	if (origin.family == AF_UNSPEC || client_open(cli, &client) != EXIT_DONE)
		return;
	if (origin.port == 0)
		origin.port = SSH_PORT;
	address_format(origin.family, &origin.source, source);
	if (varlink_client_call(client, AGENT_INTERFACE ".Explain",
		    json_pack("{s:s, s:i, s:s}", "source", source, "port", origin.port, "protocol",
			    protocol_format(PROTOCOL_TCP)),
		    &reply, &error) != 0 ||
		strcmp(member_text(reply, "verdict", ""), "refused") != 0)
		return;
	output_line(cli, STYLE_WARNING,
		"A new connection from %s to %u/tcp is refused: keep this session until one is let "
		"in; sudo jitgate doctor tells how",
		source, origin.port);
}

static int enforce_for_good(const struct cli *cli, const json_t *status)
{
	_cleanup_(lasting_done) struct lasting lasting = { .lock = -1 };
	json_auto_t *reply = NULL;
	bool changed;
	int r;

	r = lasting_prepare(cli, status, &lasting);
	if (r == EXIT_DONE)
		r = client_ask(cli, "Enforce", NULL, &reply);
	if (r == EXIT_DONE)
		r = lasting_place(&lasting);
	if (r != EXIT_DONE)
		return r;
	changed = json_is_true(json_object_get(reply, "changed")) || !lasting.said_so;
	if (cli->json)
		return print_json(lasting.path, changed, NULL);
	if (!changed) {
		output_line(cli, STYLE_GOOD, "enforced already, for good");
		return EXIT_DONE;
	}
	output_line(cli, STYLE_GOOD,
		"enforced, for good (mode = enforce in %s); connections that are open stay open",
		lasting.path);
	warn_who_is_out(cli);
	return EXIT_DONE;
}

static int print_trial(const struct cli *cli, const json_t *reply)
{
	const char *reverts_at = member_text(reply, "revertsAt", NULL);
	char moment[2 * TIME_STRING_MAX];

	if (cli->json)
		return print_json(
			NULL, json_is_true(json_object_get(reply, "changed")), reverts_at);
	if (!reverts_at) {
		output_line(cli, STYLE_GOOD, "enforced already, for good: there is nothing to try");
		return EXIT_DONE;
	}
	output_line(cli, STYLE_WARNING, "enforced on trial: back to audit at %s, unless confirmed",
		moment_describe_utc(reverts_at, cli->now, moment));
	output_line(cli, STYLE_PLAIN,
		"Connections that are open stay open: only a new one shows whether you get in.");
	output_line(cli, STYLE_PLAIN,
		"Log in once more, in another window, and say there: sudo jitgate confirm");
	warn_who_is_out(cli);
	return EXIT_DONE;
}

static int enforce_on_trial(const struct cli *cli, const char *within)
{
	json_auto_t *reply = NULL;
	int64_t seconds;
	int r;

	if (duration_parse(within, &seconds) < 0 || seconds < TRIAL_SECONDS_MIN ||
		seconds > TRIAL_SECONDS_MAX)
		return output_usage(cli,
			"--confirm-within %s is not a duration from PT1S to P1D, like PT2M",
			within);
	r = client_ask(cli, "Enforce",
		json_pack("{s:I}", "confirmWithinSeconds", (json_int_t)seconds), &reply);
	return r == EXIT_DONE ? print_trial(cli, reply) : r;
}

/* Who may not even ask for the status is told what the method takes that follows. */
static int ask_status(const struct cli *cli, const char *method, json_t **ret)
{
	_cleanup_(varlink_client_freep) struct varlink_client *client = NULL;
	_cleanup_(freep) char *error = NULL;
	json_auto_t *reply = NULL;
	int r;

	r = client_open(cli, &client);
	if (r != EXIT_DONE)
		return r;
	r = varlink_client_call(client, AGENT_INTERFACE ".Status", NULL, &reply, &error);
	if (r != 0)
		return client_explain(cli, method, r, error, reply);
	*ret = TAKE_PTR(reply);
	return EXIT_DONE;
}

static int run_enforce(const struct cli *cli, const struct arguments *arguments)
{
	const char *within = arguments_get(arguments, "confirm-within");
	json_auto_t *status = NULL;
	int r;

	if (within)
		return enforce_on_trial(cli, within);
	r = ask_status(cli, "Enforce", &status);
	return r == EXIT_DONE ? enforce_for_good(cli, status) : r;
}

static int confirm(const struct cli *cli, const json_t *status)
{
	_cleanup_(lasting_done) struct lasting lasting = { .lock = -1 };
	json_auto_t *reply = NULL;
	int r = EXIT_DONE;

	/* Where no trial runs, that is what is to be said: by the agent. */
	if (json_object_get(status, "revertsAt"))
		r = lasting_prepare(cli, status, &lasting);
	if (r == EXIT_DONE)
		r = client_ask(cli, "Confirm", NULL, &reply);
	if (r == EXIT_DONE && !lasting.path) /* begun a moment ago, by another */
		r = lasting_prepare(cli, status, &lasting);
	if (r == EXIT_DONE)
		r = lasting_place(&lasting);
	if (r != EXIT_DONE)
		return r;
	if (cli->json)
		return print_json(lasting.path, true, NULL);
	output_line(cli, STYLE_GOOD, "confirmed: enforced for good (mode = enforce in %s)",
		lasting.path);
	warn_who_is_out(cli);
	return EXIT_DONE;
}

static int run_confirm(const struct cli *cli, const struct arguments *arguments)
{
	json_auto_t *status = NULL;
	int r;

	(void)arguments;
	r = ask_status(cli, "Confirm", &status);
	return r == EXIT_DONE ? confirm(cli, status) : r;
}

static const struct option_spec enforce_options[] = {
	{ "confirm-within", "DURATION", "back to audit after it, unless confirmed: PT1S to P1D",
		false, false },
	{ 0 },
};

const struct command command_enforce = {
	.name = "enforce",
	.options = enforce_options,
	.summary = "refuse what was only counted, on trial or for good (root)",
	.text = "Leaves mode audit: from now on connections that nobody granted are refused; those "
		"that are open stay open. With --confirm-within it is on trial: after that time "
		"the "
		"mode is audit again by itself, unless \"jitgate confirm\" comes first, so that "
		"whoever is locked out only has to wait. The kernel keeps the time, also where "
		"jitgated is killed; a restart of the machine ends the trial too. Said again "
		"during "
		"a trial, its time begins anew: with PT1S it is over at once. Without "
		"--confirm-within it is for good, a trial is confirmed by it, and mode = enforce "
		"is "
		"written into agent.conf, all or nothing. The way back from there: set mode = "
		"audit "
		"in agent.conf, and jitgate reload. Needs root.",
	.example = "sudo jitgate enforce --confirm-within PT2M",
	.run = run_enforce,
};

const struct command command_confirm = {
	.name = "confirm",
	.summary = "let a trial of enforce last (root)",
	.text = "Ends the trial that \"jitgate enforce --confirm-within\" began: the mode stays "
		"enforce, and mode = enforce is written into agent.conf, so that it outlives "
		"restarts; all or nothing. Say it in a connection that was made during the trial: "
		"an older one proves nothing. Where no trial runs, there is nothing to confirm, "
		"and "
		"the exit code is 1. Needs root.",
	.example = "sudo jitgate confirm",
	.run = run_confirm,
};
