/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "agent/cli/conf_edit.h"
#include "agent/common/inifile.h"
#include "cleanup.h"

/* Bytes of a text. */
struct span {
	const char *begin;
	const char *end;
};

/* Where in a text a key is, or would be. */
struct place {
	bool has_section;
	struct span value; /* begin NULL: the key is not there */
	const char *line; /* of the key */
	const char *behind; /* where its line would go; NULL: at the end */
};

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct span trim(struct span span)
{
	while (span.begin < span.end && is_space(*span.begin))
		span.begin++;
	while (span.end > span.begin && is_space(span.end[-1]))
		span.end--;
	return span;
}

static bool span_is(struct span span, const char *text)
{
	size_t n = span.end - span.begin;

	return n == strlen(text) && memcmp(span.begin, text, n) == 0;
}

/* To the "=", trimmed; begin NULL where there is none. */
static struct span key_of(struct span line)
{
	const char *equals = memchr(line.begin, '=', line.end - line.begin);

	if (!equals)
		return (struct span){ 0 };
	return trim((struct span){ line.begin, equals });
}

/* Behind the "=" up to a comment, trimmed. */
static struct span value_of(struct span line)
{
	const char *equals = memchr(line.begin, '=', line.end - line.begin);
	struct span value = { equals + 1, line.end };

	for (const char *c = value.begin; c < value.end; c++)
		if (*c == ';' && (c == value.begin || is_space(c[-1])))
			value.end = c;
	return trim(value);
}

/* "[section]", a comment behind it or not. */
static bool title_is(struct span line, const char *section)
{
	const char *end = memchr(line.begin, ']', line.end - line.begin);

	return end && span_is(trim((struct span){ line.begin + 1, end }), section);
}

/* What a line of the section says of where the key is. */
static void line_consider(
	struct span line, const char *begin, const char *next, const char *key, struct place *place)
{
	struct span stripped = { line.begin + 1, line.end };

	if (*line.begin != '#' && *line.begin != ';') {
		if (!place->value.begin && span_is(key_of(line), key)) {
			place->value = value_of(line);
			place->line = begin;
		}
		place->behind = next;
	} else if (span_is(key_of(trim(stripped)), key)) {
		place->behind = next;
	}
}

/* Whether the line is a section that is commented out: what follows is its keys. */
static bool is_title_commented(struct span line)
{
	struct span stripped = { line.begin + 1, line.end };

	if (*line.begin != '#' && *line.begin != ';')
		return false;
	stripped = trim(stripped);
	return stripped.begin < stripped.end && *stripped.begin == '[';
}

static struct place place_find(const char *text, const char *section, const char *key)
{
	struct place place = { 0 };
	bool inside = false, commented = false, settled = false;

	for (const char *begin = text, *next; *begin; begin = next) {
		const char *end = begin + strcspn(begin, "\n");
		struct span line = trim((struct span){ begin, end });

		next = *end ? end + 1 : end;
		if (line.begin == line.end)
			continue;
		if (*line.begin == '[') {
			inside = title_is(line, section);
			commented = false;
			if (inside) {
				place.has_section = true;
				place.behind = next;
			}
		} else if (inside) {
			bool is_comment = *line.begin == '#' || *line.begin == ';';
			const char *behind = place.behind;

			commented = commented || is_title_commented(line);
			if (is_comment && commented)
				continue;
			line_consider(line, begin, next, key, &place);
			/* Below the key's own comment it stays. */
			if (settled)
				place.behind = behind;
			settled = settled || (is_comment && place.behind != behind);
		}
	}
	return place;
}

/* Puts n bytes of middle in place of what is from begin to end. */
static int splice(char **text, struct span span, const char *middle)
{
	size_t n_front = span.begin - *text, n_middle = strlen(middle), n_back = strlen(span.end);
	char *spliced = malloc(n_front + n_middle + n_back + 1);

	if (!spliced)
		return -ENOMEM;
	memcpy(spliced, *text, n_front);
	memcpy(spliced + n_front, middle, n_middle);
	memcpy(spliced + n_front + n_middle, span.end, n_back + 1);
	free(*text);
	*text = spliced;
	return 0;
}

/* The text's own way to end a line. */
static const char *line_end(const char *text)
{
	const char *newline = strchr(text, '\n');

	return newline && newline > text && newline[-1] == '\r' ? "\r\n" : "\n";
}

static int insert_line(char **text, const struct place *place, const char *section, const char *key,
	const char *value)
{
	const char *at = place->behind ? place->behind : *text + strlen(*text);
	const char *end = line_end(*text);
	const char *broken = ""; /* what the line before lacks */
	_cleanup_(freep) char *title = NULL, *line = NULL;

	if (!place->has_section &&
		asprintf(&title, "%s[%s]%s", at > *text ? end : "", section, end) < 0) {
		title = NULL;
		return -ENOMEM;
	}
	if (at > *text && at[-1] != '\n')
		broken = at[-1] == '\r' ? "\n" : end;
	if (asprintf(&line, "%s%s%s = %s%s", broken, title ? title : "", key, value, end) < 0) {
		line = NULL;
		return -ENOMEM;
	}
	return splice(text, (struct span){ at, at }, line);
}

int conf_set(char **text, const char *section, const char *key, const char *value)
{
	struct place place = place_find(*text, section, key);
	_cleanup_(freep) char *spaced = NULL;
	bool tight;

	if (!place.value.begin)
		return insert_line(text, &place, section, key, value);
	/* "key =; comment": a space on either side keeps the comment one. */
	tight = place.value.begin == place.value.end;
	if (asprintf(&spaced, "%s%s%s", tight && place.value.begin[-1] == '=' ? " " : "", value,
		    tight && *place.value.end == ';' ? " " : "") < 0) {
		spaced = NULL;
		return -ENOMEM;
	}
	return splice(text, place.value, spaced);
}

int conf_unset(char **text, const char *section, const char *key)
{
	struct place place = place_find(*text, section, key);

	return place.value.begin ? splice(text, (struct span){ place.line, place.line }, "#") : 0;
}

int conf_get(const char *text, const char *section, const char *key, char **ret)
{
	struct place place = place_find(text, section, key);

	*ret = NULL;
	if (!place.value.begin)
		return 0;
	*ret = strndup(place.value.begin, place.value.end - place.value.begin);
	return *ret ? 0 : -ENOMEM;
}
