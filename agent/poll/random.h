/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Chance, for spreading clients out. */

#include <stdint.h>
#include <sys/random.h>

#include "agent/common/times.h"

static inline uint64_t random_number(void)
{
	uint64_t number;

	/* Early in boot the kernel may have none yet: the clock differs between machines too. */
	if (getrandom(&number, sizeof(number), GRND_NONBLOCK) != sizeof(number))
		number = clock_realtime_usec() * UINT64_C(6364136223846793005);
	return number;
}
