/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * The SQLite file of a store: how it is opened, what is in it, and the statements that are run on
 * it. Knows nothing of calls, handlers and the event loop.
 */

#include <sqlite3.h>
#include <stdint.h>

#include "cleanup.h"
#include "contrib/control-plane/store/store.h"

enum database_statement {
	DATABASE_BEGIN,
	DATABASE_BEGIN_WRITE,
	DATABASE_COMMIT,
	DATABASE_ROLLBACK,
	DATABASE_STATE_READ,
	DATABASE_STATE_WRITE,
	DATABASE_ENTRY_FIND,
	DATABASE_RANGE_ASCENDING,
	DATABASE_RANGE_DESCENDING,
	DATABASE_RECORD_INSERT,
	DATABASE_RECORD_SUPERSEDE,
	DATABASE_RECORD_DELETE,
	DATABASE_RECORDS_FROM,
	DATABASE_HISTORY_OLDEST,
	DATABASE_LEASE_INSERT,
	DATABASE_LEASE_FIND,
	DATABASE_LEASE_EXTEND,
	DATABASE_LEASE_DELETE,
	DATABASE_LEASE_KEYS,
	DATABASE_LEASE_EARLIEST,
	DATABASE_STATEMENT_COUNT,
};

struct database {
	sqlite3 *connection;
	sqlite3_stmt *statements[DATABASE_STATEMENT_COUNT];
	char *path; /* absolute, its directories resolved */
	char *wal_path;
	char identity[33];
};

/* The columns of DATABASE_ENTRY_FIND, DATABASE_RANGE_… and DATABASE_RECORDS_FROM. */
enum {
	RECORD_ID,
	RECORD_KEY,
	RECORD_CREATE_REVISION,
	RECORD_VERSION,
	RECORD_LEASE,
	RECORD_VALUE, /* of DATABASE_ENTRY_FIND its length */
};

/* A record's id has its revision, and the operation's place in the transaction below. */
#define RECORD_ID_FIRST(revision) ((revision)*STORE_OPERATIONS_MAX)
#define RECORD_REVISION(id) ((id) / STORE_OPERATIONS_MAX)

struct database_state {
	int64_t revision;
	int64_t compacted; /* the last revision of which events may be gone */
	int64_t history_bytes; /* of records that are no entries any more */
	int64_t lease_usec; /* leases have ended up to then; leases.c */
	int64_t leap_usec; /* the wall clock, when it was first seen far ahead of that; 0: it is not
			    */
};

/* As store_open(). */
int database_open(const char *path, struct database **ret, char **ret_error);
struct database *database_free(struct database *database);
DEFINE_CLEANUP(struct database *, database_free)

/* Steps a statement. Returns 1: there is a row; 0: it is done; -errno. */
int statement_step(sqlite3_stmt *statement);

/* Steps a statement without parameters, and resets it. Returns 0 or -errno. */
int database_run(struct database *database, enum database_statement statement);

int database_read_state(struct database *database, struct database_state *ret);
int database_write_state(struct database *database, const struct database_state *state);

static inline void statement_reset(sqlite3_stmt *statement)
{
	sqlite3_reset(statement);
	sqlite3_clear_bindings(statement);
}
DEFINE_CLEANUP(sqlite3_stmt *, statement_reset)
