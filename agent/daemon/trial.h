/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Enforcing on trial, as a file: {runtime_directory}/trial, one JSON object. It outlives the daemon
 * and ends with the boot, as what it tells of does.
 *
 *   {"boot": id, "deadline": µs of CLOCK_BOOTTIME, "seconds": n, "by": name}
 */

#include "agent/common/config.h"

#define TRIAL_NAME_MAX 128 /* with its NUL */

/* All zeros: none runs. */
struct trial {
	uint64_t deadline_usec; /* CLOCK_BOOTTIME */
	int64_t seconds; /* that it was given */
	char by[TRIAL_NAME_MAX]; /* who began it */
};

/* Puts it in place of what is there. Returns 0 or -errno. */
int trial_save(const char *directory, const char *boot_id, const struct trial *trial);

/*
 * Returns 0 and the trial, which may be over; -ENOENT where there is none, or one of another boot;
 * -EBADMSG where the file is none of ours: a deadline that is further off than a trial may last is
 * not one; another -errno.
 */
int trial_load(const char *directory, const char *boot_id, uint64_t now_usec, struct trial *ret);

/* Returns 0, also where there is none; -errno. */
int trial_forget(const char *directory);
