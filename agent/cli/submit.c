/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Documents to the agent: submit. */

#include <errno.h>
#include <string.h>

#include "agent/cli/client.h"
#include "agent/cli/input.h"
#include "agent/cli/output.h"
#include "agent/common/document.h"

#define METHOD AGENT_INTERFACE ".Submit"

struct submission {
	const struct cli *cli;
	struct varlink_client *client;
	const char *file; /* as people are told of it */
	size_t line;
	size_t n_documents;
	size_t n_refused;
};

static int tell_refusal(struct submission *submission, const char *code, const char *message)
{
	submission->n_refused++;
	if (submission->cli->json) {
		json_auto_t *object = json_pack(
			"{s:s, s:s, s:s}", "error", "refused", "code", code, "message", message);

		return output_json_line(object);
	}
	if (submission->line > 1)
		output_error("%s:%zu: refused (%s): %s", submission->file, submission->line, code,
			message);
	else
		output_error("%s: refused (%s): %s", submission->file, code, message);
	return EXIT_DONE;
}

static int tell_admission(const struct submission *submission, const json_t *reply)
{
	const struct cli *cli = submission->cli;

	if (cli->json)
		return output_json_line(reply);
	output_line(cli, STYLE_GOOD, "%s %s: %s", member_text(reply, "kind", "?"),
		member_text(reply, "id", "?"), member_text(reply, "state", "?"));
	if (!json_is_true(json_object_get(reply, "durable")))
		output_line(cli, STYLE_WARNING,
			"It could not be written to disk: a reboot will end it.");
	return EXIT_DONE;
}

/* Returns EXIT_DONE also where it is refused; another exit code where going on is of no use. */
static int submit_document(struct submission *submission, const char *text, size_t n_bytes)
{
	json_auto_t *reply = NULL;
	_cleanup_(freep) char *error = NULL;
	json_t *parameters;
	int r;

	submission->n_documents++;
	/* The agent hangs up on a message with a NUL in it. */
	parameters =
		memchr(text, '\0', n_bytes) ? NULL : json_pack("{s:s%}", "document", text, n_bytes);
	if (!parameters)
		return tell_refusal(submission, refusal_code_name(REFUSAL_MALFORMED),
			"the document is not text");

	r = varlink_client_call(submission->client, METHOD, parameters, &reply, &error);
	if (r == 0)
		return tell_admission(submission, reply);
	if (r == VARLINK_ERROR && strcmp(error, AGENT_INTERFACE ".Refused") == 0)
		return tell_refusal(submission, member_text(reply, "code", "?"),
			member_text(reply, "message", "no reason given"));
	return client_explain(submission->cli, "Submit", r, error, reply);
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static int submit_line(struct submission *submission, const char *text, size_t n_bytes)
{
	while (n_bytes > 0 && is_space(text[n_bytes - 1]))
		n_bytes--;
	while (n_bytes > 0 && is_space(*text)) {
		text++;
		n_bytes--;
	}
	return n_bytes > 0 ? submit_document(submission, text, n_bytes) : EXIT_DONE;
}

static int submit_all(struct submission *submission, FILE *file)
{
	_cleanup_(line_reader_done) struct line_reader reader = { 0 };
	char *text;
	size_t n_bytes;
	int r;

	r = line_reader_init(&reader, file, DOCUMENT_BYTES_MAX);
	if (r < 0)
		return output_failure(r);

	for (;;) {
		r = line_reader_next(&reader, &text, &n_bytes);
		submission->line = reader.number;
		if (r == 0)
			return EXIT_DONE;
		if (r > 0)
			r = submit_line(submission, text, n_bytes);
		else if (r == -EMSGSIZE) {
			submission->n_documents++;
			r = tell_refusal(submission, refusal_code_name(REFUSAL_TOO_LARGE),
				"the document is larger than 16 KiB");
		} else {
			output_error("%s: %s", submission->file, strerror(-r));
			return EXIT_REFUSED;
		}
		if (r != EXIT_DONE)
			return r;
	}
}

static int run_submit(const struct cli *cli, const struct arguments *arguments)
{
	_cleanup_(varlink_client_freep) struct varlink_client *client = NULL;
	const char *path = arguments_operand(arguments, 0);
	struct submission submission = { .cli = cli, .file = input_name(path) };
	FILE *file;
	int r;

	r = input_open(path, &file);
	if (r < 0) {
		output_error("%s: %s", path, strerror(-r));
		return EXIT_REFUSED;
	}
	r = client_open(cli, &client);
	if (r == EXIT_DONE) {
		submission.client = client;
		r = submit_all(&submission, file);
	}
	input_close(file);
	if (r != EXIT_DONE)
		return r;
	if (submission.n_documents == 0) {
		output_error("%s holds no document", submission.file);
		return EXIT_REFUSED;
	}
	return submission.n_refused > 0 ? EXIT_REFUSED : EXIT_DONE;
}

const struct command command_submit = {
	.name = "submit",
	.operands = "FILE|-",
	.n_operands_min = 1,
	.n_operands_max = 1,
	.summary = "hand signed documents to the agent",
	.text = "Hands signed documents to the agent: one, or several, one a line. All "
		"are tried; the exit code is 1 where one was refused. Anybody may do "
		"it, since the documents are signed.",
	.example = "ssh ops@control grant-for vm-7 | jitgate submit -",
	.run = run_submit,
};
