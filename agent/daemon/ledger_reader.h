/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Reads a file by lines, holding one line at a time; knows no JSON. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "agent/daemon/ledger.h"

struct ledger_reader {
	int fd;
	off_t offset; /* of bytes[start] in the file */
	size_t start, end;
	char bytes[2 * LEDGER_RECORD_BYTES_MAX];
};

struct ledger_line {
	const char *text; /* until the next call; NULL where it is longer than a record may be */
	size_t n_bytes; /* without the newline */
	off_t end; /* in the file, behind the newline */
	bool has_newline;
};

/* The file descriptor stays the caller's; the place in the file that read() uses is not used. */
void ledger_reader_init(struct ledger_reader *reader, int fd);

/* The next line that is not blank. Returns 1, 0 at the end of the file or -errno. */
int ledger_reader_next(struct ledger_reader *reader, struct ledger_line *ret);

/* How far it has read. */
off_t ledger_reader_offset(const struct ledger_reader *reader);
