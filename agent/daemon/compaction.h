/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Ledgers are written anew, without what is over. */

#include "agent/daemon/agent.h"

/* True as long as one of the ids that a revocation's record names needs it. */
bool revocation_is_needed(const struct agent *agent, const json_t *record);

/* Is a record still of use? A grant's is as long as the grant is known, a revocation's as long as
 * one of the ids it names is, a policy's as long as it is in force. */
bool record_is_needed(const struct agent *agent, const json_t *record);

/* Sees to it that ledgers are written anew, soon, where most of what they hold is over. */
void compaction_schedule(struct agent *agent);
