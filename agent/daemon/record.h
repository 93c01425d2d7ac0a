/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * What the ledgers hold, a JSON object a line:
 *
 *   {"document": "<jws>", "id": id, "at": µs, …}              admitted; verified again when read
 *        a grant:       "boot": id, "deadline": µs
 *        a revocation:  "revokes": [id, …], "sessions": "kill" where it says so
 *        a policy:      "policy": {claims}
 *   {"begun": id}                                             its time has come: it was scheduled
 *   {"local": {claims}, "at": µs, "boot": id, "deadline": µs}  of local root (runtime ledger only)
 *   {"revoked": id, "reason": text, "at": µs}                 by local root; "sessions" as above
 *   {"killed": id}                      its sessions have been ended since (runtime ledger only)
 *   {"clock": µs}                                             the wall clock has been there
 *   {"session": {…}, "grant": id, "subject": text, "at": µs}  was let in (runtime ledger only);
 *                                       "open": false where it is not established yet
 *   {"ended": {…}}                                            that session is over (as above)
 *
 * "sequence" is there where the audit log is told of it next (untold.h): the number of the log's
 * last record before. "at" is wall-clock time, "deadline" CLOCK_BOOTTIME of that boot. Neither can
 * make a grant last longer than its document says. What only closes is believed without its
 * signature, so that it outlives the key that signed it: what a revocation revokes, and a policy's
 * claims.
 */

#include <jansson.h>

#include "address.h"
#include "agent/daemon/agent.h"

/* Notes in a record how far the audit log is, which is told of it next. The others below do so by
 * themselves, those of grants, documents and beginnings. Returns the record; NULL where it is. */
json_t *record_to_tell(const struct agent *agent, json_t *record);

json_t *record_grant(
	const struct agent *agent, const char *text, uint64_t at_usec, const struct grant *grant);
json_t *record_revocation(const struct agent *agent, const char *text, uint64_t at_usec,
	const struct document *revocation);
json_t *record_policy(const struct agent *agent, const char *text, uint64_t at_usec,
	const struct document *policy);
json_t *record_local(
	const struct agent *agent, json_t *claims, uint64_t at_usec, const struct grant *grant);
json_t *record_revoked(const char *id, const char *reason, bool kill_sessions, uint64_t at_usec);
json_t *record_killed(const char *id);
json_t *record_clock(uint64_t told_usec, uint64_t latest_usec);
json_t *record_session(const struct flow *flow, const char *grant, const char *subject,
	uint64_t at_usec, bool open);

json_t *record_session_ended(const struct flow *flow);

/* The flow of a record under "session" or "ended"; false where it has none. */
bool record_read_flow(const json_t *record, const char *key, struct flow *ret);

/* True, and the deadline, where the record is of this boot. */
bool record_read_deadline(const struct agent *agent, const json_t *record, uint64_t *ret_usec);

#define RECORD_UNTIL_REBOOT 1

/*
 * Appends a record and brings it to the disk. Where the state directory can't be written it goes to
 * the runtime ledger instead, so that it survives the daemon at least; what closes then comes to
 * the disk later (owed.h). Consumes the record (NULL: there was no memory for it). Returns 0;
 * RECORD_UNTIL_REBOOT; -errno where it is kept nowhere, -ENOMEM before anything was told.
 */
int record_keep(struct agent *agent, json_t *record);

/* The same for an array of records, synced once. */
int record_keep_all(struct agent *agent, json_t *records);

/* Notes that a scheduled grant's time has come, in the ledger that has the grant; without syncing:
 * many may begin at once. */
void record_keep_begun(struct agent *agent, const struct grant *grant);

/* Appends to the runtime ledger; what it loses is gone at reboot anyway. Consumes the record. */
void record_keep_runtime(struct agent *agent, json_t *record);

/* Notes that the wall clock has been here, on disk, so that no grant that has ended can come back.
 * To the next start it says, too, that the ends of all that had ended until then were told. */
void record_time(struct agent *agent, uint64_t now_usec);
