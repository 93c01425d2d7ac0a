/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Signing keys: key new, key public. */

#include <errno.h>
#include <jose/jwk.h>
#include <string.h>

#include "agent/cli/fingerprint.h"
#include "agent/cli/input.h"
#include "agent/cli/table.h"
#include "agent/common/text.h"
#include "agent/common/trust.h"

static int run_key_new(const struct cli *cli, const struct arguments *arguments)
{
	const char *kid = arguments_get(arguments, "kid");
	const char *alg = arguments_get(arguments, "alg");
	json_auto_t *jwk = NULL;
	int r;

	alg = alg ? alg : "ES256";
	if (!algorithm_is_supported(alg))
		return output_usage(cli, "--alg %s is not one of ES256, ES384, PS256, RS256", alg);
	if (!kid[0] || strlen(kid) > TRUST_KID_MAX || !text_is_printable(kid))
		return output_usage(cli,
			"--kid is empty, longer than %d bytes or has control characters",
			TRUST_KID_MAX);

	jwk = json_pack("{s:s, s:s}", "kid", kid, "alg", alg);
	if (!jwk)
		return output_failure(-ENOMEM);
	if (!jose_jwk_gen(NULL, jwk)) {
		output_error("can't make a key for %s", alg);
		return EXIT_REFUSED;
	}
	r = output_json_line(jwk);
	output_error("keep this key secret: whoever has it can open ports. "
		     "\"jitgate key public FILE\" makes the trust file from it");
	return r;
}

/* A JWK Set is taken apart. */
static int add_public(json_t *keys, json_t *jwk)
{
	json_auto_t *public_jwk = NULL;
	json_t *inner = json_object_get(jwk, "keys");
	json_t *key;
	size_t i;
	int r;

	if (json_is_array(inner)) {
		json_array_foreach (inner, i, key) {
			r = add_public(keys, key);
			if (r < 0)
				return r;
		}
		return 0;
	}
	public_jwk = json_deep_copy(jwk);
	if (!json_is_object(public_jwk) || json_object_get(public_jwk, "keys") ||
		!jose_jwk_pub(NULL, public_jwk))
		return -EINVAL;
	return json_array_append(keys, public_jwk);
}

static int add_file(const char *path, json_t *keys)
{
	json_auto_t *jwk = NULL;
	int r;

	r = input_read_object(path, &jwk);
	if (r != EXIT_DONE)
		return r;
	if (add_public(keys, jwk) < 0) {
		output_error(
			"%s: not a key with a public half (a JWK or a JWK Set)", input_name(path));
		return EXIT_REFUSED;
	}
	return EXIT_DONE;
}

/* The agent must be able to read what is printed. */
static int check_trust(const json_t *set)
{
	_cleanup_(trust_freep) struct trust *trust = NULL;
	_cleanup_(freep) char *text = json_dumps(set, JSON_COMPACT);
	_cleanup_(freep) char *error = NULL;
	int r;

	r = trust_parse(text, strlen(text), "the keys", &trust, &error);
	if (r == 0)
		return EXIT_DONE;
	if (!error)
		return output_failure(r);
	output_error("no agent would trust them: %s", error);
	return EXIT_REFUSED;
}

static int run_key_public(const struct cli *cli, const struct arguments *arguments)
{
	json_auto_t *set = json_pack("{s:[]}", "keys");
	json_t *keys = json_object_get(set, "keys");
	int r = EXIT_DONE;

	(void)cli;
	if (arguments->n_operands == 0)
		r = add_file("-", keys);
	for (size_t i = 0; i < arguments->n_operands && r == EXIT_DONE; i++)
		r = add_file(arguments_operand(arguments, i), keys);
	if (r == EXIT_DONE)
		r = check_trust(set);
	return r == EXIT_DONE ? output_json(set) : r;
}

static int print_fingerprints(const struct cli *cli, const struct trust *trust)
{
	static const char *const headings[] = { "KEY", "ALG", "FINGERPRINT", NULL };
	_cleanup_(table_freep) struct table *table = NULL;
	char text[FINGERPRINT_STRING_MAX];
	struct fingerprint fingerprint;
	int r;

	r = table_new(headings, &table);
	for (size_t i = 0; r == 0 && i < trust->n_keys; i++) {
		r = fingerprint_of_key(trust->keys[i].jwk, &fingerprint);
		table_add(table, STYLE_PLAIN, "%s", trust->keys[i].kid);
		table_add(table, STYLE_PLAIN, "%s", trust->keys[i].alg);
		table_add(table, STYLE_PLAIN, "%s", fingerprint_format(&fingerprint, text));
	}
	if (r == 0)
		r = fingerprint_of_trust(trust, &fingerprint);
	if (r == 0)
		r = table_print(table, cli);
	if (r == 0 && trust->n_keys > 1)
		output_line(cli, STYLE_PLAIN, "all together: %s",
			fingerprint_format(&fingerprint, text));
	return r < 0 ? output_failure(r) : EXIT_DONE;
}

static int print_fingerprints_json(const struct trust *trust)
{
	json_auto_t *object = json_pack("{s:[]}", "keys");
	json_t *keys = json_object_get(object, "keys");
	char text[FINGERPRINT_STRING_MAX];
	struct fingerprint fingerprint;

	for (size_t i = 0; i < trust->n_keys; i++)
		if (fingerprint_of_key(trust->keys[i].jwk, &fingerprint) < 0 ||
			json_array_append_new(keys,
				json_pack("{s:s, s:s, s:s}", "kid", trust->keys[i].kid, "alg",
					trust->keys[i].alg, "fingerprint",
					fingerprint_format(&fingerprint, text))) < 0)
			return output_failure(-ENOMEM);
	if (fingerprint_of_trust(trust, &fingerprint) < 0)
		return output_failure(-ENOMEM);
	json_object_set_new(
		object, "fingerprint", json_string(fingerprint_format(&fingerprint, text)));
	return output_json(object);
}

static int run_key_fingerprint(const struct cli *cli, const struct arguments *arguments)
{
	const char *path = arguments_operand(arguments, 0);
	_cleanup_(trust_freep) struct trust *trust = NULL;
	_cleanup_(freep) char *text = NULL, *error = NULL;
	json_auto_t *set = json_pack("{s:[]}", "keys");
	int r;

	r = add_file(path, json_object_get(set, "keys"));
	if (r != EXIT_DONE)
		return r;
	text = json_dumps(set, JSON_COMPACT);
	r = trust_parse(text, strlen(text), input_name(path), &trust, &error);
	if (r == 0 && trust->n_keys == 0) {
		output_error("%s holds no key", input_name(path));
		return EXIT_REFUSED;
	}
	if (r == 0)
		return cli->json ? print_fingerprints_json(trust) : print_fingerprints(cli, trust);
	if (!error)
		return output_failure(r);
	output_error("%s", error);
	return EXIT_REFUSED;
}

static const struct option_spec key_new_options[] = {
	{ "kid", "NAME", "the key's name, as documents will give it", true, false },
	{ "alg", "ES256|ES384|PS256|RS256", "its algorithm (ES256)", false, false },
	{ 0 },
};

const struct command command_key_new = {
	.name = "key new",
	.options = key_new_options,
	.summary = "make a key that signs documents",
	.text = "Prints a new private key (JWK, RFC 7517). Keep it where only who may "
		"sign can read it; agents get its public half (jitgate key public).",
	.example = "(umask 077; jitgate key new --kid ops-2026 > ops.jwk)",
	.run = run_key_new,
};

const struct command command_key_public = {
	.name = "key public",
	.operands = "[FILE|-]...",
	.n_operands_max = TRUST_KEYS_MAX,
	.summary = "make a trust file of the public halves of keys",
	.text = "Prints a JWK Set with the public halves of the keys in the files, "
		"which may hold private keys, public keys or sets of them: a trust file "
		"for agents.",
	.example = "jitgate key public ops.jwk backup.jwk > trust.jwks",
	.run = run_key_public,
};

const struct command command_key_fingerprint = {
	.name = "key fingerprint",
	.operands = "[FILE|-]",
	.n_operands_max = 1,
	.summary = "print by what to know keys again",
	.text = "Prints the fingerprint of each key in a file (a key, a trust file, or what a "
		"control "
		"plane serves): its SHA-256 JWK thumbprint (RFC 7638), for --trust-fingerprint of "
		"\"jitgate enroll\". Of several keys, also one for all together: SHA-256 over the "
		"thumbprints' bytes in ascending order.",
	.example = "jitgate key fingerprint /etc/jitgate/trust.jwks",
	.run = run_key_fingerprint,
};
