/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the ledgers' records say, taken in one by one: registry, policy and time at once; grants
 * wait for what follows them. */

#include "agent/daemon/agent.h"
#include "agent/daemon/untold.h"

/* A grant that was read and is not judged yet: whether it comes back depends on what follows it. */
struct pending {
	struct registry_entry *entry;
	struct document *document;
	enum grant_origin origin;
	bool durable;
	bool same_boot;
	bool was_ahead; /* when it was admitted */
	uint64_t deadline_usec;
};

struct restoration {
	struct agent *agent;
	bool durable; /* the ledger that is being read */
	struct pending *pending;
	size_t n_pending;
	size_t n_allocated;
	size_t n_unverified;
	bool owed; /* the record that is being read closes, and the first ledger does not have it */
	json_t *revocations; /* their records */
	struct untold untold;
};

/* Takes a record (borrowed), as ledger_read() calls back: userdata is the restoration. Verified as
 * if it came now: whoever edits the file can't open a port with it. Returns 0 or -errno. */
int restoration_take(json_t *record, void *userdata);
