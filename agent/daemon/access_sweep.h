/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Which cover counts at each address of a range, from the covers that contain it and lie in it. */

#include "agent/daemon/access.h"

struct access_set;

/*
 * Calls back for each part of the range (a prefix) in which one cover counts, in order; parts that
 * no cover holds are left out, and neighbours may have the same deadline and tag. A part is the
 * range's service, the part's addresses and the deadline and tag of the cover. A negative return
 * ends it and is returned.
 */
int access_sweep(const struct access_set *covers, const struct access *range,
	int (*callback)(const struct access *part, void *userdata), void *userdata);
