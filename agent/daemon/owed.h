/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * What closes and could be kept until a reboot only: it is owed to the ledger in the state
 * directory, and written there once that can be. The runtime ledger has all of it, and so bounds
 * it.
 */

#include "agent/daemon/agent.h"

/* Is it of what closes? */
bool owed_is(const json_t *record);

/* Takes a record (borrowed) that the runtime ledger alone has; one that closes nothing is passed
 * over. */
void owed_add(struct agent *agent, json_t *record);

/* Writes what is owed and still of use, and marks as durable whose documents they are. Returns 0,
 * or -errno with the rest still owed, and tried again by and by. */
int owed_settle(struct agent *agent);
