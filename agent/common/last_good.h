/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * The last good configuration, kept for a start at which its file is bad: at boot nothing stands
 * yet, and for jitgated not to start would leave the managed ports open; for jitgate-poll, nobody
 * could be let in.
 *
 * It is agent.conf in the program's state directory: a heading, "; mode = MODE in PATH", and below
 * that the file as it was when it was read. The heading's mode counts: enforcing may have begun for
 * good since then. Where it is must be known without the configuration: the directory is the one
 * that systemd names ($STATE_DIRECTORY), else the program's default one (NULL: none). There is none
 * of a relative path; nor, without systemd, of another path than CONFIG_PATH.
 */

#include "agent/common/config.h"

/* Keeps a configuration that was read from path, with its mode, where it is not kept yet and where
 * there is a place for it. That it could not is a warning in the log. */
void last_good_keep(const char *path, const char *default_directory, const struct config *config);

/* Whether to go by it where path could not be read, with that -errno: a file that is gone was taken
 * away. */
bool last_good_counts(int status);

/*
 * Reads what was kept of path. A process of root first becomes whose the directory is, with the
 * capabilities in kept: that one could have written it. Returns 0 and the configuration, owned by
 * the caller; -ENOENT where there is none; another -errno where it can't be used.
 */
int last_good_load(
	const char *path, const char *default_directory, uint64_t kept, struct config **ret);
