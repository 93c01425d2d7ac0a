/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Roles, scopes, and tokens as a real store has them. */

#include "tests/unit/server_store.h"

#include "contrib/control-plane/identity/credential.h"
#include "contrib/control-plane/identity/identity.h"
#include "contrib/control-plane/identity/issuer.h"
#include "contrib/control-plane/identity/tokens.h"

#define NOW INT64_C(1767261600)

static void a_scope_holds_what_is_below_it(void **state)
{
	static const struct {
		const char *scope, *resource;
		bool holds;
	} cases[] = {
		{ "/", "/subscriptions/S", true },
		{ "/", "web-1", true },
		{ "/subscriptions/S", "/subscriptions/s", true },
		{ "/subscriptions/S", "/Subscriptions/S/resourceGroups/R", true },
		{ "/subscriptions/S", "/subscriptions/S2", false },
		{ "/subscriptions/S", "/subscriptions", false },
		{ "/subscriptions/S/resourceGroups/R", "/subscriptions/S", false },
		{ "/subscriptions/S", "web-1", false },
		{ "/subscriptions/S", "", false },
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++)
		if (scope_holds(cases[i].scope, cases[i].resource) != cases[i].holds)
			fail_msg("%s %s", cases[i].scope, cases[i].resource);
}

static void a_scope_is_a_path_of_whole_segments(void **state)
{
	static const char *const bad[] = { "", "subscriptions", "//", "/subscriptions/",
		"/subscriptions//b", "/subscriptions/a\n", "/subscription/S", "/subscriptionsS",
		"/a" };
	char long_scope[SCOPE_BYTES_MAX + 2];

	(void)state;
	assert_int_equal(scope_check("/"), 0);
	assert_int_equal(scope_check("/subscriptions/S"), 0);
	assert_int_equal(scope_check("/Subscriptions"), 0);
	for (size_t i = 0; i < N_ELEMENTS(bad); i++)
		if (scope_check(bad[i]) == 0)
			fail_msg("\"%s\"", bad[i]);
	memset(long_scope, 'a', sizeof(long_scope));
	memcpy(long_scope, "/subscriptions/", 15);
	long_scope[SCOPE_BYTES_MAX + 1] = '\0';
	assert_int_equal(scope_check(long_scope), -EINVAL);
}

static void a_role_counts_in_its_scope_only(void **state)
{
	_cleanup_(principal_freep) struct principal *principal = principal_new("alice");

	(void)state;
	assert_false(principal_may_read(principal, "/subscriptions/S"));
	assert_int_equal(principal_assign(principal, ROLE_REQUESTER, "/subscriptions/S"), 0);
	assert_int_equal(principal_assign(principal, ROLE_APPROVER, "/subscriptions/T"), 0);
	assert_true(principal_has(principal, ROLE_REQUESTER, "/subscriptions/S/x"));
	assert_false(principal_has(principal, ROLE_APPROVER, "/subscriptions/S/x"));
	assert_true(principal_has(principal, ROLE_APPROVER, "/subscriptions/T"));
	assert_false(principal_has(principal, ROLE_READER, "/subscriptions/S"));
	assert_true(principal_may_read(principal, "/subscriptions/T/y"));
	assert_false(principal_may_read(principal, "/subscriptions/U"));
}

static void nobody_is_two_persons_by_case(void **state)
{
	_cleanup_(principal_freep) struct principal *address = principal_new("Alice@Example.ORG");
	_cleanup_(principal_freep) struct principal *name = principal_new("Alice");

	(void)state;
	assert_string_equal(address->name, "alice@example.org");
	assert_string_equal(name->name, "Alice");
}

static void a_credential_is_known_by_its_form(void **state)
{
	char one[CREDENTIAL_STRING_MAX], other[CREDENTIAL_STRING_MAX], hash[CREDENTIAL_HASH_MAX];

	(void)state;
	assert_int_equal(credential_new(CREDENTIAL_TOKEN, one), 0);
	assert_int_equal(credential_new(CREDENTIAL_TOKEN, other), 0);
	assert_string_not_equal(one, other);
	assert_true(credential_is_valid(CREDENTIAL_TOKEN, one));
	assert_false(credential_is_valid(CREDENTIAL_AGENT, one));
	one[20] = '.';
	assert_false(credential_is_valid(CREDENTIAL_TOKEN, one));
	other[46] = '\0';
	assert_false(credential_is_valid(CREDENTIAL_TOKEN, other));
	/* FIPS 180-2, appendix B.1. */
	assert_int_equal(credential_hash("abc", hash), 0);
	assert_string_equal(
		hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void put_token(struct fixture *fixture, const char *text, const char *value, char *key)
{
	char hash[CREDENTIAL_HASH_MAX];

	assert_int_equal(credential_hash(text, hash), 0);
	sprintf(key, TOKENS_PREFIX "%s", hash);
	put(fixture, key, value);
}

#define VALUE(expires) \
	"{\"principal\": \"alice\", \"role\": \"requester\", \"scope\": \"/subscriptions/S\", " \
	"\"created\": \"2026-01-01T00:00:00Z\", \"expires\": \"" expires "\"}"

static void a_token_is_good_until_it_ends_or_is_revoked(void **state)
{
	static const struct assignment_rule rules[] = {
		{ .principal = "Alice", .assignment = { ROLE_APPROVER, "/" } },
		{ .principal = "alice", .assignment = { ROLE_READER, "/subscriptions/T" } },
		{ .group = "alice", .assignment = { ROLE_APPROVER, "/" } },
	};
	struct fixture *fixture = *state;
	_cleanup_(identity_freep) struct identity *identity = NULL;
	char text[CREDENTIAL_STRING_MAX], key[128], other[128];
	struct principal *principal = NULL;
	const char *reason = NULL;

	assert_int_equal(credential_new(CREDENTIAL_TOKEN, text), 0);
	put_token(fixture, text, VALUE("2026-01-01T10:00:01Z"), key);
	assert_int_equal(identity_new(fixture->store, &identity), 0);
	identity_configure(identity, NULL, 0, rules, N_ELEMENTS(rules));
	/* Another one: when it has been told, so has what was there. */
	put_token(fixture, "jgt_other", VALUE("2027-01-01T00:00:00Z"), other);
	assert_int_equal(identity_count_tokens(identity), 2);

	assert_int_equal(
		identity_authenticate(identity, text, NOW, &principal, &reason), IDENTIFIED);
	assert_string_equal(principal->name, "alice");
	assert_int_equal(principal->n_assignments, 2);
	assert_true(principal_has(principal, ROLE_REQUESTER, "/subscriptions/S"));
	assert_true(principal_may_read(principal, "/subscriptions/T"));
	principal = principal_free(principal);

	assert_int_equal(identity_authenticate(identity, text, NOW + 1, &principal, &reason),
		NOT_IDENTIFIED);
	assert_non_null(strstr(reason, "expired"));
	text[10] ^= 1;
	assert_int_equal(
		identity_authenticate(identity, text, NOW, &principal, &reason), NOT_IDENTIFIED);
	text[10] ^= 1;
	assert_int_equal(
		identity_authenticate(identity, "a.b.c", NOW, &principal, &reason), NOT_IDENTIFIED);

	delete (fixture, key);
	assert_int_equal(
		identity_authenticate(identity, text, NOW, &principal, &reason), NOT_IDENTIFIED);
	assert_int_equal(identity_count_tokens(identity), 1);
	assert_null(principal);
}

static void what_is_no_token_lets_nobody_in(void **state)
{
	static const char *const values[] = {
		"",
		"[]",
		"{}",
		"{\"principal\": \"a\"}",
		"{\"principal\": \"a\", \"role\": \"root\", \"scope\": \"/\", \"created\": "
		"\"2026-01-01T00:00:00Z\", \"expires\": \"2027-01-01T00:00:00Z\"}",
		"{\"principal\": \"a\", \"role\": \"reader\", \"scope\": \"\", \"created\": "
		"\"2026-01-01T00:00:00Z\", \"expires\": \"2027-01-01T00:00:00Z\"}",
		"{\"principal\": \"a\", \"role\": \"reader\", \"scope\": \"/\", \"created\": "
		"\"2026-01-01T00:00:00Z\", \"expires\": 7}",
	};
	struct fixture *fixture = *state;
	_cleanup_(identity_freep) struct identity *identity = NULL;
	char text[CREDENTIAL_STRING_MAX], key[128];
	struct principal *principal = NULL;
	const char *reason = NULL;

	assert_int_equal(credential_new(CREDENTIAL_TOKEN, text), 0);
	assert_int_equal(identity_new(fixture->store, &identity), 0);
	for (size_t i = 0; i < N_ELEMENTS(values); i++) {
		/* Also where it replaces one. */
		put_token(fixture, text, VALUE("2027-01-01T00:00:00Z"), key);
		assert_int_equal(identity_count_tokens(identity), 1);
		put_token(fixture, text, values[i], key);
		assert_int_equal(identity_count_tokens(identity), 0);
		assert_int_equal(identity_authenticate(identity, text, NOW, &principal, &reason),
			NOT_IDENTIFIED);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_scope_holds_what_is_below_it),
		cmocka_unit_test(a_scope_is_a_path_of_whole_segments),
		cmocka_unit_test(a_role_counts_in_its_scope_only),
		cmocka_unit_test(nobody_is_two_persons_by_case),
		cmocka_unit_test(a_credential_is_known_by_its_form),
		TEST(a_token_is_good_until_it_ends_or_is_revoked),
		TEST(what_is_no_token_lets_nobody_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
