/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What was asked of the control plane: requests, approve, deny, requests revoke. */

#include <errno.h>
#include <string.h>

#include "agent/cli/request_state.h"
#include "agent/cli/server.h"
#include "agent/cli/table.h"
#include "agent/common/document.h"
#include "agent/common/url.h"

#define REQUESTS_MAX 1000
#define REQUESTS_PATH "/v1/requests"

static enum style stage_style(enum request_stage stage)
{
	switch (stage) {
	case REQUEST_OPEN:
		return STYLE_GOOD;
	case REQUEST_ENDED:
		return STYLE_FAINT;
	default:
		return STYLE_WARNING;
	}
}

/* A row for each port; what is the request's stands in the first. */
static int add_port(struct table *table, const struct cli *cli, const json_t *request,
	const char *vm, const json_t *port, bool first)
{
	_cleanup_(freep) char *sources = port_sources(port);
	bool ended = port_stage(port) == REQUEST_ENDED;
	char until[2 * TIME_STRING_MAX];

	if (!sources)
		return -ENOMEM;
	table_add(table, STYLE_PLAIN, "%s", first ? member_text(request, "id", "?") : "");
	table_add(table, STYLE_PLAIN, "%s", first ? member_text(request, "requestor", "?") : "");
	table_add(table, STYLE_PLAIN, "%s", vm_name(vm));
	table_add(table, STYLE_PLAIN, "%" JSON_INTEGER_FORMAT "/%s", member_integer(port, "number"),
		member_text(port, "protocol", "TCP"));
	table_add(table, STYLE_PLAIN, "%s", sources);
	table_add(table, stage_style(port_stage(port)), "%s", port_state(port));
	table_add(table, STYLE_PLAIN, "%s",
		ended ? ""
		      : moment_describe_utc(member_text(port, "endTimeUtc", ""), cli->now, until));
	table_add(table, STYLE_PLAIN, "%s", first ? member_text(request, "justification", "") : "");
	return 0;
}

static int add_request(struct table *table, const struct cli *cli, const json_t *request)
{
	json_t *vm, *port;
	bool first = true;
	size_t i, j;
	int r;

	json_array_foreach (json_object_get(request, "virtualMachines"), i, vm) {
		json_array_foreach (json_object_get(vm, "ports"), j, port) {
			r = add_port(table, cli, request, member_text(vm, "id", "?"), port, first);
			if (r < 0)
				return r;
			first = false;
		}
	}
	return 0;
}

static int print_requests(const struct cli *cli, const json_t *requests)
{
	static const char *const headings[] = { "ID", "WHO", "VM", "PORT", "FROM", "STATE", "UNTIL",
		"REASON", NULL };
	_cleanup_(table_freep) struct table *table = NULL;
	json_t *request;
	size_t i;
	int r;

	r = table_new(headings, &table);
	json_array_foreach (requests, i, request)
		if (r == 0)
			r = add_request(table, cli, request);
	return r < 0 ? r : table_print(table, cli);
}

/* "&name=value" behind a path; returns NULL, having freed path, where there is no memory. */
static char *path_add(char *path, const char *name, const char *value)
{
	_cleanup_(freep) char *begin = path, *encoded = NULL;
	char *longer;

	if (!path || !value)
		return TAKE_PTR(begin);
	encoded = url_encode(value);
	if (!encoded || asprintf(&longer, "%s&%s=%s", path, name, encoded) < 0)
		return NULL;
	return longer;
}

static int run_requests(const struct cli *cli, const struct arguments *arguments)
{
	bool all = arguments_have(arguments, "all"), more;
	const char *who = arguments_get(arguments, "by");
	_cleanup_(http_freep) struct http *http = NULL;
	_cleanup_(freep) char *path = NULL;
	json_auto_t *requests = NULL;
	int r;

	if (who && arguments_have(arguments, "mine"))
		return output_usage(cli, "--by and --mine are two answers to one question");
	path = strdup(all ? REQUESTS_PATH "?state=all" : REQUESTS_PATH "?state=active");
	path = path_add(path, "vm", arguments_operand(arguments, 0));
	path = path_add(path, "requestor", arguments_have(arguments, "mine") ? "me" : who);
	if (!path)
		return output_failure(-ENOMEM);
	r = server_open(cli, arguments, &http);
	if (r == EXIT_DONE)
		r = server_list(cli, http, path, REQUESTS_MAX, &requests, &more);
	if (r != EXIT_DONE)
		return r;
	if (cli->json)
		return output_json(requests);
	if (json_array_size(requests) == 0) {
		output_line(cli, STYLE_PLAIN, "No requests%s.",
			all ? "" : " now (--all shows those that ended, too)");
		return EXIT_DONE;
	}
	r = print_requests(cli, requests);
	if (r == 0 && more)
		output_error("there are more: these are the newest %d", REQUESTS_MAX);
	return r < 0 ? output_failure(r) : EXIT_DONE;
}

/* POST …/requests/{id}/verb; done is what people are told. */
static int act(const struct cli *cli, const struct arguments *arguments, const char *verb,
	const char *done)
{
	const char *id = arguments_operand(arguments, 0);
	_cleanup_(freep) char *path = NULL;
	_cleanup_(http_freep) struct http *http = NULL;
	json_auto_t *body = NULL, *reply = NULL;
	int r;

	if (!document_id_is_valid(id))
		return output_usage(cli, "\"%s\" can't be the id of a request", id);
	body = json_pack("{s:s*, s:s*}", "reason", arguments_get(arguments, "reason"), "sessions",
		arguments_get(arguments, "sessions"));
	if (!body)
		return output_usage(cli, "--reason is not UTF-8");
	if (asprintf(&path, REQUESTS_PATH "/%s/%s", id, verb) < 0) {
		path = NULL;
		return output_failure(-ENOMEM);
	}
	r = server_open(cli, arguments, &http);
	if (r == EXIT_DONE)
		r = server_call(cli, http, "POST", path, body, &reply);
	if (r != EXIT_DONE)
		return r;
	if (cli->json)
		return output_json(reply);
	output_line(cli, STYLE_GOOD, "%s %s", done, id);
	return EXIT_DONE;
}

static int run_approve(const struct cli *cli, const struct arguments *arguments)
{
	return act(cli, arguments, "approve", "approved");
}

static int run_deny(const struct cli *cli, const struct arguments *arguments)
{
	return act(cli, arguments, "deny", "denied");
}

static int run_requests_revoke(const struct cli *cli, const struct arguments *arguments)
{
	const char *sessions = arguments_get(arguments, "sessions");

	if (sessions && strcmp(sessions, "keep") != 0 && strcmp(sessions, "kill") != 0)
		return output_usage(cli, "--sessions is keep or kill");
	return act(cli, arguments, "revoke", "revoked");
}

static const struct option_spec requests_options[] = {
	{ "all", NULL, "those that ended, too", false, false },
	{ "mine", NULL, "only those that you made", false, false },
	{ "by", "NAME", "only those that this person made", false, false },
	SERVER_OPTIONS,
	{ 0 },
};

const struct command command_requests = {
	.name = "requests",
	.operands = "[VM]",
	.n_operands_max = 1,
	.options = requests_options,
	.summary = "who asked for what, at the control plane",
	.text = "Lists the requests for machines that you may read, newest first: those that are "
		"granted or wait for approval." SERVER_TEXT,
	.example = "jitgate requests web-1 --all",
	.run = run_requests,
};

static const struct option_spec approve_options[] = {
	{ "reason", "TEXT", "why: it goes into the activity log", false, false },
	SERVER_OPTIONS,
	{ 0 },
};

const struct command command_approve = {
	.name = "approve",
	.operands = "ID",
	.n_operands_min = 1,
	.n_operands_max = 1,
	.options = approve_options,
	.summary = "grant a request that waits for approval",
	.text = "Grants what someone else asked for. Its time begins now. Needs the role of an "
		"approver for the machine." SERVER_TEXT,
	.example = "jitgate approve r-0198c1 --reason \"seen with the team\"",
	.run = run_approve,
};

static const struct option_spec deny_options[] = {
	{ "reason", "TEXT", "why: the requester and the activity log see it", true, false },
	SERVER_OPTIONS,
	{ 0 },
};

const struct command command_deny = {
	.name = "deny",
	.operands = "ID",
	.n_operands_min = 1,
	.n_operands_max = 1,
	.options = deny_options,
	.summary = "turn down a request that waits for approval",
	.text = "Ends a request that waits for approval. Needs the role of an approver for the "
		"machine." SERVER_TEXT,
	.example = "jitgate deny r-0198c1 --reason \"use the staging machine\"",
	.run = run_deny,
};

static const struct option_spec requests_revoke_options[] = {
	{ "sessions", "keep|kill", "what becomes of the sessions it let in (keep)", false, false },
	{ "reason", "TEXT", "why: it goes into the activity log", false, false },
	SERVER_OPTIONS,
	{ 0 },
};

const struct command command_requests_revoke = {
	.name = "requests revoke",
	.operands = "ID",
	.n_operands_min = 1,
	.n_operands_max = 1,
	.options = requests_revoke_options,
	.summary = "take a request back, or end what it opened",
	.text = "Ends a request at the control plane, which shuts on the machine what it opened. "
		"One "
		"may revoke what one asked for oneself; approvers and administrators any. On the "
		"machine itself, root ends a grant with \"jitgate revoke\"." SERVER_TEXT,
	.example = "jitgate requests revoke r-0198c1 --sessions kill",
	.run = run_requests_revoke,
};
