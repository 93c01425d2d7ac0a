/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Does this host forward packets? Then most that it sees may be for others. */

#include <stdbool.h>

#include "cleanup.h"

struct forwarding;

/* Watches the setting (rtnetlink(7), RTM_NEWNETCONF), and the interfaces, which may become or join
 * VRFs (vrfs.h). Returns 0 or -errno. */
int forwarding_open(struct forwarding **ret);
struct forwarding *forwarding_free(struct forwarding *forwarding);
DEFINE_CLEANUP(struct forwarding *, forwarding_free)

/* Readable when they may have changed; forwarding_drain() reads the news away. */
int forwarding_fd(const struct forwarding *forwarding);
void forwarding_drain(struct forwarding *forwarding);

/* True where any interface forwards in either family; also where that can't be told. */
bool forwarding_is_on(void);
