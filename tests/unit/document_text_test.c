/* SPDX-License-Identifier: GPL-3.0-or-later */

#include "tests/unit/document_fixture.h"

static void a_payload_that_is_not_strict_json_is_malformed(void **state)
{
	static const char *const payloads[] = { "", "null", "[]", "{", "{}", "{}{}", "{} x",
		"{\"a\":1,\"a\":1}", "{\"a\":{\"b\":1,\"b\":2}}", "{\"a\":\"\\u0000\"}",
		"{\"a\\u0000\":1}", "{\"a\":\"\xff\"}", "{\"a\":\"\xc0\x80\"}",
		"{\"a\":\"\xed\xa0\x80\"}", "{\"a\":\"\\ud800\"}", "{\"a\":NaN}", "{\"a\":01}",
		"{\"a\":99999999999999999999}", "{\"a\":1e999}", "{\"a\":\"\n\"}", "{/**/}" };

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(payloads); i++)
		assert_signed_refused(HEADER_ES256, payloads[i], REFUSAL_MALFORMED);
}

static void the_last_of_two_claims_does_not_win(void **state)
{
	_cleanup_(freep) char *payload = grant_payload();
	_cleanup_(freep) char *twice = NULL;

	(void)state;
	assert_true(asprintf(&twice, "{\"exp\":%d,%s", NOW + 99999, payload + 1) > 0);
	assert_signed_refused(HEADER_ES256, twice, REFUSAL_MALFORMED);
	free(twice);
	assert_true(asprintf(&twice, "{\"\\u0065xp\":%d,%s", NOW + 99999, payload + 1) > 0);
	assert_signed_refused(HEADER_ES256, twice, REFUSAL_MALFORMED);
}

static void a_nul_byte_hides_nothing(void **state)
{
	_cleanup_(freep) char *payload = grant_payload();
	_cleanup_(freep) char *document = grant_text(keys.es256);
	size_t n = strlen(payload), n_document = strlen(document);
	_cleanup_(freep) char *with_nul = calloc(1, n + 1);
	_cleanup_(freep) char *document_with_nul = calloc(1, n_document + 2);
	struct refusal refusal;

	(void)state;
	for (size_t at = 0; at <= n; at++) {
		_cleanup_(freep) char *text = NULL;

		memcpy(with_nul, payload, at);
		with_nul[at] = '\0';
		memcpy(with_nul + at + 1, payload + at, n - at);
		text = sign_bytes(HEADER_ES256, strlen(HEADER_ES256), with_nul, n + 1, keys.es256);
		assert_refused(text, REFUSAL_MALFORMED);
	}
	memcpy(document_with_nul, document, n_document);
	refusal = read_refused(document_with_nul, n_document + 1);
	assert_code(&refusal, REFUSAL_MALFORMED);
	for (size_t i = 0; i < n_document; i += 7) {
		memcpy(document_with_nul, document, n_document);
		document_with_nul[i] = '\0';
		refusal = read_refused(document_with_nul, n_document);
		assert_code(&refusal, REFUSAL_MALFORMED);
	}
}

/* {"a":[[[…]]]} with so many levels in all. */
static char *nested(size_t n_levels)
{
	size_t n = n_levels - 1;
	char *text = calloc(1, n_levels * 2 + 8);
	char *end = stpcpy(text, "{\"a\":");

	memset(end, '[', n);
	memset(end + n, ']', n);
	strcpy(end + 2 * n, "}");
	return text;
}

static void deep_nesting_exhausts_no_stack(void **state)
{
	_cleanup_(freep) char *as_deep = nested(32);
	_cleanup_(freep) char *too_deep = nested(33);
	_cleanup_(freep) char *far_too_deep = nested(5000);
	_cleanup_(freep) char *text = NULL;
	struct refusal refusal;

	(void)state;
	/* 32 levels are JSON that lacks claims; 33 are not looked at. */
	text = sign_text(HEADER_ES256, as_deep, keys.es256);
	refusal = read_refused(text, strlen(text));
	assert_string_equal(refusal.message, "jti is missing");
	free(text);
	text = sign_text(HEADER_ES256, too_deep, keys.es256);
	refusal = read_refused(text, strlen(text));
	assert_non_null(strstr(refusal.message, "32 levels"));
	assert_signed_refused(HEADER_ES256, far_too_deep, REFUSAL_MALFORMED);
	assert_signed_refused(far_too_deep, "{}", REFUSAL_MALFORMED);
	/* Brackets in a string nest nothing. */
	assert_signed_refused(HEADER_ES256,
		"{\"a\":\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}",
		REFUSAL_MALFORMED);
}

static void a_megabyte_is_refused_for_its_size(void **state)
{
	size_t n = 1024 * 1024;
	_cleanup_(freep) char *text = malloc(n);
	struct refusal refusal;

	(void)state;
	memset(text, 'A', n);
	refusal = read_refused(text, n);
	assert_code(&refusal, REFUSAL_TOO_LARGE);
	memset(text, '.', n);
	refusal = read_refused(text, n);
	assert_code(&refusal, REFUSAL_TOO_LARGE);
}

/* A grant whose document has exactly so many bytes, made up with an unknown claim. */
static char *grant_of_size(size_t n_bytes)
{
	for (size_t n_filler = n_bytes / 2; n_filler < n_bytes; n_filler++) {
		json_auto_t *claims = grant_claims();
		_cleanup_(freep) char *filler = calloc(1, n_filler + 1);
		char *text;

		memset(filler, 'x', n_filler);
		json_object_set_new(claims, "filler", json_string(filler));
		text = sign(DOCUMENT_GRANT, claims, keys.es256);
		if (strlen(text) == n_bytes)
			return text;
		free(text);
	}
	return NULL;
}

static void a_document_may_have_16_kib_and_no_more(void **state)
{
	_cleanup_(document_freep) struct document *grant = NULL;
	_cleanup_(freep) char *largest = grant_of_size(DOCUMENT_BYTES_MAX);
	_cleanup_(freep) char *too_large = grant_of_size(DOCUMENT_BYTES_MAX + 1);

	(void)state;
	if (!largest)
		largest = grant_of_size(DOCUMENT_BYTES_MAX - 1);
	if (!too_large)
		too_large = grant_of_size(DOCUMENT_BYTES_MAX + 2);
	grant = read_passes(largest);
	assert_refused(too_large, REFUSAL_TOO_LARGE);
}

static void a_document_cut_short_anywhere_opens_nothing(void **state)
{
	_cleanup_(freep) char *text = grant_text(keys.es256);

	(void)state;
	for (size_t n = 0; n < strlen(text); n++) {
		/* Of its own size, so that reading past it would be seen. */
		_cleanup_(freep) char *cut = malloc(n + 1);
		struct refusal refusal;

		memcpy(cut, text, n);
		cut[n] = 'A';
		refusal = read_refused(cut, n);
		assert_true(
			refusal.code == REFUSAL_MALFORMED || refusal.code == REFUSAL_BAD_SIGNATURE);
	}
}

static void a_document_with_any_bit_flipped_opens_nothing(void **state)
{
	_cleanup_(freep) char *text = grant_text(keys.es256);
	size_t n = strlen(text);

	(void)state;
	for (size_t i = 0; i < n; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			text[i] = (char)(text[i] ^ 1 << bit);
			read_refused(text, n);
			text[i] = (char)(text[i] ^ 1 << bit);
		}
	document_free(read_passes(text));
}

/* One document has one spelling: a second would be "other content" under the same jti. */
static void another_spelling_of_a_document_is_refused(void **state)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	static const char *const additions[] = { "=", "==", "A", " ", "\n", "\r\n", ".", ".A",
		"\t" };
	_cleanup_(freep) char *text = grant_text(keys.es256);
	size_t n = strlen(text), at;

	(void)state;
	/* 64 bytes leave four spare bits in the last of 86 digits. */
	at = (size_t)(strchr(alphabet, text[n - 1]) - alphabet);
	for (size_t i = 1; i < 16; i++) {
		_cleanup_(freep) char *other = strdup(text);

		other[n - 1] = alphabet[at | i];
		assert_refused(other, REFUSAL_MALFORMED);
	}
	for (size_t i = 0; i < N_ELEMENTS(additions); i++) {
		_cleanup_(freep) char *behind = NULL;
		_cleanup_(freep) char *before = NULL;
		_cleanup_(freep) char *within = NULL;
		size_t n_header = strcspn(text, ".");

		assert_true(asprintf(&behind, "%s%s", text, additions[i]) > 0);
		read_refused(behind, strlen(behind));
		assert_true(asprintf(&before, "%s%s", additions[i], text) > 0);
		read_refused(before, strlen(before));
		assert_true(asprintf(&within, "%.*s%s%s", (int)n_header, text, additions[i],
				    text + n_header) > 0);
		read_refused(within, strlen(within));
	}
}

static void what_is_no_compact_jws_is_malformed(void **state)
{
	static const char *const texts[] = { "", ".", "..", "...", "a", "a.b", "a.b.c.d", "....",
		"{\"payload\":\"e30\",\"protected\":\"e30\",\"signature\":\"\"}", "e30.e30.",
		"e30.e30.AAAA", "e30", "+/==.e30.AAAA", "A.A.A", "AB.AB.AB" };
	_cleanup_(freep) char *text = grant_text(keys.es256);
	_cleanup_(freep) char *four = NULL;
	_cleanup_(freep) char *detached = NULL;
	size_t n_header = strcspn(text, ".");
	size_t n_input = n_header + 1 + strcspn(text + n_header + 1, ".");

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(texts); i++)
		assert_refused(texts[i], REFUSAL_MALFORMED);
	assert_true(asprintf(&four, "%s.%s", text, text + n_input + 1) > 0);
	assert_refused(four, REFUSAL_MALFORMED);
	assert_true(asprintf(&detached, "%.*s.%s", (int)n_header, text, text + n_input) > 0);
	read_refused(detached, strlen(detached));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_payload_that_is_not_strict_json_is_malformed),
		cmocka_unit_test(the_last_of_two_claims_does_not_win),
		cmocka_unit_test(a_nul_byte_hides_nothing),
		cmocka_unit_test(deep_nesting_exhausts_no_stack),
		cmocka_unit_test(a_megabyte_is_refused_for_its_size),
		cmocka_unit_test(a_document_may_have_16_kib_and_no_more),
		cmocka_unit_test(a_document_cut_short_anywhere_opens_nothing),
		cmocka_unit_test(a_document_with_any_bit_flipped_opens_nothing),
		cmocka_unit_test(another_spelling_of_a_document_is_refused),
		cmocka_unit_test(what_is_no_compact_jws_is_malformed),
	};

	return cmocka_run_group_tests(tests, keys_setup, keys_teardown);
}
