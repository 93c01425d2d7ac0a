/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What the control plane signs, agents take; of two keys the first signs and both are published. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "contrib/control-plane/jit/claims.h"
#include "contrib/control-plane/jit/signer.h"
#include "tests/unit/server_fixture.h"
#include "tests/unit/signing.h"

static struct signer *signer_make(const json_t *json)
{
	_cleanup_(freep) char *text = json_dumps(json, 0);
	_cleanup_(freep) char *error = NULL;
	struct signer *signer;

	if (signer_parse(text, strlen(text), "keys", &signer, &error) != 0)
		fail_msg("%s: %s", text, error);
	return signer;
}

static void signer_refused(const json_t *json, const char *message)
{
	_cleanup_(freep) char *text = json_dumps(json, 0);
	_cleanup_(freep) char *error = NULL;
	struct signer *signer;

	assert_true(signer_parse(text, strlen(text), "keys", &signer, &error) < 0);
	if (!error || !strstr(error, message))
		fail_msg("\"%s\" instead of \"%s\"", error, message);
}

static struct document *signed_read(
	const struct signer *signer, enum document_kind kind, json_t *claims)
{
	_cleanup_(freep) char *set = json_dumps(signer->published, 0);
	_cleanup_(trust_freep) struct trust *trust = NULL;
	_cleanup_(freep) char *error = NULL, *text = NULL;
	struct refusal refusal = { 0 };
	struct document *document;

	assert_int_equal(signer_sign(signer, kind, claims, &text), 0);
	assert_int_equal(trust_parse(set, strlen(set), "t", &trust, &error), 0);
	if (document_read(text, strlen(text), trust, VM_1, &document, &refusal) != 0)
		fail_msg("%s", refusal.message);
	document->key = NULL;
	return document;
}

static struct request *request_make(void)
{
	json_auto_t *json = json_make(
		"{'requestor': 'alice@example.org', 'policy': '" POLICY_ID
		"', 'justification': 'j', 'virtualMachines': [{'id': '" VM_1
		"', 'ports': [{'number': 22, 'protocol': 'TCP', 'allowedSourceAddressPrefix': "
		"'2001:db8::7', 'endTimeUtc': '2026-01-01T11:00:00Z', 'status': 'Initiated', "
		"'statusReason': 'UserRequested'}]}]}");
	struct request *request;

	assert_int_equal(
		request_from_json("r-0198c2f4a1b27c3e8f0123456789abcd", json, &request), 0);
	return request;
}

static void agents_take_what_is_signed(const char *alg)
{
	json_auto_t *key = key_generate(alg, "k1");
	struct signer *signer = signer_make(key);
	struct request *request = request_make();
	struct policy *policy = policy_make("default",
		"{'properties': {'virtualMachines': [{'id': '" VM_1
		"', 'ports': [{'number': 22, 'protocol': 'TCP', 'allowedSourceAddressPrefix': '*', "
		"'maxRequestAccessDuration': 'PT3H', 'approvalRequired': true}]}]}}");
	struct document *document;
	json_t *ports = json_array();
	char jti[DOCUMENT_JTI_BYTES_MAX];

	document = signed_read(
		signer, DOCUMENT_GRANT, claims_grant(request, 0, 0, "https://jit", NOW));
	assert_string_equal(document->id, "r-0198c2f4a1b27c3e8f0123456789abcd.0.0");
	assert_string_equal(document->subject, "alice@example.org");
	assert_int_equal(document->expires - document->issued_at, 3600);
	document_free(document);

	document = signed_read(signer, DOCUMENT_REVOCATION,
		claims_revocation(request, 0, json_pack("[s]", "r-1.0.0"), "https://jit", NOW, true,
			NULL, jti));
	assert_string_equal(document->id, jti);
	assert_int_equal(document->sessions, SESSIONS_KILL);
	document_free(document);

	assert_int_equal(policy_vm_add_claims(&policy->vms[0], ports), 0);
	document = signed_read(
		signer, DOCUMENT_POLICY, claims_policy(VM_1, ports, "https://jit", NOW, 1234));
	assert_int_equal(document->version, 1234);
	assert_int_equal(document->ports[0].max_duration, 3 * 3600);
	document_free(document);

	policy_free(policy);
	request_free(request);
	signer_free(signer);
}

static void test_agents_take_what_is_signed(void **state)
{
	static const char *const algorithms[] = { "ES256", "ES384", "PS256", "RS256" };

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(algorithms); i++)
		agents_take_what_is_signed(algorithms[i]);
}

/* A leading zero byte of r or s must not be lost: of 2,000 signatures about 15 have one. */
static void test_each_signature_verifies(void **state)
{
	json_auto_t *key = key_generate("ES256", "k1");
	struct signer *signer = signer_make(key);
	struct request *request = request_make();

	(void)state;
	for (int i = 0; i < 2000; i++)
		document_free(signed_read(
			signer, DOCUMENT_GRANT, claims_grant(request, 0, 0, "https://jit", NOW)));
	request_free(request);
	signer_free(signer);
}

static void test_the_first_private_key_signs(void **state)
{
	json_auto_t *one = key_generate("ES256", "k1"), *two = key_generate("ES384", "k2");
	json_auto_t *retired = key_generate("ES256", "k0"), *public_jwk = key_public(retired);
	json_auto_t *set = json_pack("{s:[O, O, O]}", "keys", public_jwk, two, one);
	struct signer *signer = signer_make(set);
	const json_t *keys = json_object_get(signer->published, "keys"), *jwk;
	size_t i;

	(void)state;
	assert_string_equal(json_string_value(json_object_get(signer->key, "kid")), "k2");
	assert_int_equal(json_array_size(keys), 3);
	json_array_foreach (keys, i, jwk)
		assert_null(json_object_get(jwk, "d"));
	signer_free(signer);
}

static void test_bad_key_files_say_why(void **state)
{
	json_auto_t *key = key_generate("ES256", "k1"), *public_jwk = key_public(key);
	json_auto_t *twice = json_pack("{s:[O, O]}", "keys", key, key);
	json_auto_t *none = json_pack("{s:[]}", "keys");
	json_auto_t *nameless = json_deep_copy(key);

	(void)state;
	json_object_del(nameless, "kid");
	signer_refused(public_jwk, "has no private key that could sign");
	signer_refused(none, "has no private key that could sign");
	signer_refused(twice, "kid is given twice");
	signer_refused(nameless, "kid is missing");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_agents_take_what_is_signed),
		cmocka_unit_test(test_each_signature_verifies),
		cmocka_unit_test(test_the_first_private_key_signs),
		cmocka_unit_test(test_bad_key_files_say_why),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
