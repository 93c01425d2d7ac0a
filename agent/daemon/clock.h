/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Two clocks decide when a grant ends: the wall clock, in which documents speak, and
 * CLOCK_BOOTTIME, which nobody sets and which goes on while the machine sleeps. The earlier counts,
 * so that a wall clock set back extends nothing and one set forward ends what is over.
 */

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/* Both clocks at one moment, in microseconds. */
struct moment {
	uint64_t wall_usec;
	uint64_t boot_usec;
};

struct moment moment_now(void);

/* Where CLOCK_BOOTTIME will be when the wall clock, running on from now, shows wall_seconds; now
 * where it is past. */
uint64_t moment_deadline(const struct moment *now, int64_t wall_seconds);

/* How long to wait before what fails since then (CLOCK_BOOTTIME) is tried again: as long again, in
 * bounds. */
uint64_t moment_again(uint64_t since_usec, uint64_t min_usec, uint64_t max_usec);

static inline int64_t moment_seconds(const struct moment *now)
{
	return (int64_t)(now->wall_usec / 1000000);
}

/* How far the wall clock is ahead of CLOCK_BOOTTIME, in microseconds. */
static inline int64_t moment_ahead(const struct moment *now)
{
	return (int64_t)(now->wall_usec - now->boot_usec);
}

/* Calls back when the wall clock is set, or the machine wakes up (timerfd_create(2),
 * TFD_TIMER_CANCEL_ON_SET). */
int clock_watch(
	sd_event *event, sd_event_io_handler_t callback, void *userdata, sd_event_source **ret);

/* Arms the watch again; to be called from the callback. Returns true where the clock was set. */
bool clock_watch_read(int fd);
