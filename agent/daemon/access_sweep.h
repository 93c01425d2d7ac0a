/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Which cover counts at each address of a range, from the covers that contain it and lie in it. */

#include "agent/daemon/access_set.h"

/* All covers, and which prefix lengths there are among them (a bit for each up to 127, by family).
 */
struct access_covers {
	struct access_set set;
	uint64_t lengths4[2];
	uint64_t lengths6[2];
};

/* Notes the length of a cover that comes. Lengths are forgotten when all covers are gone: one that
 * is noted and not there any more costs time, and nothing else. */
void access_covers_note_length(struct access_covers *covers, const struct access *cover);

/*
 * Calls back for each part of the range (a prefix) in which one cover counts, in order; parts that
 * no cover holds are left out, and neighbours may have the same deadline and tag. A part is the
 * range's service, the part's addresses and the deadline and tag of the cover. A negative return
 * ends it and is returned.
 */
int access_sweep(const struct access_covers *covers, const struct access *range,
	int (*callback)(const struct access *part, void *userdata), void *userdata);
