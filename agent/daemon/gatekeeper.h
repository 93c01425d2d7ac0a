/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Keeps the kernel's table as the agent wants it: installs it, follows grants, repairs what others
 * change. */

#include "agent/daemon/agent.h"

/*
 * Before anything is known but the configuration: shuts what it names. What is in the kernel
 * already, of a daemon before this one, stays: its managed ports too, which the control plane's
 * policy may have named. Returns 0; -EPERM (not told: the daemon before may be on its way out);
 * -errno after telling standard error.
 */
int gatekeeper_begin(struct agent *agent);

/* Makes all as it should be, in one transaction. Returns 0 or -errno after telling standard error.
 */
int gatekeeper_install(struct agent *agent);

/* The same where something is left to do. */
int gatekeeper_catch_up(struct agent *agent);

/* Tells the kernel what a change made of the access map's entries. Where the kernel turns out to
 * have something else, everything is installed again. Returns 0 or -errno. */
int gatekeeper_apply(struct agent *agent, const struct access_delta *delta);

/* Follows what others do to nf_tables, and destination NAT as it comes and goes. */
int gatekeeper_watch(struct agent *agent);
