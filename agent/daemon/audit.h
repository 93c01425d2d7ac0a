/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * The audit log: one record for each thing that happens. A record goes to the journal, as fields,
 * and to a file, as a line of JSON that carries the SHA-256 of the line before it; and to whoever
 * listens (Monitor). The file is bounded: audit_file.h says how.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "address.h"
#include "agent/common/config.h"

enum audit_type {
	AUDIT_AGENT_STARTED,
	AUDIT_AGENT_STOPPED,
	AUDIT_GATE_INSTALLED,
	AUDIT_GATE_REPAIRED,
	AUDIT_GATE_REMOVED,
	AUDIT_DOCUMENT_ADMITTED,
	AUDIT_DOCUMENT_REFUSED,
	AUDIT_GRANT_ACTIVE,
	AUDIT_GRANT_EXPIRED,
	AUDIT_GRANT_REVOKED,
	AUDIT_SESSION_OPENED,
	AUDIT_SESSION_ENDED,
	AUDIT_MODE_CHANGED,
	AUDIT_CONFIGURATION_RELOADED,
	AUDIT_RELOAD_FAILED,
	AUDIT_CLOCK_STEPPED,
	AUDIT_CLOCK_BEHIND,
	AUDIT_LEDGER_DAMAGED,
	AUDIT_TYPE_COUNT,
};

/* What is not known of a record is NULL or 0. Strings are borrowed. */
struct audit_record {
	enum audit_type type;
	const char *message; /* one sentence, for people */
	const char *grant;
	const char *subject;
	const char *source; /* a prefix or an address */
	uint16_t port;
	const char *protocol;
	const char *reason;
	const char *code; /* of a refusal */
	json_t *details; /* consumed */
};

struct audit;

/*
 * Opens or creates audit.jsonl (0640) in the configured directory and goes on where it ends.
 * Without a file (the disk is full or read-only) records still go to the journal and the listeners:
 * -errno then says why in ret_file_error, 0 otherwise. listener (may be NULL) is called with each
 * record as JSON (borrowed).
 */
int audit_open(const struct config *config, void (*listener)(json_t *record, void *userdata),
	void *userdata, struct audit **ret, int *ret_file_error);
struct audit *audit_free(struct audit *audit);
DEFINE_CLEANUP(struct audit *, audit_free)

const char *audit_path(const struct audit *audit);

/* Another bound of the file than the configuration had when it was opened. */
void audit_set_bytes_max(struct audit *audit, uint64_t n_bytes_max);

/* A type's name, as records have it. */
const char *audit_type_name(enum audit_type type);

/* True where the file that was opened had records, which it goes on from: then the last number
 * given out before. */
bool audit_goes_on(const struct audit *audit, uint64_t *ret_newest);

/* The sequence number of the last record, 0 before the first. */
uint64_t audit_newest(const struct audit *audit);

/* The records above after that the files have, as audit_file_list(). */
int audit_list(struct audit *audit, uint64_t after, size_t n_max, size_t n_bytes_max, json_t *list);

void audit_write(struct audit *audit, const struct audit_record *record);
