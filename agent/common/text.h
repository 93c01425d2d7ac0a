/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Text from outside on its way to a log or a terminal. */

#include <stdbool.h>

/*
 * True where text is UTF-8 without anything that changes how a log or a terminal shows what stands
 * around it: control characters (C0, DEL, C1), line and paragraph separators, and the overrides
 * and isolates of writing direction.
 */
bool text_is_printable(const char *text);

/* Puts a '?' in place of each character or byte that text_is_printable() would refuse. */
void text_make_printable(char *text);
