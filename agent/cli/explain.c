/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What would happen to a connection: explain. */

#include <string.h>

#include "agent/cli/client.h"
#include "agent/cli/output.h"
#include "agent/common/prefix.h"

static bool prefix_is_address(const struct prefix *prefix)
{
	return (prefix->family == AF_INET && prefix->length == 32) ||
		(prefix->family == AF_INET6 && prefix->length == 128);
}

static void print_explanation(const struct cli *cli, const json_t *reply)
{
	const char *verdict = member_text(reply, "verdict", "?");
	const char *expires = member_text(reply, "expires", NULL);
	const char *grant = member_text(reply, "grant", NULL);
	bool refused = strcmp(verdict, "refused") == 0;
	char moment[2 * TIME_STRING_MAX];

	output_line(cli, refused ? STYLE_BAD : STYLE_GOOD, "%s: %s", verdict,
		member_text(reply, "reason", "no reason given"));
	if (grant)
		output_line(cli, STYLE_PLAIN, "grant %s", grant);
	if (expires)
		output_line(cli, STYLE_PLAIN, "until %s",
			moment_describe_utc(expires, cli->now, moment));
	if (!refused && json_is_true(json_object_get(reply, "wouldRefuse")))
		output_line(cli, STYLE_WARNING, "In mode enforce it would be refused.");
}

static int run_explain(const struct cli *cli, const struct arguments *arguments)
{
	const char *source = arguments_operand(arguments, 0);
	const char *service = arguments_operand(arguments, 1);
	json_auto_t *reply = NULL;
	char address[PREFIX_STRING_MAX];
	struct prefix prefix;
	unsigned protocols;
	uint16_t port;
	int r;

	if (prefix_parse(source, &prefix) < 0 || !prefix_is_address(&prefix))
		return output_usage(cli, "%s is not an address like 203.0.113.7", source);
	if (port_protocol_parse(service, &port, &protocols) < 0 || protocols == PROTOCOL_ANY)
		return output_usage(cli, "%s is not a port like 22/tcp", service);

	r = client_ask(cli, "Explain",
		json_pack("{s:s, s:i, s:s}", "source", prefix_format(&prefix, address), "port",
			port, "protocol", protocol_format(protocols)),
		&reply);
	if (r != EXIT_DONE)
		return r;
	if (cli->json)
		return output_json(reply);
	print_explanation(cli, reply);
	return EXIT_DONE;
}

const struct command command_explain = {
	.name = "explain",
	.operands = "SOURCE PORT/PROTO",
	.n_operands_min = 2,
	.n_operands_max = 2,
	.summary = "what would happen to a connection, and why",
	.text = "Tells what would happen to a new connection from an address to a port "
		"of this machine, and why. The answer is printed; the exit code is 0 "
		"whatever it is.",
	.example = "jitgate explain 203.0.113.7 22/tcp",
	.run = run_explain,
};
