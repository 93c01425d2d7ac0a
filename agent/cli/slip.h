/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What somebody mistyped, and what was meant. */

#include <limits.h>
#include <stddef.h>

#define SLIPS_TOO_MANY UINT_MAX

/*
 * How many slips of the keyboard n_typed bytes are away from a word of n_meant: a character too
 * many, one missing, a wrong one, or two that changed places. SLIPS_TOO_MANY beyond one, or beyond
 * two in a word of six characters or more: then it is another word.
 */
unsigned slip_count(const char *typed, size_t n_typed, const char *meant, size_t n_meant);
