/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The control plane's log of who did what: activity. */

#include <errno.h>
#include <string.h>

#include "agent/cli/request_state.h"
#include "agent/cli/server.h"
#include "agent/cli/table.h"
#include "agent/common/url.h"

#define LINES_DEFAULT 50
#define LINES_MAX 10000
#define VMS_MAX 10000

static enum style result_style(const char *result)
{
	return strcmp(result, "Succeeded") == 0 ? STYLE_PLAIN : STYLE_BAD;
}

/* "…/jitNetworkAccessPolicies/initiate/action" is initiate; "jitgate/agents/grant_active" is
 * grant_active. Returns text. */
static const char *operation_shorten(const char *operation, char *text, size_t n_text)
{
	size_t n = strlen(operation), n_action = strlen("/action");
	const char *begin;

	if (n > n_action && strcmp(operation + n - n_action, "/action") == 0)
		n -= n_action;
	for (begin = operation + n; begin > operation && begin[-1] != '/'; begin--)
		;
	snprintf(text, n_text, "%.*s", (int)(operation + n - begin), begin);
	return text;
}

/* What happened, and the reason that a person gave where that does not say it. */
static void add_message(struct table *table, const json_t *entry)
{
	const char *message = member_text(entry, "message", "");
	const char *reason = member_text(entry, "reason", "");

	if (!*reason || strstr(message, reason))
		table_add(table, STYLE_PLAIN, "%s", message);
	else
		table_add(table, STYLE_PLAIN, "%s%s%s", message, *message ? ": " : "", reason);
}

static void add_entry(struct table *table, const struct cli *cli, const json_t *entry)
{
	const char *time = member_text(entry, "time", "?");
	const char *result = member_text(entry, "result", "?");
	json_int_t port = member_integer(entry, "port");
	char text[2 * TIME_STRING_MAX], number[32] = "";
	int64_t seconds;

	if (time_parse_utc(time, &seconds) == 0)
		time = time_format_local(seconds, cli->now, text);
	table_add(table, STYLE_PLAIN, "%s", time);
	/* A machine's agent goes by the machine's id. */
	table_add(table, STYLE_PLAIN, "%s", vm_name(member_text(entry, "principal", "")));
	table_add(table, STYLE_PLAIN, "%s",
		operation_shorten(member_text(entry, "operation", "?"), text, sizeof(text)));
	table_add(table, result_style(result), "%s", result);
	table_add(table, STYLE_PLAIN, "%s", vm_name(member_text(entry, "vm", "")));
	if (port > 0)
		snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT "/%.8s", port,
			member_text(entry, "protocol", "TCP"));
	table_add(table, STYLE_PLAIN, "%s", number);
	table_add(table, STYLE_PLAIN, "%s", member_text(entry, "source", ""));
	add_message(table, entry);
}

/* As a log is read: the newest at the end. */
static int print_entries(const struct cli *cli, const json_t *entries)
{
	static const char *const headings[] = { "TIME", "WHO", "DID", "RESULT", "VM", "PORT",
		"FROM", "", NULL };
	_cleanup_(table_freep) struct table *table = NULL;
	int r;

	r = table_new(headings, &table);
	if (r < 0)
		return r;
	for (size_t i = json_array_size(entries); i > 0; i--)
		add_entry(table, cli, json_array_get(entries, i - 1));
	return table_print(table, cli);
}

/* A duration counts back from now. Returns the point in time, or NULL where text is neither. */
static const char *read_since(const char *text, int64_t now, char utc[static TIME_STRING_MAX])
{
	int64_t seconds;

	if (duration_parse(text, &seconds) == 0)
		return time_format_utc(now - seconds, utc);
	return time_parse_utc(text, &seconds) == 0 ? time_format_utc(seconds, utc) : NULL;
}

/* The log knows machines by their ids: that of the machine of a name (allocated), where there is
 * one; the name itself where there is none. */
static int find_vm(const struct cli *cli, struct http *http, const char *name, char **ret)
{
	json_auto_t *vms = NULL;
	const char *found = NULL;
	bool more = false;
	json_t *vm;
	size_t i;
	int r;

	r = strchr(name, '/') ? EXIT_DONE : server_list(cli, http, "/v1/vms", VMS_MAX, &vms, &more);
	if (r != EXIT_DONE)
		return r;
	json_array_foreach (vms, i, vm) {
		const char *id = member_text(vm, "id", "");

		if (strcasecmp(vm_name(id), name) != 0)
			continue;
		if (found) {
			output_error("several machines are called %s: give the id, as %s or %s",
				name, found, id);
			return EXIT_REFUSED;
		}
		found = id;
	}
	*ret = strdup(found ? found : name);
	return *ret ? EXIT_DONE : output_failure(-ENOMEM);
}

static void write_query(FILE *stream, const char *name, const char *value)
{
	_cleanup_(freep) char *encoded = value ? url_encode(value) : NULL;

	if (encoded)
		fprintf(stream, "&%s=%s", name, encoded);
}

static int build_path(const struct cli *cli, const struct arguments *arguments, const char *vm,
	size_t n_lines, char **ret)
{
	_cleanup_(freep) char *path = NULL;
	const char *since = arguments_get(arguments, "since");
	char utc[TIME_STRING_MAX];
	size_t n_bytes;
	FILE *stream;

	stream = open_memstream(&path, &n_bytes);
	if (!stream)
		return output_failure(-ENOMEM);
	fprintf(stream, "/v1/activity?top=%zu", n_lines < 100 ? n_lines : 100);
	if (since)
		write_query(stream, "since", read_since(since, cli->now, utc));
	write_query(stream, "vm", vm);
	write_query(stream, "request", arguments_get(arguments, "request"));
	write_query(stream, "principal", arguments_get(arguments, "principal"));
	if (fclose(stream) != 0)
		return output_failure(-ENOMEM);
	*ret = TAKE_PTR(path);
	return EXIT_DONE;
}

static int check_since(const struct cli *cli, const struct arguments *arguments)
{
	const char *since = arguments_get(arguments, "since");
	char utc[TIME_STRING_MAX];

	if (since && !read_since(since, cli->now, utc))
		return output_usage(cli,
			"--since %s is neither a duration like PT3H nor a time in UTC, like "
			"2026-01-01T10:00:00Z",
			since);
	return EXIT_DONE;
}

static int read_lines(const struct cli *cli, const struct arguments *arguments, size_t *ret)
{
	const char *text = arguments_get(arguments, "lines");
	char *end;
	long n;

	*ret = LINES_DEFAULT;
	if (!text)
		return EXIT_DONE;
	n = strtol(text, &end, 10);
	if (end == text || *end || n < 1 || n > LINES_MAX)
		return output_usage(cli, "--lines is a number from 1 to %d", LINES_MAX);
	*ret = n;
	return EXIT_DONE;
}

static int run_activity(const struct cli *cli, const struct arguments *arguments)
{
	_cleanup_(http_freep) struct http *http = NULL;
	const char *name = arguments_get(arguments, "vm");
	_cleanup_(freep) char *path = NULL, *vm = NULL;
	json_auto_t *entries = NULL;
	size_t n_lines;
	bool more;
	int r;

	r = read_lines(cli, arguments, &n_lines);
	if (r == EXIT_DONE)
		r = check_since(cli, arguments);
	if (r == EXIT_DONE)
		r = server_open(cli, arguments, &http);
	if (r == EXIT_DONE && name)
		r = find_vm(cli, http, name, &vm);
	if (r == EXIT_DONE)
		r = build_path(cli, arguments, vm, n_lines, &path);
	if (r == EXIT_DONE)
		r = server_list(cli, http, path, n_lines, &entries, &more);
	if (r != EXIT_DONE)
		return r;
	if (cli->json)
		return output_json(entries);
	if (json_array_size(entries) == 0) {
		output_line(cli, STYLE_PLAIN, "No activity.");
		return EXIT_DONE;
	}
	r = print_entries(cli, entries);
	return r < 0 ? output_failure(r) : EXIT_DONE;
}

static const struct option_spec activity_options[] = {
	{ "vm", "VM", "only of this machine", false, false },
	{ "request", "ID", "only of this request", false, false },
	{ "principal", "NAME", "only of this person", false, false },
	{ "since", "TIME", "how far back (PT3H), or from when (2026-01-01T10:00:00Z)", false,
		false },
	{ "lines", "N", "the last N (50)", false, false },
	SERVER_OPTIONS,
	{ 0 },
};

const struct command command_activity = {
	.name = "activity",
	.options = activity_options,
	.summary = "who did what, at the control plane",
	.text = "Prints the control plane's activity log of the machines that you may read, the "
		"newest last. \"jitgate audit\" prints the log of this machine's own "
		"agent." SERVER_TEXT,
	.example = "jitgate activity --vm web-1 --since P1D",
	.run = run_activity,
};
