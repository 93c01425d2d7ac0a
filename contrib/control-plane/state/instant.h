/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Points in time to the microsecond, as RFC 3339 in UTC. */

#include <jansson.h>
#include <stdint.h>

#define INSTANT_STRING_MAX 40

/* "2026-01-01T10:00:00.000000Z": texts compare as times do. Returns text. */
const char *instant_format(int64_t usec, char text[static INSTANT_STRING_MAX]);

/* Reads RFC 3339 with any fraction, cut to microseconds. Returns 0 or -EINVAL (so for times before
 * 1970). */
int instant_parse(const char *text, int64_t *ret_usec);

/* A new reference to the text; NULL for 0 (none), as json_pack() "o*" has it. */
json_t *instant_to_json(int64_t usec);

/* A member that may be absent: 0. What is no time counts as absent. */
int64_t instant_from_json(const json_t *object, const char *name);
