/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* JSON from outside: strict (RFC 8259, no duplicate keys, no NUL), bounded in depth; whoever
 * reads the bytes bounds their number. */

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 32

/*
 * Parses n_bytes of JSON that must be an object. Returns 0 and a new reference, or
 * -EINVAL with a short reason in error (bounded by n_error).
 */
int json_parse_object(const char *text, size_t n_bytes, json_t **ret, char *error, size_t n_error);
