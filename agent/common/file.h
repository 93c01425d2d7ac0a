/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Small files, read whole. */

#include <stddef.h>

/*
 * Reads a regular file of at most n_bytes_max. Returns 0 and its bytes with a NUL behind them
 * (allocated, owned by the caller); -EFBIG where it is longer; -EINVAL where it is no regular file;
 * -EISDIR where it is a directory; another -errno.
 */
int file_read(const char *path, size_t n_bytes_max, char **ret, size_t *ret_bytes);
