/* SPDX-License-Identifier: GPL-3.0-or-later */

/* A person signs a grant in one line, and what they forgot is obvious or refused. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "agent/cli/sign_claims.h"

#define NOW 1767261600

static const struct option_spec options[] = {
	{ "aud", "", "", false, true },
	{ "iss", "", "", false, false },
	{ "sub", "", "", false, false },
	{ "port", "", "", false, true },
	{ "source", "", "", false, true },
	{ "for", "", "", false, false },
	{ "justification", "", "", false, false },
	{ "revokes", "", "", false, true },
	{ "sessions", "", "", false, false },
	{ "reason", "", "", false, false },
	{ "policy-version", "", "", false, false },
	{ 0 },
};

/* Completes claims (JSON, consumed) by a line of options. */
static int complete(json_t *claims, enum document_kind kind, const char *line, char **ret_error)
{
	_cleanup_(arguments_done) struct arguments arguments;
	char copy[512];
	char *words[32];
	int n = 0;

	strcpy(copy, line);
	for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
		words[n++] = word;
	assert_int_equal(arguments_init(&arguments, n), 0);
	assert_int_equal(arguments_read(&arguments, words, n, options, NULL, false), n);
	return claims_complete(claims, kind, &arguments, "ops", NOW, ret_error);
}

static void assert_admissible(enum document_kind kind, const json_t *claims)
{
	_cleanup_(document_freep) struct document *document = NULL;
	struct refusal refusal = { 0 };

	assert_int_equal(document_from_claims(kind, claims, &document, &refusal), 0);
}

static void assert_claims(const json_t *claims, const char *expected)
{
	json_auto_t *json = json_loads(expected, 0, NULL);
	json_auto_t *rest = json_deep_copy(claims);

	assert_non_null(json);
	assert_int_equal(json_string_length(json_object_get(rest, "jti")), 32);
	json_object_del(rest, "jti");
	assert_true(json_equal(rest, json));
}

static void grant_is_made_in_one_line(void **state)
{
	json_auto_t *claims = json_object();
	_cleanup_(freep) char *error = NULL;

	(void)state;
	assert_int_equal(complete(claims, DOCUMENT_GRANT,
				 "--aud vm-7 --sub alice --port 22/tcp --port 53/udp "
				 "--source 203.0.113.7 --source 10.0.0.0/8 --for PT30M "
				 "--justification ticket",
				 &error),
		0);
	assert_claims(claims,
		"{\"aud\":\"vm-7\",\"iss\":\"ops\",\"iat\":1767261600,\"exp\":1767263400,"
		"\"sub\":\"alice\",\"justification\":\"ticket\",\"ports\":["
		"{\"number\":22,\"protocol\":\"TCP\",\"allowedSourceAddressPrefixes\":"
		"[\"203.0.113.7\",\"10.0.0.0/8\"]},"
		"{\"number\":53,\"protocol\":\"UDP\",\"allowedSourceAddressPrefixes\":"
		"[\"203.0.113.7\",\"10.0.0.0/8\"]}]}");
	assert_admissible(DOCUMENT_GRANT, claims);
}

static void given_claims_stay_unless_an_option_says_otherwise(void **state)
{
	json_auto_t *claims = json_pack("{s:s, s:s, s:s, s:i, s:i, s:s}", "jti", "mine", "sub",
		"alice", "iss", "control", "iat", 5, "exp", 9, "aud", "vm-1");
	_cleanup_(freep) char *error = NULL;

	(void)state;
	assert_int_equal(complete(claims, DOCUMENT_GRANT, "--sub bob --aud a --aud b", &error), 0);
	assert_string_equal(json_string_value(json_object_get(claims, "jti")), "mine");
	assert_string_equal(json_string_value(json_object_get(claims, "sub")), "bob");
	assert_string_equal(json_string_value(json_object_get(claims, "iss")), "control");
	assert_int_equal(json_integer_value(json_object_get(claims, "iat")), 5);
	assert_int_equal(json_integer_value(json_object_get(claims, "exp")), 9);
	assert_int_equal(json_array_size(json_object_get(claims, "aud")), 2);
}

static void grant_for_later_ends_counted_from_its_beginning(void **state)
{
	json_auto_t *claims = json_pack("{s:I}", "nbf", (json_int_t)NOW + 1000);
	_cleanup_(freep) char *error = NULL;

	(void)state;
	assert_int_equal(complete(claims, DOCUMENT_GRANT, "", &error), 0);
	assert_int_equal(json_integer_value(json_object_get(claims, "exp")),
		NOW + 1000 + GRANT_SECONDS_DEFAULT);
}

static void revocation_and_policy_are_made_in_one_line(void **state)
{
	json_auto_t *revocation = json_object(), *policy = json_object();
	_cleanup_(freep) char *error = NULL;

	(void)state;
	assert_int_equal(
		complete(revocation, DOCUMENT_REVOCATION,
			"--aud vm-7 --revokes a --revokes b --sessions kill --reason left", &error),
		0);
	assert_claims(revocation,
		"{\"aud\":\"vm-7\",\"iss\":\"ops\",\"iat\":1767261600,\"revokes\":[\"a\",\"b\"],"
		"\"sessions\":\"kill\",\"reason\":\"left\"}");
	assert_admissible(DOCUMENT_REVOCATION, revocation);

	assert_int_equal(complete(policy, DOCUMENT_POLICY,
				 "--aud vm-7 --port 22/tcp --source * --for PT3H "
				 "--policy-version 7",
				 &error),
		0);
	assert_claims(policy,
		"{\"aud\":\"vm-7\",\"iss\":\"ops\",\"iat\":1767261600,\"version\":7,\"ports\":["
		"{\"number\":22,\"protocol\":\"TCP\",\"allowedSourceAddressPrefixes\":[\"*\"],"
		"\"maxRequestAccessDuration\":\"PT3H\"}]}");
	assert_admissible(DOCUMENT_POLICY, policy);
}

static void mistakes_are_named(void **state)
{
	static const struct {
		enum document_kind kind;
		const char *line;
		const char *error;
	} cases[] = {
		{ DOCUMENT_GRANT, "--port 22/sctp --source *",
			"--port 22/sctp is not a port like 22/tcp" },
		{ DOCUMENT_GRANT, "--port 22/tcp", "--port goes with --source PREFIX" },
		{ DOCUMENT_GRANT, "--source *", "--source goes with --port" },
		{ DOCUMENT_GRANT, "--for 1h",
			"--for 1h is not a duration like PT10M or PT3H, up to P366D" },
		{ DOCUMENT_GRANT, "--revokes a", "--revokes says nothing in a grant" },
		{ DOCUMENT_REVOCATION, "--sub a", "--sub says nothing in a revocation" },
		{ DOCUMENT_POLICY, "--policy-version x", "--policy-version x is not a number" },
		{ DOCUMENT_GRANT, "--sub \xff", "--sub is not UTF-8" },
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		json_auto_t *claims = json_object();
		_cleanup_(freep) char *error = NULL;

		assert_int_equal(complete(claims, cases[i].kind, cases[i].line, &error), -EINVAL);
		assert_string_equal(error, cases[i].error);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grant_is_made_in_one_line),
		cmocka_unit_test(given_claims_stay_unless_an_option_says_otherwise),
		cmocka_unit_test(grant_for_later_ends_counted_from_its_beginning),
		cmocka_unit_test(revocation_and_policy_are_made_in_one_line),
		cmocka_unit_test(mistakes_are_named),
	};

	return cmocka_run_group_tests_name("cli_sign", tests, NULL, NULL);
}
