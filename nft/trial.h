/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Can this kernel do what the gate needs? The gate itself is made, in a network namespace that
 * ends with the trial: nothing of the host's is touched.
 */

#include <stdbool.h>

#define TRIAL_WHAT_MAX 128

struct trial {
	bool owned; /* the kernel lets it be owned */
	char what[TRIAL_WHAT_MAX]; /* what the kernel refused; where -EPERM, it may be the namespace
				    */
};

/* Returns 0; -EACCES where no network namespace may be made; what the kernel refused the gate with,
 * -errno. */
int trial_run(struct trial *ret);
