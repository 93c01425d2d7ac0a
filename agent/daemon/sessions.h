/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Sessions: the connections that grants let in, each with its grant, so that the audit log can name
 * the person and a revocation can end just these. The kernel tells of a connection's first packet
 * (nflog) and of its socket's end (sockets); its sets remember those that nobody was there to hear
 * of.
 */

#include "agent/daemon/agent.h"
#include "agent/daemon/session_table.h"

int sessions_new(struct agent *agent, struct sessions **ret);
struct sessions *sessions_free(struct sessions *sessions);

/* Takes up a session that a daemon before this one had recorded, where it still lives. */
int sessions_restore(struct sessions *sessions, const json_t *record);

/*
 * Reads the kernel's sets and takes up what is not known yet. just_closed (may be NULL) is a grant
 * that has been taken out of the access map, and of the kernel, a moment ago: what no other grant
 * lasted longer for was let in by it. Returns 0; -errno where they can't be read, which is tried
 * again by and by.
 */
int sessions_update(struct sessions *sessions, struct grant *just_closed);

/* Looks for each session: news of ends were lost, or its port may not be managed any more. */
void sessions_check_all(struct sessions *sessions);

/* Sessions that are known, open or not yet. */
size_t sessions_count(const struct sessions *sessions);

/* Starts to listen. */
int sessions_watch(struct sessions *sessions);

/* Ends the sessions of a grant; with policies, only those at ports that say on_expiry = kill.
 * Returns how many. */
size_t sessions_kill(
	struct sessions *sessions, const char *grant, const struct policies *only_on_expiry);

/* Calls back for each open session. A negative return ends it and is returned. */
int sessions_foreach(struct sessions *sessions,
	int (*callback)(const struct session *session, void *userdata), void *userdata);
