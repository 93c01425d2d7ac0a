/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the ledgers remember comes back: verified, judged and timed anew. */

#include "agent/daemon/agent.h"

/* Opens both ledgers; one that can't be opened now is tried again when it is read. Returns 0;
 * -EWOULDBLOCK where another daemon has them; -ENOMEM. */
int restore_open(struct agent *agent);

/*
 * Takes in what the ledgers hold: policy, revocations, grants that are not over, sessions. The
 * kernel is told afterwards, by gatekeeper_install(). May be called again: what is known already is
 * passed over. Where a ledger can't be read to its end, what was read of it closes and opens
 * nothing; that is told, and it is read again by and by. Returns 0 or -ENOMEM.
 */
int restore_all(struct agent *agent);

/* Once more, for what could not come back before, with the kernel and the audit log told. Where
 * there is no memory for it the loop ends: a start reads all of it. */
void restore_again(struct agent *agent);

/* Gives grants the connections that the kernel has counted for them under a daemon before this one,
 * where they can be read. Returns 0 or -ENOMEM. */
int restore_count_connections(struct agent *agent);

/* Once the gate is installed: sessions that began while no daemon listened, grants that ended then,
 * and whether the ledger is lost. */
int restore_finish(struct agent *agent);
