/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * What commands print. Text from outside was checked where it came in; here it is made harmless to
 * a terminal once more, since what is printed may be a file that anybody wrote.
 */

#include <jansson.h>

#include "agent/cli/command.h"
#include "agent/common/times.h"

enum style {
	STYLE_PLAIN,
	STYLE_HEADING,
	STYLE_GOOD,
	STYLE_WARNING,
	STYLE_BAD,
	STYLE_FAINT,
};

/* Whether standard output takes colours: a terminal, and NO_COLOR is unset. */
bool output_has_colour(void);

/* Whether a terminal is behind a file descriptor, and obeys escape sequences. */
bool terminal_obeys(int fd);

/* How many columns the terminal behind a file descriptor has; otherwise where it does not tell. */
unsigned terminal_columns(int fd, unsigned otherwise);

/* How many columns a text takes: as many as it has characters. */
size_t text_width(const char *text);

/* A line on standard output. */
void output_line(const struct cli *cli, enum style style, const char *format, ...) _printf_(3, 4);

/* "jitgate: …", a line on standard error. */
void output_error(const char *format, ...) _printf_(1, 2);

/* The same, followed by where the command's help is. Returns EXIT_USAGE. */
int output_usage(const struct cli *cli, const char *format, ...) _printf_(2, 3);

/* Says that there is no memory, or what else a -errno is. Returns EXIT_REFUSED. */
int output_failure(int error);

/* JSON for reading; JSON in one line, flushed. Both return EXIT_DONE, or as output_failure(). */
int output_json(const json_t *value);
int output_json_line(const json_t *value);

/* Escape sequences around a style's text; "" where there is no colour. */
const char *style_begin(const struct cli *cli, enum style style);
const char *style_end(const struct cli *cli, enum style style);

/* A string member, or otherwise where there is none. */
const char *member_text(const json_t *object, const char *name, const char *otherwise);
json_int_t member_integer(const json_t *object, const char *name);

/* "10:00:00 (in 12 min)", "09:00:00 (48 min ago)". */
const char *moment_describe(int64_t seconds, int64_t now, char text[static 2 * TIME_STRING_MAX]);

/* The same from RFC 3339; what is not is returned as it is, cut. */
const char *moment_describe_utc(
	const char *utc, int64_t now, char text[static 2 * TIME_STRING_MAX]);

/* "a, b, c and 5 more" from an array of strings (allocated); NULL without memory. */
char *list_describe(const json_t *array, size_t n_shown);
