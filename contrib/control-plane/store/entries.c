/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "contrib/control-plane/store/database.h"
#include "contrib/control-plane/store/entries.h"

#define FIRST_CHUNK_BYTES (64 * 1024)
#define CHUNK_BYTES (1024 * 1024)
#define KEPT_ITEMS 1024

/* The first is kept. Later ones are mapped, so that what a large list took goes back at once. */
struct entries_chunk {
	struct entries_chunk *next;
	size_t n_used;
	size_t n_bytes; /* with this head */
	bool is_mapped;
};

static struct entries_chunk *chunk_new(struct entries_chunk *next, size_t n_bytes)
{
	struct entries_chunk *chunk;

	n_bytes += sizeof(*chunk);
	if (!next && n_bytes <= FIRST_CHUNK_BYTES) {
		chunk = malloc(FIRST_CHUNK_BYTES);
		if (!chunk)
			return NULL;
		*chunk = (struct entries_chunk){ .n_bytes = FIRST_CHUNK_BYTES };
	} else {
		if (n_bytes < CHUNK_BYTES)
			n_bytes = CHUNK_BYTES;
		chunk = mmap(
			NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (chunk == MAP_FAILED)
			return NULL;
		*chunk = (struct entries_chunk){
			.next = next, .n_bytes = n_bytes, .is_mapped = true
		};
	}
	chunk->n_used = sizeof(*chunk);

	return chunk;
}

static void chunk_free(struct entries_chunk *chunk)
{
	if (chunk->is_mapped)
		munmap(chunk, chunk->n_bytes);
	else
		free(chunk);
}

static char *entries_allocate(struct entries *entries, size_t n_bytes)
{
	struct entries_chunk *chunk = entries->chunks;

	if (!chunk || chunk->n_bytes - chunk->n_used < n_bytes) {
		chunk = chunk_new(chunk, n_bytes);
		if (!chunk)
			return NULL;
		entries->chunks = chunk;
	}
	chunk->n_used += n_bytes;

	return (char *)chunk + chunk->n_used - n_bytes;
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
	struct entries_chunk *chunk;

	while ((chunk = entries->chunks) && chunk->is_mapped) {
		entries->chunks = chunk->next;
		chunk_free(chunk);
	}
	if (chunk)
		chunk->n_used = sizeof(*chunk);
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
	if (entries->chunks)
		chunk_free(entries->chunks);
	free(entries->items);
	*entries = (struct entries){ 0 };
}
