/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * Signs many grants, a line each:
 *
 *   sign KEY FIRST COUNT hosts|prefixes      each for a source of its own, IPv4 and IPv6 in turn
 */

#include <jansson.h>
#include <stdbool.h>

#include "agent/common/document.h"
#include "tests/bench/bench.h"

#define PORT 22
#define SECONDS 3600

static void make_source(unsigned long number, bool prefixes, char *text, size_t n)
{
	/* 10.128.0.0/9 and fd80::/16: no address of these is used otherwise */
	unsigned long half = number / 2;

	if (number % 2 == 0 && !prefixes)
		snprintf(text, n, "10.%lu.%lu.%lu", 128 + half / 65536, half / 256 % 256,
			half % 256);
	else if (number % 2 == 0)
		snprintf(text, n, "10.%lu.%lu.0/24", 128 + half / 256, half % 256);
	else
		snprintf(text, n, "fd80:0:%lx:%lx::%s", half >> 16, half & 0xffff,
			prefixes ? "/64" : "1");
}

int main(int argc, char **argv)
{
	json_error_t error;
	int64_t now = time(NULL);
	json_t *key;

	if (argc != 5)
		errx(2, "usage: sign KEY FIRST COUNT hosts|prefixes");
	key = json_load_file(argv[1], 0, &error);
	if (!key)
		errx(EXIT_FAILURE, "%s: %s", argv[1], error.text);
	for (long i = 0; i < atol(argv[3]); i++) {
		long number = atol(argv[2]) + i;
		_cleanup_(freep) char *document = NULL;
		char source[64], id[32];
		json_auto_t *claims = NULL;

		make_source(number, strcmp(argv[4], "prefixes") == 0, source, sizeof(source));
		snprintf(id, sizeof(id), "bench-%ld", number);
		claims = json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:s, s:[{s:i, s:s, s:s}]}",
			"iss", "bench", "aud", "bench", "jti", id, "iat", (json_int_t)now - 60,
			"exp", (json_int_t)now + SECONDS + number % 600, "sub", "alice@example.com",
			"justification", "to measure what it costs", "ports", "number", PORT,
			"protocol", "TCP", "allowedSourceAddressPrefix", source);
		if (!claims || document_sign(DOCUMENT_GRANT, claims, key, &document) < 0)
			errx(EXIT_FAILURE, "can't sign");
		puts(document);
	}
	return EXIT_SUCCESS;
}
