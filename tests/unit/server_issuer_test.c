/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Tokens of an OIDC issuer: one that is right, and each thing that can be wrong with one. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <jose/jws.h>
#include <unistd.h>

#include "contrib/control-plane/identity/issuer.h"
#include "tests/unit/signing.h"

#define NOW INT64_C(1767261600)
#define CLAIMS \
	"{'iss': 'https://idp.example', 'aud': 'jitgate', 'sub': 's-1', 'email': " \
	"'Alice@Example.org', 'exp': 1767265200, 'iat': 1767261500}"

struct fixture {
	char path[32];
	json_t *ec; /* with alg ES256 */
	json_t *rsa; /* published without alg */
	json_t *unknown;
	struct issuer issuer;
};

static void publish(struct fixture *fixture, json_t *set)
{
	assert_int_equal(json_dump_file(set, fixture->path, 0), 0);
	json_decref(set);
}

static json_t *published(const json_t *jwk, bool with_alg)
{
	json_t *public_jwk = key_public(jwk);

	if (!with_alg)
		json_object_del(public_jwk, "alg");
	json_object_del(public_jwk, "key_ops");
	json_object_set_new(public_jwk, "use", json_string("sig"));
	/* As real issuers add them. */
	json_object_set_new(public_jwk, "x5t", json_string("abc"));
	return public_jwk;
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	char *error = NULL;

	strcpy(fixture->path, "/tmp/jwks_XXXXXX");
	close(mkstemp(fixture->path));
	fixture->ec = key_generate("ES256", "ec");
	fixture->rsa = key_generate("RS256", "rsa");
	fixture->unknown = key_generate("ES256", "other");
	publish(fixture,
		json_pack("{s:[o, o, {s:s, s:s, s:s, s:s}, {s:s, s:s, s:s, s:s}]}", "keys",
			published(fixture->ec, true), published(fixture->rsa, false), "kty", "OKP",
			"crv", "Ed25519", "kid", "ed", "x", "AAAA", "kty", "RSA", "use", "enc",
			"kid", "enc", "n", "AAAA"));
	fixture->issuer = (struct issuer){
		.issuer = strdup("https://idp.example"),
		.audience = strdup("jitgate"),
		.jwks = strdup(fixture->path),
		.groups_claim = strdup("groups"),
		.principal_claim = strdup("email"),
	};
	if (issuer_load_keys(&fixture->issuer, &error) < 0)
		fail_msg("%s", error);
	/* ES256; RS256 and PS256 of the one without alg. */
	assert_int_equal(fixture->issuer.n_keys, 3);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	issuer_done(&fixture->issuer);
	json_decref(fixture->ec);
	json_decref(fixture->rsa);
	json_decref(fixture->unknown);
	unlink(fixture->path);
	free(fixture);
	return 0;
}

/* JSON with ' for ". */
static char *quote(const char *text)
{
	char *copy = strdup(text);

	for (char *c = copy; *c; c++)
		if (*c == '\'')
			*c = '"';
	return copy;
}

static char *token_make(const char *header, const char *claims, const json_t *jwk)
{
	_cleanup_(freep) char *header_text = quote(header);
	_cleanup_(freep) char *claims_text = quote(claims);

	return sign_text(header_text, claims_text, jwk);
}

static void assert_issued_to(struct fixture *fixture, const char *token, const char *principal)
{
	_cleanup_(issued_done) struct issued issued = { 0 };
	const char *reason = "";

	if (issuer_read_token(&fixture->issuer, 1, token, NOW, &issued, &reason) != 0)
		fail_msg("%s", reason);
	assert_string_equal(issued.principal, principal);
}

static void assert_refused(struct fixture *fixture, const char *token, const char *part)
{
	struct issued issued = { 0 };
	const char *reason = "";

	assert_int_equal(
		issuer_read_token(&fixture->issuer, 1, token, NOW, &issued, &reason), NOT_ISSUED);
	if (!strstr(reason, part))
		fail_msg("\"%s\" instead of \"%s\"", reason, part);
	assert_null(issued.principal);
	assert_null(issued.groups);
}

#define HEADER "{'alg': 'ES256', 'kid': 'ec', 'typ': 'JWT'}"

static void assert_claims(struct fixture *fixture, const char *claims, const char *principal)
{
	_cleanup_(freep) char *token = token_make(HEADER, claims, fixture->ec);

	assert_issued_to(fixture, token, principal);
}

static void assert_claims_refused(struct fixture *fixture, const char *claims, const char *part)
{
	_cleanup_(freep) char *token = token_make(HEADER, claims, fixture->ec);

	assert_refused(fixture, token, part);
}

static void assert_header_refused(struct fixture *fixture, const char *header, const char *part)
{
	_cleanup_(freep) char *token = token_make(header, CLAIMS, fixture->ec);

	assert_refused(fixture, token, part);
}

#define SOMEONE "'iss': 'https://idp.example', 'aud': 'jitgate', 'exp': 1767265200"

static void a_token_names_its_principal(void **state)
{
	struct fixture *fixture = *state;

	assert_claims(fixture, CLAIMS, "Alice@Example.org");
	/* What is left out does not make them another. */
	assert_claims_refused(fixture, "{" SOMEONE ", 'sub': 'S-1'}", "lacks the claim");
	assert_claims(fixture, "{" SOMEONE ", 'email': 'a@b', 'email_verified': true}", "a@b");
	assert_claims_refused(
		fixture, "{" SOMEONE ", 'email': 'a@b', 'email_verified': false}", "verified");
	assert_claims_refused(
		fixture, "{" SOMEONE ", 'email': 'a@b', 'email_verified': null}", "verified");
	assert_claims_refused(fixture, "{" SOMEONE "}", "nobody");
	assert_claims_refused(fixture, "{" SOMEONE ", 'email': 7, 'sub': 'x'}", "nobody");
	assert_claims_refused(fixture, "{" SOMEONE ", 'email': ''}", "nobody");
	assert_claims_refused(fixture, "{" SOMEONE ", 'email': 'a\\nb'}", "nobody");

	free(fixture->issuer.principal_claim);
	fixture->issuer.principal_claim = strdup("upn");
	assert_claims(
		fixture, "{" SOMEONE ", 'email': 'a@b', 'email_verified': false, 'upn': 'U'}", "U");
	assert_claims_refused(fixture, CLAIMS, "nobody");
}

static void groups_are_a_list_of_strings(void **state)
{
	struct fixture *fixture = *state;
	_cleanup_(issued_done) struct issued issued = { 0 };
	_cleanup_(freep) char *token = token_make(
		HEADER, "{" SOMEONE ", 'email': 's', 'groups': ['a', 'b']}", fixture->ec);
	const char *reason;

	assert_int_equal(issuer_read_token(&fixture->issuer, 1, token, NOW, &issued, &reason), 0);
	assert_int_equal(json_array_size(issued.groups), 2);
	assert_claims_refused(fixture, "{" SOMEONE ", 'email': 's', 'groups': 'a'}", "groups");
	assert_claims_refused(fixture, "{" SOMEONE ", 'email': 's', 'groups': ['a', 1]}", "groups");
}

static void a_token_of_another_issuer_or_audience_is_refused(void **state)
{
	struct fixture *fixture = *state;

#define TIMES "'email': 's', 'exp': 1767265200"
	assert_claims_refused(fixture, "{'aud': 'jitgate', " TIMES "}", "issuer");
	assert_claims_refused(
		fixture, "{'iss': 'https://idp.example/', 'aud': 'jitgate', " TIMES "}", "issuer");
	assert_claims_refused(
		fixture, "{'iss': ['https://idp.example'], 'aud': 'jitgate', " TIMES "}", "issuer");
	assert_claims_refused(fixture, "{'iss': 'https://idp.example', " TIMES "}", "audience");
	assert_claims_refused(fixture,
		"{'iss': 'https://idp.example', 'aud': 'jitgate2', " TIMES "}", "audience");
	assert_claims_refused(fixture,
		"{'iss': 'https://idp.example', 'aud': ['x', 1, {}], " TIMES "}", "audience");
	assert_claims(
		fixture, "{'iss': 'https://idp.example', 'aud': ['x', 'jitgate'], " TIMES "}", "s");
}

static void a_token_is_good_in_its_time(void **state)
{
	struct fixture *fixture = *state;

#define FOR_US "'iss': 'https://idp.example', 'aud': 'jitgate', 'email': 's'"
	/* 60 seconds of leeway. */
	assert_claims(fixture, "{" FOR_US ", 'exp': 1767261541}", "s");
	assert_claims_refused(fixture, "{" FOR_US ", 'exp': 1767261540}", "expired");
	assert_claims_refused(fixture, "{" FOR_US "}", "exp");
	assert_claims_refused(fixture, "{" FOR_US ", 'exp': '1767265200'}", "exp");
	assert_claims_refused(fixture, "{" FOR_US ", 'exp': 1e300}", "exp");
	assert_claims(fixture, "{" FOR_US ", 'exp': 1767265200.5}", "s");
	assert_claims(fixture, "{" FOR_US ", 'exp': 1767265200, 'nbf': 1767261660}", "s");
	assert_claims_refused(
		fixture, "{" FOR_US ", 'exp': 1767265200, 'nbf': 1767261661}", "not valid yet");
	assert_claims(fixture, "{" FOR_US ", 'exp': 1767265200, 'iat': 1767261660}", "s");
	assert_claims_refused(
		fixture, "{" FOR_US ", 'exp': 1767265200, 'iat': 1767261661}", "future");
	assert_claims_refused(fixture, "{" FOR_US ", 'exp': 1767265200, 'nbf': null}", "times");
}

static void a_header_must_fit_the_key(void **state)
{
	struct fixture *fixture = *state;
	_cleanup_(freep) char *token = NULL;

	assert_header_refused(fixture, "{'alg': 'none', 'kid': 'ec'}", "alg");
	assert_header_refused(fixture, "{'alg': 'HS256', 'kid': 'ec'}", "alg");
	assert_header_refused(fixture, "{'alg': 'ES512', 'kid': 'ec'}", "alg");
	assert_header_refused(fixture, "{'alg': 'RS256', 'kid': 'ec'}", "not known");
	assert_header_refused(fixture, "{'alg': 'ES256', 'kid': 'EC'}", "not known");
	assert_header_refused(fixture, "{'alg': 'ES256', 'kid': 'rsa'}", "not known");
	assert_header_refused(fixture, "{'alg': 'ES256'}", "malformed");
	assert_header_refused(
		fixture, "{'alg': 'ES256', 'kid': 'ec', 'crit': ['exp']}", "malformed");
	assert_header_refused(
		fixture, "{'alg': 'ES256', 'kid': 'ec', 'alg': 'ES256'}", "malformed");
	assert_header_refused(fixture, "{'alg': 'ES256', 'kid': 'ec', 'typ': 'logout+jwt'}", "typ");
	assert_header_refused(
		fixture, "{'alg': 'ES256', 'kid': 'ec', 'typ': 'jit-grant+jwt'}", "typ");
	token = token_make("{'alg': 'ES256', 'kid': 'ec', 'typ': 'at+JWT'}", CLAIMS, fixture->ec);
	assert_issued_to(fixture, token, "Alice@Example.org");
}

static void a_signature_of_another_key_is_refused(void **state)
{
	struct fixture *fixture = *state;
	_cleanup_(freep) char *token = token_make(HEADER, CLAIMS, fixture->unknown);
	_cleanup_(freep) char *cut = NULL;

	assert_refused(fixture, token, "signature");
	cut = token_make(HEADER, CLAIMS, fixture->ec);
	*strrchr(cut, '.') = '\0';
	assert_refused(fixture, cut, "malformed");
	assert_refused(fixture, "", "malformed");
	assert_refused(fixture, "a.b.c", "malformed");
}

static void claims_are_strict_json(void **state)
{
	struct fixture *fixture = *state;
	static char long_claims[10 * 1024];

	assert_claims_refused(fixture, "[]", "claims");
	assert_claims_refused(fixture, "{" SOMEONE ", 'sub': 'a', 'sub': 'b'}", "claims");
	snprintf(long_claims, sizeof(long_claims), "{" SOMEONE ", 'sub': 'a', 'x': '%08192d'}", 0);
	assert_claims_refused(fixture, long_claims, "too long");
}

static char *sign_with_library(const json_t *jwk, const char *alg)
{
	_cleanup_(freep) char *claims = quote(CLAIMS);
	json_auto_t *jws = json_pack("{s:o}", "payload", jose_b64_enc(claims, strlen(claims)));
	json_auto_t *template = json_pack("{s:{s:s, s:s}}", "protected", "alg", alg, "kid", "rsa");
	json_auto_t *key = json_deep_copy(jwk);
	const char *protected, *payload, *signature;
	char *text;

	json_object_del(key, "alg");
	assert_true(jose_jws_sig(NULL, jws, template, key));
	assert_int_equal(json_unpack(jws, "{s:s, s:s, s:s}", "protected", &protected, "payload",
				 &payload, "signature", &signature),
		0);
	assert_true(asprintf(&text, "%s.%s.%s", protected, payload, signature) > 0);
	return text;
}

static void a_key_without_alg_is_limited_by_its_type(void **state)
{
	struct fixture *fixture = *state;
	static const char *const algorithms[] = { "RS256", "PS256" };

	for (size_t i = 0; i < N_ELEMENTS(algorithms); i++) {
		_cleanup_(freep) char *token = sign_with_library(fixture->rsa, algorithms[i]);

		assert_issued_to(fixture, token, "Alice@Example.org");
	}
}

static void a_set_without_a_usable_key_is_an_error(void **state)
{
	struct fixture *fixture = *state;
	struct issuer issuer = { .jwks = fixture->path };
	char *error = NULL;

	publish(fixture, json_pack("{s:[{s:s, s:s}]}", "keys", "kty", "OKP", "kid", "a"));
	assert_int_equal(issuer_load_keys(&issuer, &error), -EINVAL);
	assert_non_null(strstr(error, "no key"));
	free(error);
	free(issuer.keys);
	issuer.keys = NULL;
	/* A private key in a public file is a mistake to be told of. */
	publish(fixture, json_pack("{s:[O]}", "keys", fixture->ec));
	assert_int_equal(issuer_load_keys(&issuer, &error), -EINVAL);
	assert_non_null(strstr(error, "private"));
	free(error);
	issuer.jwks = NULL;
	issuer_done(&issuer);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_token_names_its_principal),
		TEST(groups_are_a_list_of_strings),
		TEST(a_token_of_another_issuer_or_audience_is_refused),
		TEST(a_token_is_good_in_its_time),
		TEST(a_header_must_fit_the_key),
		TEST(a_signature_of_another_key_is_refused),
		TEST(claims_are_strict_json),
		TEST(a_key_without_alg_is_limited_by_its_type),
		TEST(a_set_without_a_usable_key_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
