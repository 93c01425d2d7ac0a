/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * A record is what one operation made: an entry as it was put, or that its key was deleted (then
 * without value). Entries are the records that nothing superseded; what was superseded stays as
 * history until it is compacted. A deletion is history from its beginning.
 *
 *   id          key  value  superseded
 *   7 * 16384   a    1      9            history: the put of revision 7, overwritten by revision 9
 *   8 * 16384   b    1      9            history: deleted by revision 9
 *   9 * 16384   a    2                   an entry
 *   9 * 16384+1 b           9            history: the deletion
 *
 * So events are the records in order of their ids, and history in order of `superseded` is the
 * order in which it may go: with all of it up to a revision gone, later events are whole.
 */

#include "contrib/control-plane/store/statements.h"

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

const char *const database_migrations[] = {
	"CREATE TABLE state ("
	" id INTEGER PRIMARY KEY CHECK (id = 1),"
	" identity TEXT NOT NULL,"
	" revision INTEGER NOT NULL,"
	" compacted INTEGER NOT NULL,"
	" history_bytes INTEGER NOT NULL);"
	"INSERT INTO state VALUES (1, lower(hex(randomblob(16))), 0, 0, 0);"

	/* value comes last, so that the others are read without its overflow pages. */
	"CREATE TABLE records ("
	" id INTEGER PRIMARY KEY,"
	" key TEXT NOT NULL,"
	" create_revision INTEGER NOT NULL,"
	" version INTEGER NOT NULL,"
	" lease INTEGER NOT NULL,"
	" superseded INTEGER,"
	" value BLOB);"
	"CREATE UNIQUE INDEX entries ON records (key) WHERE superseded IS NULL;"
	"CREATE INDEX history ON records (superseded) WHERE superseded IS NOT NULL;"
	"CREATE INDEX leased ON records (lease) WHERE superseded IS NULL AND lease <> 0;"

	"CREATE TABLE leases ("
	" id INTEGER PRIMARY KEY,"
	" ttl_seconds INTEGER NOT NULL,"
	" end_usec INTEGER NOT NULL);"
	"CREATE INDEX leases_by_end ON leases (end_usec);",

	/* leases.c */
	"ALTER TABLE state ADD COLUMN lease_usec INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE state ADD COLUMN leap_usec INTEGER NOT NULL DEFAULT 0;",
};

const int database_n_migrations = N_ELEMENTS(database_migrations);

#define RANGE \
	"SELECT id, key, create_revision, version, lease," \
	" CASE WHEN ?4 THEN NULL ELSE value END" \
	" FROM records INDEXED BY entries" \
	" WHERE superseded IS NULL AND key >= ?1 AND key < ?2"

const char *const database_statements[DATABASE_STATEMENT_COUNT] = {
	[DATABASE_BEGIN] = "BEGIN",
	[DATABASE_BEGIN_WRITE] = "BEGIN IMMEDIATE",
	[DATABASE_COMMIT] = "COMMIT",
	[DATABASE_ROLLBACK] = "ROLLBACK",
	[DATABASE_STATE_READ] = "SELECT revision, compacted, history_bytes, lease_usec, leap_usec"
				" FROM state",
	[DATABASE_STATE_WRITE] = "UPDATE state SET revision = ?1, compacted = ?2,"
				 " history_bytes = ?3, lease_usec = ?4, leap_usec = ?5",
	[DATABASE_ENTRY_FIND] = "SELECT id, key, create_revision, version, lease, length(value)"
				" FROM records INDEXED BY entries"
				" WHERE superseded IS NULL AND key = ?1",
	[DATABASE_RANGE_ASCENDING] = RANGE " ORDER BY key LIMIT ?3",
	[DATABASE_RANGE_DESCENDING] = RANGE " ORDER BY key DESC LIMIT ?3",
	[DATABASE_RECORD_INSERT] = "INSERT INTO records"
				   " (id, key, create_revision, version, lease, superseded, value)"
				   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	[DATABASE_RECORD_SUPERSEDE] = "UPDATE records SET superseded = ?2 WHERE id = ?1",
	[DATABASE_RECORD_DELETE] = "DELETE FROM records WHERE id = ?1",
	[DATABASE_RECORDS_FROM] = "SELECT id, key, create_revision, version, lease, value"
				  " FROM records WHERE id >= ?1 ORDER BY id",
	[DATABASE_HISTORY_OLDEST] =
		"SELECT id, superseded, length(CAST(key AS BLOB)) + ifnull(length(value), 0)"
		" FROM records INDEXED BY history"
		" WHERE superseded IS NOT NULL ORDER BY superseded, id LIMIT 1",
	[DATABASE_LEASE_INSERT] =
		"INSERT INTO leases (id, ttl_seconds, end_usec) VALUES (?1, ?2, ?3)",
	[DATABASE_LEASE_FIND] = "SELECT ttl_seconds FROM leases WHERE id = ?1 AND end_usec > ?2",
	[DATABASE_LEASE_EXTEND] = "UPDATE leases SET end_usec = ?2 WHERE id = ?1",
	[DATABASE_LEASE_DELETE] = "DELETE FROM leases WHERE id = ?1",
	[DATABASE_LEASE_KEYS] = "SELECT id, key, create_revision, version, lease, NULL"
				" FROM records INDEXED BY leased"
				" WHERE superseded IS NULL AND lease <> 0 AND lease = ?1"
				" ORDER BY id LIMIT " TEXT(STORE_OPERATIONS_MAX),
	[DATABASE_LEASE_EARLIEST] = "SELECT id, end_usec FROM leases ORDER BY end_usec LIMIT 1",
};
