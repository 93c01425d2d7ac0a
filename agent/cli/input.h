/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * What commands read: files and pipes, whole or line by line, always up to a bound. Where it is a
 * terminal, whoever sits there is told that it is read.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* A path as people are told of it: "-" and NULL are standard input. */
const char *input_name(const char *path);

/* Opens a file, or standard input. Returns 0 or -errno. To be closed with input_close(). */
int input_open(const char *path, FILE **ret);
void input_close(FILE *file);

/* Reads all (allocated, owned by the caller, with a NUL behind). Returns 0, -EFBIG or -errno. */
int input_read(const char *path, size_t n_bytes_max, char **ret, size_t *ret_bytes);

/* Asks for one line on the terminal that standard input is, which does not show what is typed. The
 * line is as input_read()'s. Returns 0; -EFBIG where the terminal may have cut the line; -errno. */
int input_ask_secret(const char *prompt, char **ret, size_t *ret_bytes);

/* Reads a file that holds a JSON object. Returns EXIT_DONE and a new reference; EXIT_REFUSED,
 * having said why. */
int input_read_object(const char *path, json_t **ret);

struct line_reader {
	FILE *file;
	size_t n_max;
	char *bytes;
	size_t number; /* of the line read last, from 1 */
	bool ended; /* it had its newline */
};

/* Lines of up to n_max bytes. Returns 0 or -ENOMEM. The file stays the caller's. */
int line_reader_init(struct line_reader *reader, FILE *file, size_t n_max);
void line_reader_done(struct line_reader *reader);

/* Reads a line without its newline. Returns 1 and the line, borrowed until the next call; 0 at the
 * end; -EMSGSIZE where it was too long (it is skipped, the next one can be read); -errno. */
int line_reader_next(struct line_reader *reader, char **ret_text, size_t *ret_bytes);
