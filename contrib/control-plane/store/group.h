/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A SQLite transaction under way, with the calls that share it. */

#include "contrib/control-plane/store/sqlite_private.h"

struct group {
	struct sqlite *sqlite;
	struct database_state state;
	struct database_state before;
	uint64_t now_usec; /* wall clock */
	int64_t n_records; /* written */
	bool has_changed;
};

static inline sqlite3_stmt *group_statement(struct group *group, enum database_statement statement)
{
	return group->sqlite->database->statements[statement];
}

/* Does operations as one revision, if they change anything. Returns 0 or -errno. So do all that
 * follow; -ENOENT where a lease is not there or has ended. */
int group_do_revision(
	struct group *group, const struct store_operation *operations, size_t n_operations);

/* leases.c */

/* Up to when leases end: now, unless that is not to be believed. */
void group_follow_clock(struct group *group);

int group_find_lease(struct group *group, int64_t lease, int64_t *ret_ttl_seconds);
int group_lease_grant(struct group *group, struct job *job);
int group_lease_keep_alive(struct group *group, struct job *job);
int group_lease_revoke(struct group *group, struct job *job);

/* Ends leases that are due; what is too much for one transaction is due next time. */
int group_end_leases(struct group *group);
