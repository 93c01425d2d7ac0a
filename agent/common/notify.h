/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * What the service manager is told (sd_notify(3)'s protocol). Not through sd_notify() and
 * sd_event_set_watchdog(): they wait where its queue is full, for ever if it has crashed, and no
 * peer may hold the program up.
 */

#include <systemd/sd-event.h>

#include "cleanup.h"

/* Lines such as "READY=1", of 1.5 KiB at most. What it has no room for is left out; without a
 * service manager nothing is done. */
_printf_(1, 2) void notify(const char *format, ...);

/* "READY=1" after a start, which a service manager that missed it would end: one that is busy is
 * waited for, 5 s at most. */
void notify_ready(void);

/* Keeps its watchdog (WatchdogSec=) content for as long as the loop runs. Returns 0 or -errno. */
int notify_watchdog(sd_event *event);
