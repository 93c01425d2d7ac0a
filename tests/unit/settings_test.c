/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Tables of a file that is nobody's: what each kind of value and section takes and refuses. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "agent/common/file.h"
#include "agent/common/settings.h"

struct place {
	char *name;
	char *path;
};

struct target {
	char *title;
	int colour;
	uint64_t number, n_bytes;
	int64_t duration;
	struct prefix *prefixes;
	size_t n_prefixes;
	struct place places[2];
	size_t n_places;
	bool ended;
};

enum { RED, GREEN };

static const struct settings_choice colours[] = { { "red", RED }, { "green", GREEN }, {} };

static int read_prefixes(
	struct settings *settings, const struct settings_key *key, const char *value, void *field)
{
	struct target *target = field;

	return settings_prefixes(settings, key, value, &target->prefixes, &target->n_prefixes);
}

#define MAIN(field) .offset = offsetof(struct target, field)
#define PLACE(field) .offset = offsetof(struct place, field)

static const struct settings_key main_keys[] = {
	{ "title", settings_read_string, MAIN(title), .required = true, .min = 2, .max = 5 },
	{ "colour", settings_read_choice, MAIN(colour), .choices = colours },
	{ "number", settings_read_number, MAIN(number), .min = 2, .max = 70000 },
	{ "bytes", settings_read_bytes, MAIN(n_bytes), .min = 1000, .max = INT64_C(3) << 30 },
	{ "duration", settings_read_duration, MAIN(duration), .min = 5, .max = 3600 },
	{ "prefixes", read_prefixes, .offset = 0 },
};

static const struct settings_key place_keys[] = {
	{ "path", settings_read_path, PLACE(path), .required = true },
};

static int place_begin(struct settings *settings, const char *name, void *target, void **ret)
{
	struct target *filled = target;
	struct place *place = &filled->places[filled->n_places++];

	(void)settings;
	*ret = place;
	return settings_set_string(&place->name, name);
}

static int place_end(struct settings *settings, void *filled)
{
	const struct place *place = filled;

	if (strcmp(place->path, "/closed") == 0)
		return settings_fail_section(settings, "%s can't be opened", place->path);
	return 0;
}

static const struct settings_section sections[] = {
	{ .name = "main", .keys = main_keys, .n_keys = N_ELEMENTS(main_keys) },
	{ .name = "place",
		.keys = place_keys,
		.n_keys = N_ELEMENTS(place_keys),
		.begin = place_begin,
		.n_max = 2,
		.example = "here",
		.end = place_end },
};

static int file_end(struct settings *settings, void *target)
{
	struct target *filled = target;

	filled->ended = true;
	if (filled->number == 13)
		return settings_fail_file(settings, "13 brings bad luck");
	return settings_set_default(&filled->title, "none");
}

static const struct settings_format format = {
	.sections = sections,
	.n_sections = N_ELEMENTS(sections),
	.end = file_end,
};

static char path[64];

static void target_done(struct target *target)
{
	free(target->title);
	free(target->prefixes);
	for (size_t i = 0; i < target->n_places; i++) {
		free(target->places[i].name);
		free(target->places[i].path);
	}
}

static int load(const char *text, struct target *target, char **ret_error)
{
	int r;

	*target = (struct target){};
	assert_int_equal(file_write(path, 0600, text, strlen(text)), 0);
	r = settings_load(path, &format, target, ret_error);
	unlink(path);
	return r;
}

static void each_kind_is_read(void **state)
{
	_cleanup_(target_done) struct target target;
	_cleanup_(freep) char *error = NULL;

	(void)state;
	assert_int_equal(load("[place a]\npath = /a\n"
			      "[main]\ntitle = ab\ncolour = green\nnumber = 70000\n"
			      "bytes = 3G\nduration = PT1H\nprefixes = ::1, 10.0.0.0/8\n"
			      "[place\tb]\npath = /b\n",
				 &target, &error),
		0);
	assert_null(error);
	assert_string_equal(target.title, "ab");
	assert_int_equal(target.colour, GREEN);
	assert_int_equal(target.number, 70000);
	assert_int_equal(target.n_bytes, UINT64_C(3) << 30);
	assert_int_equal(target.duration, 3600);
	assert_int_equal(target.n_prefixes, 2);
	assert_int_equal(target.n_places, 2);
	assert_string_equal(target.places[0].name, "a");
	assert_string_equal(target.places[0].path, "/a");
	assert_string_equal(target.places[1].path, "/b");
	assert_true(target.ended);
}

static void what_is_left_out_is_set_at_the_end(void **state)
{
	_cleanup_(target_done) struct target target;
	_cleanup_(freep) char *error = NULL;

	(void)state;
	/* A section that is not there has no required keys. */
	assert_int_equal(load("", &target, &error), 0);
	assert_string_equal(target.title, "none");
}

static void a_mistake_is_told_with_its_line(void **state)
{
	static const char *const cases[][2] = {
		{ "title = ab\n", ":1: \"title\" stands before any section: put it below [main]" },
		{ "[main]\n", ":1: [main] has no title" },
		{ "\n[place a]\n\n", ":2: [place a] has no path" },
		{ "[main]\ntitle = a\n", ":2: title must be 2 to 5 bytes" },
		{ "[main]\ntitle = abcdef\n", ":2: title must be 2 to 5 bytes" },
		{ "[main]\ncolour = blue\n", ":2: colour must be red or green, not \"blue\"" },
		{ "[main]\nnumber = 1\n",
			":2: number must be a number from 2 to 70000, not \"1\"" },
		{ "[main]\nnumber = 70001\n", ":2: number must be" },
		{ "[main]\nnumber = 0x10\n", ":2: number must be" },
		{ "[main]\nnumber =\n", ":2: number must be" },
		{ "[main]\nbytes = 999\n",
			":2: bytes must be bytes from 1000 to 3G, with K, M or G" },
		{ "[main]\nbytes = 4G\n", ":2: bytes must be" },
		{ "[main]\nbytes = 4KB\n", ":2: bytes must be" },
		{ "[main]\nbytes = K\n", ":2: bytes must be" },
		{ "[main]\nduration = PT4S\n",
			":2: duration must be an ISO 8601 duration from PT5S to PT1H, not" },
		{ "[main]\nduration = PT61M\n", ":2: duration must be" },
		{ "[main]\nprefixes = x\n", ":2: prefixes: \"x\" is not an" },
		{ "[food]\n", ":1: there is no section [food]: there are [main] and [place NAME]" },
		{ "[main x]\n", ":1: there is no section [main x]" },
		{ "[place]\n", ":1: a [place] needs a name, as in [place here]" },
		{ "[place a/b]\n", ":1: a place's name is 1 to 64 letters, digits and . _ -" },
		{ "[place a]\npath=/a\n[place a]\n", ":3: [place a] is there twice" },
		{ "[place a]\npath=/a\n[place b]\npath=/b\n[place c]\n",
			":5: more than 2 [place] sections" },
		{ "[place a]\npath = /closed\n\n", ":1: /closed can't be opened" },
		{ "[main]\ntitle = ab\nnumber = 13\n", ": 13 brings bad luck" },
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		_cleanup_(target_done) struct target target;
		_cleanup_(freep) char *error = NULL;

		assert_int_equal(load(cases[i][0], &target, &error), -EINVAL);
		assert_memory_equal(error, path, strlen(path));
		if (strncmp(error + strlen(path), cases[i][1], strlen(cases[i][1])) != 0)
			fail_msg("\"%s\" instead of \"%s\"", error + strlen(path), cases[i][1]);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_kind_is_read),
		cmocka_unit_test(what_is_left_out_is_set_at_the_end),
		cmocka_unit_test(a_mistake_is_told_with_its_line),
	};

	snprintf(path, sizeof(path), "/tmp/settings-test-%d.conf", (int)getpid());
	return cmocka_run_group_tests(tests, NULL, NULL);
}
