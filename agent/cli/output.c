/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "agent/cli/output.h"
#include "agent/common/text.h"

#define JSON_INDENTATION 2

bool terminal_obeys(int fd)
{
	const char *terminal = getenv("TERM");

	return isatty(fd) && terminal && strcmp(terminal, "dumb") != 0;
}

unsigned terminal_columns(int fd, unsigned otherwise)
{
	struct winsize size;

	return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : otherwise;
}

size_t text_width(const char *text)
{
	size_t n = 0;

	/* Bytes that go on with a character begin with the bits 10. */
	for (; *text; text++)
		n += (*text & 0xc0) != 0x80;
	return n;
}

bool output_has_colour(void)
{
	return terminal_obeys(STDOUT_FILENO) && !getenv("NO_COLOR");
}

const char *style_begin(const struct cli *cli, enum style style)
{
	static const char *const sequences[] = {
		[STYLE_PLAIN] = "",
		[STYLE_HEADING] = "\x1b[1m",
		[STYLE_GOOD] = "\x1b[32m",
		[STYLE_WARNING] = "\x1b[33m",
		[STYLE_BAD] = "\x1b[31m",
		[STYLE_FAINT] = "\x1b[2m",
	};

	return cli->colour ? sequences[style] : "";
}

const char *style_end(const struct cli *cli, enum style style)
{
	return cli->colour && style != STYLE_PLAIN ? "\x1b[0m" : "";
}

/* The text as it may be printed (allocated); NULL without memory. */
_printf_(1, 0) static char *text_format(const char *format, va_list list)
{
	char *text;

	if (vasprintf(&text, format, list) < 0)
		return NULL;
	text_make_printable(text);
	return text;
}

void output_line(const struct cli *cli, enum style style, const char *format, ...)
{
	_cleanup_(freep) char *text = NULL;
	va_list list;

	va_start(list, format);
	text = text_format(format, list);
	va_end(list);
	printf("%s%s%s\n", style_begin(cli, style), text ? text : "", style_end(cli, style));
}

_printf_(1, 0) static void error_print(const char *format, va_list list)
{
	_cleanup_(freep) char *text = text_format(format, list);

	/* Else what was printed before may come after. */
	fflush(stdout);
	fprintf(stderr, "jitgate: %s\n", text ? text : strerror(ENOMEM));
}

void output_error(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	error_print(format, list);
	va_end(list);
}

int output_usage(const struct cli *cli, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	error_print(format, list);
	va_end(list);
	fprintf(stderr, "See: jitgate %s%s--help\n", cli->command ? cli->command->name : "",
		cli->command ? " " : "");
	return EXIT_USAGE;
}

int output_failure(int error)
{
	output_error("%s", error == -ENOMEM ? "out of memory" : strerror(-error));
	return EXIT_REFUSED;
}

/* C1 control characters are valid in JSON, and a terminal obeys them. */
static size_t json_flags(void)
{
	return isatty(STDOUT_FILENO) ? JSON_ENSURE_ASCII : 0;
}

int output_json(const json_t *value)
{
	if (json_dumpf(value, stdout, JSON_INDENT(JSON_INDENTATION) | json_flags()) < 0)
		return output_failure(ferror(stdout) ? -errno : -EILSEQ);
	putchar('\n');
	return EXIT_DONE;
}

int output_json_line(const json_t *value)
{
	if (json_dumpf(value, stdout, JSON_COMPACT | json_flags()) < 0)
		return output_failure(ferror(stdout) ? -errno : -EILSEQ);
	putchar('\n');
	fflush(stdout);
	return EXIT_DONE;
}

const char *member_text(const json_t *object, const char *name, const char *otherwise)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : otherwise;
}

json_int_t member_integer(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

/* From ten minutes on, nobody counts seconds. */
static const char *distance_describe(int64_t seconds, char text[static TIME_STRING_MAX])
{
	if (seconds >= 600)
		seconds = (seconds + 30) / 60 * 60;
	return duration_describe(seconds, text);
}

const char *moment_describe(int64_t seconds, int64_t now, char text[static 2 * TIME_STRING_MAX])
{
	char moment[TIME_STRING_MAX], distance[TIME_STRING_MAX];

	time_format_local(seconds, now, moment);
	if (seconds > now)
		snprintf(text, 2 * TIME_STRING_MAX, "%s (in %s)", moment,
			distance_describe(seconds - now, distance));
	else
		snprintf(text, 2 * TIME_STRING_MAX, "%s (%s ago)", moment,
			distance_describe(now - seconds, distance));
	return text;
}

const char *moment_describe_utc(const char *utc, int64_t now, char text[static 2 * TIME_STRING_MAX])
{
	int64_t seconds;

	if (time_parse_utc(utc, &seconds) == 0)
		return moment_describe(seconds, now, text);
	snprintf(text, 2 * TIME_STRING_MAX, "%s", utc);
	return text;
}

char *list_describe(const json_t *array, size_t n_shown)
{
	size_t n = json_array_size(array);
	char *text = NULL;
	size_t n_bytes;
	FILE *file;

	file = open_memstream(&text, &n_bytes);
	if (!file)
		return NULL;
	for (size_t i = 0; i < n && i < n_shown; i++) {
		const char *element = json_string_value(json_array_get(array, i));

		fprintf(file, "%s%s", i > 0 ? ", " : "", element ? element : "?");
	}
	if (n > n_shown)
		fprintf(file, " and %zu more", n - n_shown);
	if (fclose(file) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
