/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What a process gives up for good, before it reads anything that others wrote. */

#include <linux/capability.h>
#include <stdint.h>

#define CAPABILITY(number) (UINT64_C(1) << (number))

/* Nothing that it executes gains privileges; nobody else may look into its memory, where keys are,
 * or find it in a core dump. Returns 0 or -errno. */
int confine_process(void);

/* Keeps of its capabilities those in kept (CAPABILITY(…), or 0), hands none on, and can win none
 * back. Returns 0 or -errno. */
int confine_capabilities(uint64_t kept);

/*
 * A process of root becomes the user whose the directory at path is, in that directory's group
 * alone, and keeps the capabilities in kept: what it makes there stays that user's. Nothing where
 * it is not root, or where the directory is root's or not there. Returns 0 or -errno.
 */
int confine_to_owner(const char *path, uint64_t kept);
