/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "agent/common/file.h"
#include "agent/common/inifile.h"
#include "agent/common/log.h"
#include "agent/common/settings.h"
#include "agent/common/text.h"

#define SECTIONS_MAX 1024 /* of a file */

struct settings {
	const char *path;
	const struct settings_format *format;
	void *target;
	bool lenient;
	struct inifile file;
	const struct settings_section *section; /* NULL before the first */
	unsigned section_line;
	const char *section_name; /* of [kind NAME]; lives in the file's text */
	void *filled; /* by the keys of this section */
	uint64_t seen; /* keys of this section, a bit each */
	/* The sections that there were, to find one that is there twice. */
	struct title {
		const struct settings_section *section;
		const char *name;
	} * titles;
	size_t n_titles;
	char *error;
};

static _printf_(3, 0) int fail_at(
	struct settings *settings, unsigned line, const char *format, va_list arguments)
{
	_cleanup_(freep) char *reason = NULL;
	int n;

	if (vasprintf(&reason, format, arguments) < 0) {
		reason = NULL;
		return -ENOMEM;
	}
	free(TAKE_PTR(settings->error));
	if (line > 0)
		n = asprintf(&settings->error, "%s:%u: %s", settings->path, line, reason);
	else
		n = asprintf(&settings->error, "%s: %s", settings->path, reason);
	if (n < 0) {
		settings->error = NULL;
		return -ENOMEM;
	}
	text_make_printable(settings->error);
	return -EINVAL;
}

int settings_fail(struct settings *settings, const char *format, ...)
{
	va_list arguments;
	int r;

	va_start(arguments, format);
	r = fail_at(settings, settings->file.line, format, arguments);
	va_end(arguments);
	return r;
}

int settings_fail_section(struct settings *settings, const char *format, ...)
{
	va_list arguments;
	int r;

	va_start(arguments, format);
	r = fail_at(settings, settings->section_line, format, arguments);
	va_end(arguments);
	return r;
}

int settings_fail_file(struct settings *settings, const char *format, ...)
{
	va_list arguments;
	int r;

	va_start(arguments, format);
	r = fail_at(settings, 0, format, arguments);
	va_end(arguments);
	return r;
}

static uint64_t key_bit(size_t i)
{
	return UINT64_C(1) << i;
}

static int section_end(struct settings *settings)
{
	const struct settings_section *section = settings->section;
	const char *name = settings->section_name;

	if (!section)
		return 0;
	for (size_t i = 0; i < section->n_keys; i++)
		if (section->keys[i].required && !(settings->seen & key_bit(i)))
			return settings_fail_section(settings, "[%s%s%s] has no %s", section->name,
				name ? " " : "", name ? name : "", section->keys[i].name);
	return section->end ? section->end(settings, settings->filled) : 0;
}

static bool name_is_valid(const char *name)
{
	size_t n =
		strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");

	return n >= 1 && n <= SETTINGS_NAME_MAX && name[n] == '\0';
}

/* Notes that the section is there; a section that is there twice, or too often, is wrong. */
static int title_add(
	struct settings *settings, const struct settings_section *section, const char *name)
{
	size_t n_same = 0;

	for (size_t i = 0; i < settings->n_titles; i++) {
		const struct title *title = &settings->titles[i];

		if (title->section != section)
			continue;
		n_same++;
		if (!name)
			return settings_fail(settings, "[%s] is there twice", section->name);
		if (strcmp(title->name, name) == 0)
			return settings_fail(
				settings, "[%s %s] is there twice", section->name, name);
	}
	if (name && n_same == section->n_max)
		return settings_fail(
			settings, "more than %zu [%s] sections", section->n_max, section->name);
	if (settings->n_titles == SECTIONS_MAX)
		return settings_fail(settings, "more than %d sections", SECTIONS_MAX);
	settings->titles[settings->n_titles++] = (struct title){ section, name };
	return 0;
}

static int section_enter(
	struct settings *settings, const struct settings_section *section, const char *name)
{
	int r;

	if (name && !name_is_valid(name))
		return settings_fail(settings,
			"a %s's name is 1 to %d letters, digits and . _ -, as in [%s %s]",
			section->name, SETTINGS_NAME_MAX, section->name, section->example);
	r = title_add(settings, section, name);
	if (r < 0)
		return r;
	settings->filled = settings->target;
	if (section->begin) {
		r = section->begin(settings, name, settings->target, &settings->filled);
		if (r < 0)
			return r;
	}
	settings->section = section;
	settings->section_name = name;
	settings->section_line = settings->file.line;
	settings->seen = 0;
	return 0;
}

/* "[agent] and [port NAME]" */
static char *sections_format(const struct settings_format *format)
{
	char *text = NULL;
	size_t n_bytes;
	FILE *stream = open_memstream(&text, &n_bytes);

	if (!stream)
		return NULL;
	for (size_t i = 0; i < format->n_sections; i++)
		fprintf(stream, "%s[%s%s]",
			i == 0                                ? ""
				: i == format->n_sections - 1 ? " and "
							      : ", ",
			format->sections[i].name, format->sections[i].begin ? " NAME" : "");
	if (fclose(stream) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

static int section_begin(struct settings *settings, const char *title)
{
	_cleanup_(freep) char *titles = NULL;

	settings->section = NULL;
	for (size_t i = 0; i < settings->format->n_sections; i++) {
		const struct settings_section *section = &settings->format->sections[i];
		size_t n = strlen(section->name);

		if (strncmp(title, section->name, n) != 0)
			continue;
		if (title[n] == '\0' && section->begin)
			return settings_fail(settings, "a [%s] needs a name, as in [%s %s]",
				section->name, section->name, section->example);
		if (title[n] == '\0')
			return section_enter(settings, section, NULL);
		if (section->begin && (title[n] == ' ' || title[n] == '\t'))
			return section_enter(
				settings, section, title + n + strspn(title + n, " \t"));
	}
	titles = sections_format(settings->format);
	if (!titles)
		return -ENOMEM;
	return settings_fail(settings, "there is no section [%s]: there %s %s", title,
		strstr(titles, " and ") ? "are" : "is", titles);
}

/* The names of a section's keys, as a sentence has them. */
static char *keys_format(const struct settings_section *section)
{
	char *text = NULL;
	size_t n_bytes;
	FILE *stream = open_memstream(&text, &n_bytes);

	if (!stream)
		return NULL;
	for (size_t i = 0; i < section->n_keys; i++)
		fprintf(stream, "%s%s", i == 0 ? "" : ", ", section->keys[i].name);
	if (fclose(stream) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

static int entry_read(struct settings *settings, const char *name, const char *value)
{
	const struct settings_section *section = settings->section;
	_cleanup_(freep) char *names = NULL;

	if (!section)
		return settings_fail(settings,
			"\"%s\" stands before any section: put it below [%s]", name,
			settings->format->sections[0].name);
	for (size_t i = 0; i < section->n_keys; i++) {
		const struct settings_key *key = &section->keys[i];

		if (strcmp(key->name, name) != 0)
			continue;
		if (settings->seen & key_bit(i))
			return settings_fail(settings, "%s is given twice in this section", name);
		settings->seen |= key_bit(i);
		return key->read(settings, key, value, (char *)settings->filled + key->offset);
	}
	names = keys_format(section);
	if (!names)
		return -ENOMEM;
	return settings_fail(
		settings, "[%s] has no key \"%s\": its keys are %s", section->name, name, names);
}

static int pass_over(struct settings *settings)
{
	log_line(LOG_WARNING, "passed over: %s", settings->error);
	free(TAKE_PTR(settings->error));
	return 0;
}

static int read_lines(struct settings *settings)
{
	const char *reason;
	char *name, *value;
	int r;

	while ((r = inifile_next(&settings->file, &name, &value, &reason)) > 0) {
		if (r == INIFILE_SECTION) {
			r = section_end(settings);
			if (r < 0)
				return r;
			r = section_begin(settings, name);
		} else {
			r = entry_read(settings, name, value);
		}
		if (r == -EINVAL && settings->lenient)
			r = pass_over(settings);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return settings_fail(settings, "%s", reason);
	r = section_end(settings);
	if (r == 0 && settings->format->end)
		r = settings->format->end(settings, settings->target);
	return r;
}

static int read_text(struct settings *settings, char **ret_text)
{
	_cleanup_(freep) char *text = NULL;
	size_t n_bytes;
	int r;

	r = file_read(settings->path, SETTINGS_FILE_BYTES_MAX, &text, &n_bytes);
	if (r == -EFBIG)
		return settings_fail_file(
			settings, "longer than %d KiB", SETTINGS_FILE_BYTES_MAX / 1024);
	if (r == -EINVAL)
		return settings_fail_file(settings, "not a regular file");
	if (r < 0) {
		settings_fail_file(settings, "%s", strerror(-r));
		return r;
	}
	if (strlen(text) != n_bytes)
		return settings_fail_file(settings, "the file has a NUL byte");
	*ret_text = TAKE_PTR(text);
	return 0;
}

int settings_read(const char *path, char **ret_text, char **ret_error)
{
	struct settings settings = { .path = path };
	int r;

	r = read_text(&settings, ret_text);
	*ret_error = settings.error;
	return r;
}

int settings_parse(const char *path, char *text, bool lenient, const struct settings_format *format,
	void *target, char **ret_error)
{
	_cleanup_(freep) struct title *titles = calloc(SECTIONS_MAX, sizeof(*titles));
	struct settings settings = {
		.path = path,
		.format = format,
		.target = target,
		.lenient = lenient,
		.titles = titles,
		.file.rest = text,
	};
	int r;

	*ret_error = NULL;
	if (!titles)
		return -ENOMEM;
	r = read_lines(&settings);
	*ret_error = settings.error;
	return r;
}

int settings_load(
	const char *path, const struct settings_format *format, void *target, char **ret_error)
{
	_cleanup_(freep) char *text = NULL;
	int r;

	r = settings_read(path, &text, ret_error);
	return r < 0 ? r : settings_parse(path, text, false, format, target, ret_error);
}
