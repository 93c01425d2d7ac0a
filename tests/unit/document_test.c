/* SPDX-License-Identifier: GPL-3.0-or-later */

#include "tests/unit/document_fixture.h"

static void a_grant_by_each_algorithm_is_read(void **state)
{
	const json_t *jwks[] = { keys.es256, keys.es384, keys.ps256, keys.rs256 };

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(jwks); i++) {
		_cleanup_(document_freep) struct document *grant = NULL;
		_cleanup_(freep) char *text = grant_text(jwks[i]);

		grant = read_passes(text);
		assert_int_equal(grant->kind, DOCUMENT_GRANT);
		assert_string_equal(
			grant->key->kid, json_string_value(json_object_get(jwks[i], "kid")));
		assert_string_equal(grant->id, "grant-1");
		assert_string_equal(grant->issuer, "https://jit.example");
		assert_string_equal(grant->subject, "ada@example.com");
		assert_string_equal(grant->justification, "deploy \xc3\xa4");
		assert_int_equal(grant->issued_at, NOW);
		assert_int_equal(grant->not_before, NOW);
		assert_int_equal(grant->expires, NOW + 3600);
		assert_int_equal(grant->n_ports, 1);
		assert_int_equal(grant->ports[0].ports.first, 22);
		assert_int_equal(grant->ports[0].ports.last, 22);
		assert_int_equal(grant->ports[0].protocols, PROTOCOL_TCP);
		assert_int_equal(grant->ports[0].n_prefixes, 1);
		assert_int_equal(grant->ports[0].prefixes[0].length, 32);
		assert_int_equal(grant->ports[0].max_duration, 0);
	}
}

static void a_revocation_is_read(void **state)
{
	_cleanup_(document_freep) struct document *revocation = NULL;
	json_auto_t *claims = revocation_claims();
	_cleanup_(freep) char *text = sign(DOCUMENT_REVOCATION, claims, keys.es256);

	(void)state;
	revocation = read_passes(text);
	assert_int_equal(revocation->kind, DOCUMENT_REVOCATION);
	assert_int_equal(revocation->n_revokes, 2);
	assert_string_equal(revocation->revokes[1], "grant-2");
	assert_int_equal(revocation->sessions, SESSIONS_KILL);
	assert_string_equal(revocation->reason, "left");
}

static void a_policy_is_read(void **state)
{
	_cleanup_(document_freep) struct document *policy = NULL;
	json_auto_t *claims = policy_claims();
	_cleanup_(freep) char *text = sign(DOCUMENT_POLICY, claims, keys.es384);

	(void)state;
	policy = read_passes(text);
	assert_int_equal(policy->kind, DOCUMENT_POLICY);
	assert_int_equal(policy->version, 7);
	assert_int_equal(policy->ports[0].protocols, PROTOCOL_ANY);
	assert_int_equal(policy->ports[0].n_prefixes, 2);
	assert_int_equal(policy->ports[0].prefixes[1].family, AF_INET6);
	assert_int_equal(policy->ports[0].max_duration, 10800);
}

/* Takes the claims over, changes one, signs and reads. value NULL removes the claim. */
static struct refusal read_changed(enum document_kind kind, const char *name, json_t *value)
{
	json_auto_t *claims = kind == DOCUMENT_GRANT ? grant_claims()
		: kind == DOCUMENT_POLICY            ? policy_claims()
						     : revocation_claims();
	_cleanup_(document_freep) struct document *document = NULL;
	_cleanup_(freep) char *text = NULL;
	struct refusal refusal = { 0 };

	if (value)
		assert_int_equal(json_object_set_new(claims, name, value), 0);
	else
		assert_int_equal(json_object_del(claims, name), 0);
	text = sign(kind, claims, keys.es256);
	if (document_read(text, strlen(text), keys.trust, VM_ID, &document, &refusal) < 0)
		fail();
	return refusal;
}

static void assert_changed(
	enum document_kind kind, const char *name, const char *json, enum refusal_code code)
{
	json_t *value = json ? json_loads(json, JSON_DECODE_ANY, NULL) : NULL;
	struct refusal refusal;

	if (json && !value)
		fail_msg("%s", json);
	refusal = read_changed(kind, name, value);
	if (refusal.code != code)
		fail_msg("%s = %s: %s (%s) instead of %s", name, json ? json : "(absent)",
			refusal_code_name(refusal.code), refusal.message, refusal_code_name(code));
}

static void a_document_for_another_vm_opens_nothing_here(void **state)
{
	static const char *const others[] = { "\"other\"", "[\"other\"]",
		"[\"other\", \"another\"]", "\"*\"", "\"/subscriptions/s\"", "\"" VM_ID "/\"",
		"\"" VM_ID " \"" };
	static const char *const bad[] = { NULL, "null", "7", "{}", "[]", "\"\"", "[\"\"]",
		"[7, \"" VM_ID "\"]", "[[\"" VM_ID "\"]]" };
	json_t *many = json_array();
	struct refusal refusal;

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(others); i++)
		assert_changed(DOCUMENT_GRANT, "aud", others[i], REFUSAL_WRONG_AUDIENCE);
	for (size_t i = 0; i < N_ELEMENTS(bad); i++)
		assert_changed(DOCUMENT_GRANT, "aud", bad[i], REFUSAL_MALFORMED);
	assert_changed(DOCUMENT_GRANT, "aud", "[\"other\", \"" VM_ID "\"]", REFUSAL_NONE);
	for (size_t i = 0; i < 65; i++)
		json_array_append_new(many, json_string(VM_ID));
	refusal = read_changed(DOCUMENT_GRANT, "aud", many);
	assert_code(&refusal, REFUSAL_TOO_LARGE);
	refusal = read_changed(DOCUMENT_GRANT, "aud", json_string("web-2"));
	assert_string_equal(
		refusal.message, "the document is for \"web-2\", and this is \"" VM_ID "\"");
}

static void an_azure_id_is_the_same_whatever_its_case(void **state)
{
	json_auto_t *claims = json_pack("{s:s}", "aud", "/SUBSCRIPTIONS/S/web-1");
	json_auto_t *plain = json_pack("{s:s}", "aud", "Web-1");

	(void)state;
	assert_true(document_audience_matches(claims, "/subscriptions/s/WEB-1"));
	assert_false(document_audience_matches(claims, "/subscriptions/s/web-2"));
	assert_true(document_audience_matches(plain, "Web-1"));
	assert_false(document_audience_matches(plain, "web-1"));
}

static void a_document_is_read_without_a_vm_where_none_is_asked_for(void **state)
{
	_cleanup_(freep) char *text = grant_text(keys.es256);
	_cleanup_(document_freep) struct document *grant = NULL;
	struct refusal refusal;

	(void)state;
	assert_int_equal(document_read(text, strlen(text), keys.trust, NULL, &grant, &refusal), 0);
}

static void a_kind_under_another_typ_is_malformed(void **state)
{
	json_auto_t *grant = grant_claims(), *revocation = revocation_claims(),
		    *policy = policy_claims();
	const json_t *claims[] = { grant, revocation, policy };

	(void)state;
	for (size_t i = 0; i < 3; i++)
		for (size_t j = 0; j < 3; j++) {
			_cleanup_(freep) char *text =
				sign((enum document_kind)j, claims[i], keys.es256);

			if (i == j)
				document_free(read_passes(text));
			else
				assert_refused(text, REFUSAL_MALFORMED);
		}
}

static void a_claim_of_the_wrong_type_is_malformed(void **state)
{
	static const char *const strings[] = { NULL, "null", "7", "true", "[]", "{}", "\"\"",
		"[\"text\"]", "\"a\\nb\"", "\"\\u001b[2J\"", "\"\\u007f\"", "\"\\u0085\"",
		"\"\\u2028\"", "\"\\u202e\"" };
	static const char *const times[] = { NULL, "null", "\"1767261600\"", "1767261600.0", "-1",
		"253402300800", "9223372036854775807", "true", "[]", "1.8e9" };
	static const char *const ids[] = { NULL, "null", "7", "\"\"", "\"a b\"", "\"a/b\"",
		"\"\\u00e4\"", "\"a\\n\"", "\"a:b\"", "[\"a\"]" };

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(strings); i++) {
		assert_changed(DOCUMENT_GRANT, "iss", strings[i], REFUSAL_MALFORMED);
		assert_changed(DOCUMENT_GRANT, "sub", strings[i], REFUSAL_MALFORMED);
		if (!strings[i] || strcmp(strings[i], "\"\"") == 0)
			continue;
		assert_changed(DOCUMENT_GRANT, "justification", strings[i], REFUSAL_MALFORMED);
		assert_changed(DOCUMENT_REVOCATION, "reason", strings[i], REFUSAL_MALFORMED);
	}
	for (size_t i = 0; i < N_ELEMENTS(times); i++) {
		assert_changed(DOCUMENT_GRANT, "iat", times[i], REFUSAL_MALFORMED);
		assert_changed(DOCUMENT_GRANT, "exp", times[i], REFUSAL_MALFORMED);
		assert_changed(DOCUMENT_POLICY, "iat", times[i], REFUSAL_MALFORMED);
		if (times[i])
			assert_changed(DOCUMENT_GRANT, "nbf", times[i], REFUSAL_MALFORMED);
	}
	for (size_t i = 0; i < N_ELEMENTS(ids); i++)
		assert_changed(DOCUMENT_GRANT, "jti", ids[i], REFUSAL_MALFORMED);
}

static void a_string_is_bounded(void **state)
{
	_cleanup_(freep) char *text = calloc(1, DOCUMENT_STRING_MAX + 2);
	struct refusal refusal;

	(void)state;
	memset(text, 'x', DOCUMENT_STRING_MAX);
	refusal = read_changed(DOCUMENT_GRANT, "justification", json_string(text));
	assert_code(&refusal, REFUSAL_NONE);
	text[DOCUMENT_STRING_MAX] = 'x';
	refusal = read_changed(DOCUMENT_GRANT, "justification", json_string(text));
	assert_code(&refusal, REFUSAL_MALFORMED);
	text[DOCUMENT_ID_MAX] = '\0';
	refusal = read_changed(DOCUMENT_GRANT, "jti", json_string(text));
	assert_code(&refusal, REFUSAL_NONE);
	text[DOCUMENT_ID_MAX] = 'x';
	text[DOCUMENT_ID_MAX + 1] = '\0';
	refusal = read_changed(DOCUMENT_GRANT, "jti", json_string(text));
	assert_code(&refusal, REFUSAL_MALFORMED);
}

static void a_grant_that_ends_before_it_begins_is_malformed(void **state)
{
	json_auto_t *claims = grant_claims();
	_cleanup_(document_freep) struct document *grant = NULL;
	struct refusal refusal;

	(void)state;
	refusal = read_changed(DOCUMENT_GRANT, "exp", json_integer(NOW));
	assert_code(&refusal, REFUSAL_MALFORMED);
	refusal = read_changed(DOCUMENT_GRANT, "exp", json_integer(NOW + 1));
	assert_code(&refusal, REFUSAL_NONE);
	refusal = read_changed(DOCUMENT_GRANT, "nbf", json_integer(NOW + 3600));
	assert_string_equal(refusal.message,
		"exp (2026-01-01T11:00:00Z) is not after nbf (2026-01-01T11:00:00Z)");
	/* nbf in front of iat shortens nothing, nor lengthens it. */
	refusal = read_changed(DOCUMENT_GRANT, "nbf", json_integer(0));
	assert_code(&refusal, REFUSAL_NONE);
	json_object_set_new(claims, "nbf", json_integer(NOW + 60));
	assert_int_equal(document_from_claims(DOCUMENT_GRANT, claims, &grant, &refusal), 0);
	assert_int_equal(grant->not_before, NOW + 60);
}

static void a_port_that_says_too_little_or_too_much_is_malformed(void **state)
{
#define PORTS(text) "[{" text "}]"
#define SOURCE "\"allowedSourceAddressPrefix\":\"203.0.113.7\""
#define SOURCES "\"allowedSourceAddressPrefixes\":[\"203.0.113.7\"]"
	static const char *const good[] = {
		PORTS("\"number\":1,\"protocol\":\"udp\"," SOURCES),
		PORTS("\"number\":65535,\"protocol\":\"*\"," SOURCE),
		PORTS("\"number\":22,\"protocol\":\"TCP\",\"allowedSourceAddressPrefix\":\"*\""),
	};
	static const char *const bad[] = {
		NULL,
		"null",
		"{}",
		"[]",
		"[7]",
		"[[]]",
		"[null]",
		PORTS(""),
		PORTS("\"protocol\":\"TCP\"," SOURCE),
		PORTS("\"number\":0,\"protocol\":\"TCP\"," SOURCE),
		PORTS("\"number\":65536,\"protocol\":\"TCP\"," SOURCE),
		PORTS("\"number\":-1,\"protocol\":\"TCP\"," SOURCE),
		PORTS("\"number\":22.0,\"protocol\":\"TCP\"," SOURCE),
		PORTS("\"number\":\"22\",\"protocol\":\"TCP\"," SOURCE),
		PORTS("\"number\":4294967318,\"protocol\":\"TCP\"," SOURCE),
		PORTS("\"number\":22," SOURCE),
		PORTS("\"number\":22,\"protocol\":\"SCTP\"," SOURCE),
		PORTS("\"number\":22,\"protocol\":\"\"," SOURCE),
		PORTS("\"number\":22,\"protocol\":6," SOURCE),
		PORTS("\"number\":22,\"protocol\":\"TCP\""),
		PORTS("\"number\":22,\"protocol\":\"TCP\"," SOURCE "," SOURCES),
		PORTS("\"number\":22,\"protocol\":\"TCP\",\"allowedSourceAddressPrefixes\":[]"),
		PORTS("\"number\":22,\"protocol\":\"TCP\",\"allowedSourceAddressPrefixes\":\"*\""),
		PORTS("\"number\":22,\"protocol\":\"TCP\",\"allowedSourceAddressPrefixes\":[7]"),
		PORTS("\"number\":22,\"protocol\":\"TCP\",\"allowedSourceAddressPrefix\":[\"*\"]"),
		PORTS("\"number\":22,\"protocol\":\"TCP\",\"allowedSourceAddressPrefix\":\"\""),
		PORTS("\"number\":22,\"protocol\":\"TCP\",\"allowedSourceAddressPrefix\":"
		      "\"::ffff:10.0.0.1\""),
		PORTS("\"number\":22,\"protocol\":\"TCP\",\"allowedSourceAddressPrefix\":\"any\""),
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(good); i++)
		assert_changed(DOCUMENT_GRANT, "ports", good[i], REFUSAL_NONE);
	for (size_t i = 0; i < N_ELEMENTS(bad); i++)
		assert_changed(DOCUMENT_GRANT, "ports", bad[i], REFUSAL_MALFORMED);
}

static void a_refusal_tells_which_value_is_wrong(void **state)
{
	json_t *ports = json_loads("[{\"number\":22,\"protocol\":\"TCP\"," SOURCE "},"
				   "{\"number\":22,\"protocol\":\"TCP\"," SOURCE "},"
				   "{\"number\":22,\"protocol\":\"TCP\","
				   "\"allowedSourceAddressPrefix\":\"10.0.0.1/8\"}]",
		0, NULL);
	struct refusal refusal = read_changed(DOCUMENT_GRANT, "ports", ports);

	(void)state;
	assert_string_equal(refusal.message,
		"port 3 of the list: allowedSourceAddressPrefix "
		"\"10.0.0.1/8\" has host bits set beyond its length");
}

static void a_refusal_carries_no_escape_to_a_terminal(void **state)
{
	struct refusal refusal;
	char text[2000];

	(void)state;
	assert_int_equal(
		refuse(&refusal, REFUSAL_REVOKED, "%s",
			"a\x1b[31m\n\x7f \xc2\x9b \xe2\x80\xae \xff\xc3 \xc3\xa4 \xf0\x9f\x94\x91"),
		REFUSED);
	assert_string_equal(refusal.message, "a?[31m?? ? ? ?? \xc3\xa4 \xf0\x9f\x94\x91");
	/* What does not fit is cut in front of a character, not within one. */
	for (size_t n = 600; n < 700; n++) {
		memset(text, 'x', n);
		strcpy(text + n, "\xf0\x9f\x94\x91\xf0\x9f\x94\x91\xf0\x9f\x94\x91");
		refuse(&refusal, REFUSAL_REVOKED, "%s", text);
		assert_null(strchr(refusal.message, '?'));
	}
	assert_string_equal(refusal.message + strlen(refusal.message) - 4, "x\xe2\x80\xa6");
}

static json_t *repeat(const char *json, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_loads(json, JSON_DECODE_ANY, NULL));
	return list;
}

static void lists_are_bounded(void **state)
{
	static const char port[] = "{\"number\":22,\"protocol\":\"TCP\"," SOURCE "}";
	static const struct {
		const char *json;
		size_t n;
		enum refusal_code code;
	} prefixes[] = { { "\"10.0.0.0/8\"", 64, REFUSAL_NONE },
		{ "\"10.0.0.0/8\"", 65, REFUSAL_TOO_LARGE } };
	struct refusal refusal;

	(void)state;
	refusal = read_changed(DOCUMENT_GRANT, "ports", repeat(port, 64));
	assert_code(&refusal, REFUSAL_NONE);
	refusal = read_changed(DOCUMENT_GRANT, "ports", repeat(port, 65));
	assert_code(&refusal, REFUSAL_TOO_LARGE);
	for (size_t i = 0; i < N_ELEMENTS(prefixes); i++) {
		json_t *ports = json_pack("[{s:i, s:s, s:o}]", "number", 22, "protocol", "TCP",
			"allowedSourceAddressPrefixes", repeat(prefixes[i].json, prefixes[i].n));

		refusal = read_changed(DOCUMENT_GRANT, "ports", ports);
		assert_code(&refusal, prefixes[i].code);
	}
	refusal = read_changed(DOCUMENT_REVOCATION, "revokes", repeat("\"grant-1\"", 256));
	assert_code(&refusal, REFUSAL_NONE);
	refusal = read_changed(DOCUMENT_REVOCATION, "revokes", repeat("\"grant-1\"", 257));
	assert_code(&refusal, REFUSAL_TOO_LARGE);
}

static void a_revocation_that_revokes_nothing_is_malformed(void **state)
{
	static const char *const revokes[] = { NULL, "null", "[]", "\"grant-1\"", "[7]", "[\"\"]",
		"[\"grant-1\", \"a b\"]", "[null]" };
	static const char *const sessions[] = { "null", "\"\"", "\"KILL\"", "\"default\"", "true",
		"[]" };

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(revokes); i++)
		assert_changed(DOCUMENT_REVOCATION, "revokes", revokes[i], REFUSAL_MALFORMED);
	for (size_t i = 0; i < N_ELEMENTS(sessions); i++)
		assert_changed(DOCUMENT_REVOCATION, "sessions", sessions[i], REFUSAL_MALFORMED);
	assert_changed(DOCUMENT_REVOCATION, "sessions", NULL, REFUSAL_NONE);
	assert_changed(DOCUMENT_REVOCATION, "sessions", "\"keep\"", REFUSAL_NONE);
}

static void a_policy_without_bounds_is_malformed(void **state)
{
	static const char *const versions[] = { NULL, "null", "0", "-1", "1.0", "\"1\"", "true" };
	static const char *const ports[] = {
		NULL,
		"null",
		"{}",
		PORTS("\"number\":22,\"protocol\":\"TCP\"," SOURCE),
		PORTS("\"number\":22,\"protocol\":\"TCP\",\"maxRequestAccessDuration\":\"PT1H\""),
		PORTS("\"number\":22,\"protocol\":\"TCP\","
		      "\"maxRequestAccessDuration\":\"\"," SOURCE),
		PORTS("\"number\":22,\"protocol\":\"TCP\","
		      "\"maxRequestAccessDuration\":\"3h\"," SOURCE),
		PORTS("\"number\":22,\"protocol\":\"TCP\","
		      "\"maxRequestAccessDuration\":3600," SOURCE),
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(versions); i++)
		assert_changed(DOCUMENT_POLICY, "version", versions[i], REFUSAL_MALFORMED);
	for (size_t i = 0; i < N_ELEMENTS(ports); i++)
		assert_changed(DOCUMENT_POLICY, "ports", ports[i], REFUSAL_MALFORMED);
	assert_changed(DOCUMENT_POLICY, "version", "9223372036854775807", REFUSAL_NONE);
	/* So a control plane lets go of a VM. */
	assert_changed(DOCUMENT_POLICY, "ports", "[]", REFUSAL_NONE);
}

static void a_kind_has_its_name_and_type(void **state)
{
	enum document_kind kind;

	(void)state;
	assert_string_equal(document_kind_name(DOCUMENT_POLICY), "policy");
	assert_string_equal(document_kind_type(DOCUMENT_REVOCATION), "jit-revocation+jwt");
	assert_int_equal(document_kind_parse_name("grant", &kind), 0);
	assert_int_equal(kind, DOCUMENT_GRANT);
	assert_int_equal(document_kind_parse_name("Grant", &kind), -EINVAL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_grant_by_each_algorithm_is_read),
		cmocka_unit_test(a_revocation_is_read),
		cmocka_unit_test(a_policy_is_read),
		cmocka_unit_test(a_document_for_another_vm_opens_nothing_here),
		cmocka_unit_test(an_azure_id_is_the_same_whatever_its_case),
		cmocka_unit_test(a_document_is_read_without_a_vm_where_none_is_asked_for),
		cmocka_unit_test(a_kind_under_another_typ_is_malformed),
		cmocka_unit_test(a_claim_of_the_wrong_type_is_malformed),
		cmocka_unit_test(a_string_is_bounded),
		cmocka_unit_test(a_grant_that_ends_before_it_begins_is_malformed),
		cmocka_unit_test(a_port_that_says_too_little_or_too_much_is_malformed),
		cmocka_unit_test(a_refusal_tells_which_value_is_wrong),
		cmocka_unit_test(a_refusal_carries_no_escape_to_a_terminal),
		cmocka_unit_test(lists_are_bounded),
		cmocka_unit_test(a_revocation_that_revokes_nothing_is_malformed),
		cmocka_unit_test(a_policy_without_bounds_is_malformed),
		cmocka_unit_test(a_kind_has_its_name_and_type),
	};

	return cmocka_run_group_tests(tests, keys_setup, keys_teardown);
}
