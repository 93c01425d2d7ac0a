/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The audit file, as `jitgate audit verify` reads it: lines, and the chain that they make. */

#include <errno.h>
#include <jansson.h>

#include "agent/cli/chain.h"
#include "agent/cli/input.h"
#include "agent/common/strictjson.h"
#include "tests/fuzz/fuzz.h"

#define LINE_BYTES_MAX 4096

/* A line that follows the chain as it is: whatever its numbers were, it goes on from there. */
static void check_goes_on(struct chain *chain)
{
	_cleanup_(freep) char *line = NULL;
	size_t n_lines = chain->n_lines;

	if (n_lines == 0 || chain->sequence == INT64_MAX - 1)
		return;
	CHECK(asprintf(&line, "{\"sequence\":%lld,\"previous\":\"%s\"}",
		      (long long)chain->sequence + 1, chain->hash) >= 0);
	CHECK(chain_add(chain, line, strlen(line)) == 0);
	CHECK(chain->n_lines == n_lines + 1);
	/* The same once more does not follow itself. */
	CHECK(chain_add(chain, line, strlen(line)) == CHAIN_BROKEN);
	check_message(chain->problem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(line_reader_done) struct line_reader reader = {};
	_cleanup_(fclosep) FILE *file = NULL;
	struct chain chain = {};
	char *text;
	size_t n_bytes;
	int r;

	if (size == 0)
		return 0;
	file = fmemopen((void *)(uintptr_t)data, size, "r");
	CHECK(file && line_reader_init(&reader, file, LINE_BYTES_MAX) == 0);
	while ((r = line_reader_next(&reader, &text, &n_bytes)) != 0) {
		if (r == -EMSGSIZE)
			continue;
		CHECK(r == 1 && n_bytes <= LINE_BYTES_MAX && text[n_bytes] == '\0');
		r = chain_add(&chain, text, n_bytes);
		if (r == CHAIN_BROKEN) {
			check_message(chain.problem);
			return 0;
		}
		CHECK(r == 0 && strlen(chain.hash) == CHAIN_HASH_HEX);
	}
	check_goes_on(&chain);
	return 0;
}
