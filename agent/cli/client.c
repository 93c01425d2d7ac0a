/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>

#include "agent/cli/client.h"
#include "agent/cli/output.h"

#define CLIENT_TIMEOUT_MS 30000

/* An error of the interface or of Varlink itself, with the sentence for it. */
struct client_error {
	const char *name;
	const char *json_name;
	void (*say)(const char *method, const json_t *parameters);
};

static bool method_needs_root(const char *method)
{
	return strcmp(method, "Grant") == 0 || strcmp(method, "Revoke") == 0 ||
		strcmp(method, "Reload") == 0 || strcmp(method, "Enforce") == 0 ||
		strcmp(method, "Confirm") == 0;
}

static void say_refused(const char *method, const json_t *parameters)
{
	(void)method;
	output_error("refused (%s): %s", member_text(parameters, "code", "?"),
		member_text(parameters, "message", "no reason given"));
}

static void say_not_permitted(const char *method, const json_t *parameters)
{
	(void)parameters;
	if (method_needs_root(method))
		output_error("not permitted: this needs root (sudo jitgate ...)");
	else
		output_error("not permitted: this needs membership of the group jitgate, or root "
			     "(sudo usermod -aG jitgate USER, then log in again)");
}

static void say_no_such_grant(const char *method, const json_t *parameters)
{
	(void)method;
	output_error("there is no grant with the id \"%s\" (jitgate grants --all lists them)",
		member_text(parameters, "id", "?"));
}

static void say_reload_failed(const char *method, const json_t *parameters)
{
	(void)method;
	output_error(
		"nothing was changed: %s", member_text(parameters, "message", "no reason given"));
}

static void say_nothing_to_confirm(const char *method, const json_t *parameters)
{
	(void)method, (void)parameters;
	output_error("there is nothing to confirm: no trial runs, or its time is over and the mode "
		     "is audit again (jitgate status; jitgate enforce --confirm-within PT2M begins "
		     "one)");
}

static void say_failed(const char *method, const json_t *parameters)
{
	(void)method;
	output_error("the agent failed: %s (journalctl -u jitgated)",
		member_text(parameters, "message", "no reason given"));
}

static void say_invalid_parameter(const char *method, const json_t *parameters)
{
	output_error("the agent does not accept what %s got as \"%s\"", method,
		member_text(parameters, "parameter", "?"));
}

static void say_unknown_method(const char *method, const json_t *parameters)
{
	(void)parameters;
	output_error(
		"the agent does not know %s: is it of another version? (jitgate status)", method);
}

static const struct client_error errors[] = {
	{ AGENT_INTERFACE ".Refused", "refused", say_refused },
	{ AGENT_INTERFACE ".NotPermitted", "notPermitted", say_not_permitted },
	{ AGENT_INTERFACE ".NoSuchGrant", "noSuchGrant", say_no_such_grant },
	{ AGENT_INTERFACE ".ReloadFailed", "reloadFailed", say_reload_failed },
	{ AGENT_INTERFACE ".NothingToConfirm", "nothingToConfirm", say_nothing_to_confirm },
	{ AGENT_INTERFACE ".Failed", "failed", say_failed },
	{ "org.varlink.service.InvalidParameter", "invalidParameter", say_invalid_parameter },
	{ "org.varlink.service.MethodNotFound", "unknownMethod", say_unknown_method },
	{ "org.varlink.service.MethodNotImplemented", "unknownMethod", say_unknown_method },
	{ "org.varlink.service.InterfaceNotFound", "unknownMethod", say_unknown_method },
};

static int explain_reply(
	const struct cli *cli, const char *method, const char *name, json_t *parameters)
{
	json_auto_t *object = NULL;
	const struct client_error *error = NULL;

	for (size_t i = 0; i < N_ELEMENTS(errors); i++)
		if (strcmp(errors[i].name, name) == 0)
			error = &errors[i];

	if (!cli->json) {
		if (error)
			error->say(method, parameters);
		else
			output_error("the agent answers with the error %s", name);
		return EXIT_REFUSED;
	}

	object = json_pack("{s:s}", "error", error ? error->json_name : name);
	(void)json_object_update_missing(object, parameters);
	(void)output_json_line(object);
	return EXIT_REFUSED;
}

int client_explain(
	const struct cli *cli, const char *method, int error, const char *name, json_t *parameters)
{
	switch (error) {
	case VARLINK_ERROR:
		return explain_reply(cli, method, name, parameters);
	case -ENOENT:
	case -ECONNREFUSED:
	case -ENOTDIR:
		output_error("no agent answers on %s: is jitgated running? "
			     "(systemctl status jitgated)",
			cli->socket);
		return EXIT_NO_AGENT;
	case -EACCES:
	case -EPERM:
		output_error("permission denied on %s: this needs membership of the group "
			     "jitgate, or root",
			cli->socket);
		return EXIT_REFUSED;
	case -ETIMEDOUT:
		output_error("the agent on %s does not answer: is it stuck? "
			     "(systemctl status jitgated)",
			cli->socket);
		return EXIT_NO_AGENT;
	case -EPIPE:
	case -ECONNRESET:
	case -ENOTCONN:
		output_error("the agent closed the connection on %s: it has stopped, or serves too "
			     "many already (systemctl status jitgated)",
			cli->socket);
		return EXIT_NO_AGENT;
	case -EBADMSG:
		output_error("what answers on %s is no jitgate agent", cli->socket);
		return EXIT_NO_AGENT;
	case -EMSGSIZE:
		output_error("that is more than the agent reads in one call");
		return EXIT_REFUSED;
	default:
		output_error("%s: %s", cli->socket, strerror(-error));
		return error == -ENOMEM ? EXIT_REFUSED : EXIT_NO_AGENT;
	}
}

int client_open(const struct cli *cli, struct varlink_client **ret)
{
	int r;

	r = varlink_client_open(cli->socket, CLIENT_TIMEOUT_MS, ret);
	return r < 0 ? client_explain(cli, "", r, NULL, NULL) : EXIT_DONE;
}

int client_call(const struct cli *cli, struct varlink_client *client, const char *method,
	json_t *parameters, json_t **ret_reply)
{
	json_auto_t *reply = NULL;
	_cleanup_(freep) char *error = NULL;
	char qualified[96];
	int r;

	snprintf(qualified, sizeof(qualified), "%s.%s", AGENT_INTERFACE, method);
	r = varlink_client_call(client, qualified, parameters, &reply, &error);
	if (r != 0)
		return client_explain(cli, method, r, error, reply);
	*ret_reply = TAKE_PTR(reply);
	return EXIT_DONE;
}

int client_ask(const struct cli *cli, const char *method, json_t *parameters, json_t **ret_reply)
{
	_cleanup_(varlink_client_freep) struct varlink_client *client = NULL;
	int r;

	r = client_open(cli, &client);
	if (r != EXIT_DONE) {
		json_decref(parameters);
		return r;
	}
	return client_call(cli, client, method, parameters, ret_reply);
}

int client_list(const struct cli *cli, const char *method, json_t *parameters, const char *name,
	json_t **ret_reply, json_t **ret_list)
{
	int r;

	r = client_ask(cli, method, parameters, ret_reply);
	if (r != EXIT_DONE)
		return r;
	*ret_list = json_object_get(*ret_reply, name);
	if (!json_is_array(*ret_list))
		return client_explain(cli, method, -EBADMSG, NULL, NULL);
	return EXIT_DONE;
}
