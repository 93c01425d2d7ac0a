/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * When a feed that answers is asked again. One that holds its questions, at once. One that answers
 * soon and has nothing new does not hold, and is asked at intervals. And however much one sends,
 * not more than PACE_ANSWERS_PER_SECOND are taken. Pure functions of what came, and the time.
 */

#include <stdbool.h>
#include <stdint.h>

#define PACE_ANSWERS_PER_SECOND 100
#define PACE_ANSWERS_BURST 200

struct pace {
	unsigned n_empty; /* answers in a row that came soon and had nothing new */
	uint64_t n_taken_usec; /* a bucket: the time that answers have used up */
	uint64_t last_usec;
};

void pace_init(struct pace *pace);

/*
 * How long to wait before the next question. has_news: the answer's cursor is another, or
 * there is more. held_usec: how long the question took. now_usec: CLOCK_BOOTTIME.
 */
uint64_t pace_next(struct pace *pace, bool has_news, uint64_t held_usec, uint64_t now_usec,
	uint64_t interval_usec);
