/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Varlink's frames: JSON messages, each ended by a NUL byte, through a stream socket.
 *
 * A reader takes one message out of the socket and leaves what follows it there: the kernel bounds
 * what a peer can send ahead, and epoll tells whether there is more.
 */

#include <jansson.h>
#include <stddef.h>

struct frame_reader {
	size_t n_max; /* bytes of a message, without its NUL */
	char *bytes;
	size_t n_capacity;
	size_t n_bytes; /* of the message so far */
};

void frame_reader_init(struct frame_reader *reader, size_t n_max);

/* Drops the message, and the memory with it: no reader holds any between messages. */
void frame_reader_done(struct frame_reader *reader);

enum {
	FRAME_END = 0,
	FRAME_WHOLE = 1,
	FRAME_PART = 2,
};

/*
 * Reads once. Returns FRAME_WHOLE and the message, which stays until frame_reader_done(), to be
 * called before reading on; FRAME_PART; FRAME_END where the peer will send no more; -EMSGSIZE where
 * the message is longer than n_max; -EBADMSG where it brings descriptors, which are left where they
 * are (closing.h); -ENOMEM; -errno of recv() (-EAGAIN: nothing there).
 */
int frame_reader_receive(
	struct frame_reader *reader, int fd, const char **ret_text, size_t *ret_n_bytes);

struct frame_writer {
	char *bytes;
	size_t n_capacity;
	size_t start;
	size_t end;
};

void frame_writer_done(struct frame_writer *writer);

/* Adds a message of at most n_max bytes. Returns 0; -EMSGSIZE or -ENOMEM with nothing added. */
int frame_writer_append(struct frame_writer *writer, const json_t *message, size_t n_max);

/* Sends what it can. Returns 0 where all is sent, 1 where some is left, -errno of send(). */
int frame_writer_send(struct frame_writer *writer, int fd);

size_t frame_writer_unsent(const struct frame_writer *writer);
