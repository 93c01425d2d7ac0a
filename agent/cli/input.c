/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/input.h"
#include "agent/cli/output.h"
#include "agent/common/strictjson.h"
#include "cleanup.h"

#define OBJECT_BYTES_MAX (256 * 1024)

static bool path_is_standard_input(const char *path)
{
	return !path || strcmp(path, "-") == 0;
}

const char *input_name(const char *path)
{
	return path_is_standard_input(path) ? "standard input" : path;
}

int input_open(const char *path, FILE **ret)
{
	if (path_is_standard_input(path)) {
		*ret = stdin;
		return 0;
	}
	*ret = fopen(path, "re");
	return *ret ? 0 : -errno;
}

void input_close(FILE *file)
{
	if (file && file != stdin)
		fclose(file);
}

static void input_closep(FILE **file)
{
	input_close(*file);
}

int input_read(const char *path, size_t n_bytes_max, char **ret, size_t *ret_bytes)
{
	_cleanup_(input_closep) FILE *file = NULL;
	_cleanup_(freep) char *bytes = NULL;
	size_t n;
	int r;

	r = input_open(path, &file);
	if (r < 0)
		return r;
	bytes = malloc(n_bytes_max + 2);
	if (!bytes)
		return -ENOMEM;

	errno = 0;
	n = fread(bytes, 1, n_bytes_max + 1, file);
	if (ferror(file))
		return errno ? -errno : -EIO;
	if (n > n_bytes_max)
		return -EFBIG;
	bytes[n] = '\0';
	*ret = TAKE_PTR(bytes);
	*ret_bytes = n;
	return 0;
}

int input_read_object(const char *path, json_t **ret)
{
	_cleanup_(freep) char *text = NULL;
	char reason[128];
	size_t n_bytes;
	int r;

	r = input_read(path, OBJECT_BYTES_MAX, &text, &n_bytes);
	if (r < 0) {
		output_error("%s: %s", input_name(path), strerror(-r));
		return EXIT_REFUSED;
	}
	if (json_parse_object(text, n_bytes, ret, reason, sizeof(reason)) < 0) {
		output_error("%s: not JSON as it should be: %s", input_name(path), reason);
		return EXIT_REFUSED;
	}
	return EXIT_DONE;
}

int line_reader_init(struct line_reader *reader, FILE *file, size_t n_max)
{
	*reader = (struct line_reader){
		.file = file,
		.n_max = n_max,
		.bytes = malloc(n_max + 1),
	};
	return reader->bytes ? 0 : -ENOMEM;
}

void line_reader_done(struct line_reader *reader)
{
	free(reader->bytes);
}

int line_reader_next(struct line_reader *reader, char **ret_text, size_t *ret_bytes)
{
	size_t n = 0;
	int c;

	errno = 0;
	while ((c = getc_unlocked(reader->file)) != EOF && c != '\n') {
		if (n < reader->n_max)
			reader->bytes[n] = c;
		n++;
	}
	if (ferror(reader->file))
		return errno ? -errno : -EIO;
	if (c == EOF && n == 0)
		return 0;

	reader->number++;
	reader->ended = c == '\n';
	if (n > reader->n_max)
		return -EMSGSIZE;
	reader->bytes[n] = '\0';
	*ret_text = reader->bytes;
	*ret_bytes = n;
	return 1;
}
