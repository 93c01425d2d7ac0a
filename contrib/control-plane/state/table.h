/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Things by their key, in order: a sorted vector. What comes from a range of the store comes in
 * order, and ids of requests grow, so nearly each insertion is at the end.
 */

#include <stddef.h>

/* Items are the owner's; the first member of each is its key, a char *, compared by bytes. */
struct table {
	void **items;
	size_t n;
	size_t n_allocated;
};

/* The index of the first item whose key is not below this one; n where there is none. */
size_t table_lower_bound(const struct table *table, const char *key);

/* The item with the key, or NULL. */
void *table_find(const struct table *table, const char *key);

/* Returns 0, -EEXIST or -ENOMEM. */
int table_insert(struct table *table, void *item);

/* Takes the item with the key out and returns it; NULL where there is none. */
void *table_remove(struct table *table, const char *key);

/* Frees the vector, not the items. */
void table_done(struct table *table);
