/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * A sorted multiset of address ranges: what the access map keeps its covers and its entries in.
 *
 * Items lie in chunks of bounded size, and a directory holds the chunks in order: finding is a
 * binary search of the directory, then of a chunk, and an insertion moves at most a chunk's items.
 *
 *   chunks    | * | * | * |
 *               |   |   `-> 10.9.0.0/24 10.9.0.7 192.0.2.0/24
 *               |   `-----> 10.2.0.0/16 10.2.0.0/24
 *               `---------> 0.0.0.0/0 10.0.0.0/8 10.1.0.0/24 10.1.0.4
 *
 * The order: service; first address; the longer range; the later deadline; the lower tag. So
 * prefixes come in the preorder of their containment, and of identical ranges the one that counts
 * comes first.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/daemon/access.h"

#define ACCESS_CHUNK_ITEMS 64

struct access_chunk {
	size_t n_items;
	struct access items[ACCESS_CHUNK_ITEMS];
};

struct access_set {
	struct access_chunk **chunks; /* none is empty; behind n_chunks, n_spare empty ones */
	size_t n_chunks;
	size_t n_spare;
	size_t n_allocated;
	size_t n_items;
};

/* A place in a set, good until the set changes. */
struct access_cursor {
	const struct access_set *set;
	size_t chunk;
	size_t index;
};

/* A service as a number, to compare by. */
static inline uint32_t service_rank(const struct service *service)
{
	return (uint32_t)service->family << 24 | (uint32_t)service->l4proto << 16 | service->port;
}

int access_compare(const struct access *a, const struct access *b);

void access_set_done(struct access_set *set);

/* Makes room so that the next n_items insertions, with removals between them, can't fail. Returns 0
 * or -ENOMEM. */
int access_set_reserve(struct access_set *set, size_t n_items);

/* Gives back the room that was made and not taken, save a little. */
void access_set_trim(struct access_set *set);

/* Takes room that access_set_reserve() made. */
void access_set_insert(struct access_set *set, const struct access *item);

/* Removes one item that is equal in everything. Returns whether there was one. */
bool access_set_remove(struct access_set *set, const struct access *item);

/* Removes all whose deadline is at or before now_usec, and tells the earliest of the rest,
 * UINT64_MAX where there is none. Returns how many went. */
size_t access_set_expire(struct access_set *set, uint64_t now_usec, uint64_t *ret_earliest_usec);

/* The first item that is not before the key. */
struct access_cursor access_set_seek(const struct access_set *set, const struct access *key);

/* The item at the cursor, or NULL at the one place that is behind the last and before the first. */
const struct access *access_cursor_item(const struct access_cursor *cursor);
void access_cursor_next(struct access_cursor *cursor);
void access_cursor_previous(struct access_cursor *cursor);
