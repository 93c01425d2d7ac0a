/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Reading documents: verify. */

#include <errno.h>
#include <string.h>

#include "agent/cli/input.h"
#include "agent/cli/table.h"
#include "agent/common/base64url.h"
#include "agent/common/document.h"
#include "agent/common/strictjson.h"

/* A document in a file may have white space around it; more than that is its own problem. */
#define FILE_BYTES_MAX (DOCUMENT_BYTES_MAX + 1024)

static void add_text(struct table *table, const char *name, const char *text)
{
	if (!text)
		return;
	table_add(table, STYLE_HEADING, "%s", name);
	table_add(table, STYLE_PLAIN, "%s", text);
}

static void add_moment(
	struct table *table, const struct cli *cli, const char *name, int64_t seconds)
{
	char moment[2 * TIME_STRING_MAX];

	add_text(table, name, moment_describe(seconds, cli->now, moment));
}

/* Returns -ENOMEM or 0. */
static int port_describe(const struct document_port *port, char **ret)
{
	char text[PREFIX_STRING_MAX], duration[TIME_STRING_MAX];
	size_t n_bytes;
	FILE *file;

	file = open_memstream(ret, &n_bytes);
	if (!file)
		return -ENOMEM;
	fprintf(file, "%u", port->ports.first);
	if (port->ports.last != port->ports.first)
		fprintf(file, "-%u", port->ports.last);
	fprintf(file, "/%s from ", protocol_format(port->protocols));
	for (size_t i = 0; i < port->n_prefixes; i++)
		fprintf(file, "%s%s", i > 0 ? ", " : "", prefix_format(&port->prefixes[i], text));
	if (port->max_duration > 0)
		fprintf(file, " for %s at most", duration_describe(port->max_duration, duration));
	return fclose(file) == 0 ? 0 : -ENOMEM;
}

static int add_ports(struct table *table, const struct document *document)
{
	for (size_t i = 0; i < document->n_ports; i++) {
		_cleanup_(freep) char *text = NULL;
		int r;

		r = port_describe(&document->ports[i], &text);
		if (r < 0)
			return r;
		add_text(table, i == 0 ? "Ports" : "", text);
	}
	return 0;
}

static void add_audience(struct table *table, const json_t *claims)
{
	const json_t *audience = json_object_get(claims, "aud");
	_cleanup_(freep) char *list = NULL;

	if (json_is_array(audience))
		list = list_describe(audience, 16);
	add_text(table, "Machine", list ? list : json_string_value(audience));
}

static void add_revocation(struct table *table, const struct document *document)
{
	static const char *const sessions[] = {
		[SESSIONS_DEFAULT] = "go on",
		[SESSIONS_KEEP] = "go on",
		[SESSIONS_KILL] = "end",
	};

	for (size_t i = 0; i < document->n_revokes; i++)
		add_text(table, i == 0 ? "Revokes" : "", document->revokes[i]);
	add_text(table, "Sessions", sessions[document->sessions]);
	add_text(table, "Reason", document->reason);
}

static int print_document(
	const struct cli *cli, const struct document *document, const json_t *claims)
{
	static const char *const headings[] = { "", "", NULL };
	_cleanup_(table_freep) struct table *table = NULL;
	int r;

	r = table_new(headings, &table);
	if (r < 0)
		return r;
	add_text(table, "Kind", document_kind_name(document->kind));
	add_text(table, "Id", document->id);
	add_text(table, "Signed by", document->key->kid);
	add_text(table, "Issuer", document->issuer);
	add_moment(table, cli, "Issued", document->issued_at);
	add_audience(table, claims);
	add_text(table, "Who", document->subject);
	add_text(table, "Why", document->justification);
	if (document->kind == DOCUMENT_GRANT) {
		add_moment(table, cli, "From", document->not_before);
		add_moment(table, cli, "Until", document->expires);
	}
	if (document->kind == DOCUMENT_REVOCATION)
		add_revocation(table, document);
	if (document->kind == DOCUMENT_POLICY) {
		table_add(table, STYLE_HEADING, "Version");
		table_add(table, STYLE_PLAIN, "%llu", (unsigned long long)document->version);
	}
	r = add_ports(table, document);
	return r < 0 ? r : table_print(table, cli);
}

/* The claims of a document that has been verified. */
static int read_claims(const char *text, size_t n_bytes, json_t **ret)
{
	const char *payload = memchr(text, '.', n_bytes) + 1;
	const char *end = memchr(payload, '.', n_bytes - (payload - text));
	_cleanup_(freep) char *json = NULL;
	char reason[128];
	size_t n_json;
	int r;

	r = base64url_decode(payload, end - payload, &json, &n_json);
	return r < 0 ? r : json_parse_object(json, n_json, ret, reason, sizeof(reason));
}

static int tell_refusal(const struct cli *cli, const char *file, const struct refusal *refusal)
{
	const char *code = refusal_code_name(refusal->code);
	json_auto_t *object = NULL;

	if (!cli->json) {
		output_error("%s: refused (%s): %s", file, code, refusal->message);
		return EXIT_REFUSED;
	}
	object = json_pack(
		"{s:s, s:s, s:s}", "error", "refused", "code", code, "message", refusal->message);
	(void)output_json_line(object);
	return EXIT_REFUSED;
}

static int verify(const struct cli *cli, const struct trust *trust, const char *vm_id,
	const char *file, const char *text, size_t n_bytes)
{
	_cleanup_(document_freep) struct document *document = NULL;
	json_auto_t *claims = NULL, *object = NULL;
	struct refusal refusal = { 0 };
	int r;

	r = document_read(text, n_bytes, trust, vm_id, &document, &refusal);
	if (r == REFUSED)
		return tell_refusal(cli, file, &refusal);
	if (r < 0)
		return output_failure(r);
	r = read_claims(text, n_bytes, &claims);
	if (r < 0)
		return output_failure(r);
	if (!cli->json) {
		r = print_document(cli, document, claims);
		return r < 0 ? output_failure(r) : EXIT_DONE;
	}
	object = json_pack("{s:s, s:s, s:s, s:O}", "kind", document_kind_name(document->kind), "id",
		document->id, "kid", document->key->kid, "claims", claims);
	return output_json(object);
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int run_verify(const struct cli *cli, const struct arguments *arguments)
{
	_cleanup_(trust_freep) struct trust *trust = NULL;
	_cleanup_(freep) char *bytes = NULL, *error = NULL;
	const char *path = arguments_operand(arguments, 0);
	const char *text;
	size_t n_bytes;
	int r;

	r = trust_load(arguments_get(arguments, "trust"), &trust, &error);
	if (r < 0) {
		output_error("%s", error ? error : strerror(-r));
		return EXIT_REFUSED;
	}
	r = input_read(path, FILE_BYTES_MAX, &bytes, &n_bytes);
	if (r < 0) {
		output_error("%s: %s", input_name(path), strerror(-r));
		return EXIT_REFUSED;
	}
	text = bytes;
	while (n_bytes > 0 && is_space(text[n_bytes - 1]))
		n_bytes--;
	while (n_bytes > 0 && is_space(*text)) {
		text++;
		n_bytes--;
	}
	return verify(
		cli, trust, arguments_get(arguments, "vm-id"), input_name(path), text, n_bytes);
}

static const struct option_spec verify_options[] = {
	{ "trust", "FILE", "the keys that count (JWK Set), as agents have them", true, false },
	{ "vm-id", "ID", "also check that it is for this machine", false, false },
	{ 0 },
};

const struct command command_verify = {
	.name = "verify",
	.operands = "[DOCUMENT|-]",
	.n_operands_max = 1,
	.options = verify_options,
	.summary = "check a document's signature and show what it says",
	.text = "Checks a document as an agent does before it looks at policy and time, "
		"and prints what it says. Exit code 1, with the agent's code, where it "
		"is refused. Works without an agent.",
	.example = "jitgate verify --trust trust.jwks --vm-id vm-7 grant.jws",
	.run = run_verify,
};
