/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * What the audit log's sequence numbers begin above after a start. Its last line tells, unless the
 * log is gone, or could not be written while numbers were given out. For that, two numbers are kept
 * beside the ledger (and in the runtime directory, where the state directory can't be written): all
 * numbers given out are at most reserved; and those that the log has not got at its end, at most
 * unlogged. Both are in blocks, so that they are seldom written: numbers may be left out, but none
 * comes twice.
 */

#include <stdbool.h>
#include <stdint.h>

struct audit_sequence {
	char *path;
	char *runtime_path;
	uint64_t reserved;
	uint64_t unlogged; /* 0: the log has all */
};

/* Reads what is noted; last is what the log ends with, 0 where it has nothing; log_is_gone: it may
 * have had more. Returns 0 and the number to go on from, or -ENOMEM. */
int audit_sequence_open(struct audit_sequence *sequence, const char *state_directory,
	const char *runtime_directory, uint64_t last, bool log_is_gone, uint64_t *ret);
void audit_sequence_done(struct audit_sequence *sequence);

/* Notes that number is given out, before it is. */
void audit_sequence_reserve(struct audit_sequence *sequence, uint64_t number);

/* Notes whether the log has the record of that number. */
void audit_sequence_logged(struct audit_sequence *sequence, uint64_t number, bool logged);
