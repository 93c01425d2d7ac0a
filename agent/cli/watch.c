/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Events as they happen: watch. */

#include <signal.h>
#include <string.h>
#include <time.h>

#include "agent/cli/client.h"
#include "agent/cli/event.h"

static enum style event_style(const char *type)
{
	static const struct {
		const char *type;
		enum style style;
	} styles[] = {
		{ "document_refused", STYLE_BAD },
		{ "gate_removed", STYLE_BAD },
		{ "gate_repaired", STYLE_BAD },
		{ "reload_failed", STYLE_BAD },
		{ "ledger_damaged", STYLE_BAD },
		{ "clock_behind", STYLE_BAD },
		{ "clock_stepped", STYLE_WARNING },
		{ "grant_revoked", STYLE_WARNING },
		{ "mode_changed", STYLE_WARNING },
		{ "grant_active", STYLE_GOOD },
		{ "session_opened", STYLE_GOOD },
	};

	for (size_t i = 0; i < N_ELEMENTS(styles); i++)
		if (strcmp(styles[i].type, type) == 0)
			return styles[i].style;
	return STYLE_PLAIN;
}

void event_print(const struct cli *cli, const json_t *event)
{
	const char *type = member_text(event, "type", "?");
	const char *text = member_text(event, "time", "?");
	const char *subject = member_text(event, "subject", NULL);
	const char *message = member_text(event, "message", "");
	const char *reason = member_text(event, "reason", "");
	char moment[TIME_STRING_MAX];
	int64_t seconds;
	bool named = !subject || strstr(message, subject);
	bool reasoned = strstr(message, reason);

	if (time_parse_utc(text, &seconds) == 0)
		text = time_format_local(seconds, time(NULL), moment);
	output_line(cli, event_style(type), "%s  %-22s  %s%s%s%s%s%s", text, type, message,
		named ? "" : " (", named ? "" : subject, named ? "" : ")", reasoned ? "" : ": ",
		reasoned ? "" : reason);
}

static int on_event(json_t *parameters, void *userdata)
{
	const struct cli *cli = userdata;
	const json_t *event = json_object_get(parameters, "event");

	/* The first reply has none: it says that from here on nothing is missed. */
	if (!json_is_object(event)) {
		fprintf(stderr, "watching %s (Ctrl-C ends)\n", cli->socket);
		return 0;
	}
	if (cli->json) {
		output_json_line(event);
		return 0;
	}
	event_print(cli, event);
	fflush(stdout);
	return 0;
}

/* Each line is flushed whole, so that nothing is left to do. */
static void on_interrupt(int signal_number)
{
	(void)signal_number;
	_exit(EXIT_DONE);
}

static int run_watch(const struct cli *cli, const struct arguments *arguments)
{
	_cleanup_(varlink_client_freep) struct varlink_client *client = NULL;
	json_auto_t *parameters = NULL;
	_cleanup_(freep) char *error = NULL;
	struct sigaction action = { .sa_handler = on_interrupt };
	struct cli context = *cli;
	int r;

	(void)arguments;
	r = client_open(cli, &client);
	if (r != EXIT_DONE)
		return r;
	sigaction(SIGINT, &action, NULL);
	r = varlink_client_subscribe(
		client, AGENT_INTERFACE ".Monitor", NULL, on_event, &context, &parameters, &error);
	if (r == 0) {
		output_error("the agent has ended the subscription");
		return EXIT_NO_AGENT;
	}
	return client_explain(cli, "Monitor", r, error, parameters);
}

const struct command command_watch = {
	.name = "watch",
	.summary = "what happens, as it happens",
	.text = "Prints a line for each audit event from now on, until Ctrl-C. With "
		"--json, a JSON object a line.",
	.example = "jitgate watch --json | jq -r .message",
	.run = run_watch,
};
