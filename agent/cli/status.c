/* SPDX-License-Identifier: GPL-3.0-or-later */

/* How the agent is: status, reload. */

#include <errno.h>
#include <string.h>

#include "agent/cli/client.h"
#include "agent/cli/table.h"

#define PREFIXES_SHOWN 4

static const char *gate_describe(const json_t *gate)
{
	if (!json_is_true(json_object_get(gate, "installed")))
		return "NOT INSTALLED: nothing is kept out";
	if (!json_is_true(json_object_get(gate, "owned")))
		return "installed, put back when something changes it";
	return "installed, nothing else can change it";
}

static void add_mode(struct table *table, const struct cli *cli, const json_t *status)
{
	const char *mode = member_text(status, "mode", "?");
	const char *reverts_at = member_text(status, "revertsAt", NULL);
	bool enforce = strcmp(mode, "enforce") == 0;
	char moment[2 * TIME_STRING_MAX];

	table_add(table, STYLE_HEADING, "Mode");
	if (reverts_at)
		table_add(table, STYLE_WARNING,
			"%s, on trial: audit again at %s, unless confirmed (sudo jitgate confirm)",
			mode, moment_describe_utc(reverts_at, cli->now, moment));
	else
		table_add(table, enforce ? STYLE_GOOD : STYLE_WARNING, "%s%s", mode,
			enforce ? ""
				: ": nothing is refused, only counted (sudo jitgate enforce "
				  "--confirm-within PT2M)");
}

static void add_gate(struct table *table, const json_t *status)
{
	const json_t *gate = json_object_get(status, "gate");
	bool installed = json_is_true(json_object_get(gate, "installed"));

	table_add(table, STYLE_HEADING, "Gate");
	table_add(table, installed ? STYLE_GOOD : STYLE_BAD, "%s%s", gate_describe(gate),
		json_is_true(json_object_get(gate, "destinationNat"))
			? "; destination NAT is followed"
			: "");
}

struct feed_text {
	const char *state;
	const char *is;
	const char *next; /* what a person does about it, or NULL */
};

static struct feed_text feed_describe(const char *state)
{
	static const struct feed_text texts[] = {
		{ "backing_off", "does not answer as it should", NULL },
		{ "unauthorized", "does not accept this machine's credential",
			"a new token of the control plane gets a new one: sudo jitgate enroll "
			"--token -, then sudo systemctl restart jitgate-poll" },
		{ "stopped", "jitgate-poll does not run",
			"sudo systemctl enable --now jitgate-poll; why it stopped: journalctl -u "
			"jitgate-poll" },
	};

	for (size_t i = 0; i < N_ELEMENTS(texts); i++)
		if (strcmp(state, texts[i].state) == 0)
			return texts[i];
	return (struct feed_text){ state, state, NULL };
}

static void add_below(struct table *table, const char *begin, const char *text)
{
	if (!text)
		return;
	table_add(table, STYLE_HEADING, "%s", "");
	table_add(table, STYLE_WARNING, "%s%s", begin, text);
}

static void add_feed(struct table *table, const struct cli *cli, const json_t *status)
{
	const json_t *feed = json_object_get(status, "feed");
	const char *contact = member_text(feed, "lastContact", NULL);
	struct feed_text text = feed_describe(member_text(feed, "state", "?"));
	bool connected = strcmp(text.state, "connected") == 0;
	char moment[2 * TIME_STRING_MAX];

	table_add(table, STYLE_HEADING, "Feed");
	if (!json_is_object(feed)) {
		table_add(table, STYLE_PLAIN,
			"none: documents come by hand (jitgate submit); jitgate enroll joins a "
			"control plane");
		return;
	}
	table_add(table, connected ? STYLE_GOOD : STYLE_WARNING, "%s, %s, last contact %s",
		member_text(feed, "url", "?"), text.is,
		contact ? moment_describe_utc(contact, cli->now, moment) : "never");
	if (connected)
		return;
	/* Its words, and the network's: not the agent's. */
	add_below(table, "jitgate-poll says: ", member_text(feed, "message", NULL));
	add_below(table, "next: ", text.next);
}

static void add_configuration(struct table *table, const json_t *status)
{
	const char *error = member_text(status, "configurationError", NULL);

	if (!error)
		return;
	table_add(table, STYLE_HEADING, "Config");
	table_add(table, STYLE_BAD, "%s", error);
	add_below(table, "", "what was last good is in force");
	add_below(table, "next: ", "mend it, then sudo systemctl reload jitgated");
}

static void add_ledger(struct table *table, const json_t *status)
{
	const char *error = member_text(status, "ledgerError", NULL);

	if (!error)
		return;
	table_add(table, STYLE_HEADING, "Ledger");
	table_add(table, STYLE_BAD, "can't be read: %s: only local root can grant", error);
	add_below(table, "next: ", "sudo jitgate doctor");
}

static int add_keys(struct table *table, const json_t *status)
{
	const json_t *keys = json_object_get(status, "trustedKeys");
	_cleanup_(freep) char *list = list_describe(keys, 16);
	bool none = json_array_size(keys) == 0;

	if (!list)
		return -ENOMEM;
	table_add(table, STYLE_HEADING, "Keys");
	table_add(table, none ? STYLE_WARNING : STYLE_PLAIN, "%s",
		none ? "none is trusted: only local root can grant" : list);
	return 0;
}

static int print_summary(const struct cli *cli, const json_t *status)
{
	static const char *const headings[] = { "", "", NULL };
	_cleanup_(table_freep) struct table *table = NULL;
	const json_t *grants = json_object_get(status, "grants");
	const char *behind = member_text(status, "clockBehindUntil", NULL);
	char moment[2 * TIME_STRING_MAX];
	int r;

	r = table_new(headings, &table);
	if (r < 0)
		return r;
	table_add(table, STYLE_HEADING, "Agent");
	table_add(table, STYLE_PLAIN, "%s, since %s", member_text(status, "version", "?"),
		moment_describe_utc(member_text(status, "startedAt", "?"), cli->now, moment));
	table_add(table, STYLE_HEADING, "Machine");
	table_add(table, STYLE_PLAIN, "%s", member_text(status, "vmId", "?"));
	add_configuration(table, status);
	add_mode(table, cli, status);
	add_gate(table, status);
	table_add(table, STYLE_HEADING, "Grants");
	table_add(table, STYLE_PLAIN,
		"%" JSON_INTEGER_FORMAT " active, %" JSON_INTEGER_FORMAT " scheduled",
		member_integer(grants, "active"), member_integer(grants, "scheduled"));
	table_add(table, STYLE_HEADING, "Refused");
	table_add(table, STYLE_PLAIN, "%" JSON_INTEGER_FORMAT " packet%s%s",
		member_integer(status, "refusedPackets"),
		member_integer(status, "refusedPackets") == 1 ? "" : "s",
		strcmp(member_text(status, "mode", "?"), "audit") == 0
			? ", counting those that mode audit let pass"
			: "");
	add_ledger(table, status);
	add_feed(table, cli, status);
	r = add_keys(table, status);
	if (r < 0)
		return r;
	table_add(table, STYLE_HEADING, "Audit");
	table_add(table, STYLE_PLAIN, "%s", member_text(status, "auditFile", "?"));
	if (behind) {
		table_add(table, STYLE_HEADING, "Clock");
		table_add(table, STYLE_BAD, "behind: nothing is admitted until it reaches %s",
			moment_describe_utc(behind, cli->now, moment));
	}
	return table_print(table, cli);
}

static int add_port(struct table *table, const json_t *port)
{
	_cleanup_(freep) char *allowed = NULL, *always = NULL;
	const json_t *always_allow = json_object_get(port, "alwaysAllow");
	json_int_t first = member_integer(port, "first"), last = member_integer(port, "last");
	const char *protocol = member_text(port, "protocol", "?");
	const char *duration = member_text(port, "maxRequestAccessDuration", "?");
	char describe[TIME_STRING_MAX];
	int64_t seconds;

	allowed = list_describe(
		json_object_get(port, "allowedSourceAddressPrefixes"), PREFIXES_SHOWN);
	always = list_describe(always_allow, PREFIXES_SHOWN);
	if (!allowed || !always)
		return -ENOMEM;

	if (first == last)
		table_add(table, STYLE_PLAIN, "%" JSON_INTEGER_FORMAT "/%s", first, protocol);
	else
		table_add(table, STYLE_PLAIN,
			"%" JSON_INTEGER_FORMAT "-%" JSON_INTEGER_FORMAT "/%s", first, last,
			protocol);
	table_add(table, STYLE_PLAIN, "%s", member_text(port, "name", "-"));
	table_add(table, STYLE_PLAIN, "%s", allowed);
	table_add(table, STYLE_PLAIN, "%s",
		duration_parse(duration, &seconds) == 0 ? duration_describe(seconds, describe)
							: duration);
	table_add(table, STYLE_PLAIN, "%s", always[0] ? always : "-");
	table_add(table, STYLE_PLAIN, "%s", member_text(port, "onExpiry", "?"));
	table_add(table, STYLE_PLAIN, "%s", member_text(port, "origin", "?"));
	return 0;
}

static int print_ports(const struct cli *cli, const json_t *ports)
{
	static const char *const headings[] = { "PORT", "NAME", "MAY BE GRANTED TO", "AT MOST",
		"ALWAYS OPEN TO", "SESSIONS", "ORIGIN", NULL };
	_cleanup_(table_freep) struct table *table = NULL;
	json_t *port;
	size_t i;
	int r;

	if (json_array_size(ports) == 0) {
		output_line(cli, STYLE_WARNING, "No port is managed: everything is let through.");
		return 0;
	}
	r = table_new(headings, &table);
	if (r < 0)
		return r;
	json_array_foreach (ports, i, port) {
		r = add_port(table, port);
		if (r < 0)
			return r;
	}
	return table_print(table, cli);
}

static int run_status(const struct cli *cli, const struct arguments *arguments)
{
	json_auto_t *status = NULL;
	int r;

	(void)arguments;
	r = client_ask(cli, "Status", NULL, &status);
	if (r != EXIT_DONE)
		return r;
	if (cli->json) {
		/* Always there, for scripts: null where there is no feed. */
		if (!json_object_get(status, "feed"))
			json_object_set_new(status, "feed", json_null());
		return output_json(status);
	}

	r = print_summary(cli, status);
	if (r < 0)
		return output_failure(r);
	putchar('\n');
	r = print_ports(cli, json_object_get(status, "ports"));
	return r < 0 ? output_failure(r) : EXIT_DONE;
}

static int run_reload(const struct cli *cli, const struct arguments *arguments)
{
	json_auto_t *reply = NULL;
	int r;

	(void)arguments;
	r = client_ask(cli, "Reload", NULL, &reply);
	if (r != EXIT_DONE)
		return r;
	if (cli->json)
		return output_json(reply);
	output_line(cli, STYLE_GOOD, "configuration and trust file are read again");
	return EXIT_DONE;
}

const struct command command_status = {
	.name = "status",
	.summary = "how the agent is, and which ports it manages",
	.text = "Shows the agent's mode, the gate as the kernel has it, how many grants "
		"there are, where documents come from and which ports are managed.",
	.example = "jitgate status --json | jq .gate",
	.run = run_status,
};

const struct command command_reload = {
	.name = "reload",
	.summary = "read configuration and trust file again (root)",
	.text = "Has the agent read its configuration and trust file again. Grants "
		"stay. Where something is wrong in them, all stays as it was. Needs "
		"root.",
	.example = "sudo jitgate reload",
	.run = run_reload,
};
