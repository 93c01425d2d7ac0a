/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Text from outside on its way to a log or a terminal. */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "cleanup.h"

/*
 * True where text is UTF-8 without anything that changes how a log or a terminal shows what stands
 * around it: control characters (C0, DEL, C1), line and paragraph separators, and the overrides
 * and isolates of writing direction.
 */
bool text_is_printable(const char *text);

/* As snprintf(3), for texts that others have a say in: what does not fit in n bytes, 8 at least,
 * ends in an ellipsis in front of a whole character. Half a one would be no JSON. */
_printf_(3, 4) void text_fill(char *text, size_t n, const char *format, ...);
_printf_(3, 0) void text_vfill(char *text, size_t n, const char *format, va_list arguments);

/* Puts a '?' in place of each character or byte that text_is_printable() would refuse. */
void text_make_printable(char *text);
