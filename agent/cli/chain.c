/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <string.h>

#include "agent/cli/chain.h"
#include "agent/common/strictjson.h"
#include "agent/common/text.h"
#include "cleanup.h"

#define HASH_BYTES (CHAIN_HASH_HEX / 2)

_printf_(2, 3) static int broken(struct chain *chain, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(chain->problem, sizeof(chain->problem), format, list);
	va_end(list);
	text_make_printable(chain->problem);
	return CHAIN_BROKEN;
}

static int line_hash(const char *line, size_t n_bytes, char hex[static CHAIN_HASH_HEX + 1])
{
	unsigned char hash[HASH_BYTES];

	if (EVP_Digest(line, n_bytes, hash, NULL, EVP_sha256(), NULL) != 1)
		return -ENOMEM;
	for (size_t i = 0; i < HASH_BYTES; i++)
		snprintf(hex + 2 * i, 3, "%02x", hash[i]);
	return 0;
}

/* One that another can follow. */
static bool sequence_is_valid(const json_t *sequence)
{
	json_int_t number = json_integer_value(sequence);

	return json_is_integer(sequence) && number >= 0 && number < INT64_MAX;
}

static bool hash_is_valid(const char *hash)
{
	return hash && strlen(hash) == CHAIN_HASH_HEX &&
		strspn(hash, "0123456789abcdef") == CHAIN_HASH_HEX;
}

static int chain_begin(struct chain *chain, const char *previous, int64_t sequence)
{
	chain->first_sequence = sequence;
	chain->continued = strspn(previous, "0") != CHAIN_HASH_HEX;
	return 0;
}

static int chain_check(struct chain *chain, const char *previous, int64_t sequence)
{
	bool follows = strcmp(previous, chain->hash) == 0;

	if (sequence != chain->sequence + 1)
		return broken(chain,
			"has sequence %lld where %lld was to follow: lines are missing, added or "
			"out of order",
			(long long)sequence, (long long)chain->sequence + 1);
	if (!follows)
		return broken(chain,
			"does not carry the hash of line %zu: one of the two was changed",
			chain->n_lines);
	return 0;
}

int chain_add(struct chain *chain, const char *line, size_t n_bytes)
{
	json_auto_t *record = NULL;
	const json_t *sequence;
	const char *previous;
	char reason[128];
	int r;

	if (json_parse_object(line, n_bytes, &record, reason, sizeof(reason)) < 0)
		return broken(chain, "is no record: %s", reason);
	previous = json_string_value(json_object_get(record, "previous"));
	sequence = json_object_get(record, "sequence");
	if (!hash_is_valid(previous))
		return broken(chain, "has no \"previous\" hash");
	if (!sequence_is_valid(sequence))
		return broken(chain, "has no \"sequence\" number");

	if (chain->n_lines == 0)
		r = chain_begin(chain, previous, json_integer_value(sequence));
	else
		r = chain_check(chain, previous, json_integer_value(sequence));
	if (r != 0)
		return r;
	r = line_hash(line, n_bytes, chain->hash);
	if (r < 0)
		return r;
	chain->sequence = json_integer_value(sequence);
	chain->n_lines++;
	return 0;
}
