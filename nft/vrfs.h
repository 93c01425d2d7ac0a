/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* VRFs (the kernel's Documentation/networking/vrf.rst): interfaces that have routes of their own,
 * and the interfaces that belong to them. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sessions that are older than the gate, by members beyond these, are refused. */
#define VRF_MEMBERS_MAX 1024

struct vrfs {
	bool exist;
	uint32_t members[VRF_MEMBERS_MAX]; /* indexes of interfaces */
	size_t n_members;
};

/* Returns 0 or -errno. */
int vrfs_read(struct vrfs *ret);

bool vrfs_are_same(const struct vrfs *a, const struct vrfs *b);
