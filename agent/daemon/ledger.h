/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * The ledger: a file of records that survives what the daemon does not, one JSON object a line.
 *
 * Records are appended; a write that fails or is cut short leaves the file as it was before
 * (truncated back), and a tail that a crash tore is dropped when the file is next read. What a
 * record means is the caller's.
 */

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "cleanup.h"

/* Local root's longest message (VARLINK_MESSAGE_BYTES_MAX), and what is put beside it. */
#define LEDGER_RECORD_BYTES_MAX (68 * 1024)

struct ledger;

struct ledger_damage {
	size_t torn_bytes; /* the last line, where it was no record: dropped */
	size_t bad_lines; /* in the middle: skipped, dropped at the next rewrite */
};

/*
 * Opens or creates the file (0600, locked with flock so that two daemons can't share it:
 * -EWOULDBLOCK). Refuses a symbolic link (-ELOOP) and what is no regular file (-EINVAL, -EISDIR,
 * -ENXIO). Where it can only be read (-EROFS, -EACCES, -EPERM), it is opened for reading, and
 * appending fails with that error until a rewrite succeeds. Where there is none and none can be
 * made (these, -ENOSPC, -EDQUOT), it reads as empty, and each append tries again to make it.
 */
int ledger_open(const char *path, struct ledger **ret);
struct ledger *ledger_free(struct ledger *ledger);
DEFINE_CLEANUP(struct ledger *, ledger_free)

/*
 * Calls back (unless NULL) for each record in order; the record is borrowed. A negative return of
 * the callback ends it and is returned. Blank lines are passed over: there is room made ahead
 * behind the last record. A last line without its newline is kept where it is whole JSON and
 * dropped otherwise; the file is then mended in place. Returns 0, -ENOMEM or what reading failed
 * with. ret_damage may be NULL.
 */
int ledger_read(struct ledger *ledger, int (*callback)(json_t *record, void *userdata),
	void *userdata, struct ledger_damage *ret_damage);

/* Appends a record, an object, without syncing. Returns 0 or -errno, then with nothing appended:
 * -E2BIG where it takes more than LEDGER_RECORD_BYTES_MAX with its newline. */
int ledger_append(struct ledger *ledger, const json_t *record);

/* Brings what was appended to the disk (fdatasync). Returns 0 or -errno. */
int ledger_sync(struct ledger *ledger);

/* Replaces the contents by an array of records: new file (its name and ".new"), synced, renamed,
 * directory synced. On failure the old file is in place and in use; save where only the directory's
 * sync failed: then the new one is, and ledger_sync() fails until the directory is synced. */
int ledger_rewrite(struct ledger *ledger, const json_t *records);

/* Lines now in the file, bad ones among them, for deciding when to rewrite. */
size_t ledger_count(const struct ledger *ledger);
