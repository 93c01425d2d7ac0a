/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "agent/common/trust.h"
#include "tests/unit/signing.h"

static struct {
	json_t *es256, *es384, *rs256; /* public */
	json_t *es256_private, *rs256_private;
} keys;

static int keys_setup(void **state)
{
	(void)state;
	keys.es256_private = key_generate("ES256", "es256");
	keys.rs256_private = key_generate("RS256", "rs256");
	keys.es256 = key_public(keys.es256_private);
	keys.rs256 = key_public(keys.rs256_private);
	json_auto_t *es384 = key_generate("ES384", "es384");
	keys.es384 = key_public(es384);
	return 0;
}

static int keys_teardown(void **state)
{
	(void)state;
	json_decref(keys.es256);
	json_decref(keys.es384);
	json_decref(keys.rs256);
	json_decref(keys.es256_private);
	json_decref(keys.rs256_private);
	return 0;
}

static int parse(const char *text, struct trust **ret, char **ret_error)
{
	return trust_parse(text, strlen(text), "trust.jwks", ret, ret_error);
}

/* Reads a set with these keys; each is borrowed. */
static int parse_keys(const json_t *const jwks[], size_t n, struct trust **ret, char **ret_error)
{
	json_auto_t *set = json_pack("{s:[]}", "keys");
	_cleanup_(freep) char *text = NULL;

	for (size_t i = 0; i < n; i++)
		json_array_append_new(json_object_get(set, "keys"), json_deep_copy(jwks[i]));
	text = json_dumps(set, 0);
	return parse(text, ret, ret_error);
}

/* Takes a key over, with one member changed (NULL: removed), and tells what is wrong with it. */
static void assert_changed(
	const json_t *jwk, const char *member, const char *json, const char *expected)
{
	json_auto_t *changed = json_deep_copy(jwk);
	_cleanup_(trust_freep) struct trust *trust = NULL;
	_cleanup_(freep) char *error = NULL;
	const json_t *const jwks[] = { changed };
	int r;

	if (json)
		assert_int_equal(json_object_set_new(
					 changed, member, json_loads(json, JSON_DECODE_ANY, NULL)),
			0);
	else
		assert_int_equal(json_object_del(changed, member), 0);
	r = parse_keys(jwks, 1, &trust, &error);
	if (!expected) {
		if (r < 0)
			fail_msg("%s = %s: %s", member, json, error);
		return;
	}
	if (r != -EINVAL)
		fail_msg("%s = %s passes", member, json ? json : "(absent)");
	assert_null(trust);
	assert_non_null(error);
	assert_memory_equal(error, "trust.jwks: key ", strlen("trust.jwks: key "));
	if (!strstr(error, expected))
		fail_msg("\"%s\" does not say \"%s\"", error, expected);
}

static void a_key_is_found_by_its_name(void **state)
{
	const json_t *const jwks[] = { keys.es256, keys.es384, keys.rs256 };
	_cleanup_(trust_freep) struct trust *trust = NULL;
	_cleanup_(freep) char *error = NULL;
	const struct trust_key *key;

	(void)state;
	assert_int_equal(parse_keys(jwks, 3, &trust, &error), 0);
	assert_null(error);
	assert_int_equal(trust->n_keys, 3);
	key = trust_find(trust, "es384");
	assert_string_equal(key->alg, "ES384");
	assert_string_equal(key->kid, "es384");
	assert_false(key->narrowed_ports);
	assert_int_equal(key->max_duration, 0);
	assert_null(trust_find(trust, "ES384"));
	assert_null(trust_find(trust, ""));
}

static void an_empty_trust_file_trusts_nobody(void **state)
{
	_cleanup_(trust_freep) struct trust *trust = NULL;
	_cleanup_(freep) char *error = NULL;

	(void)state;
	assert_int_equal(parse("{\"keys\":[]}", &trust, &error), 0);
	assert_int_equal(trust->n_keys, 0);
	assert_null(trust_find(trust, "es256"));
}

static void a_file_that_is_no_key_set_is_refused(void **state)
{
	static const char *const texts[] = { "", "{}", "[]", "null", "{\"keys\":{}}",
		"{\"keys\":null}", "{\"keys\":[7]}", "{\"keys\":[null]}", "{\"keys\":[{}]}",
		"{\"keys\":[[]]}", "{\"keys\":[]} x", "{\"keys\":[],\"keys\":[]}",
		"{\"keys\":[\"es256\"]}" };

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
		_cleanup_(trust_freep) struct trust *trust = NULL;
		_cleanup_(freep) char *error = NULL;

		if (parse(texts[i], &trust, &error) != -EINVAL)
			fail_msg("%s passes", texts[i]);
		assert_memory_equal(error, "trust.jwks: ", strlen("trust.jwks: "));
	}
}

static void a_private_key_does_not_lie_about_as_trust(void **state)
{
	static const char *const members[] = { "d", "p", "q", "dp", "dq", "qi", "oth", "k" };
	_cleanup_(freep) char *error = NULL;
	struct trust *trust = NULL;
	const json_t *const ec[] = { keys.es256_private };
	const json_t *const rsa[] = { keys.rs256_private };

	(void)state;
	assert_int_equal(parse_keys(ec, 1, &trust, &error), -EINVAL);
	assert_string_equal(error,
		"trust.jwks: key \"es256\": \"d\" makes it a private key: "
		"only its public half belongs here");
	free(error);
	assert_int_equal(parse_keys(rsa, 1, &trust, &error), -EINVAL);
	for (size_t i = 0; i < N_ELEMENTS(members); i++) {
		assert_changed(keys.es256, members[i], "\"AQ\"", "makes it a");
		assert_changed(keys.rs256, members[i], "null", "makes it a");
	}
}

static void a_symmetric_key_verifies_nothing(void **state)
{
	json_auto_t *jwk = key_generate("HS256", "hs256");

	(void)state;
	assert_changed(jwk, "use", "\"sig\"", "alg \"HS256\" is not supported");
	assert_changed(jwk, "alg", "\"ES256\"", "needs kty \"EC\"");
}

static void a_key_says_what_it_is_for(void **state)
{
	(void)state;
	assert_changed(keys.es256, "alg", NULL, "alg is missing");
	assert_changed(keys.es256, "alg", "7", "alg is missing");
	assert_changed(keys.es256, "alg", "\"none\"", "not supported");
	assert_changed(keys.es256, "alg", "\"ES512\"", "not supported");
	assert_changed(keys.es256, "alg", "\"es256\"", "not supported");
	assert_changed(keys.es256, "alg", "\"ECDH-ES\"", "not supported");
	assert_changed(keys.es256, "alg", "\"RS256\"", "needs kty \"RSA\"");
	assert_changed(keys.es256, "alg", "\"ES384\"", "needs crv \"P-384\"");
	assert_changed(keys.es384, "alg", "\"ES256\"", "needs crv \"P-256\"");
	assert_changed(keys.rs256, "alg", "\"ES256\"", "needs kty \"EC\"");
	assert_changed(keys.rs256, "alg", "\"PS256\"", NULL);
	assert_changed(keys.es256, "kty", NULL, "needs kty");
	assert_changed(keys.es256, "kty", "\"ec\"", "needs kty");
	assert_changed(keys.es256, "kty", "\"oct\"", "needs kty");
	assert_changed(keys.es256, "crv", NULL, "needs crv");
	assert_changed(keys.es256, "crv", "\"P-384\"", "needs crv");
	assert_changed(keys.es256, "use", "\"enc\"", "use is not");
	assert_changed(keys.es256, "use", "7", "use is not");
	assert_changed(keys.es256, "use", "\"sig\"", NULL);
	assert_changed(keys.es256, "key_ops", "[\"sign\"]", "key_ops");
	assert_changed(keys.es256, "key_ops", "[]", "key_ops");
	assert_changed(keys.es256, "key_ops", "\"verify\"", "key_ops");
	assert_changed(keys.es256, "key_ops", "[\"sign\", \"verify\"]", NULL);
	assert_changed(keys.es256, "key_ops", NULL, NULL);
}

static void a_key_has_a_name_of_its_own(void **state)
{
	const json_t *const twice[] = { keys.es256, keys.es384, keys.es256 };
	_cleanup_(freep) char *error = NULL;
	struct trust *trust = NULL;
	char long_kid[TRUST_KID_MAX + 4];

	(void)state;
	assert_int_equal(parse_keys(twice, 3, &trust, &error), -EINVAL);
	assert_string_equal(error, "trust.jwks: key \"es256\": kid is given twice");
	assert_changed(keys.es256, "kid", NULL, "key 1 of the set: kid is missing");
	assert_changed(keys.es256, "kid", "\"\"", "kid is missing");
	assert_changed(keys.es256, "kid", "7", "kid is missing");
	assert_changed(keys.es256, "kid", "\"a\\nb\"", "control characters");
	memset(long_kid, 'k', sizeof(long_kid));
	long_kid[0] = long_kid[TRUST_KID_MAX + 1] = '"';
	long_kid[TRUST_KID_MAX + 2] = '\0';
	assert_changed(keys.es256, "kid", long_kid, NULL);
	long_kid[TRUST_KID_MAX + 1] = 'k';
	long_kid[TRUST_KID_MAX + 2] = '"';
	long_kid[TRUST_KID_MAX + 3] = '\0';
	assert_changed(keys.es256, "kid", long_kid, "longer than");
}

static void a_point_off_the_curve_is_no_key(void **state)
{
	const char *x = json_string_value(json_object_get(keys.es256, "x"));
	_cleanup_(freep) char *quoted = NULL;
	_cleanup_(freep) char *padded = NULL;

	(void)state;
	assert_true(asprintf(&quoted, "\"%s\"", x) > 0);
	assert_true(asprintf(&padded, "\"%s=\"", x) > 0);
	assert_changed(keys.es256, "y", quoted, "no valid EC key");
	assert_changed(keys.es256, "x", padded, "x is missing or not base64url");
	assert_changed(keys.es256, "x", NULL, "x is missing");
	assert_changed(keys.es256, "y", "\"\"", "y is 0 bytes long");
	assert_changed(keys.es256, "y", "\"AQ\"", "y is 1 bytes long");
	assert_changed(keys.es256, "x", "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"",
		"no valid EC key");
}

static void a_weak_rsa_key_is_refused(void **state)
{
	_cleanup_(freep) char *bytes = NULL;
	_cleanup_(freep) char *n = NULL;
	unsigned char modulus[TRUST_RSA_BITS_MAX / 8 + 1];

	(void)state;
	assert_changed(keys.rs256, "e", "\"AQ\"", "exponent");
	assert_changed(keys.rs256, "e", "\"Ag\"", "exponent");
	assert_changed(keys.rs256, "e", "\"AA\"", "exponent");
	assert_changed(keys.rs256, "e", "\"\"", "exponent");
	assert_changed(keys.rs256, "e", "\"AAAB\"", "exponent");
	assert_changed(keys.rs256, "e", "\"AQAAAAE\"", "exponent");
	assert_changed(keys.rs256, "e", NULL, "e is missing");
	assert_changed(keys.rs256, "n", NULL, "n is missing");
	assert_changed(keys.rs256, "n", "\"\"", "bits");

	/* 2047 bits, as long as 2048. */
	memset(modulus, 0xff, sizeof(modulus));
	modulus[0] = 0x7f;
	bytes = base64url(modulus, 256);
	assert_true(asprintf(&n, "\"%s\"", bytes) > 0);
	assert_changed(keys.rs256, "n", n, "2047 bits");
	free(bytes);
	free(n);
	/* 1024 bits, made to look long by zeros. */
	memset(modulus, 0, 128);
	bytes = base64url(modulus, 256);
	assert_true(asprintf(&n, "\"%s\"", bytes) > 0);
	assert_changed(keys.rs256, "n", n, "1024 bits");
	free(bytes);
	free(n);
	memset(modulus, 0xff, sizeof(modulus));
	bytes = base64url(modulus, sizeof(modulus));
	assert_true(asprintf(&n, "\"%s\"", bytes) > 0);
	assert_changed(keys.rs256, "n", n, "more than 8192 bits");
}

static void a_narrowed_key_stays_narrow(void **state)
{
	static const char *const ports[] = { "null", "\"22/tcp\"", "{}", "[7]", "[\"\"]",
		"[\"22\"]", "[\"22/\"]", "[\"0/tcp\"]", "[\"*/tcp\"]",
		"[\"22/tcp\", \"22-21/tcp\"]", "[\"22/tcp \"]", "[\"22/icmp\"]", "[[\"22/tcp\"]]" };
	static const char *const durations[] = { "null", "3600", "\"\"", "\"3h\"", "\"PT0S\"",
		"\"P1Y\"" };
	json_auto_t *narrowed = json_deep_copy(keys.es256);
	json_auto_t *shut = json_deep_copy(keys.es384);
	const json_t *const jwks[] = { narrowed, shut };
	_cleanup_(trust_freep) struct trust *trust = NULL;
	_cleanup_(freep) char *error = NULL;
	const struct trust_key *key;

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(ports); i++)
		assert_changed(keys.es256, "jit_ports", ports[i], "jit_ports");
	for (size_t i = 0; i < N_ELEMENTS(durations); i++)
		assert_changed(keys.es256, "jit_max_duration", durations[i], "jit_max_duration");

	json_object_set_new(
		narrowed, "jit_ports", json_pack("[s, s, s]", "22/tcp", "5000-5010/udp", "443/*"));
	json_object_set_new(narrowed, "jit_max_duration", json_string("PT30M"));
	/* An empty list is no port at all, not every port. */
	json_object_set_new(shut, "jit_ports", json_array());
	assert_int_equal(parse_keys(jwks, 2, &trust, &error), 0);
	key = trust_find(trust, "es256");
	assert_true(key->narrowed_ports);
	assert_int_equal(key->n_ports, 3);
	assert_int_equal(key->ports[1].ports.first, 5000);
	assert_int_equal(key->ports[1].ports.last, 5010);
	assert_int_equal(key->ports[1].protocols, PROTOCOL_UDP);
	assert_int_equal(key->ports[2].protocols, PROTOCOL_ANY);
	assert_int_equal(key->max_duration, 1800);
	key = trust_find(trust, "es384");
	assert_true(key->narrowed_ports);
	assert_int_equal(key->n_ports, 0);
}

static void a_trust_file_is_bounded(void **state)
{
	json_auto_t *set = json_pack("{s:[]}", "keys");
	json_auto_t *ports = json_array();
	_cleanup_(trust_freep) struct trust *trust = NULL;
	_cleanup_(freep) char *error = NULL;
	_cleanup_(freep) char *text = NULL;
	_cleanup_(freep) char *large = calloc(1, TRUST_FILE_BYTES_MAX + 2);
	_cleanup_(freep) char *ports_text = NULL;

	(void)state;
	for (size_t i = 0; i <= TRUST_KEYS_MAX; i++) {
		json_t *jwk = json_deep_copy(keys.es256);
		char kid[16];

		snprintf(kid, sizeof(kid), "key%zu", i);
		json_object_set_new(jwk, "kid", json_string(kid));
		json_array_append_new(json_object_get(set, "keys"), jwk);
	}
	text = json_dumps(set, 0);
	assert_int_equal(parse(text, &trust, &error), -EINVAL);
	assert_string_equal(error, "trust.jwks: more than 64 keys");
	free(error);
	free(text);
	json_array_remove(json_object_get(set, "keys"), 0);
	text = json_dumps(set, 0);
	assert_int_equal(parse(text, &trust, &error), 0);
	assert_int_equal(trust->n_keys, TRUST_KEYS_MAX);

	memset(large, ' ', TRUST_FILE_BYTES_MAX + 1);
	assert_int_equal(parse(large, &trust, &error), -EFBIG);
	assert_string_equal(error, "trust.jwks: longer than 256 KiB");

	for (size_t i = 0; i <= TRUST_KEY_PORTS_MAX; i++)
		json_array_append_new(ports, json_string("22/tcp"));
	ports_text = json_dumps(ports, 0);
	assert_changed(keys.es256, "jit_ports", ports_text, "more than 64 elements");
}

static void only_what_verifying_needs_is_kept_of_a_key(void **state)
{
	json_auto_t *jwk = json_deep_copy(keys.es256);
	const json_t *const jwks[] = { jwk };
	_cleanup_(trust_freep) struct trust *trust = NULL;
	_cleanup_(freep) char *error = NULL;

	(void)state;
	json_object_set_new(jwk, "n", json_string("AQ"));
	json_object_set_new(jwk, "x5c", json_pack("[s]", "AAAA"));
	assert_int_equal(parse_keys(jwks, 1, &trust, &error), 0);
	assert_int_equal(json_object_size(trust->keys[0].jwk), 6);
	assert_null(json_object_get(trust->keys[0].jwk, "key_ops"));
}

static void a_trust_file_that_can_not_be_read_is_named(void **state)
{
	char directory[] = "/tmp/trust-test-XXXXXX", path[64];
	_cleanup_(freep) char *error = NULL;
	struct trust *trust = NULL;

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/trust.jwks", directory);
	assert_int_equal(trust_load(path, &trust, &error), -ENOENT);
	assert_non_null(strstr(error, "/trust.jwks: No such file or directory"));
	free(error);
	assert_int_equal(trust_load(directory, &trust, &error), -EISDIR);
	free(error);
	/* Nobody writes to it: opening must not wait. */
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(trust_load(path, &trust, &error), -EINVAL);
	assert_non_null(strstr(error, "not a regular file"));
	unlink(path);
	rmdir(directory);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_is_found_by_its_name),
		cmocka_unit_test(an_empty_trust_file_trusts_nobody),
		cmocka_unit_test(a_file_that_is_no_key_set_is_refused),
		cmocka_unit_test(a_private_key_does_not_lie_about_as_trust),
		cmocka_unit_test(a_symmetric_key_verifies_nothing),
		cmocka_unit_test(a_key_says_what_it_is_for),
		cmocka_unit_test(a_key_has_a_name_of_its_own),
		cmocka_unit_test(a_point_off_the_curve_is_no_key),
		cmocka_unit_test(a_weak_rsa_key_is_refused),
		cmocka_unit_test(a_narrowed_key_stays_narrow),
		cmocka_unit_test(a_trust_file_is_bounded),
		cmocka_unit_test(only_what_verifying_needs_is_kept_of_a_key),
		cmocka_unit_test(a_trust_file_that_can_not_be_read_is_named),
	};

	return cmocka_run_group_tests(tests, keys_setup, keys_teardown);
}
