/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/daemon/access_set.h"

/* What a split leaves in a chunk, and the most that a merge makes. */
#define CHUNK_HALF (ACCESS_CHUNK_ITEMS / 2)

/* What one insertion reserves: small changes do not go to the allocator each time. */
#define SPARE_KEPT 2

/* memcmp() inline, on the two halves as numbers: most of what a search does. */
static int address_order(const struct address *a, const struct address *b)
{
	for (size_t i = 0; i < ADDRESS_BYTES_MAX; i += sizeof(uint64_t)) {
		uint64_t x, y;

		memcpy(&x, a->bytes + i, sizeof(x));
		memcpy(&y, b->bytes + i, sizeof(y));
		if (x != y)
			return be64toh(x) < be64toh(y) ? -1 : 1;
	}

	return 0;
}

int access_compare(const struct access *a, const struct access *b)
{
	uint32_t rank_a = service_rank(&a->service), rank_b = service_rank(&b->service);
	int order;

	if (rank_a != rank_b)
		return rank_a < rank_b ? -1 : 1;
	order = address_order(&a->first, &b->first);
	if (order == 0)
		order = address_order(&b->last, &a->last);
	if (order != 0)
		return order;
	if (a->deadline_usec != b->deadline_usec)
		return a->deadline_usec > b->deadline_usec ? -1 : 1;

	return (a->tag > b->tag) - (a->tag < b->tag);
}

void access_set_done(struct access_set *set)
{
	for (size_t i = 0; i < set->n_chunks + set->n_spare; i++)
		free(set->chunks[i]);
	free(set->chunks);
	*set = (struct access_set){};
}

void access_set_trim(struct access_set *set)
{
	for (; set->n_spare > SPARE_KEPT; set->n_spare--)
		free(set->chunks[set->n_chunks + set->n_spare - 1]);
}

int access_set_reserve(struct access_set *set, size_t n_items)
{
	/* A chunk that is full now may be split at its next insertion; one that was made by a split
	 * or a merge takes CHUNK_HALF insertions until then. */
	size_t n_splits = n_items < set->n_chunks ? n_items : set->n_chunks;
	size_t n_wanted = n_splits + n_items / CHUNK_HALF + 1;

	if (set->n_chunks + n_wanted > set->n_allocated) {
		size_t n_grown = 2 * (set->n_chunks + n_wanted);
		struct access_chunk **grown =
			reallocarray(set->chunks, n_grown, sizeof(*set->chunks));

		if (!grown)
			return -ENOMEM;
		set->chunks = grown;
		set->n_allocated = n_grown;
	}

	for (; set->n_spare < n_wanted; set->n_spare++) {
		struct access_chunk *chunk = malloc(sizeof(*chunk));

		if (!chunk) {
			access_set_trim(set);
			return -ENOMEM;
		}
		chunk->n_items = 0;
		set->chunks[set->n_chunks + set->n_spare] = chunk;
	}

	return 0;
}

/* Makes the first spare chunk the one at position. */
static struct access_chunk *set_chunk_open(struct access_set *set, size_t position)
{
	struct access_chunk *chunk = set->chunks[set->n_chunks];

	memmove(set->chunks + position + 1, set->chunks + position,
		(set->n_chunks - position) * sizeof(*set->chunks));
	set->chunks[position] = chunk;
	set->n_chunks++;
	set->n_spare--;

	return chunk;
}

/* Makes the chunk at position, which is empty, a spare one. */
static void set_chunk_close(struct access_set *set, size_t position)
{
	struct access_chunk *chunk = set->chunks[position];

	memmove(set->chunks + position, set->chunks + position + 1,
		(set->n_chunks - position - 1) * sizeof(*set->chunks));
	set->n_chunks--;
	set->n_spare++;
	set->chunks[set->n_chunks] = chunk;
}

static void set_chunk_split(struct access_set *set, size_t position)
{
	struct access_chunk *upper = set_chunk_open(set, position + 1);
	struct access_chunk *lower = set->chunks[position];

	lower->n_items = CHUNK_HALF;
	upper->n_items = ACCESS_CHUNK_ITEMS - CHUNK_HALF;
	memcpy(upper->items, lower->items + CHUNK_HALF, upper->n_items * sizeof(*upper->items));
}

/* Merges the chunk at position with the one behind it where they are half a chunk together. */
static void set_chunk_merge(struct access_set *set, size_t position)
{
	struct access_chunk *lower, *upper;

	if (position + 1 >= set->n_chunks)
		return;
	lower = set->chunks[position];
	upper = set->chunks[position + 1];
	if (lower->n_items + upper->n_items > CHUNK_HALF)
		return;

	memcpy(lower->items + lower->n_items, upper->items, upper->n_items * sizeof(*upper->items));
	lower->n_items += upper->n_items;
	upper->n_items = 0;
	set_chunk_close(set, position + 1);
}

/* The last chunk whose first item is before the key; the first chunk where there is none. */
static size_t set_chunk_find(const struct access_set *set, const struct access *key)
{
	size_t low = 0, high = set->n_chunks;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (access_compare(set->chunks[middle]->items, key) < 0)
			low = middle;
		else
			high = middle;
	}

	return low;
}

static size_t chunk_find(const struct access_chunk *chunk, const struct access *key)
{
	size_t low = 0, high = chunk->n_items;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (access_compare(chunk->items + middle, key) < 0)
			low = middle + 1;
		else
			high = middle;
	}

	return low;
}

void access_set_insert(struct access_set *set, const struct access *item)
{
	struct access_chunk *chunk;
	size_t position, index;

	if (set->n_chunks == 0)
		set_chunk_open(set, 0);
	position = set_chunk_find(set, item);
	chunk = set->chunks[position];
	index = chunk_find(chunk, item);

	if (chunk->n_items == ACCESS_CHUNK_ITEMS) {
		set_chunk_split(set, position);
		if (index > CHUNK_HALF) {
			chunk = set->chunks[position + 1];
			index -= CHUNK_HALF;
		}
	}

	memmove(chunk->items + index + 1, chunk->items + index,
		(chunk->n_items - index) * sizeof(*chunk->items));
	chunk->items[index] = *item;
	chunk->n_items++;
	set->n_items++;
}

bool access_set_remove(struct access_set *set, const struct access *item)
{
	struct access_cursor cursor = access_set_seek(set, item);
	const struct access *found = access_cursor_item(&cursor);
	struct access_chunk *chunk;

	if (!found || access_compare(found, item) != 0)
		return false;

	chunk = set->chunks[cursor.chunk];
	chunk->n_items--;
	memmove(chunk->items + cursor.index, chunk->items + cursor.index + 1,
		(chunk->n_items - cursor.index) * sizeof(*chunk->items));
	set->n_items--;

	if (chunk->n_items == 0) {
		set_chunk_close(set, cursor.chunk);
	} else {
		set_chunk_merge(set, cursor.chunk);
		if (cursor.chunk > 0)
			set_chunk_merge(set, cursor.chunk - 1);
	}

	return true;
}

size_t access_set_expire(struct access_set *set, uint64_t now_usec, uint64_t *ret_earliest_usec)
{
	size_t n_before = set->n_items, n_chunks = 0;
	uint64_t earliest_usec = UINT64_MAX;

	for (size_t i = 0; i < set->n_chunks; i++) {
		struct access_chunk *chunk = set->chunks[i];
		size_t n_kept = 0;

		for (size_t j = 0; j < chunk->n_items; j++) {
			if (chunk->items[j].deadline_usec <= now_usec)
				continue;
			if (chunk->items[j].deadline_usec < earliest_usec)
				earliest_usec = chunk->items[j].deadline_usec;
			if (n_kept != j)
				chunk->items[n_kept] = chunk->items[j];
			n_kept++;
		}
		set->n_items -= chunk->n_items - n_kept;
		chunk->n_items = n_kept;

		/* Empty ones gather behind the others, in front of the spare ones. */
		if (n_kept > 0) {
			set->chunks[i] = set->chunks[n_chunks];
			set->chunks[n_chunks++] = chunk;
		}
	}
	set->n_spare += set->n_chunks - n_chunks;
	set->n_chunks = n_chunks;
	access_set_trim(set);

	for (size_t i = set->n_chunks; i-- > 0;)
		set_chunk_merge(set, i);
	*ret_earliest_usec = earliest_usec;

	return n_before - set->n_items;
}

struct access_cursor access_set_seek(const struct access_set *set, const struct access *key)
{
	struct access_cursor cursor = { .set = set };

	if (set->n_chunks == 0)
		return cursor;
	cursor.chunk = set_chunk_find(set, key);
	cursor.index = chunk_find(set->chunks[cursor.chunk], key);
	if (cursor.index == set->chunks[cursor.chunk]->n_items) {
		cursor.chunk++;
		cursor.index = 0;
	}

	return cursor;
}

const struct access *access_cursor_item(const struct access_cursor *cursor)
{
	if (cursor->chunk >= cursor->set->n_chunks)
		return NULL;

	return cursor->set->chunks[cursor->chunk]->items + cursor->index;
}

void access_cursor_next(struct access_cursor *cursor)
{
	if (cursor->chunk >= cursor->set->n_chunks) {
		cursor->chunk = 0;
	} else if (++cursor->index == cursor->set->chunks[cursor->chunk]->n_items) {
		cursor->chunk++;
		cursor->index = 0;
	}
}

void access_cursor_previous(struct access_cursor *cursor)
{
	if (cursor->index > 0) {
		cursor->index--;
	} else if (cursor->chunk > 0) {
		cursor->chunk--;
		cursor->index = cursor->set->chunks[cursor->chunk]->n_items - 1;
	} else {
		cursor->chunk = cursor->set->n_chunks;
	}
}
