/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The audit file: audit, audit verify. */

#include <errno.h>
#include <string.h>

#include "agent/cli/chain.h"
#include "agent/cli/client.h"
#include "agent/cli/event.h"
#include "agent/cli/input.h"
#include "agent/common/strictjson.h"

#define AUDIT_FILE "/var/log/jitgate/audit.jsonl"
#define AUDIT_LINE_BYTES_MAX (128 * 1024) /* agent/daemon/audit_file.h */
#define LINES_SHOWN 50
#define LINES_MAX 1000000
#define ASK_TIMEOUT_MS 5000

/* The last lines of a file, in a ring. */
struct tail {
	char **lines;
	size_t n_max;
	size_t n_seen;
};

static void tail_done(struct tail *tail)
{
	for (size_t i = 0; tail->lines && i < tail->n_max; i++)
		free(tail->lines[i]);
	free(tail->lines);
}

static int tail_add(struct tail *tail, const char *line)
{
	char **slot = &tail->lines[tail->n_seen % tail->n_max];
	char *copy = strdup(line);

	if (!copy)
		return -ENOMEM;
	free(*slot);
	*slot = copy;
	tail->n_seen++;
	return 0;
}

/* What the agent says, or NULL where it does not: the file can be read without it. */
static char *ask_agent(const struct cli *cli)
{
	_cleanup_(varlink_client_freep) struct varlink_client *client = NULL;
	json_auto_t *reply = NULL;
	_cleanup_(freep) char *error = NULL;
	const char *path;

	if (varlink_client_open(cli->socket, ASK_TIMEOUT_MS, &client) < 0)
		return NULL;
	if (varlink_client_call(client, AGENT_INTERFACE ".Status", NULL, &reply, &error) != 0)
		return NULL;
	path = member_text(reply, "auditFile", NULL);
	return path ? strdup(path) : NULL;
}

static int file_failure(const char *path, int error)
{
	output_error("%s: %s%s", path, strerror(-error),
		error == -EACCES ? " (this needs membership of the group jitgate, or root)" : "");
	return EXIT_REFUSED;
}

/* A line that is no record is shown, too: what somebody did to it is of interest. */
static void print_record(const struct cli *cli, const char *line)
{
	json_auto_t *record = NULL;
	char reason[128];

	if (json_parse_object(line, strlen(line), &record, reason, sizeof(reason)) < 0)
		output_line(cli, STYLE_BAD, "%s", line);
	else if (cli->json)
		output_json_line(record);
	else
		event_print(cli, record);
}

static int read_tail(struct line_reader *reader, const char *path, struct tail *tail)
{
	char *text;
	size_t n_bytes;
	int r;

	while ((r = line_reader_next(reader, &text, &n_bytes)) != 0) {
		if (r == -EMSGSIZE)
			continue;
		if (r < 0)
			return file_failure(path, r);
		if (tail_add(tail, text) < 0)
			return output_failure(-ENOMEM);
	}
	return EXIT_DONE;
}

static void show(const struct cli *cli, const struct tail *tail)
{
	size_t first = tail->n_seen > tail->n_max ? tail->n_seen - tail->n_max : 0;

	for (size_t i = first; i < tail->n_seen; i++)
		print_record(cli, tail->lines[i % tail->n_max]);
}

static int tell_broken(const struct cli *cli, const char *path, const struct line_reader *reader,
	const char *problem)
{
	if (cli->json) {
		json_auto_t *object = json_pack("{s:b, s:s, s:I, s:s}", "intact", 0, "file", path,
			"line", (json_int_t)reader->number, "problem", problem);

		(void)output_json_line(object);
	} else
		output_error("%s: line %zu %s", path, reader->number, problem);
	return EXIT_REFUSED;
}

static int tell_intact(const struct cli *cli, const char *path, const struct chain *chain)
{
	if (cli->json) {
		json_auto_t *object = json_pack("{s:b, s:s, s:I, s:I, s:I, s:b}", "intact", 1,
			"file", path, "records", (json_int_t)chain->n_lines, "firstSequence",
			(json_int_t)chain->first_sequence, "lastSequence",
			(json_int_t)chain->sequence, "continued", chain->continued);

		return output_json_line(object);
	}
	if (chain->n_lines == 0)
		output_line(cli, STYLE_PLAIN, "%s is empty", path);
	else
		output_line(cli, STYLE_GOOD, "%s is intact: %zu record%s, %lld to %lld%s", path,
			chain->n_lines, chain->n_lines == 1 ? "" : "s",
			(long long)chain->first_sequence, (long long)chain->sequence,
			chain->continued ? ", going on from an earlier file" : "");
	return EXIT_DONE;
}

static int verify(
	const struct cli *cli, struct line_reader *reader, const char *path, struct chain *chain)
{
	char *text;
	size_t n_bytes;
	int r;

	while ((r = line_reader_next(reader, &text, &n_bytes)) != 0) {
		if (r == -EMSGSIZE)
			return tell_broken(cli, path, reader, "is longer than any record");
		if (r < 0)
			return file_failure(path, r);
		r = chain_add(chain, text, n_bytes);
		if (r < 0)
			return output_failure(r);
		if (r == CHAIN_BROKEN)
			return tell_broken(
				cli, path, reader, reader->ended ? chain->problem : "is cut short");
	}
	return EXIT_DONE;
}

static int read_count(const struct cli *cli, const struct arguments *arguments, size_t *ret)
{
	const char *text = arguments_get(arguments, "lines");
	unsigned long long n = LINES_SHOWN;
	char *end;

	if (text) {
		errno = 0;
		n = strtoull(text, &end, 10);
		if (text[0] < '0' || text[0] > '9' || *end || errno || n < 1 || n > LINES_MAX)
			return output_usage(
				cli, "--lines %s is not a number from 1 to %d", text, LINES_MAX);
	}
	*ret = n;
	return EXIT_DONE;
}

/* Finds the file that path was renamed to when it grew over its bound. Returns EXIT_DONE and its
 * name (allocated), or NULL where there is none. */
static int find_rotated(const char *path, char **ret)
{
	_cleanup_(freep) char *rotated = NULL;

	*ret = NULL;
	if (strcmp(path, "-") == 0)
		return EXIT_DONE;
	if (asprintf(&rotated, "%s.1", path) < 0) {
		rotated = NULL;
		return output_failure(-ENOMEM);
	}
	if (access(rotated, F_OK) < 0)
		return errno == ENOENT ? EXIT_DONE : file_failure(rotated, -errno);
	*ret = TAKE_PTR(rotated);
	return EXIT_DONE;
}

/* Reads a file into what is given of tail and chain. */
static int read_file(
	const struct cli *cli, const char *path, struct tail *tail, struct chain *chain)
{
	_cleanup_(line_reader_done) struct line_reader reader = { 0 };
	FILE *file;
	int r;

	r = input_open(path, &file);
	if (r < 0)
		return file_failure(path, r);
	r = line_reader_init(&reader, file, AUDIT_LINE_BYTES_MAX);
	if (r < 0)
		r = output_failure(r);
	else if (chain)
		r = verify(cli, &reader, input_name(path), chain);
	else
		r = read_tail(&reader, path, tail);
	input_close(file);
	return r;
}

/* The file that was renamed, if there is one, then the file. */
static int read_files(const struct cli *cli, const char *path, bool verifying, size_t n_lines)
{
	_cleanup_(tail_done) struct tail tail = {
		.lines = calloc(n_lines, sizeof(char *)),
		.n_max = n_lines,
	};
	_cleanup_(freep) char *rotated = NULL;
	struct chain chain = { 0 };
	int r;

	if (!tail.lines)
		return output_failure(-ENOMEM);
	r = find_rotated(path, &rotated);
	if (r == EXIT_DONE && rotated)
		r = read_file(cli, rotated, &tail, verifying ? &chain : NULL);
	if (r == EXIT_DONE)
		r = read_file(cli, path, &tail, verifying ? &chain : NULL);
	if (r != EXIT_DONE)
		return r;
	if (verifying)
		return tell_intact(cli, input_name(path), &chain);
	show(cli, &tail);
	return EXIT_DONE;
}

static int run_audit(const struct cli *cli, const struct arguments *arguments)
{
	const char *verb = arguments_operand(arguments, 0);
	const char *path = arguments_get(arguments, "file");
	_cleanup_(freep) char *told = NULL;
	size_t n_lines = 0;
	int r;

	if (verb && strcmp(verb, "verify") != 0)
		return output_usage(cli, "audit %s: there is no such command", verb);
	r = read_count(cli, arguments, &n_lines);
	if (r != EXIT_DONE)
		return r;
	if (!path) {
		told = ask_agent(cli);
		path = told ? told : AUDIT_FILE;
	}
	return read_files(cli, path, verb, n_lines);
}

static const struct option_spec audit_options[] = {
	{ .name = "lines", .value = "N", .help = "how many of the last records are shown (50)" },
	{ .name = "file", .value = "PATH", .help = "another file than the agent's own" },
	{ 0 },
};

const struct command command_audit = {
	.name = "audit",
	.operands = "[verify]",
	.n_operands_max = 1,
	.options = audit_options,
	.summary = "what happened; verify: that nobody changed the record",
	.text = "Shows the last records of the audit file. \"audit verify\" checks that "
		"each record carries the hash of the one before it and that none is "
		"missing, and names the first line that is wrong. (The last record is "
		"vouched for only by the next one.) The older file beside it, with .1 "
		"behind its name, is read first.",
	.example = "jitgate audit verify",
	.run = run_audit,
};
