/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Which mode is in force. The configuration's; and where that is audit, enforce while a trial runs:
 *
 *             Enforce(seconds)                    Confirm, Enforce(), a reload with mode = enforce
 *   audit ───────────────────────▶ on trial ─────────────────────────────────────────▶ enforce
 *     ▲                               │  Enforce(seconds): its time begins anew
 *     └───────────────────────────────┘
 *        its time is over, or the machine restarts
 *
 * The time runs by CLOCK_BOOTTIME. Where the daemon is dead, the kernel ends a trial (nft/rules.c),
 * by a clock of its own, which stands still while the machine sleeps. A daemon that starts while
 * one runs takes it up (trial.h). What was confirmed lasts until the configuration is read again:
 * to make that say the same is the caller's.
 */

#include "agent/daemon/agent.h"

enum gate_mode mode_in_force(const struct agent *agent, uint64_t now_usec);

/* What is left of the trial that runs; 0 where none does: once the configuration says enforce, none
 * counts. */
uint64_t mode_trial_left_usec(const struct agent *agent, uint64_t now_usec);

/* At start, before the gate is installed: takes up a trial that a daemon before this one began.
 * Returns 0 or -errno. */
int mode_start(struct agent *agent);

/*
 * Begins to enforce; who is the caller's name. seconds 0: for good, a trial is confirmed by it;
 * otherwise on trial, from TRIAL_SECONDS_MIN to TRIAL_SECONDS_MAX. ret_changed is false where it
 * was for good already. Returns 0; -errno, nothing having changed.
 */
int mode_enforce(struct agent *agent, int64_t seconds, const char *who, bool *ret_changed);

/* Returns 0; -ENOENT where no trial runs; -errno, the trial running on. */
int mode_confirm(struct agent *agent, const char *who);

/* After a reload, with the mode that the configuration had before. */
void mode_reloaded(struct agent *agent, enum gate_mode before);

/* Has the agent forget its timer: at its end. */
void mode_stop(struct agent *agent);
