/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A grant's way through the agent: in force when its time comes, out of force when it ends, revoked
 * in between. */

#include "agent/daemon/agent.h"

/*
 * Puts a new grant in force (or on the timer, where its time is to come): registers it under the
 * entry and opens the kernel's gate. Takes the grant over in any case. Returns 0; -errno with
 * nothing changed.
 */
int lifecycle_admit(struct agent *agent, struct registry_entry *entry, struct grant *grant,
	const struct moment *now);

/*
 * The same for a grant that is read back at start, when the kernel is told of all at once
 * afterwards: covers go into the access map only.
 */
int lifecycle_restore(struct agent *agent, struct registry_entry *entry, struct grant *grant,
	const struct moment *now);

/* Tells the audit log that it is in force, or was revoked, and why; nothing where its time is to
 * come. */
void lifecycle_announce(struct agent *agent, const struct grant *grant, const char *reason);

/* The same for one that was admitted before, whose time has come since: that is recorded. */
void lifecycle_announce_begun(struct agent *agent, const struct grant *grant);

/* Ends the grants whose time is over; where there are some, the time is noted then. */
void lifecycle_expire(struct agent *agent);

/* The same, and the time is noted in any case. */
void lifecycle_note_time(struct agent *agent);

/* Ends the sessions that a grant has let in, and remembers that it is done. Returns how many. */
size_t lifecycle_kill_sessions(struct agent *agent, const char *id);

/*
 * Ends a live grant before its time. reason is for the audit log. ret_killed (may be NULL) counts
 * the sessions ended. Returns 0 or -errno.
 */
int lifecycle_revoke(struct agent *agent, struct grant *grant, bool kill_sessions,
	const char *reason, size_t *ret_killed);

/* Works out every live grant's times anew: the wall clock was set, or the machine slept. What there
 * is no memory for is done as soon as it can be. */
void lifecycle_recompute(struct agent *agent);

/* The same where the wall clock has come to run ahead or behind: nobody tells when it is slewed. To
 * be called now and then; when a grant is admitted it is. */
void lifecycle_follow_clock(struct agent *agent, const struct moment *now);

/* Revokes the live grants that policies or trusted keys, as they are now, do not allow. Sessions at
 * ports that are not managed any more are still known to their end. */
int lifecycle_reconsider(struct agent *agent);
