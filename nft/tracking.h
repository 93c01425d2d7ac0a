/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Connection tracking's entries (ctnetlink, linux/netfilter/nfnetlink_conntrack.h): what a
 * connection was translated to, and how to forget it. */

#include "address.h"
#include "cleanup.h"

struct tracking;

int tracking_open(struct tracking **ret);
struct tracking *tracking_free(struct tracking *tracking);
DEFINE_CLEANUP(struct tracking *, tracking_free)

/*
 * Looks a connection up as its sender made it. Returns 1, and in ret_translated the local end it
 * was translated to (the same where it was not); 0 where there is no entry or no connection
 * tracking; -errno.
 */
int tracking_find(struct tracking *tracking, const struct flow *flow, struct flow *ret_translated);

/* Removes the entry. Returns 0, also where there is none; -errno. */
int tracking_forget(struct tracking *tracking, const struct flow *flow);
