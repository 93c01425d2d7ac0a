/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A list of entries with copies of their keys and values, freed together. */

#include <sqlite3.h>

#include "cleanup.h"
#include "contrib/control-plane/store/store.h"

struct entries {
	struct store_entry *items;
	size_t n_items;
	size_t n_allocated;
	struct entries_chunk *chunks; /* the first has room; the text of items is in them */
};

/* Adds the row that a statement is at, its columns as database.h has them. A record without value
 * and with version 0 is a deletion. Returns 0 or -ENOMEM. */
int entries_add(struct entries *entries, sqlite3_stmt *row);

/* Forgets all; what was allocated for it is kept as far as it is small. */
void entries_clear(struct entries *entries);

void entries_done(struct entries *entries);
