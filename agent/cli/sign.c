/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Signing documents: sign. */

#include <errno.h>
#include <string.h>

#include "agent/cli/input.h"
#include "agent/cli/output.h"
#include "agent/cli/sign_claims.h"

static int tell_refusal(const struct cli *cli, const struct refusal *refusal)
{
	json_auto_t *object = NULL;

	if (!cli->json) {
		output_error("no agent would take it (%s): %s", refusal_code_name(refusal->code),
			refusal->message);
		return EXIT_REFUSED;
	}
	object = json_pack("{s:s, s:s, s:s}", "error", "refused", "code",
		refusal_code_name(refusal->code), "message", refusal->message);
	(void)output_json_line(object);
	return EXIT_REFUSED;
}

/* What no agent does without, and the options that give it. */
static const struct {
	unsigned kinds; /* bits */
	const char *claim;
	const char *options;
} needed[] = {
	{ 1 << DOCUMENT_GRANT | 1 << DOCUMENT_REVOCATION | 1 << DOCUMENT_POLICY, "aud",
		"--aud VM_ID" },
	{ 1 << DOCUMENT_GRANT, "sub", "--sub NAME" },
	{ 1 << DOCUMENT_GRANT | 1 << DOCUMENT_POLICY, "ports",
		"--port PORT/PROTO and --source PREFIX" },
	{ 1 << DOCUMENT_REVOCATION, "revokes", "--revokes ID" },
	{ 1 << DOCUMENT_POLICY, "version", "--policy-version N" },
};

static int check_claims(const struct cli *cli, enum document_kind kind, const json_t *claims)
{
	_cleanup_(document_freep) struct document *document = NULL;
	struct refusal refusal = { 0 };
	int r;

	for (size_t i = 0; i < N_ELEMENTS(needed); i++) {
		if (!(needed[i].kinds & 1 << kind) || json_object_get(claims, needed[i].claim))
			continue;
		refuse(&refusal, REFUSAL_MALFORMED, "%s is missing: %s", needed[i].claim,
			needed[i].options);
		return tell_refusal(cli, &refusal);
	}
	r = document_from_claims(kind, claims, &document, &refusal);
	if (r == REFUSED)
		return tell_refusal(cli, &refusal);
	return r < 0 ? output_failure(r) : EXIT_DONE;
}

static int complain_key(const char *path)
{
	output_error("%s: not a private key with \"kid\" and \"alg\" (jitgate key new)",
		input_name(path));
	return EXIT_REFUSED;
}

static int print_document(
	const struct cli *cli, enum document_kind kind, const char *id, const char *document)
{
	json_auto_t *object = NULL;

	if (!cli->json) {
		printf("%s\n", document);
		return EXIT_DONE;
	}
	object = json_pack("{s:s, s:s, s:s}", "kind", document_kind_name(kind), "id", id,
		"document", document);
	return output_json_line(object);
}

static int sign(const struct cli *cli, const struct arguments *arguments, enum document_kind kind,
	json_t *claims, const json_t *jwk)
{
	const char *key = arguments_get(arguments, "key");
	_cleanup_(freep) char *document = NULL, *error = NULL;
	int r;

	if (!member_text(jwk, "kid", NULL))
		return complain_key(key);
	r = claims_complete(claims, kind, arguments, member_text(jwk, "kid", ""), cli->now, &error);
	if (r == -EINVAL && error)
		return output_usage(cli, "%s", error);
	if (r < 0)
		return output_failure(r);
	r = check_claims(cli, kind, claims);
	if (r != EXIT_DONE)
		return r;

	r = document_sign(kind, claims, jwk, &document);
	if (r == -EINVAL)
		return complain_key(key);
	if (r < 0)
		return output_failure(r);
	if (strlen(document) > DOCUMENT_BYTES_MAX) {
		output_error("the document is larger than an agent takes (16 KiB)");
		return EXIT_REFUSED;
	}
	return print_document(cli, kind, member_text(claims, "jti", ""), document);
}

static int run_sign(const struct cli *cli, const struct arguments *arguments)
{
	const char *key = arguments_get(arguments, "key");
	const char *type = arguments_get(arguments, "type");
	const char *path = arguments_operand(arguments, 0);
	json_auto_t *claims = NULL, *jwk = NULL;
	enum document_kind kind;
	int r;

	if (document_kind_parse_name(type, &kind) < 0)
		return output_usage(cli, "--type %s is not grant, revocation or policy", type);
	r = input_read_object(key, &jwk);
	if (r != EXIT_DONE)
		return r;
	if (path) {
		r = input_read_object(path, &claims);
		if (r != EXIT_DONE)
			return r;
	} else
		claims = json_object();
	return sign(cli, arguments, kind, claims, jwk);
}

static const struct option_spec sign_options[] = {
	{ "key", "FILE", "the private key (JWK)", true, false },
	{ "type", "grant|revocation|policy", "what it is", true, false },
	{ "aud", "VM_ID", "the machine it is for", false, true },
	{ "iss", "NAME", "who signs (the key's name)", false, false },
	{ "sub", "NAME", "grant: the person it is for", false, false },
	{ "port", "PORT/PROTO", "grant, policy: 22/tcp, 443/*", false, true },
	{ "source", "PREFIX", "grant, policy: an address or prefix", false, true },
	{ "for", "DURATION", "grant: how long (PT1H); policy: how long at most", false, false },
	{ "justification", "TEXT", "grant: why", false, false },
	{ "revokes", "ID", "revocation: the grant", false, true },
	{ "sessions", "keep|kill", "revocation: what becomes of the sessions", false, false },
	{ "reason", "TEXT", "revocation: why", false, false },
	{ "policy-version", "N", "policy: larger than the one before", false, false },
	{ 0 },
};

const struct command command_sign = {
	.name = "sign",
	.operands = "[CLAIMS|-]",
	.n_operands_max = 1,
	.options = sign_options,
	.summary = "sign a grant, a revocation or a policy",
	.text = "Prints a signed document. CLAIMS is a file with its claims as JSON; "
		"options set or replace claims, and what is still missing and obvious "
		"is filled in: jti at random, iat now, iss the key's name, exp an hour "
		"from the beginning. Works without an agent.",
	.example = "jitgate sign --key ops.jwk --type grant --aud vm-7 --sub alice \\\n"
		   "    --port 22/tcp --source 203.0.113.7 --for PT30M \\\n"
		   "    --justification \"ticket 4711\" > grant.jws",
	.run = run_sign,
};
