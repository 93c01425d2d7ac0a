/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Which program has a socket, by /proc: others' processes are root's alone to look into. */

#include "nft/listeners.h"

#define PROCESS_NAME_MAX 32

/*
 * Fills names, one for each listener: the program's; "" where it is not known. Where systemd holds
 * the socket for another, the other is named. Returns 0 or -ENOMEM.
 */
int processes_name(const struct listener_list *listeners, char (*names)[PROCESS_NAME_MAX]);
