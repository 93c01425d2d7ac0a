/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "agent/cli/client.h"
#include "agent/cli/complete_value.h"
#include "agent/cli/output.h"

#define PLACEHOLDER_BYTES_MAX 64
#define ASK_TIMEOUT_MS 500 /* of somebody who waits for it with every key */

/* A list of the agent's, or NULL: the candidates are a help, and nothing is missing without. */
static json_t *ask_agent(const struct cli *cli, const char *method, const char *list)
{
	_cleanup_(varlink_client_freep) struct varlink_client *client = NULL;
	_cleanup_(freep) char *error = NULL;
	json_auto_t *reply = NULL;

	if (varlink_client_open(cli->socket, ASK_TIMEOUT_MS, &client) < 0 ||
		varlink_client_call(client, method, NULL, &reply, &error) != 0)
		return NULL;
	return json_incref(json_object_get(reply, list));
}

static void add_grants(const struct cli *cli, struct candidates *candidates)
{
	json_auto_t *grants = ask_agent(cli, AGENT_INTERFACE ".ListGrants", "grants");
	json_t *grant;
	size_t i;

	json_array_foreach (grants, i, grant)
		candidates->add(candidates, member_text(grant, "id", ""),
			member_text(grant, "subject", member_text(grant, "origin", "")));
}

static void add_ports(const struct cli *cli, struct candidates *candidates)
{
	json_auto_t *ports = ask_agent(cli, AGENT_INTERFACE ".Status", "ports");
	json_t *port;
	size_t i;

	json_array_foreach (ports, i, port) {
		json_int_t number = member_integer(port, "first");
		char text[64];

		if (member_integer(port, "last") != number)
			continue;
		snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT "/%.8s", number,
			member_text(port, "protocol", "*"));
		for (char *c = text; *c; c++)
			*c = tolower((unsigned char)*c);
		candidates->add(candidates, text, member_text(port, "name", ""));
	}
}

/* How durations are written is what one looks for. */
static void add_durations(const struct cli *cli, struct candidates *candidates)
{
	(void)cli;
	candidates->add(candidates, "PT10M", "10 min");
	candidates->add(candidates, "PT1H", "1 h");
	candidates->add(candidates, "PT3H", "3 h");
	candidates->add(candidates, "P1D", "1 d");
}

static void add_files(const struct cli *cli, struct candidates *candidates)
{
	(void)cli;
	candidates->files = true;
}

static const struct {
	const char *placeholder;
	void (*add)(const struct cli *cli, struct candidates *candidates);
} kinds[] = {
	{ "FILE", add_files },
	{ "PATH", add_files },
	{ "CLAIMS", add_files },
	{ "DOCUMENT", add_files },
	{ "DURATION", add_durations },
	{ "PORT/PROTO", add_ports },
	{ "PORT[/PROTO]", add_ports },
};

/* "keep", "-", and "ES256" among others: to be typed as it stands; not "PREFIX". */
static bool is_literal(const char *text, bool among_others)
{
	if (strcmp(text, "-") == 0)
		return true;
	for (; *text; text++)
		if (islower((unsigned char)*text) ||
			(among_others && isdigit((unsigned char)*text)))
			return true;
	return false;
}

static void complete_one(const struct cli *cli, const struct command *command, const char *text,
	bool among_others, struct candidates *candidates)
{
	for (size_t i = 0; i < N_ELEMENTS(kinds); i++)
		if (strcmp(kinds[i].placeholder, text) == 0) {
			kinds[i].add(cli, candidates);
			return;
		}
	if (command == &command_revoke && strcmp(text, "ID") == 0)
		add_grants(cli, candidates);
	else if (is_literal(text, among_others))
		candidates->add(candidates, text, strcmp(text, "-") == 0 ? "standard input" : "");
}

void complete_value(const struct cli *cli, const struct command *command, const char *placeholder,
	struct candidates *candidates)
{
	char text[PLACEHOLDER_BYTES_MAX], *rest = text, *one;
	bool among_others = strchr(placeholder, '|');

	snprintf(text, sizeof(text), "%s", placeholder);
	while ((one = strsep(&rest, "|")))
		complete_one(cli, command, one, among_others, candidates);
}
