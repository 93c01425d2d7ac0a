/* SPDX-License-Identifier: GPL-3.0-or-later */

#include "agent/common/log.h"
#include "agent/common/times.h"
#include "agent/poll/log_limit.h"

#define HOUR_USEC (3600 * USEC_PER_SEC)

bool log_limit_passes(struct log_limit *limit, uint64_t now_usec)
{
	if (limit->n == 0 || now_usec - limit->begin_usec >= HOUR_USEC) {
		if (limit->n_untold > 0)
			log_line(LOG_WARNING, "%u more of these were not logged", limit->n_untold);
		limit->begin_usec = now_usec;
		limit->n = limit->n_untold = 0;
	}
	if (limit->n < limit->n_max) {
		limit->n++;
		return true;
	}
	limit->n_untold++;
	return false;
}
