/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Ledgers are written anew, without what is over. */

#include "agent/daemon/agent.h"

/* True as long as one of the ids that a revocation's record names needs it. */
bool revocation_is_needed(const struct agent *agent, const json_t *record);

/* Sees to it that ledgers are written anew, soon, where most of what they hold is over. */
void compaction_schedule(struct agent *agent);
