/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>

#include "contrib/control-plane/store/database.h"
#include "contrib/control-plane/store/entries.h"

#define CHUNK_BYTES (64 * 1024)
#define KEPT_ITEMS 1024

struct entries_chunk {
	struct entries_chunk *next;
	size_t n_used;
	size_t n_bytes;
	char bytes[];
};

static char *entries_allocate(struct entries *entries, size_t n_bytes)
{
	struct entries_chunk *chunk = entries->chunks;

	if (!chunk || chunk->n_bytes - chunk->n_used < n_bytes) {
		size_t n_chunk = n_bytes > CHUNK_BYTES ? n_bytes : CHUNK_BYTES;

		chunk = malloc(sizeof(*chunk) + n_chunk);
		if (!chunk)
			return NULL;
		*chunk = (struct entries_chunk){ .next = entries->chunks, .n_bytes = n_chunk };
		entries->chunks = chunk;
	}
	chunk->n_used += n_bytes;

	return chunk->bytes + chunk->n_used - n_bytes;
}

/* A column's bytes with a NUL behind them; the empty string for NULL. */
static const char *entries_copy(
	struct entries *entries, sqlite3_stmt *row, int column, size_t *ret_bytes)
{
	/* The pointer first: asking for it may change the size. */
	const void *bytes = sqlite3_column_blob(row, column);
	size_t n_bytes = bytes ? (size_t)sqlite3_column_bytes(row, column) : 0;
	char *copy;

	/* SQLite gives NULL for no memory too. */
	if (!bytes && sqlite3_errcode(sqlite3_db_handle(row)) == SQLITE_NOMEM)
		return NULL;
	*ret_bytes = n_bytes;
	if (n_bytes == 0)
		return "";
	copy = entries_allocate(entries, n_bytes + 1);
	if (!copy)
		return NULL;
	memcpy(copy, bytes, n_bytes);
	copy[n_bytes] = '\0';

	return copy;
}

int entries_add(struct entries *entries, sqlite3_stmt *row)
{
	struct store_entry *entry;
	size_t n_key;

	if (entries->n_items == entries->n_allocated) {
		size_t n_allocated = entries->n_allocated ? 2 * entries->n_allocated : 16;
		void *items = reallocarray(entries->items, n_allocated, sizeof(*entries->items));

		if (!items)
			return -ENOMEM;
		entries->items = items;
		entries->n_allocated = n_allocated;
	}

	entry = &entries->items[entries->n_items];
	*entry = (struct store_entry){
		.key = entries_copy(entries, row, RECORD_KEY, &n_key),
		.create_revision = sqlite3_column_int64(row, RECORD_CREATE_REVISION),
		.mod_revision = RECORD_REVISION(sqlite3_column_int64(row, RECORD_ID)),
		.version = sqlite3_column_int64(row, RECORD_VERSION),
		.lease = sqlite3_column_int64(row, RECORD_LEASE),
	};
	entry->value = entries_copy(entries, row, RECORD_VALUE, &entry->n_value);
	if (!entry->key || !entry->value)
		return -ENOMEM;
	entries->n_items++;

	return 0;
}

void entries_clear(struct entries *entries)
{
	struct entries_chunk *kept = NULL;

	for (struct entries_chunk *chunk = entries->chunks, *next; chunk; chunk = next) {
		next = chunk->next;
		if (!kept && chunk->n_bytes == CHUNK_BYTES) {
			kept = chunk;
			*kept = (struct entries_chunk){ .n_bytes = CHUNK_BYTES };
		} else {
			free(chunk);
		}
	}
	entries->chunks = kept;
	entries->n_items = 0;
	if (entries->n_allocated > KEPT_ITEMS) {
		free(entries->items);
		entries->items = NULL;
		entries->n_allocated = 0;
	}
}

void entries_done(struct entries *entries)
{
	entries_clear(entries);
	free(entries->chunks);
	free(entries->items);
	*entries = (struct entries){ 0 };
}
