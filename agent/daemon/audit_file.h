/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * The audit log's files: audit.jsonl, and audit.jsonl.1, which it is renamed to when it would grow
 * over its bound. A line is a record as JSON; it carries the SHA-256 of the line before it, also
 * over the change of files:
 *
 *   audit.jsonl.1   {"sequence":1,…}  {"sequence":2,…}
 *   audit.jsonl     {"sequence":3,…,"previous":<hash of 2>}
 */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* The longest message of local root may become a grant, and its prefixes be written longer than he
 * did: "::aa:bb" as "::0.170.0.187". */
#define AUDIT_LINE_BYTES_MAX (128 * 1024)
#define AUDIT_HASH_HEX 64

struct audit_file {
	char *path;
	char *rotated_path;
	int fd; /* -1: can't be written */
	bool is_unsynced; /* what was appended may be lost with the machine's power */
	bool was_empty; /* when it was opened: what was in it may be gone */
	uint64_t n_bytes_max;
	char previous[AUDIT_HASH_HEX + 1]; /* of the last line */
};

/* Opens or creates directory/audit.jsonl (0640), to go on where it ends. Returns 0 and the sequence
 * number of its last line, or of the older file's where it is empty (0: none); -ENOMEM. Where the
 * file can't be opened, file->fd is -1 and why is in ret_error. */
int audit_file_open(struct audit_file *file, const char *directory, uint64_t n_bytes_max,
	uint64_t *ret_sequence, int *ret_error);
void audit_file_done(struct audit_file *file);

/* Writes a record as a line, whole or not at all. Returns 0 or -errno. */
int audit_file_append(struct audit_file *file, json_t *record);

/*
 * Appends to list the records whose sequence number is above after, oldest first, out of both
 * files: at most n_max, and no more once their lines come to n_bytes_max. Lines that are no records
 * are passed over. What is told is on the disk before: else numbers would come twice, with other
 * content, when power fails in between. What is searched is a few blocks of the files, whatever
 * their size. Returns 0 or -errno; a file that is not there has no records.
 */
int audit_file_list(
	struct audit_file *file, uint64_t after, size_t n_max, size_t n_bytes_max, json_t *list);
