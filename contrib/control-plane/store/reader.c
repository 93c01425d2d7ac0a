/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <limits.h>
#include <string.h>

#include "contrib/control-plane/store/sqlite_private.h"

static int range_read(struct sqlite *sqlite, const struct store_range *range,
	struct entries *entries, bool *ret_more)
{
	_cleanup_(statement_resetp) sqlite3_stmt *read =
		sqlite->database->statements[range->descending ? DATABASE_RANGE_DESCENDING
							       : DATABASE_RANGE_ASCENDING];
	const char *to = range->to ? range->to : range->from;
	/* The next string after a key is the key with a NUL behind it. */
	const int n_to = (int)strlen(to) + (range->to ? 0 : 1);
	const bool is_limited = range->limit > 0 && range->limit < INT_MAX;
	int r;

	sqlite3_bind_text(read, 1, range->from, -1, SQLITE_STATIC);
	sqlite3_bind_text(read, 2, to, n_to, SQLITE_STATIC);
	/* One more tells whether there is more. */
	sqlite3_bind_int64(read, 3, is_limited ? (sqlite3_int64)range->limit + 1 : -1);
	sqlite3_bind_int(read, 4, range->keys_only);
	*ret_more = false;
	while ((r = statement_step(read)) > 0) {
		if (is_limited && entries->n_items == range->limit) {
			*ret_more = true;
			return 0;
		}
		r = entries_add(entries, read);
		if (r < 0)
			return r;
	}

	return r;
}

int sqlite_read_range(struct sqlite *sqlite, const struct store_range *range,
	struct entries *entries, bool *ret_more, struct database_state *ret_state)
{
	int r = database_run(sqlite->database, DATABASE_BEGIN);

	if (r < 0)
		return r;
	entries_clear(entries);
	r = database_read_state(sqlite->database, ret_state);
	if (r >= 0)
		r = range_read(sqlite, range, entries, ret_more);
	database_run(sqlite->database, DATABASE_ROLLBACK);

	return r;
}
