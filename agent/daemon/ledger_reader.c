/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "agent/daemon/ledger_reader.h"

void ledger_reader_init(struct ledger_reader *reader, int fd)
{
	reader->fd = fd;
	reader->offset = 0;
	reader->start = reader->end = 0;
}

off_t ledger_reader_offset(const struct ledger_reader *reader)
{
	return reader->offset;
}

static void reader_take(struct ledger_reader *reader, size_t n_bytes)
{
	reader->start += n_bytes;
	reader->offset += (off_t)n_bytes;
}

/* Reads more behind what is held, which leaves room. Returns 1, 0 at the end of the file or -errno.
 */
static int reader_fill(struct ledger_reader *reader)
{
	ssize_t n_read;

	memmove(reader->bytes, reader->bytes + reader->start, reader->end - reader->start);
	reader->end -= reader->start;
	reader->start = 0;

	do {
		n_read = pread(reader->fd, reader->bytes + reader->end,
			sizeof(reader->bytes) - reader->end, reader->offset + (off_t)reader->end);
	} while (n_read < 0 && errno == EINTR);
	if (n_read < 0)
		return -errno;

	reader->end += (size_t)n_read;
	return n_read > 0;
}

/* How many newlines the bytes begin with. Mostly it is room made ahead, and there is nothing else.
 */
static size_t count_blank(const char *bytes, size_t n_bytes)
{
	size_t n = 0;

	if (n_bytes > 0 && bytes[0] == '\n' && memcmp(bytes, bytes + 1, n_bytes - 1) == 0)
		return n_bytes;
	while (n < n_bytes && bytes[n] == '\n')
		n++;
	return n;
}

/* Takes newlines. Returns 1 where something else follows, 0 at the end of the file or -errno. */
static int reader_skip_blank(struct ledger_reader *reader)
{
	for (;;) {
		size_t n_held = reader->end - reader->start;
		size_t n_blank = count_blank(reader->bytes + reader->start, n_held);
		int r;

		reader_take(reader, n_blank);
		if (n_blank < n_held)
			return 1;
		r = reader_fill(reader);
		if (r <= 0)
			return r;
	}
}

int ledger_reader_next(struct ledger_reader *reader, struct ledger_line *ret)
{
	size_t n_seen = 0, n_dropped = 0;
	char *newline;
	int r;

	r = reader_skip_blank(reader);
	if (r <= 0)
		return r;

	for (;;) {
		size_t n_held = reader->end - reader->start;

		newline = memchr(reader->bytes + reader->start + n_seen, '\n', n_held - n_seen);
		if (newline)
			break;
		n_seen = n_held;
		if (n_held > LEDGER_RECORD_BYTES_MAX) {
			reader_take(reader, n_held);
			n_dropped += n_held;
			n_seen = 0;
		}
		r = reader_fill(reader);
		if (r < 0)
			return r;
		if (r == 0)
			break;
	}

	if (newline)
		n_seen = (size_t)(newline - reader->bytes) - reader->start;
	ret->n_bytes = n_dropped + n_seen;
	ret->text = ret->n_bytes < LEDGER_RECORD_BYTES_MAX ? reader->bytes + reader->start : NULL;
	ret->has_newline = newline;
	reader_take(reader, n_seen + (newline ? 1 : 0));
	ret->end = reader->offset;

	return 1;
}
