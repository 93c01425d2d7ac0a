/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/common/varlink_frame.h"

#define FRAME_BYTES_FIRST 4096

static int bytes_grow(char **bytes, size_t *n_capacity, size_t n_wanted)
{
	size_t n_new = *n_capacity ? *n_capacity : FRAME_BYTES_FIRST;
	char *grown;

	if (n_wanted <= *n_capacity)
		return 0;

	while (n_new < n_wanted)
		n_new *= 2;
	grown = realloc(*bytes, n_new);
	if (!grown)
		return -ENOMEM;

	*bytes = grown;
	*n_capacity = n_new;
	return 0;
}

void frame_reader_init(struct frame_reader *reader, size_t n_max)
{
	*reader = (struct frame_reader){ .n_max = n_max };
}

void frame_reader_done(struct frame_reader *reader)
{
	free(reader->bytes);
	frame_reader_init(reader, reader->n_max);
}

static ssize_t socket_receive(int fd, char *bytes, size_t n_bytes, int flags)
{
	struct iovec part = { bytes, n_bytes };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	ssize_t n;

	do
		n = recvmsg(fd, &message, flags);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	/* There were descriptors, and no room for them. */
	return message.msg_flags & MSG_CTRUNC ? -EBADMSG : n;
}

int frame_reader_receive(
	struct frame_reader *reader, int fd, const char **ret_text, size_t *ret_n_bytes)
{
	char *part, *nul;
	size_t n_free;
	ssize_t n;
	int r;

	r = bytes_grow(&reader->bytes, &reader->n_capacity, reader->n_bytes + 1);
	if (r < 0)
		return r;

	/* The capacity may exceed the bound by doubling; what is read may not. */
	part = reader->bytes + reader->n_bytes;
	n_free = reader->n_capacity - reader->n_bytes;
	if (n_free > reader->n_max + 1 - reader->n_bytes)
		n_free = reader->n_max + 1 - reader->n_bytes;

	n = socket_receive(fd, part, n_free, MSG_PEEK);
	if (n <= 0)
		return n;
	nul = memchr(part, '\0', n);
	n = socket_receive(fd, part, nul ? (size_t)(nul - part) + 1 : (size_t)n, 0);
	if (n <= 0)
		return n;
	reader->n_bytes += n;
	if (!nul)
		return reader->n_bytes > reader->n_max ? -EMSGSIZE : FRAME_PART;

	*ret_text = reader->bytes;
	*ret_n_bytes = nul - reader->bytes;
	return FRAME_WHOLE;
}

void frame_writer_done(struct frame_writer *writer)
{
	free(writer->bytes);
	*writer = (struct frame_writer){ 0 };
}

size_t frame_writer_unsent(const struct frame_writer *writer)
{
	return writer->end - writer->start;
}

struct dump {
	struct frame_writer *writer;
	size_t n_left;
	int error;
};

static int writer_on_dump(const char *text, size_t n_bytes, void *userdata)
{
	struct dump *dump = userdata;
	struct frame_writer *writer = dump->writer;

	if (n_bytes > dump->n_left) {
		dump->error = -EMSGSIZE;
		return -1;
	}
	/* One more than asked for: the NUL. */
	dump->error = bytes_grow(&writer->bytes, &writer->n_capacity, writer->end + n_bytes + 1);
	if (dump->error < 0)
		return -1;

	memcpy(writer->bytes + writer->end, text, n_bytes);
	writer->end += n_bytes;
	dump->n_left -= n_bytes;
	return 0;
}

int frame_writer_append(struct frame_writer *writer, const json_t *message, size_t n_max)
{
	struct dump dump = { .writer = writer, .n_left = n_max };
	size_t end_before;

	if (writer->start > 0) {
		memmove(writer->bytes, writer->bytes + writer->start, frame_writer_unsent(writer));
		writer->end -= writer->start;
		writer->start = 0;
	}

	end_before = writer->end;
	if (json_dump_callback(message, writer_on_dump, &dump, JSON_COMPACT) < 0) {
		writer->end = end_before;
		return dump.error < 0 ? dump.error : -ENOMEM;
	}
	writer->bytes[writer->end++] = '\0';
	return 0;
}

int frame_writer_send(struct frame_writer *writer, int fd)
{
	while (writer->start < writer->end) {
		ssize_t n = send(fd, writer->bytes + writer->start, frame_writer_unsent(writer),
			MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return 1;
		if (n < 0)
			return -errno;
		writer->start += n;
	}
	frame_writer_done(writer);
	return 0;
}
