/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <stdarg.h>

#include "agent/common/times.h"
#include "agent/poll/log.h"

#define HOUR_USEC (3600 * USEC_PER_SEC)

void poll_log(int priority, const char *format, ...)
{
	char text[1536];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	/* sd-daemon(3): the priority in front. */
	if (getenv("JOURNAL_STREAM"))
		fprintf(stderr, "<%d>%s\n", priority, text);
	else
		fprintf(stderr, "jitgate-poll: %s\n", text);
}

bool log_limit_passes(struct log_limit *limit, uint64_t now_usec)
{
	if (limit->n == 0 || now_usec - limit->begin_usec >= HOUR_USEC) {
		if (limit->n_untold > 0)
			poll_log(LOG_WARNING, "%u more of these were not logged", limit->n_untold);
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
