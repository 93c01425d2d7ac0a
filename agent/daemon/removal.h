/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* jitgated --remove-gate: takes away the gate that a daemon has left. */

/*
 * Removes table inet jitgate, and records it. Refuses while a daemon runs, which would put it back.
 * A configuration that can't be read hinders nothing: it only names the directories. Tells standard
 * output or standard error what came of it; returns the exit status.
 */
int removal_run(const char *config_path);
