/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * jitgate-poll: all that it holds, and how its parts call one another.
 *
 *   control plane ──▶ feed ──▶ delivery ──┐
 *        ▲            │ transport         ├──▶ agent_link ──▶ jitgated
 *        └────────── events ◀─────────────┘
 *                     cursor: how far both have come; report: how it goes
 */

#include <systemd/sd-event.h>

#include "agent/common/config.h"

struct poll;

/* Begins; config, which has a feed, is taken over also on failure. Returns 0 or -errno. */
int poll_new(sd_event *event, struct config *config, struct poll **ret);

/* Runs until jitgated knows that this process is there, or a second has passed: who has been told
 * that it is ready, and asks jitgated, is not to hear otherwise. Returns 0 or -errno. */
int poll_introduce(struct poll *poll);

/* Notes how far it has come, and lets go. */
struct poll *poll_free(struct poll *poll);
DEFINE_CLEANUP(struct poll *, poll_free)
