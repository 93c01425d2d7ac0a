/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * What a daemon before this one did and had no time to tell: killed, or without power, between the
 * ledger's record and the audit log's.
 *
 * A record of what is told says how far the audit log was before it was:
 *
 *   ledger      {"id":"a","sequence":7}                  {"id":"b","sequence":9}
 *   audit log                     8: a admitted  9: a in force               10: b admitted  ✗
 *
 * All is told before the next such record is made. So, of those that the log has got to, only the
 * last may be untold, and what the log has from its number on says so; it is looked at anew at each
 * start, so that nothing is told twice. Those with higher numbers than the log has are untold: it
 * lost its end with the machine's power.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct agent;

struct untold {
	bool all_told; /* as far as can be known: the log is gone */
	uint64_t newest; /* in the log, when this daemon came to it */
	uint64_t after; /* what is told of all before this number is there */
	json_t *records; /* the ledgers', from that number on */
	json_t *ends; /* the ids that these revoked first: keys */
};

void untold_init(struct untold *untold, const struct agent *agent);
void untold_done(struct untold *untold);

/* Takes a record (borrowed) out of the ledgers, before the registry does. */
void untold_note(struct untold *untold, const struct agent *agent, json_t *record);

/*
 * Once all records are read: compares them with the log. Tells of the revocations and policies that
 * were admitted, and marks the entries of grants of which something is untold: that is told once
 * the gate is as it says; and of those of which an end was told that is not noted. Returns 0 or
 * -ENOMEM.
 */
int untold_judge(struct untold *untold, struct agent *agent);
