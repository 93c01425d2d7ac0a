/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * The last good configuration, kept for a start at which its file is bad: at boot nothing stands
 * yet, and not to start would leave the managed ports open.
 *
 * It is agent.conf in the state directory: a heading, "; mode = MODE in PATH", and below that the
 * file as it was when it was read. The heading's mode counts: enforcing may have begun for good
 * since then. Where it is must be known without the configuration: the directory is the one that
 * systemd names ($STATE_DIRECTORY), else the default one. There is none of a relative path; nor,
 * without systemd, of another path than the default one.
 */

#include "agent/common/config.h"

#define CONFIG_PATH "/etc/jitgate/agent.conf"

/* Keeps a configuration that was read from path, with its mode, where it is not kept yet. Returns
 * 0, also where there is no place for it; -errno. */
int last_good_keep(const char *path, const struct config *config);

/*
 * Reads what was kept of path. A process of root first becomes whose the directory is: that one
 * could have written it. Returns 0 and the configuration, owned by the caller; -ENOENT where there
 * is none; another -errno where it can't be used.
 */
int last_good_load(const char *path, struct config **ret);
