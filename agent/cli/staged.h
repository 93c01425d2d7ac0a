/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Files that are replaced together: all of them or none.
 *
 * Each is written beside its place under a name of its own, so that all that can fail (rights,
 * room) has failed before the first is put in place; where putting one in place fails, those before
 * it go back to what they were. Whoever ends the program meanwhile (SIGHUP, SIGINT, SIGTERM) finds
 * nothing but what was there: these wait while files are put in place.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "cleanup.h"

#define STAGED_FILES_MAX 8

struct staged_file {
	char *path; /* where it goes, links followed */
	char *temporary;
	char *former; /* what was there, while it may have to go back; NULL: nothing was */
	const char *backup_suffix; /* what was there is kept under its name with this; NULL: not */
	int fd;
	bool placed;
};

struct staged {
	struct staged_file files[STAGED_FILES_MAX];
	size_t n_files;
	char error[512]; /* what failed, a sentence without a full stop */
};

/*
 * Locks the directory of path: two at once would each put a part of theirs in place. Returns a file
 * descriptor that holds the lock, as long as it is open; -EWOULDBLOCK where another has it; another
 * -errno.
 */
int staged_lock(const char *path);

/*
 * Makes room for a file of n_bytes. An existing file gives its owner, access list and mode, of
 * which a secret's loses what others may; a new one has mode. Path may be a link to a file. Returns
 * its index; -errno with error filled in, -EINVAL where path is something else than a file.
 */
int staged_add(struct staged *staged, const char *path, mode_t mode, bool secret, size_t n_bytes,
	const char *backup_suffix);

/* Lets a group read a file that is new, where the caller may; who may read an existing one its
 * owner has decided. */
void staged_share(struct staged *staged, int index, gid_t group);

/* Writes and syncs the file. Returns 0, or -errno with error filled in. */
int staged_write(struct staged *staged, int index, const char *bytes, size_t n_bytes);

/* Puts all in place, in the order in which they were added. Returns 0; -errno with error filled in,
 * and all as it was. */
int staged_place(struct staged *staged);

/* Removes what was not put in place. */
void staged_done(struct staged *staged);
