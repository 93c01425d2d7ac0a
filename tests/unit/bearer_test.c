/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "agent/common/bearer.h"
#include "cleanup.h"

static void a_token_is_what_rfc_6750_says(void **state)
{
	static const char *const good[] = { "a", "jga_Zk-3", "eyJ.e30.AZaz09-._~+/", "YQ==" };
	static const char *const bad[] = { "", "=", "a=b", "a b", "a\tb", "a\nb", "a!b", "a\"b",
		"a,b", "\xc3\xa4" };

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(good); i++)
		assert_true(bearer_is_valid(good[i]));
	for (size_t i = 0; i < N_ELEMENTS(bad); i++)
		assert_false(bearer_is_valid(bad[i]));
}

static void it_has_a_longest(void **state)
{
	char text[BEARER_BYTES_MAX + 2];

	(void)state;
	memset(text, 'x', sizeof(text));
	text[BEARER_BYTES_MAX + 1] = '\0';
	assert_false(bearer_is_valid(text));
	text[BEARER_BYTES_MAX] = '\0';
	assert_true(bearer_is_valid(text));
}

static void of_a_file_the_line_without_its_end_is_taken(void **state)
{
	char good[] = "token \t\r\n", inner[] = "to\nken\n", nul[] = "to\0ken", empty[] = " \n";

	(void)state;
	assert_true(bearer_trim(good, strlen(good)));
	assert_string_equal(good, "token");
	assert_false(bearer_trim(inner, strlen(inner)));
	assert_false(bearer_trim(nul, sizeof(nul) - 1));
	assert_false(bearer_trim(empty, strlen(empty)));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_token_is_what_rfc_6750_says),
		cmocka_unit_test(it_has_a_longest),
		cmocka_unit_test(of_a_file_the_line_without_its_end_is_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
