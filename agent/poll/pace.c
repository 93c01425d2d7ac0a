/* SPDX-License-Identifier: GPL-3.0-or-later */

#include "agent/common/times.h"
#include "agent/poll/pace.h"

/* A question that was held for less was not held: a proxy's or a restarting server's cut is longer.
 */
#define HELD_USEC (1 * USEC_PER_SEC)
/* The first empty answers that come soon may have a reason, as a server that is stopping. */
#define PATIENCE 3

#define ANSWER_USEC (USEC_PER_SEC / PACE_ANSWERS_PER_SECOND)

void pace_init(struct pace *pace)
{
	*pace = (struct pace){};
}

/* A bucket that fills by an answer's share of a second, and drains with time. */
static uint64_t bucket_next(struct pace *pace, uint64_t now_usec)
{
	uint64_t passed_usec = now_usec - pace->last_usec;
	uint64_t burst_usec = PACE_ANSWERS_BURST * ANSWER_USEC;

	pace->last_usec = now_usec;
	pace->n_taken_usec =
		pace->n_taken_usec > passed_usec ? pace->n_taken_usec - passed_usec : 0;
	pace->n_taken_usec += ANSWER_USEC;
	return pace->n_taken_usec > burst_usec ? pace->n_taken_usec - burst_usec : 0;
}

uint64_t pace_next(struct pace *pace, bool has_news, uint64_t held_usec, uint64_t now_usec,
	uint64_t interval_usec)
{
	uint64_t usec = bucket_next(pace, now_usec);

	if (has_news || held_usec >= HELD_USEC) {
		pace->n_empty = 0;
		return usec;
	}
	pace->n_empty++;
	if (pace->n_empty > PATIENCE)
		return interval_usec;
	return interval_usec < USEC_PER_SEC ? interval_usec : USEC_PER_SEC;
}
