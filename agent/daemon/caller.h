/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Who calls a method, and what he may. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "agent/common/varlink.h"

/* Whom the system's user database names: looked up when first asked for. */
struct callers {
	bool has_readers, has_poll;
	gid_t readers; /* the group jitgate */
	uid_t poll; /* the user jitgate-poll */
};

/* Root; and whom the daemon runs as, who could do with it what he wants anyway. */
bool caller_may_change(const struct varlink_call *call);

/* Those, and the group jitgate. */
bool caller_may_read(struct callers *callers, const struct varlink_call *call);

/* Who may change, and the user jitgate-poll. */
bool caller_may_report_feed(struct callers *callers, const struct varlink_call *call);

/* The person behind root: who logged in, where the system keeps it (pam_loginuid); root otherwise.
 */
void caller_name(const struct varlink_call *call, char *name, size_t n);
