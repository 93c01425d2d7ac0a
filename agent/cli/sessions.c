/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Who is in and who is kept out: sessions, denied. */

#include <string.h>

#include "agent/cli/client.h"
#include "agent/cli/table.h"

/* An IPv6 address beside a port goes in brackets. */
static void add_endpoint(struct table *table, const char *address, json_int_t port)
{
	bool brackets = strchr(address, ':');

	table_add(table, STYLE_PLAIN, "%s%s%s:%" JSON_INTEGER_FORMAT, brackets ? "[" : "", address,
		brackets ? "]" : "", port);
}

static void add_session(struct table *table, const struct cli *cli, const json_t *session)
{
	const char *since = member_text(session, "since", NULL);
	char moment[2 * TIME_STRING_MAX];

	add_endpoint(
		table, member_text(session, "source", "?"), member_integer(session, "sourcePort"));
	table_add(table, STYLE_PLAIN, "%" JSON_INTEGER_FORMAT "/%s",
		member_integer(session, "port"), member_text(session, "protocol", "?"));
	table_add(table, STYLE_PLAIN, "%s", member_text(session, "destination", "?"));
	table_add(table, STYLE_PLAIN, "%s",
		since ? moment_describe_utc(since, cli->now, moment) : "-");
	table_add(table, STYLE_PLAIN, "%s", member_text(session, "subject", "-"));
	table_add(table, STYLE_PLAIN, "%s", member_text(session, "grant", "-"));
}

static int run_sessions(const struct cli *cli, const struct arguments *arguments)
{
	static const char *const headings[] = { "SOURCE", "PORT", "TO", "SINCE", "WHO", "GRANT",
		NULL };
	_cleanup_(table_freep) struct table *table = NULL;
	json_auto_t *reply = NULL;
	json_t *sessions, *session;
	size_t i;
	int r;

	(void)arguments;
	r = client_list(cli, "ListSessions", NULL, "sessions", &reply, &sessions);
	if (r != EXIT_DONE)
		return r;
	if (cli->json)
		return output_json(sessions);
	if (json_array_size(sessions) == 0) {
		output_line(cli, STYLE_PLAIN, "No sessions on managed ports.");
		return EXIT_DONE;
	}
	r = table_new(headings, &table);
	if (r < 0)
		return output_failure(r);
	json_array_foreach (sessions, i, session)
		add_session(table, cli, session);
	r = table_print(table, cli);
	return r < 0 ? output_failure(r) : EXIT_DONE;
}

static int run_denied(const struct cli *cli, const struct arguments *arguments)
{
	static const char *const headings[] = { "SOURCE", "PORT", "PACKETS", NULL };
	_cleanup_(table_freep) struct table *table = NULL;
	json_auto_t *reply = NULL;
	json_t *denied, *entry;
	size_t i;
	int r;

	(void)arguments;
	r = client_list(cli, "ListDenied", NULL, "denied", &reply, &denied);
	if (r != EXIT_DONE)
		return r;
	if (cli->json)
		return output_json(denied);
	if (json_array_size(denied) == 0) {
		output_line(cli, STYLE_PLAIN, "Nobody was refused lately.");
		return EXIT_DONE;
	}
	r = table_new(headings, &table);
	if (r < 0)
		return output_failure(r);
	json_array_foreach (denied, i, entry) {
		table_add(table, STYLE_PLAIN, "%s", member_text(entry, "source", "?"));
		table_add(table, STYLE_PLAIN, "%" JSON_INTEGER_FORMAT "/%s",
			member_integer(entry, "port"), member_text(entry, "protocol", "?"));
		table_add(table, STYLE_PLAIN, "%" JSON_INTEGER_FORMAT,
			member_integer(entry, "packets"));
	}
	r = table_print(table, cli);
	return r < 0 ? output_failure(r) : EXIT_DONE;
}

const struct command command_sessions = {
	.name = "sessions",
	.summary = "who is connected to managed ports",
	.text = "Lists the connections to managed ports, with the grant that let each "
		"one in. Those that are older than the gate, and those let in by "
		"always_allow, have none.",
	.example = "jitgate sessions",
	.run = run_sessions,
};

const struct command command_denied = {
	.name = "denied",
	.summary = "who was refused, counted by the kernel",
	.text = "Lists the sources whose packets were refused lately, or in mode audit would have "
		"been, by port. The kernel counts them in a table of bounded size: in a flood, "
		"some are "
		"not listed.",
	.example = "jitgate denied",
	.run = run_denied,
};
