/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "contrib/control-plane/state/table.h"

static const char *key_at(const struct table *table, size_t i)
{
	return *(char *const *)table->items[i];
}

size_t table_lower_bound(const struct table *table, const char *key)
{
	size_t low = 0, high = table->n;

	/* Mostly it is behind the last. */
	if (high > 0 && strcmp(key_at(table, high - 1), key) < 0)
		return high;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(key_at(table, middle), key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void *find_at(const struct table *table, size_t i, const char *key)
{
	return i < table->n && strcmp(key_at(table, i), key) == 0 ? table->items[i] : NULL;
}

void *table_find(const struct table *table, const char *key)
{
	return find_at(table, table_lower_bound(table, key), key);
}

int table_insert(struct table *table, void *item)
{
	const char *key = *(char *const *)item;
	size_t i = table_lower_bound(table, key);

	if (find_at(table, i, key))
		return -EEXIST;
	if (table->n == table->n_allocated) {
		size_t n = table->n_allocated ? 2 * table->n_allocated : 16;
		void **grown = reallocarray(table->items, n, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		table->items = grown;
		table->n_allocated = n;
	}
	memmove(&table->items[i + 1], &table->items[i], (table->n - i) * sizeof(*table->items));
	table->items[i] = item;
	table->n++;
	return 0;
}

void *table_remove(struct table *table, const char *key)
{
	size_t i = table_lower_bound(table, key);
	void *item = find_at(table, i, key);

	if (!item)
		return NULL;
	table->n--;
	memmove(&table->items[i], &table->items[i + 1], (table->n - i) * sizeof(*table->items));
	return item;
}

void table_done(struct table *table)
{
	free(table->items);
	memset(table, 0, sizeof(*table));
}
