/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <poll.h>
#include <stdarg.h>

#include "agent/common/log.h"
#include "agent/common/text.h"

#define TEXT_MAX 1536

/* What is ready has room for more than a line: a page in a pipe, most of its buffer in a socket. */
static bool is_ready(int fd)
{
	struct pollfd it = { .fd = fd, .events = POLLOUT };

	return poll(&it, 1, 0) == 1 && (it.revents & POLLOUT);
}

void log_line(int priority, const char *format, ...)
{
	static size_t n_lost;
	char text[TEXT_MAX], line[TEXT_MAX + 128], lost[64] = "";
	va_list arguments;
	int n;

	if (!is_ready(STDERR_FILENO)) {
		n_lost++;
		return;
	}
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	/* Some of it is of others, and some was cut in the middle of a character. */
	text_make_printable(text);
	if (n_lost > 0)
		snprintf(lost, sizeof(lost), " (%zu line%s before it %s lost)", n_lost,
			n_lost == 1 ? "" : "s", n_lost == 1 ? "was" : "were");
	n = getenv("JOURNAL_STREAM")
		? snprintf(line, sizeof(line), "<%d>%s%s\n", priority, text, lost)
		: snprintf(line, sizeof(line), "%s: %s%s\n", program_invocation_short_name, text,
			  lost);
	if (n > 0 && write(STDERR_FILENO, line, (size_t)n) == n)
		n_lost = 0;
}
