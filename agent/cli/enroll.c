/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Joining a machine to a control plane: enroll. */

#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include "agent/cli/client.h"
#include "agent/cli/client_conf.h"
#include "agent/cli/enrollment.h"
#include "agent/cli/output.h"
#include "agent/common/bearer.h"
#include "agent/common/text.h"
#include "agent/common/url.h"
#include "agent/common/users.h"

#define TRUST_PATH "/etc/jitgate/trust.jwks"
#define CONFIG_BYTES_ADDED 8192 /* four lines at their longest, and ports */
#define RELOAD_TIMEOUT_MS 30000
#define BACKUP_SUFFIX ".before-enroll"

static int read_token(struct enrollment *enrollment, char **ret)
{
	const char *given = arguments_get(enrollment->arguments, "token");
	_cleanup_(freep) char *error = NULL;
	int r;

	if (strcmp(given, "-") == 0) {
		r = token_load("-", ret, &error);
		return r < 0 ? enrollment_refuse(0, "%s", error ? error : strerror(-r)) : EXIT_DONE;
	}
	if (!bearer_is_valid(given))
		return output_usage(enrollment->cli, "--token is empty, too long, or no token");
	*ret = strdup(given);
	return *ret ? EXIT_DONE : output_failure(-ENOMEM);
}

static int open_server(struct enrollment *enrollment, const char *token)
{
	int r;

	enrollment->http = http_free(enrollment->http);
	r = http_new(enrollment->url, enrollment->ca, token, &enrollment->http);
	return r < 0 ? output_failure(r) : EXIT_DONE;
}

static int fetch_trust(struct enrollment *enrollment)
{
	int r;

	r = open_server(enrollment, NULL);
	if (r != EXIT_DONE)
		return r;
	return enroll_trust_fetch(
		enrollment->cli, enrollment->http, enrollment->trust_path, &enrollment->keys);
}

/* Keys that somebody put there are not dropped in passing. */
static int check_gone(const struct enrollment *enrollment)
{
	const struct enroll_trust *keys = &enrollment->keys;

	if (keys->n_gone == 0 || arguments_have(enrollment->arguments, "replace"))
		return EXIT_DONE;
	return enrollment_refuse(0,
		"%s trusts %zu key%s that this control plane does not serve: --replace drops %s",
		enrollment->trust_path, keys->n_gone, keys->n_gone == 1 ? "" : "s",
		keys->n_gone == 1 ? "it" : "them");
}

static int stage_one(struct enrollment *enrollment, const char *path, mode_t mode, bool secret,
	size_t n_bytes, const char *backup_suffix, int *ret_index)
{
	int index = staged_add(&enrollment->staged, path, mode, secret, n_bytes, backup_suffix);

	if (index < 0)
		return enrollment_refuse(index, "%s", enrollment->staged.error);
	*ret_index = index;
	return EXIT_DONE;
}

static int write_one(struct enrollment *enrollment, int index, const char *text, size_t n_bytes)
{
	if (staged_write(&enrollment->staged, index, text, n_bytes) < 0)
		return enrollment_refuse(0, "%s", enrollment->staged.error);
	return EXIT_DONE;
}

/* systemd shows jitgate-poll what only root can read; otherwise it reads the token itself. */
static int stage_token(struct enrollment *enrollment)
{
	const struct passwd *poll = getpwnam(POLL_USER);
	int r;

	r = stage_one(enrollment, enrollment->token_path, 0600, true, BEARER_FILE_BYTES_MAX, NULL,
		&enrollment->token_index);
	if (r == EXIT_DONE && enrollment->token_is_told && poll)
		staged_share(&enrollment->staged, enrollment->token_index, poll->pw_gid);
	return r;
}

/* agent.conf goes last: once it is in place, all that it names is. */
static int stage(struct enrollment *enrollment)
{
	size_t n_config = enrollment->text ? strlen(enrollment->text) : 0;
	int r;

	r = enrollment_make_directory(enrollment);
	if (r == EXIT_DONE)
		r = stage_one(enrollment, enrollment->trust_path, 0644, false,
			strlen(enrollment->keys.text), BACKUP_SUFFIX, &enrollment->trust_index);
	if (r == EXIT_DONE && enrollment->ca_text)
		r = stage_one(enrollment, enrollment->ca_path, 0644, false, enrollment->n_ca_bytes,
			NULL, &enrollment->ca_index);
	if (r == EXIT_DONE)
		r = stage_token(enrollment);
	if (r == EXIT_DONE)
		r = stage_one(enrollment, enrollment->config_path, 0644, false,
			n_config + CONFIG_BYTES_ADDED, BACKUP_SUFFIX, &enrollment->config_index);
	if (r == EXIT_DONE)
		r = write_one(enrollment, enrollment->trust_index, enrollment->keys.text,
			strlen(enrollment->keys.text));
	if (r == EXIT_DONE && enrollment->ca_text)
		r = write_one(enrollment, enrollment->ca_index, enrollment->ca_text,
			enrollment->n_ca_bytes);
	return r;
}

static int explain_answer(
	const struct enrollment *enrollment, int r, const struct http_answer *answer)
{
	int code = server_explain(enrollment->cli, r, answer);

	if (r == HTTP_BROKEN || r == HTTP_UNREACHABLE)
		output_error("nothing was changed; the token may be used up");
	return code;
}

/* What is wrong with the answer; NULL where it is fine. */
static const char *reply_reason(struct enrollment *enrollment)
{
	enrollment->vm_id = member_text(enrollment->reply, "vmId", "");
	enrollment->feed_url = member_text(enrollment->reply, "url", "");
	enrollment->credential = member_text(enrollment->reply, "credential", "");
	if (!enrollment->vm_id[0] || !text_is_printable(enrollment->vm_id) ||
		strpbrk(enrollment->vm_id, " \t"))
		return "its vmId is not one";
	if (http_url_reason(enrollment->feed_url))
		return "its url is not that of a control plane";
	if (url_is_plain(enrollment->feed_url) && !url_is_plain(enrollment->url))
		return "its url goes without TLS";
	return bearer_is_valid(enrollment->credential) ? NULL : "its credential is not one";
}

static int join(struct enrollment *enrollment, const char *token)
{
	json_auto_t *body = json_pack("{s:s}", "agentVersion", JITGATE_VERSION);
	_cleanup_(http_answer_done) struct http_answer answer = { 0 };
	const char *reason;
	int r;

	r = open_server(enrollment, token);
	if (r != EXIT_DONE)
		return r;
	r = http_call(enrollment->http, "POST", "/v1/enroll", body, SERVER_SECONDS, &answer);
	if (r != 0 || answer.status >= 300)
		return explain_answer(enrollment, r, &answer);
	enrollment->reply = json_incref(answer.body);
	reason = reply_reason(enrollment);
	if (reason)
		return enrollment_refuse(0, "%s does not answer as a control plane does: %s",
			enrollment->url, reason);
	return EXIT_DONE;
}

static int check_vm(const struct enrollment *enrollment)
{
	bool named;
	int r;

	if (!enrollment->text || arguments_have(enrollment->arguments, "replace"))
		return EXIT_DONE;
	r = enroll_conf_names(enrollment->text, &named);
	if (r < 0)
		return output_failure(r);
	if (!named || vm_id_is_same(enrollment->config->vm_id, enrollment->vm_id))
		return EXIT_DONE;
	return enrollment_refuse(0,
		"the token is for %s, and %s says that this machine is %s: "
		"--replace, with a new token, makes it the other",
		enrollment->vm_id, enrollment->config_path, enrollment->config->vm_id);
}

/* What was made of agent.conf is read as the daemon will read it. */
static int check_config(const struct enrollment *enrollment)
{
	const char *path = enrollment->staged.files[enrollment->config_index].temporary;
	_cleanup_(config_freep) struct config *config = NULL;
	_cleanup_(freep) char *error = NULL;

	if (config_load(path, &config, &error) < 0)
		return enrollment_refuse(0,
			"what the control plane says makes no configuration: %s%s",
			enrollment->config_path,
			error && strlen(error) > strlen(path) ? error + strlen(path) : "");
	if (!vm_id_is_same(config->vm_id, enrollment->vm_id) || !config->feed.url ||
		!server_is_same(config->feed.url, enrollment->feed_url))
		return enrollment_refuse(
			0, "%s can't be changed as it should be", enrollment->config_path);
	return EXIT_DONE;
}

static int write_config(struct enrollment *enrollment)
{
	struct enroll_conf wanted = {
		.vm_id = enrollment->vm_id,
		.trust = strcmp(enrollment->trust_path, TRUST_PATH) != 0 ? enrollment->trust_path
									 : NULL,
		.url = enrollment->feed_url,
		.ca = enrollment->ca_path,
		.token = enrollment->token_is_told ? enrollment->token_path : NULL,
		.ports = enrollment->ports,
		.n_ports = enrollment->n_ports,
	};
	_cleanup_(freep) char *text = NULL;
	int r;

	r = enrollment->text ? enroll_conf_edit(enrollment->text, &wanted, &text)
			     : enroll_conf_new(&wanted, &text);
	if (r < 0)
		return output_failure(r);
	r = write_one(enrollment, enrollment->config_index, text, strlen(text));
	return r == EXIT_DONE ? check_config(enrollment) : r;
}

static int write_token(struct enrollment *enrollment)
{
	_cleanup_(freep) char *line = NULL;
	int r;

	if (asprintf(&line, "%s\n", enrollment->credential) < 0) {
		line = NULL;
		return output_failure(-ENOMEM);
	}
	r = write_one(enrollment, enrollment->token_index, line, strlen(line));
	explicit_bzero(line, strlen(line));
	return r;
}

/* Says why not, where that fails. */
static bool call_agent(struct enrollment *enrollment, struct varlink_client *client,
	const char *method, json_t **ret)
{
	_cleanup_(freep) char *error = NULL;
	int r;

	r = varlink_client_call(client, method, NULL, ret, &error);
	if (r != 0)
		enrollment->reload_error =
			strdup(member_text(*ret, "message", r < 0 ? strerror(-r) : error));
	return r == 0;
}

static bool is_same_file(const char *path, const char *other_path)
{
	struct stat file, other;

	return stat(path, &file) == 0 && stat(other_path, &other) == 0 &&
		file.st_dev == other.st_dev && file.st_ino == other.st_ino;
}

/* An agent that runs with this configuration takes up what is new. */
static void reload(struct enrollment *enrollment)
{
	const char *socket = enrollment->config && !arguments_have(enrollment->arguments, "socket")
		? enrollment->config->socket
		: enrollment->cli->socket;
	_cleanup_(varlink_client_freep) struct varlink_client *client = NULL;
	json_auto_t *status = NULL;
	json_auto_t *reply = NULL;
	const char *running;

	if (varlink_client_open(socket, RELOAD_TIMEOUT_MS, &client) < 0 ||
		!call_agent(enrollment, client, AGENT_INTERFACE ".Status", &status))
		return;
	running = member_text(status, "configFile", "");
	if (is_same_file(running, enrollment->config_path))
		enrollment->reloaded =
			call_agent(enrollment, client, AGENT_INTERFACE ".Reload", &reply);
	else
		enrollment->other_config = strdup(running);
}

/* What became of the agent that runs, where that is no fault. */
static void tell_agent(const struct enrollment *enrollment)
{
	if (enrollment->reloaded)
		output_line(enrollment->cli, STYLE_PLAIN, "The running agent has taken it up.");
	else if (enrollment->other_config)
		output_line(enrollment->cli, STYLE_WARNING,
			"The running agent goes by another configuration, %s, and has taken up "
			"nothing of this.",
			enrollment->other_config);
}

static int tell_reload(const struct enrollment *enrollment)
{
	if (!enrollment->reload_error)
		return EXIT_DONE;
	output_error("all is in place, but the running agent did not take it up: %s",
		enrollment->reload_error);
	return EXIT_REFUSED;
}

static int print_json(const struct enrollment *enrollment, bool enrolled)
{
	char fingerprint[FINGERPRINT_STRING_MAX];
	json_t *keys = enroll_trust_json(&enrollment->keys);
	json_auto_t *object = NULL;
	int r;

	if (!keys)
		return output_failure(-ENOMEM);
	object = json_pack("{s:s, s:s, s:s, s:o, s:b, s:b}", "url",
		enrolled ? enrollment->feed_url : enrollment->url, "trust", enrollment->trust_path,
		"fingerprint", fingerprint_format(&enrollment->keys.fingerprint, fingerprint),
		"keys", keys, "changed", enrolled || enrollment->keys.changed, "reloaded",
		enrollment->reloaded);
	if (!object)
		return output_failure(-ENOMEM);
	if (enrolled &&
		(json_object_set_new(object, "vmId", json_string(enrollment->vm_id)) < 0 ||
			json_object_set_new(object, "configuration",
				json_string(enrollment->config_path)) < 0 ||
			json_object_set_new(
				object, "credential", json_string(enrollment->token_path)) < 0))
		return output_failure(-ENOMEM);
	r = output_json(object);
	return r == EXIT_DONE ? tell_reload(enrollment) : r;
}

static void tell_next(const struct enrollment *enrollment)
{
	const struct cli *cli = enrollment->cli;

	output_line(cli, STYLE_HEADING, "Next:");
	if (!getpwnam(POLL_USER))
		output_line(cli, STYLE_WARNING,
			"  There is no user " POLL_USER " yet: systemd-sysusers makes it, or "
			"useradd --system " POLL_USER ", and its group may then read %s.",
			enrollment->token_path);
	if (sd_booted() <= 0)
		output_line(cli, STYLE_PLAIN,
			"  There is no systemd here: start jitgated, and then jitgate-poll%s",
			enrollment->reloaded ? " (anew)" : "");
	else if (enrollment->reloaded)
		output_line(cli, STYLE_PLAIN,
			"  systemctl enable jitgate-poll && systemctl restart jitgate-poll");
	else
		output_line(cli, STYLE_PLAIN, "  systemctl enable --now jitgated jitgate-poll");
	output_line(cli, STYLE_PLAIN, "  jitgate status");
	if (enrollment->text)
		return;
	if (enrollment->n_ports == 0)
		output_line(cli, STYLE_PLAIN,
			"No port is guarded yet: the control plane's policy for this machine, or a "
			"[port] section in %s, names those that are.",
			enrollment->config_path);
	else
		output_line(cli, STYLE_PLAIN,
			"The ports are watched and stay open: when \"jitgate denied\" shows nobody "
			"who needs them, jitgate enforce --confirm-within PT2M.");
}

static int tell_enrolled(const struct enrollment *enrollment)
{
	const struct cli *cli = enrollment->cli;

	if (cli->json)
		return print_json(enrollment, true);
	output_line(cli, STYLE_GOOD, "This machine is %s, enrolled with %s.", enrollment->vm_id,
		enrollment->feed_url);
	output_line(cli, STYLE_PLAIN, "  %s: whose signatures count", enrollment->trust_path);
	output_line(
		cli, STYLE_PLAIN, "  %s: the credential of jitgate-poll", enrollment->token_path);
	if (enrollment->ca_text)
		output_line(cli, STYLE_PLAIN, "  %s: who may vouch for the control plane",
			enrollment->ca_path);
	output_line(cli, STYLE_PLAIN, "  %s: %s", enrollment->config_path,
		enrollment->text ? "vm_id and [feed] (as it was: beside it, " BACKUP_SUFFIX ")"
				 : "new");
	tell_agent(enrollment);
	tell_next(enrollment);
	return tell_reload(enrollment);
}

static int finish(struct enrollment *enrollment)
{
	int r;

	r = check_vm(enrollment);
	if (r == EXIT_DONE)
		r = write_token(enrollment);
	if (r == EXIT_DONE)
		r = write_config(enrollment);
	if (r != EXIT_DONE) {
		output_error("the token is used up: make a new one on the control plane "
			     "(jitgate-server enrollment new --vm ID)");
		return r;
	}
	if (staged_place(&enrollment->staged) < 0)
		return enrollment_refuse(0, "%s", enrollment->staged.error);
	reload(enrollment);
	return tell_enrolled(enrollment);
}

static int enroll(struct enrollment *enrollment)
{
	_cleanup_(freep) char *token = NULL;
	int r;

	r = read_token(enrollment, &token);
	if (r == EXIT_DONE)
		r = fetch_trust(enrollment);
	if (r == EXIT_DONE)
		r = enroll_trust_show(enrollment->cli, enrollment->arguments, &enrollment->keys);
	if (r == EXIT_DONE)
		r = check_gone(enrollment);
	if (r == EXIT_DONE)
		r = enroll_trust_confirm(enrollment->cli, enrollment->arguments,
			"Are these its keys, and may whoever has them open this machine's ports?");
	if (r == EXIT_DONE)
		r = stage(enrollment);
	if (r == EXIT_DONE)
		r = join(enrollment, token);
	if (token)
		explicit_bzero(token, strlen(token));
	return r == EXIT_DONE ? finish(enrollment) : r;
}

static int tell_trust(const struct enrollment *enrollment)
{
	if (enrollment->cli->json)
		return print_json(enrollment, false);
	if (!enrollment->keys.changed) {
		output_line(enrollment->cli, STYLE_GOOD, "%s has these keys already.",
			enrollment->trust_path);
		return EXIT_DONE;
	}
	output_line(enrollment->cli, STYLE_GOOD,
		"%s is up to date (as it was: beside it, " BACKUP_SUFFIX ").",
		enrollment->trust_path);
	tell_agent(enrollment);
	return tell_reload(enrollment);
}

static int update_trust(struct enrollment *enrollment)
{
	int r;

	r = fetch_trust(enrollment);
	if (r == EXIT_DONE && !enrollment->keys.changed)
		return tell_trust(enrollment);
	if (r == EXIT_DONE)
		r = enroll_trust_show(enrollment->cli, enrollment->arguments, &enrollment->keys);
	if (r == EXIT_DONE)
		r = enroll_trust_confirm(enrollment->cli, enrollment->arguments,
			"Trust these keys, and no others, from now on?");
	if (r == EXIT_DONE)
		r = stage_one(enrollment, enrollment->trust_path, 0644, false,
			strlen(enrollment->keys.text), BACKUP_SUFFIX, &enrollment->trust_index);
	if (r == EXIT_DONE)
		r = write_one(enrollment, enrollment->trust_index, enrollment->keys.text,
			strlen(enrollment->keys.text));
	if (r != EXIT_DONE)
		return r;
	if (staged_place(&enrollment->staged) < 0)
		return enrollment_refuse(0, "%s", enrollment->staged.error);
	reload(enrollment);
	return tell_trust(enrollment);
}

static int check_usage(const struct cli *cli, const struct arguments *arguments)
{
	if (arguments_have(arguments, "update-trust")) {
		if (arguments_have(arguments, "token") || arguments_have(arguments, "port") ||
			arguments_have(arguments, "replace"))
			return output_usage(
				cli, "--update-trust goes without --token, --port and --replace");
		return EXIT_DONE;
	}
	if (!arguments_have(arguments, "token"))
		return output_usage(cli,
			"--token TOKEN is missing: the control plane makes one (jitgate-server "
			"enrollment new --vm ID)");
	return EXIT_DONE;
}

static int run_enroll(const struct cli *cli, const struct arguments *arguments)
{
	_cleanup_(enrollment_done) struct enrollment enrollment = {
		.cli = cli,
		.arguments = arguments,
		.lock = -1,
	};
	int r;

	r = check_usage(cli, arguments);
	if (r == EXIT_DONE)
		r = enroll_trust_check_usage(cli, arguments);
	if (r == EXIT_DONE)
		r = enrollment_prepare(&enrollment);
	if (r != EXIT_DONE)
		return r;
	return arguments_have(arguments, "update-trust") ? update_trust(&enrollment)
							 : enroll(&enrollment);
}

static const struct option_spec enroll_options[] = {
	{ "token", "TOKEN|-", "the enrollment token: - reads it from standard input, out of ps",
		false, false },
	{ "trust-fingerprint", "SHA256", "the control plane's keys, as you know them", false,
		true },
	{ "yes", NULL, "trust the keys that are served, without asking", false, false },
	{ "ca", "FILE", "authorities for its certificate (the system's)", false, false },
	{ "port", "PORT/PROTO", "guard this port, in audit mode at first", false, true },
	{ "replace", NULL, "leave another control plane, and drop other keys", false, false },
	{ "update-trust", NULL, "only fetch the keys anew", false, false },
	{ "config", "FILE", "the configuration (" CONFIG_PATH ")", false, false },
	{ 0 },
};

const struct command command_enroll = {
	.name = "enroll",
	.operands = "[URL]",
	.n_operands_max = 1,
	.options = enroll_options,
	.summary = "join this machine to a control plane (root)",
	.text = "Fetches the control plane's keys and shows their fingerprints; when they are "
		"right, "
		"by --trust-fingerprint or because you say so, sends the token, and writes the "
		"trust file, the credential of jitgate-poll and agent.conf. Whatever fails, all "
		"is as it was. A new agent.conf guards no port but those of --port; one that is "
		"there keeps all but vm_id and [feed]. A fingerprint is the SHA-256 JWK thumbprint "
		"(RFC 7638) of a key, or that of all keys together; where there are several, one "
		"for the whole or one for each must be given (jitgate key fingerprint). "
		"--update-trust takes up what has changed when the control plane gets a new key.",
	.example = "sudo jitgate enroll https://jit.example.org --token - \\\n"
		   "    --trust-fingerprint SHA256:NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
	.run = run_enroll,
};
