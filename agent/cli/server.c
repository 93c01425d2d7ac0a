/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>

#include "agent/cli/client_conf.h"
#include "agent/cli/output.h"
#include "agent/cli/server.h"
#include "agent/common/bearer.h"
#include "agent/common/times.h"

#define PAGES_MAX 100
#define PATH_BYTES_MAX 8192

/* Empty is unset. */
static const char *environment(const char *name)
{
	const char *value = getenv(name);

	return value && value[0] ? value : NULL;
}

static int say(char *error, int otherwise)
{
	if (!error)
		return output_failure(otherwise);
	output_error("%s", error);
	return EXIT_REFUSED;
}

static int load_conf(struct client_conf *conf)
{
	_cleanup_(freep) char *path = client_conf_path(), *error = NULL;
	int r;

	if (!path)
		return EXIT_DONE;
	r = client_conf_load(path, conf, &error);
	return r < 0 && r != -ENOENT && r != -ENOTDIR ? say(error, r) : EXIT_DONE;
}

static const char *choose_server(const struct arguments *arguments, const struct client_conf *conf)
{
	const char *server = arguments_get(arguments, "server");

	if (!server)
		server = environment("JITGATE_SERVER");
	return server ? server : conf->server;
}

/* The token into conf->token, in place of what client.conf gave for its own server alone. */
static int choose_token(const struct arguments *arguments, struct client_conf *conf)
{
	const char *file = arguments_get(arguments, "token-file");
	const char *variable = environment("JITGATE_TOKEN");
	_cleanup_(freep) char *error = NULL, *token = NULL;
	int r;

	if (!file && !variable)
		return EXIT_DONE;
	if (file) {
		r = token_load(file, &token, &error);
		if (r < 0)
			return say(error, r);
	} else if (!bearer_is_valid(variable)) {
		output_error("JITGATE_TOKEN does not hold a token");
		return EXIT_REFUSED;
	} else {
		token = strdup(variable);
		if (!token)
			return output_failure(-ENOMEM);
	}
	free(conf->token);
	conf->token = TAKE_PTR(token);
	return EXIT_DONE;
}

/* What client.conf has is for its server: a token must not go to another. */
static void forget_other_server(struct client_conf *conf, const char *server)
{
	if (conf->server && server_is_same(conf->server, server))
		return;
	free(TAKE_PTR(conf->token));
	free(TAKE_PTR(conf->ca));
}

static int open_with(const struct cli *cli, const struct arguments *arguments,
	struct client_conf *conf, struct http **ret)
{
	const char *server = choose_server(arguments, conf);
	const char *ca = arguments_get(arguments, "ca");
	const char *reason;
	int r;

	if (!server)
		return output_usage(cli,
			"which control plane? --server URL, JITGATE_SERVER, or \"server\" below "
			"[client] in ~/.config/jitgate/client.conf");
	reason = http_url_reason(server);
	if (reason)
		return output_usage(cli, "the server \"%s\" %s", server, reason);
	forget_other_server(conf, server);
	r = choose_token(arguments, conf);
	if (r != EXIT_DONE)
		return r;
	if (!conf->token)
		return output_usage(cli,
			"no token for %s: --token-file FILE, JITGATE_TOKEN, or \"token\" beside "
			"this server in ~/.config/jitgate/client.conf",
			server);
	r = http_new(server, ca ? ca : conf->ca, conf->token, ret);
	return r < 0 ? output_failure(r) : EXIT_DONE;
}

int server_open(const struct cli *cli, const struct arguments *arguments, struct http **ret)
{
	_cleanup_(client_conf_done) struct client_conf conf = { 0 };
	int r;

	r = load_conf(&conf);
	return r == EXIT_DONE ? open_with(cli, arguments, &conf, ret) : r;
}

/* Whose sentence begins with what: a message of the server stands behind it. */
static const char *status_describe(long status)
{
	switch (status) {
	case 401:
		return "the control plane does not accept the token";
	case 403:
		return "not permitted";
	case 404:
		return "not found";
	case 409:
		return "not possible now";
	case 429:
		return "too many requests";
	}
	return status >= 500 ? "the control plane can't do it now" : "refused";
}

static int explain_status(const struct cli *cli, const struct http_answer *answer)
{
	const json_t *error = json_object_get(answer->body, "error");
	const char *message = member_text(error, "message", "no reason given");
	const char *code = member_text(error, "code", NULL);
	char number[32], later[TIME_STRING_MAX];
	/* Something in front of the server speaks for it. */
	bool away = answer->status >= 502 && answer->status <= 504;

	snprintf(number, sizeof(number), "HTTP %ld", answer->status);
	code = code ? code : number;
	if (cli->json)
		server_refuse(cli, code, message);
	else if (answer->retry_after > 0)
		output_error("%s (%s): %s; try again in %s", status_describe(answer->status), code,
			message, duration_describe(answer->retry_after, later));
	else
		output_error("%s (%s): %s", status_describe(answer->status), code, message);
	return away ? EXIT_NO_AGENT : EXIT_REFUSED;
}

int server_explain(const struct cli *cli, int r, const struct http_answer *answer)
{
	if (r == 0)
		return explain_status(cli, answer);
	output_error("%s", answer->error);
	return r == HTTP_UNREACHABLE ? EXIT_NO_AGENT : EXIT_REFUSED;
}

int server_refuse(const struct cli *cli, const char *code, const char *message)
{
	json_auto_t *object = NULL;

	if (!cli->json) {
		output_error("refused (%s): %s", code, message);
		return EXIT_REFUSED;
	}
	object = json_pack("{s:s, s:s, s:s}", "error", "refused", "code", code, "message", message);
	(void)output_json_line(object);
	return EXIT_REFUSED;
}

int server_call(const struct cli *cli, struct http *http, const char *method, const char *path,
	const json_t *body, json_t **ret)
{
	_cleanup_(http_answer_done) struct http_answer answer;
	int r;

	r = http_call(http, method, path, body, SERVER_SECONDS, &answer);
	if (r != 0 || answer.status >= 300)
		return server_explain(cli, r, &answer);
	*ret = answer.body ? json_incref(answer.body) : json_object();
	return EXIT_DONE;
}

/* The next page is behind the URL that we were given, whatever the server calls itself. */
static const char *next_path(const json_t *page)
{
	const char *link = member_text(page, "nextLink", NULL);
	const char *path = link ? strstr(link, "/v1/") : NULL;

	return path && strlen(path) <= PATH_BYTES_MAX ? path : NULL;
}

int server_list(const struct cli *cli, struct http *http, const char *path, size_t n_max,
	json_t **ret, bool *ret_more)
{
	json_auto_t *all = json_array(), *page = NULL;
	const char *next = path;

	*ret_more = false;
	for (size_t i = 0; next && i < PAGES_MAX && json_array_size(all) < n_max; i++) {
		json_t *fresh = NULL, *value;
		int r = server_call(cli, http, "GET", next, NULL, &fresh);

		if (r != EXIT_DONE)
			return r;
		json_decref(page);
		page = fresh;
		value = json_object_get(page, "value");
		if (!json_is_array(value)) {
			output_error(
				"%s does not answer as a control plane does: no list \"value\"",
				http_url(http));
			return EXIT_REFUSED;
		}
		json_array_extend(all, value);
		next = next_path(page);
	}
	*ret_more = next || json_array_size(all) > n_max;
	while (json_array_size(all) > n_max)
		json_array_remove(all, json_array_size(all) - 1);
	*ret = TAKE_PTR(all);
	return EXIT_DONE;
}
