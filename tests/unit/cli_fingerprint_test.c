/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Keys are known again by their fingerprints, and by nothing else. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "agent/cli/fingerprint.h"

/* RFC 7638 section 3.1. */
#define RFC_N \
	"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_" \
	"BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_" \
	"FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-" \
	"bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
#define RFC_KEY \
	"{\"kty\":\"RSA\",\"n\":\"" RFC_N \
	"\",\"e\":\"AQAB\",\"alg\":\"RS256\",\"kid\":\"2011-04-29\"}"
#define SET_FINGERPRINT "SHA256:2JlWXExELYYNKJXW87E4jp5AUfK8tCFbnxgsOErZNMo"
#define RFC_THUMBPRINT "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"

/* RFC 7517 appendix A.1. */
#define OTHER_KEY \
	"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\"," \
	"\"y\":\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\",\"alg\":\"ES256\",\"kid\":\"1\"}"

static struct fingerprint of(const char *text)
{
	_cleanup_(trust_freep) struct trust *trust = NULL;
	_cleanup_(freep) char *error = NULL;
	struct fingerprint fingerprint;

	assert_int_equal(trust_parse(text, strlen(text), "test", &trust, &error), 0);
	assert_int_equal(fingerprint_of_trust(trust, &fingerprint), 0);
	return fingerprint;
}

static void one_key_has_its_thumbprint(void **state)
{
	struct fingerprint fingerprint = of("{\"keys\":[" RFC_KEY "]}"), read;
	char text[FINGERPRINT_STRING_MAX];

	(void)state;
	assert_string_equal(fingerprint_format(&fingerprint, text), "SHA256:" RFC_THUMBPRINT);
	assert_int_equal(fingerprint_parse(text, &read), 0);
	assert_true(fingerprint_is_equal(&fingerprint, &read));
}

static void several_keys_have_one_whatever_their_order(void **state)
{
	struct fingerprint a = of("{\"keys\":[" RFC_KEY "," OTHER_KEY "]}");
	struct fingerprint b = of("{\"keys\":[" OTHER_KEY "," RFC_KEY "]}");
	struct fingerprint one = of("{\"keys\":[" OTHER_KEY "]}");
	char text[FINGERPRINT_STRING_MAX];

	(void)state;
	assert_true(fingerprint_is_equal(&a, &b));
	assert_false(fingerprint_is_equal(&a, &one));
	/* Made with other tools from the two thumbprints. */
	assert_string_equal(fingerprint_format(&a, text), SET_FINGERPRINT);
}

static void no_key_has_none(void **state)
{
	const struct trust trust = { 0 };
	struct fingerprint fingerprint;

	(void)state;
	assert_int_equal(fingerprint_of_trust(&trust, &fingerprint), -EINVAL);
}

static void fingerprints_are_read_as_people_have_them(void **state)
{
	static const char *const good[] = {
		RFC_THUMBPRINT,
		"SHA256:" RFC_THUMBPRINT,
		"sha256:" RFC_THUMBPRINT,
		"3736cbb1787cb8309c77ee8c3705c5e16ffb9e859715901f1e4c59b11182f57b",
		"37:36:CB:B1:78:7C:B8:30:9C:77:EE:8C:37:05:C5:E1:6F:FB:9E:85:97:15:90:1F:1E:4C:59:"
		"B1:11:82:F5:7B",
	};
	static const char *const bad[] = {
		"",
		"SHA256:",
		"SHA256:SHA256:" RFC_THUMBPRINT,
		RFC_THUMBPRINT "=",
		RFC_THUMBPRINT "A",
		"NzbLsXh8uDCcd+6MNwXF4W/7noWXFZAfHkxZsRGC9Xs",
		"MD5:" RFC_THUMBPRINT,
		"3736cbb1787cb8309c77ee8c3705c5e16ffb9e859715901f1e4c59b11182f57",
		"3736cbb1787cb8309c77ee8c3705c5e16ffb9e859715901f1e4c59b11182f57b00",
		"3736cbb1787cb8309c77ee8c3705c5e16ffb9e859715901f1e4c59b11182f57g",
		":3736cbb1787cb8309c77ee8c3705c5e16ffb9e859715901f1e4c59b11182f57b",
	};
	struct fingerprint wanted, read;

	(void)state;
	assert_int_equal(fingerprint_parse(RFC_THUMBPRINT, &wanted), 0);
	for (size_t i = 0; i < N_ELEMENTS(good); i++) {
		assert_int_equal(fingerprint_parse(good[i], &read), 0);
		assert_true(fingerprint_is_equal(&read, &wanted));
	}
	for (size_t i = 0; i < N_ELEMENTS(bad); i++)
		assert_int_equal(fingerprint_parse(bad[i], &read), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_key_has_its_thumbprint),
		cmocka_unit_test(several_keys_have_one_whatever_their_order),
		cmocka_unit_test(no_key_has_none),
		cmocka_unit_test(fingerprints_are_read_as_people_have_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
