/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Bearer tokens, RFC 6750 section 2.1: as they stand in files and behind "Authorization: Bearer ".
 * One rule, so that who is given a token by one program can use it with the others. */

#include <stdbool.h>
#include <stddef.h>

#define BEARER_BYTES_MAX 8192
#define BEARER_FILE_BYTES_MAX (BEARER_BYTES_MAX + 2) /* with the end of its line */

/* Letters, digits and - . _ ~ + /, then any =; 1 to BEARER_BYTES_MAX bytes. */
bool bearer_is_valid(const char *text);

/* Cuts white space off the end of a file's n_bytes bytes, behind which a NUL stands. True where a
 * token is left. */
bool bearer_trim(char *text, size_t n_bytes);
