/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* How the feed is: told to the log when it changes, to systemd, and to jitgated for `jitgate
 * status`. */

#include "agent/poll/agent_link.h"

#define REPORT_MESSAGE_MAX 512

enum feed_state {
	FEED_CONNECTING,
	FEED_CONNECTED,
	FEED_BACKING_OFF,
	FEED_UNAUTHORIZED,
};

struct report {
	struct agent_link *link;
	const char *url;
	enum feed_state state;
	char message[REPORT_MESSAGE_MAX]; /* what is wrong, or empty */
	uint64_t contact_usec; /* wall clock; 0: never */
	uint64_t logged_usec; /* as are those below, CLOCK_BOOTTIME */
	uint64_t sent_usec;
	bool is_untold; /* the message has changed, and the log does not say so yet */
	bool under_way; /* a report to jitgated */
	bool changed; /* since it was sent, or that did not arrive */
	bool refused; /* by jitgated, once */
	bool has_arrived; /* any, or it was refused */
};

/* The feed has answered as it should. Told at most every few seconds, unless the state is new. */
void report_contact(struct report *report);

/* Takes a failure over. Whether it is worth a line in the log: when the state is new, and, ten
 * minutes after the last line at the earliest, when the message is another than the one that was
 * told. */
bool report_note_failure(
	struct report *report, enum feed_state state, const char *message, uint64_t now_usec);

/* It has not; message says why. */
void report_failure(struct report *report, enum feed_state state, const char *message);

/* jitgated is there anew and knows nothing. */
void report_again(struct report *report);
