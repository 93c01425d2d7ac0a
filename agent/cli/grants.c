/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Grants: grants, grant, revoke. */

#include <errno.h>
#include <string.h>

#include "agent/cli/client.h"
#include "agent/cli/table.h"
#include "agent/common/document.h"
#include "agent/common/text.h"

#define PREFIXES_SHOWN 4

static enum style state_style(const char *state)
{
	if (strcmp(state, "active") == 0)
		return STYLE_GOOD;
	return strcmp(state, "scheduled") == 0 ? STYLE_WARNING : STYLE_FAINT;
}

static void add_when(struct table *table, const struct cli *cli, const json_t *grant)
{
	const char *state = member_text(grant, "state", "?");
	char from[2 * TIME_STRING_MAX], until[2 * TIME_STRING_MAX];

	moment_describe_utc(member_text(grant, "notBefore", "?"), cli->now, from);
	moment_describe_utc(member_text(grant, "expires", "?"), cli->now, until);
	/* Its end is not the one that it was to have. */
	if (strcmp(state, "revoked") == 0)
		table_add(table, STYLE_PLAIN, "%s", "");
	else if (strcmp(state, "scheduled") == 0)
		table_add(table, STYLE_PLAIN, "%s, begins %s", until, from);
	else
		table_add(table, STYLE_PLAIN, "%s", until);
}

/* A signed grant whose document could not be written to disk; local ones never are. */
static bool grant_is_volatile(const json_t *grant)
{
	return strcmp(member_text(grant, "origin", ""), "signed") == 0 &&
		json_is_false(json_object_get(grant, "durable"));
}

/* A row for each port; what is the grant's stands in the first. */
static int add_grant_port(struct table *table, const struct cli *cli, const json_t *grant,
	const json_t *port, bool first)
{
	const char *state = first ? member_text(grant, "state", "?") : "";
	_cleanup_(freep) char *sources = list_describe(
		json_object_get(port, "allowedSourceAddressPrefixes"), PREFIXES_SHOWN);

	if (!sources)
		return -ENOMEM;
	table_add(table, STYLE_PLAIN, "%s", first ? member_text(grant, "id", "?") : "");
	table_add(table, state_style(state), "%s%s", state,
		first && grant_is_volatile(grant) ? ", not on disk" : "");
	table_add(table, STYLE_PLAIN, "%" JSON_INTEGER_FORMAT "/%s", member_integer(port, "number"),
		member_text(port, "protocol", "?"));
	table_add(table, STYLE_PLAIN, "%s", sources);
	if (!first) {
		for (int i = 0; i < 4; i++)
			table_add(table, STYLE_PLAIN, "%s", "");
		return 0;
	}
	add_when(table, cli, grant);
	table_add(table, STYLE_PLAIN, "%s",
		member_text(grant, "subject", member_text(grant, "origin", "?")));
	table_add(table, STYLE_PLAIN, "%" JSON_INTEGER_FORMAT,
		member_integer(grant, "newConnections"));
	table_add(table, STYLE_PLAIN, "%s", member_text(grant, "justification", ""));
	return 0;
}

static int print_grants(const struct cli *cli, const json_t *grants)
{
	static const char *const headings[] = { "ID", "STATE", "PORT", "FROM", "ENDS", "WHO",
		"CONNECTIONS", "REASON", NULL };
	_cleanup_(table_freep) struct table *table = NULL;
	json_t *grant, *port;
	size_t i, j;
	int r;

	r = table_new(headings, &table);
	if (r < 0)
		return r;
	json_array_foreach (grants, i, grant) {
		json_array_foreach (json_object_get(grant, "ports"), j, port) {
			r = add_grant_port(table, cli, grant, port, j == 0);
			if (r < 0)
				return r;
		}
	}
	return table_print(table, cli);
}

static int run_grants(const struct cli *cli, const struct arguments *arguments)
{
	json_auto_t *reply = NULL;
	json_t *grants;
	bool all = arguments_have(arguments, "all");
	int r;

	r = client_list(
		cli, "ListGrants", json_pack("{s:b}", "all", all), "grants", &reply, &grants);
	if (r != EXIT_DONE)
		return r;
	if (cli->json)
		return output_json(grants);
	if (json_array_size(grants) == 0) {
		output_line(cli, STYLE_PLAIN, "No grants%s.",
			all ? "" : " now (--all shows those that ended, too)");
		return EXIT_DONE;
	}
	r = print_grants(cli, grants);
	return r < 0 ? output_failure(r) : EXIT_DONE;
}

/* The sources, each as the agent will show it. Returns 0; -EINVAL, having said why. */
static int read_sources(const struct cli *cli, const struct arguments *arguments, json_t **ret)
{
	json_auto_t *sources = json_array();
	const char *text;
	size_t index = 0;

	while ((text = arguments_next(arguments, "source", &index))) {
		char normal[PREFIX_STRING_MAX];
		struct prefix prefix;
		const char *reason = prefix_parse_reason(text, &prefix);

		if (reason) {
			output_usage(cli, "--source %s %s", text, reason);
			return -EINVAL;
		}
		json_array_append_new(sources, json_string(prefix_format(&prefix, normal)));
	}
	*ret = TAKE_PTR(sources);
	return 0;
}

static int read_ports(
	const struct cli *cli, const struct arguments *arguments, json_t *sources, json_t **ret)
{
	json_auto_t *ports = json_array();
	const char *text;
	size_t index = 0;

	while ((text = arguments_next(arguments, "port", &index))) {
		unsigned protocols;
		uint16_t number;

		if (port_protocol_parse(text, &number, &protocols) < 0) {
			output_usage(cli, "--port %s is not a port like 22/tcp", text);
			return -EINVAL;
		}
		json_array_append_new(ports,
			json_pack("{s:i, s:s, s:O}", "number", number, "protocol",
				protocol_format(protocols), "allowedSourceAddressPrefixes",
				sources));
	}
	*ret = TAKE_PTR(ports);
	return 0;
}

/* As the agent takes it for its log. Returns EXIT_DONE; EXIT_USAGE, having said why. */
static int check_reason(const struct cli *cli, const char *reason)
{
	if (text_is_printable(reason) && strlen(reason) <= DOCUMENT_STRING_MAX)
		return EXIT_DONE;
	return output_usage(cli,
		"--reason has more than %d bytes, control characters, or what is not UTF-8",
		DOCUMENT_STRING_MAX);
}

static int read_grant(const struct cli *cli, const struct arguments *arguments, json_t **ret)
{
	json_auto_t *sources = NULL, *ports = NULL;
	int64_t seconds;
	int r;

	r = read_sources(cli, arguments, &sources);
	if (r < 0)
		return r;
	r = read_ports(cli, arguments, sources, &ports);
	if (r < 0)
		return r;
	if (duration_parse(arguments_get(arguments, "for"), &seconds) < 0) {
		output_usage(cli, "--for %s is not a duration like PT10M or PT3H, up to P366D",
			arguments_get(arguments, "for"));
		return -EINVAL;
	}
	if (check_reason(cli, arguments_get(arguments, "reason")) != EXIT_DONE)
		return -EINVAL;
	*ret = json_pack("{s:O, s:I, s:s}", "ports", ports, "seconds", (json_int_t)seconds,
		"reason", arguments_get(arguments, "reason"));
	return *ret ? 0 : -ENOMEM;
}

static int run_grant(const struct cli *cli, const struct arguments *arguments)
{
	json_auto_t *parameters = NULL, *reply = NULL;
	char until[2 * TIME_STRING_MAX];
	int r;

	r = read_grant(cli, arguments, &parameters);
	if (r < 0)
		return r == -EINVAL ? EXIT_USAGE : output_failure(r);
	r = client_ask(cli, "Grant", TAKE_PTR(parameters), &reply);
	if (r != EXIT_DONE)
		return r;
	if (cli->json)
		return output_json(reply);

	output_line(cli, STYLE_GOOD, "granted until %s: %s",
		moment_describe_utc(member_text(reply, "expires", "?"), cli->now, until),
		member_text(reply, "id", "?"));
	return EXIT_DONE;
}

/* "r-…" is a request at a control plane; the grants that come of it have a "." in their ids. */
static void hint_at_requests(const char *id)
{
	if (strncmp(id, "r-", 2) == 0 && !strchr(id, '.'))
		output_error(
			"to end a request at the control plane: jitgate requests revoke %s", id);
}

static int run_revoke(const struct cli *cli, const struct arguments *arguments)
{
	const char *sessions = arguments_get(arguments, "sessions");
	const char *id = arguments_operand(arguments, 0);
	json_auto_t *parameters = NULL, *reply = NULL;
	json_int_t n_ended;
	int r;

	if (!document_id_is_valid(id))
		return output_usage(cli, "\"%s\" can't be the id of a grant", id);
	if (sessions && strcmp(sessions, "keep") != 0 && strcmp(sessions, "kill") != 0)
		return output_usage(cli, "--sessions is keep or kill");
	r = check_reason(cli, arguments_get(arguments, "reason"));
	if (r != EXIT_DONE)
		return r;
	parameters = json_pack("{s:s, s:s*, s:s}", "id", id, "sessions", sessions, "reason",
		arguments_get(arguments, "reason"));
	if (!parameters)
		return output_failure(-ENOMEM);

	r = client_ask(cli, "Revoke", TAKE_PTR(parameters), &reply);
	if (r != EXIT_DONE) {
		hint_at_requests(id);
		return r;
	}
	if (cli->json)
		return output_json(reply);
	n_ended = member_integer(reply, "sessionsEnded");
	if (sessions && strcmp(sessions, "kill") == 0)
		output_line(cli, STYLE_GOOD,
			"revoked %s and ended %" JSON_INTEGER_FORMAT " session%s", id, n_ended,
			n_ended == 1 ? "" : "s");
	else
		output_line(cli, STYLE_GOOD,
			"revoked %s (sessions it let in go on: jitgate sessions)", id);
	return EXIT_DONE;
}

static const struct option_spec grants_options[] = {
	{ .name = "all", .help = "those that ended or were revoked, too" },
	{ 0 },
};

const struct command command_grants = {
	.name = "grants",
	.options = grants_options,
	.summary = "what is granted now",
	.text = "Lists the grants that are active or scheduled: ports, sources, when "
		"they end, for whom and why.",
	.example = "jitgate grants --all",
	.run = run_grants,
};

static const struct option_spec grant_options[] = {
	{ "port", "PORT/PROTO", "22/tcp, 53/udp, 443/* (both)", true, true },
	{ "source", "PREFIX", "an address or a prefix, 198.51.100.0/24", true, true },
	{ "for", "DURATION", "ISO 8601: PT10M, PT3H", true, false },
	{ "reason", "TEXT", "why: it goes into the audit log", true, false },
	{ 0 },
};

const struct command command_grant = {
	.name = "grant",
	.options = grant_options,
	.summary = "open a port without a signed document (root)",
	.text = "Break-glass: opens managed ports to sources for a limited time, "
		"without a signed document; policies do not bound it. Needs root, is "
		"audited, and ends at reboot at the latest.",
	.example = "sudo jitgate grant --port 22/tcp --source 203.0.113.7 --for PT10M \\\n"
		   "    --reason \"feed is down\"",
	.run = run_grant,
};

static const struct option_spec revoke_options[] = {
	{ "sessions", "keep|kill", "what becomes of the sessions it let in (keep)", false, false },
	{ "reason", "TEXT", "why: it goes into the audit log", true, false },
	{ 0 },
};

const struct command command_revoke = {
	.name = "revoke",
	.operands = "ID",
	.n_operands_min = 1,
	.n_operands_max = 1,
	.options = revoke_options,
	.summary = "end a grant now (root)",
	.text = "Ends a grant at once and for good: the same document is not admitted "
		"again. What other grants still cover stays open. Needs root. A request at a "
		"control plane is ended with \"jitgate requests revoke\".",
	.example = "sudo jitgate revoke 4711 --sessions kill --reason \"left the team\"",
	.run = run_revoke,
};
