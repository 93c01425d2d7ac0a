/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* jitgate-poll talks to the network, and so may do nothing else. */

#include "agent/common/config.h"

#define PRIVILEGE_ERROR_MAX 256

/*
 * Gives up for good what this process may do: a process of root becomes the user jitgate-poll, in
 * the group jitgate, after the state directory was made his; capabilities go; nothing that is
 * executed can win any back; no other process of the user may look into the memory. Returns 0;
 * -errno with a sentence in error: then it must not run.
 */
int privilege_drop(const struct config *config, char error[static PRIVILEGE_ERROR_MAX]);
