/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * A bucket is one number: when it is full again. Each token taken puts that off by what one takes
 * to refill; it is empty when that lies as far ahead as the whole bucket takes. A bucket that is
 * full is the same as none.
 */

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "contrib/control-plane/http/rate.h"

#define WAYS 4
#define SETS 4096 /* 256 KiB in all */
#define USEC_PER_SECOND 1e6

struct bucket {
	uint64_t key;
	uint64_t full_usec;
};

struct rate_table {
	uint64_t token_usec;
	uint64_t bucket_usec;
	uint64_t seed; /* so that nobody can choose whose bucket to share */
	struct bucket sets[SETS][WAYS];
};

struct rate_table *rate_table_new(double n_per_second, double n_burst)
{
	struct rate_table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->token_usec = (uint64_t)(USEC_PER_SECOND / n_per_second);
	table->bucket_usec = (uint64_t)(USEC_PER_SECOND / n_per_second * n_burst);
	if (getrandom(&table->seed, sizeof(table->seed), 0) != sizeof(table->seed))
		return rate_table_free(table);
	return table;
}

struct rate_table *rate_table_free(struct rate_table *table)
{
	free(table);
	return NULL;
}

/* FNV-1a, and a finalizer (splitmix64) for the low bits. */
static uint64_t hash(uint64_t seed, const void *bytes, size_t n_bytes)
{
	const unsigned char *byte = bytes;
	uint64_t value = UINT64_C(0xcbf29ce484222325) ^ seed;

	for (size_t i = 0; i < n_bytes; i++)
		value = (value ^ byte[i]) * UINT64_C(0x100000001b3);
	value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
	return value ^ value >> 31;
}

uint64_t rate_key_name(const struct rate_table *table, const char *name)
{
	return hash(table->seed, name, strlen(name));
}

uint64_t rate_key_address(
	const struct rate_table *table, uint8_t family, const struct address *address)
{
	return hash(table->seed + family, address->bytes, family == AF_INET6 ? 8 : 4);
}

/* The key's bucket, or the one that is or will be full first. */
static struct bucket *find(struct rate_table *table, uint64_t key)
{
	struct bucket *set = table->sets[key % SETS];
	size_t found = 0;

	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].key == key) {
			found = i;
			break;
		}
		if (set[i].full_usec < set[found].full_usec)
			found = i;
	}
	return &set[found];
}

uint64_t rate_take(struct rate_table *table, uint64_t key, uint64_t now_usec)
{
	struct bucket *bucket = find(table, key);
	uint64_t full_usec = now_usec;

	if (bucket->key == key && bucket->full_usec > now_usec)
		full_usec = bucket->full_usec;
	full_usec += table->token_usec;
	if (full_usec > now_usec + table->bucket_usec)
		return full_usec - now_usec - table->bucket_usec;
	*bucket = (struct bucket){ key, full_usec };
	return 0;
}
