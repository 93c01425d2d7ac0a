/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Diagnostics of a program that serves, on standard error. */

#include <syslog.h>

#include "cleanup.h"

/* A line of at most 1.5 KiB, '?' in it for what text_make_printable() takes out, behind the
 * program's name; where the journal reads it, with the priority that sd-daemon(3) has in front.
 * Where nobody reads and no room is left it does not wait: the next one that is written says how
 * many were lost. */
_printf_(2, 3) void log_line(int priority, const char *format, ...);
