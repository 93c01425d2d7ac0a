/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Whoever has work left when its turn is over asks for another, with a timer. A deferred source
 * (sd_event_add_defer(3)) is pending all the time: as long as it is enabled again in its own
 * handler, it comes before all others. A timer comes in its turn.
 */

#include <stdint.h>
#include <systemd/sd-event.h>

/* Has a timer elapse once, at that time of its clock (0: at once), or earlier where it is to do so
 * already: to set it anew would take back that it has. Returns 0 or -errno. */
int turn_at(sd_event_source *timer, uint64_t usec);
