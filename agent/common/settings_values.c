/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The kinds of values that configuration files have in common. */

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/un.h>

#include "agent/common/settings.h"
#include "agent/common/times.h"

#define STRING_BYTES_MAX 1024

int settings_set_string(char **field, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

int settings_set_default(char **field, const char *value)
{
	return *field ? 0 : settings_set_string(field, value);
}

int settings_read_string(
	struct settings *settings, const struct settings_key *key, const char *value, void *field)
{
	size_t n_min = key->min > 0 ? (size_t)key->min : 1;
	size_t n_max = key->max > 0 ? (size_t)key->max : STRING_BYTES_MAX;

	if (strlen(value) < n_min || strlen(value) > n_max)
		return settings_fail(
			settings, "%s must be %zu to %zu bytes", key->name, n_min, n_max);
	return settings_set_string(field, value);
}

int settings_read_path(
	struct settings *settings, const struct settings_key *key, const char *value, void *field)
{
	if (value[0] != '/')
		return settings_fail(
			settings, "%s must be an absolute path, not \"%s\"", key->name, value);
	if (strlen(value) > STRING_BYTES_MAX)
		return settings_fail(
			settings, "%s is longer than %d bytes", key->name, STRING_BYTES_MAX);
	return settings_set_string(field, value);
}

int settings_read_socket(
	struct settings *settings, const struct settings_key *key, const char *value, void *field)
{
	size_t n_max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;

	if (strlen(value) > n_max)
		return settings_fail(settings,
			"%s is longer than the %zu bytes that a socket's path may have", key->name,
			n_max);
	return settings_read_path(settings, key, value, field);
}

/* "auto, yes or no" */
static char *choices_format(const struct settings_choice *choices)
{
	char *text = NULL;
	size_t n_bytes;
	FILE *stream = open_memstream(&text, &n_bytes);

	if (!stream)
		return NULL;
	for (size_t i = 0; choices[i].word; i++)
		fprintf(stream, "%s%s",
			i == 0                        ? ""
				: choices[i + 1].word ? ", "
						      : " or ",
			choices[i].word);
	if (fclose(stream) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

int settings_read_choice(
	struct settings *settings, const struct settings_key *key, const char *value, void *field)
{
	_cleanup_(freep) char *words = NULL;
	int *choice = field;

	for (const struct settings_choice *known = key->choices; known->word; known++)
		if (strcmp(value, known->word) == 0) {
			*choice = known->value;
			return 0;
		}
	words = choices_format(key->choices);
	if (!words)
		return -ENOMEM;
	return settings_fail(settings, "%s must be %s, not \"%s\"", key->name, words, value);
}

/* Reads digits; moves *text behind them. */
static bool digits_read(const char **text, uint64_t *ret)
{
	size_t n = strspn(*text, "0123456789");

	/* 18 digits always fit. */
	if (n == 0 || n > 18)
		return false;
	*ret = strtoull(*text, NULL, 10);
	*text += n;
	return true;
}

static bool is_within(const struct settings_key *key, uint64_t number)
{
	return number >= (uint64_t)key->min &&
		number <= (uint64_t)(key->max > 0 ? key->max : INT64_MAX);
}

int settings_read_number(
	struct settings *settings, const struct settings_key *key, const char *value, void *field)
{
	uint64_t *number = field;
	const char *rest = value;
	uint64_t found;

	if (!digits_read(&rest, &found) || *rest != '\0' || !is_within(key, found))
		return settings_fail(settings,
			"%s must be a number from %" PRId64 " to %" PRId64 ", not \"%s\"",
			key->name, key->min, key->max > 0 ? key->max : INT64_MAX, value);
	*number = found;
	return 0;
}

static int unit_shift(char unit)
{
	switch (unit) {
	case 'K':
		return 10;
	case 'M':
		return 20;
	case 'G':
		return 30;
	default:
		return 0;
	}
}

/* The largest unit that leaves no rest: "64M". */
static const char *bytes_format(int64_t n_bytes, char text[static 32])
{
	static const char units[] = "GMK";

	for (const char *unit = units; *unit; unit++) {
		int shift = unit_shift(*unit);

		if (n_bytes > 0 && n_bytes % (INT64_C(1) << shift) == 0) {
			snprintf(text, 32, "%" PRId64 "%c", n_bytes >> shift, *unit);
			return text;
		}
	}
	snprintf(text, 32, "%" PRId64, n_bytes);
	return text;
}

int settings_read_bytes(
	struct settings *settings, const struct settings_key *key, const char *value, void *field)
{
	uint64_t *n_bytes = field;
	char min[32], max[32];
	const char *rest = value;
	uint64_t number;

	if (digits_read(&rest, &number)) {
		int shift = unit_shift(*rest);

		if (shift > 0)
			rest++;
		if (*rest == '\0' && number <= (uint64_t)INT64_MAX >> shift &&
			is_within(key, number << shift)) {
			*n_bytes = number << shift;
			return 0;
		}
	}
	return settings_fail(settings,
		"%s must be bytes from %s to %s, with K, M or G behind the number, not \"%s\"",
		key->name, bytes_format(key->min, min),
		bytes_format(key->max > 0 ? key->max : INT64_MAX, max), value);
}

int settings_read_duration(
	struct settings *settings, const struct settings_key *key, const char *value, void *field)
{
	int64_t max_seconds = key->max > 0 ? key->max : DURATION_SECONDS_MAX;
	char min[TIME_STRING_MAX], max[TIME_STRING_MAX];
	int64_t *duration = field;
	int64_t seconds;

	if (duration_parse(value, &seconds) < 0 || seconds < key->min || seconds > max_seconds)
		return settings_fail(settings,
			"%s must be an ISO 8601 duration from %s to %s, not \"%s\"", key->name,
			duration_format(key->min > 0 ? key->min : 1, min),
			duration_format(max_seconds, max), value);
	*duration = seconds;
	return 0;
}

int settings_prefixes(struct settings *settings, const struct settings_key *key, const char *value,
	struct prefix **prefixes, size_t *n_prefixes)
{
	_cleanup_(freep) struct prefix *list = calloc(SETTINGS_PREFIXES_MAX, sizeof(*list));
	_cleanup_(freep) char *copy = strdup(value);
	char *word, *rest = NULL;
	size_t n = 0;

	if (!copy || !list)
		return -ENOMEM;
	for (word = strtok_r(copy, " \t,", &rest); word; word = strtok_r(NULL, " \t,", &rest)) {
		const char *reason;

		if (n == SETTINGS_PREFIXES_MAX)
			return settings_fail(settings, "%s has more than %d prefixes", key->name,
				SETTINGS_PREFIXES_MAX);
		reason = prefix_parse_reason(word, &list[n++]);
		if (reason)
			return settings_fail(settings, "%s: \"%.64s\" %s", key->name, word, reason);
	}
	free(*prefixes);
	*prefixes = TAKE_PTR(list);
	*n_prefixes = n;
	return 0;
}
