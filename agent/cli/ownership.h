/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Who decides what a path leads to: the owners of the file and of all directories above it. Root
 * that follows a path through what another owns does what that other likes.
 */

#include <limits.h>

/*
 * Returns 0 where that is root or the caller alone; OWNERSHIP_OTHERS and the first place that is
 * somebody else's, or that everyone may write to; -errno. Links are followed first.
 */
#define OWNERSHIP_OTHERS 1
int ownership_check(const char *path, char ret_place[static PATH_MAX]);
