/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * The chain of the audit file: each line is a JSON object whose "previous" is the SHA-256, in hex,
 * of the line before it without its newline, and whose "sequence" is one more than that one's.
 *
 *   {…,"sequence":7,"previous":"…"}  <--- hash of these bytes ---+
 *   {…,"sequence":8,"previous":"----------------------------------"}
 *
 * The first line has 64 zeros, or the hash of the last line of the file before it. So whoever
 * changes, removes or adds a line has to write all lines after it again; for the last line, nothing
 * vouches yet.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHAIN_HASH_HEX 64

struct chain {
	size_t n_lines;
	int64_t first_sequence;
	int64_t sequence; /* of the last line */
	char hash[CHAIN_HASH_HEX + 1]; /* of the last line */
	bool continued; /* the first line follows another file's */
	char problem[256]; /* what is wrong with the line that broke it, without a full stop,
			      printable */
};

/* What chain_add() returns for a line that does not follow. */
#define CHAIN_BROKEN 1

/* Adds a line to a chain that begins as zeros. Returns 0; CHAIN_BROKEN, with problem filled in;
 * -ENOMEM. */
int chain_add(struct chain *chain, const char *line, size_t n_bytes);
