/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Configuration files by tables, with a table of every kind of value. */

#include "agent/common/settings.h"
#include "agent/common/times.h"
#include "tests/fuzz/fuzz.h"

#define NAMED_MAX 4

struct values {
	char *string, *path, *socket;
	int choice;
	uint64_t number, n_bytes;
	int64_t duration;
};

static const struct settings_choice choices[] = { { "one", 1 }, { "two", 2 }, {} };

#define VALUE(field) .offset = offsetof(struct values, field)

static const struct settings_key keys[] = {
	{ "string", settings_read_string, VALUE(string), .min = 2, .max = 20 },
	{ "path", settings_read_path, VALUE(path) },
	{ "socket", settings_read_socket, VALUE(socket) },
	{ "choice", settings_read_choice, VALUE(choice), .choices = choices },
	{ "number", settings_read_number, VALUE(number), .required = true, .max = 1000 },
	{ "bytes", settings_read_bytes, VALUE(n_bytes), .min = 1024, .max = INT64_C(1) << 40 },
	{ "duration", settings_read_duration, VALUE(duration), .min = 60 },
};

static int named_begin(struct settings *settings, const char *name, void *target, void **ret)
{
	(void)settings;
	CHECK(*name && strlen(name) <= SETTINGS_NAME_MAX);
	*ret = target;
	return 0;
}

static const struct settings_section sections[] = {
	{ .name = "values", .keys = keys, .n_keys = N_ELEMENTS(keys) },
	{ .name = "named",
		.keys = keys,
		.n_keys = N_ELEMENTS(keys),
		.begin = named_begin,
		.n_max = NAMED_MAX,
		.example = "a" },
};

static const struct settings_format format = { .sections = sections,
	.n_sections = N_ELEMENTS(sections) };

static void values_done(struct values *values)
{
	free(values->string);
	free(values->path);
	free(values->socket);
}

static void write_text(FILE *file, const char *key, const char *text)
{
	if (text)
		fprintf(file, "%s = %s\n", key, text);
}

static char *values_write(const struct values *values, size_t *ret_bytes)
{
	char duration[TIME_STRING_MAX];
	char *text;
	FILE *file = open_memstream(&text, ret_bytes);

	CHECK(values->number <= 1000);
	fprintf(file, "[values]\nnumber = %llu\n", (unsigned long long)values->number);
	write_text(file, "string", values->string);
	write_text(file, "path", values->path);
	write_text(file, "socket", values->socket);
	if (values->choice)
		write_text(file, "choice", choices[values->choice - 1].word);
	if (values->n_bytes)
		fprintf(file, "bytes = %llu\n", (unsigned long long)values->n_bytes);
	if (values->duration)
		write_text(file, "duration", duration_format(values->duration, duration));
	fclose(file);
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *path = scratch_file("a.conf", data, size), *error = NULL,
			      *first = NULL, *second = NULL, *copy = NULL;
	_cleanup_(values_done) struct values values = {}, again = {};
	size_t n_first, n_second;

	if (settings_load(path, &format, &values, &error) != 0) {
		check_message(error);
		CHECK(strncmp(error, path, strlen(path)) == 0);
		return 0;
	}
	first = values_write(&values, &n_first);
	copy = scratch_file("again.conf", first, n_first);
	CHECK(settings_load(copy, &format, &again, &error) == 0);
	second = values_write(&again, &n_second);
	check_same_text(first, second);
	return 0;
}
