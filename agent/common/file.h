/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Small files, read and written whole. */

#include <stddef.h>
#include <sys/types.h>

/*
 * Reads a regular file of at most n_bytes_max. Returns 0 and its bytes with a NUL behind them
 * (allocated, owned by the caller); -EFBIG where it is longer; -EINVAL where it is no regular file;
 * -EISDIR where it is a directory; another -errno.
 */
int file_read(const char *path, size_t n_bytes_max, char **ret, size_t *ret_bytes);

/*
 * Puts a file of these bytes at path in place of what is there, synced: whoever reads path finds
 * what was there or the new file, whole, also after a crash. path.new is used on the way. Returns 0
 * or -errno.
 */
int file_write(const char *path, mode_t mode, const char *bytes, size_t n_bytes);
