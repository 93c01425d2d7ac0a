/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "agent/common/inifile.h"
#include "agent/common/text.h"

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

static char *trim(char *text)
{
	char *end = text + strlen(text);

	while (end > text && is_space(end[-1]))
		end--;
	*end = '\0';
	while (is_space(*text))
		text++;
	return text;
}

/* Cuts off a comment behind a value: a semicolon with white space, or nothing, in front of it. */
static void cut_comment(char *text)
{
	for (char *c = text; *c; c++)
		if (*c == ';' && (c == text || is_space(c[-1]))) {
			*c = '\0';
			return;
		}
}

/* Takes a line off the text, without its end ("\n" or "\r\n"). NULL where there is none left. */
static char *line_take(struct inifile *file)
{
	char *line = file->rest;
	size_t n = strcspn(line, "\n");

	if (*line == '\0')
		return NULL;
	file->rest = line[n] ? line + n + 1 : line + n;
	line[n] = '\0';
	if (n > 0 && line[n - 1] == '\r')
		line[n - 1] = '\0';
	file->line++;
	return line;
}

static const char *line_reason(const char *line)
{
	if (strlen(line) > INIFILE_LINE_BYTES_MAX)
		return "the line is longer than 8192 bytes";
	for (const char *c = line; *c; c++)
		if ((unsigned char)*c < 0x20 && *c != '\t')
			return "the line has control characters";
	return NULL;
}

static int section_read(char *line, char **ret_name, const char **ret_reason)
{
	char *end = strchr(line, ']');
	char *behind = end ? end + 1 : line;

	cut_comment(behind);
	if (!end || *trim(behind) != '\0') {
		*ret_reason = "a section is written as [name]";
		return -EINVAL;
	}
	*end = '\0';
	*ret_name = trim(line + 1);
	return INIFILE_SECTION;
}

static int entry_read(char *line, char **ret_name, char **ret_value, const char **ret_reason)
{
	char *equals = strchr(line, '=');

	if (!equals || equals == line) {
		*ret_reason = "neither a [section], nor key = value, nor a # comment";
		return -EINVAL;
	}
	*equals = '\0';
	/* White space in front lets "key = ; comment" be an empty value. */
	cut_comment(equals + 1);
	*ret_name = trim(line);
	*ret_value = trim(equals + 1);
	if (!text_is_printable(*ret_name) || !text_is_printable(*ret_value)) {
		*ret_reason = "the line is not UTF-8, or has control characters";
		return -EINVAL;
	}
	return INIFILE_ENTRY;
}

int inifile_next(struct inifile *file, char **ret_name, char **ret_value, const char **ret_reason)
{
	char *line;

	while ((line = line_take(file))) {
		*ret_reason = line_reason(line);
		if (*ret_reason)
			return -EINVAL;
		line = trim(line);
		if (*line == '\0' || *line == '#' || *line == ';')
			continue;
		if (*line == '[')
			return section_read(line, ret_name, ret_reason);
		return entry_read(line, ret_name, ret_value, ret_reason);
	}
	return INIFILE_END;
}
