/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "agent/cli/arguments.h"
#include "agent/cli/slip.h"

int arguments_init(struct arguments *arguments, int argc)
{
	*arguments = (struct arguments){
		.given = calloc(argc + 1, sizeof(*arguments->given)),
		.operands = calloc(argc + 1, sizeof(*arguments->operands)),
	};
	if (arguments->given && arguments->operands)
		return 0;

	arguments_done(arguments);
	return -ENOMEM;
}

void arguments_done(struct arguments *arguments)
{
	free(arguments->given);
	free(arguments->operands);
	*arguments = (struct arguments){ 0 };
}

_printf_(2, 3) static int fail(struct arguments *arguments, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(arguments->error, sizeof(arguments->error), format, list);
	va_end(list);
	return -EINVAL;
}

/* name goes to the "=" or the end. */
static const struct option_spec *option_find(
	const struct option_spec *table, const char *name, size_t n_name)
{
	for (; table && table->name; table++)
		if (strlen(table->name) == n_name && memcmp(table->name, name, n_name) == 0)
			return table;
	return NULL;
}

/* The option that was meant, where it is one with a slip of the keyboard; NULL where it is none. */
static const struct option_spec *option_nearest(
	const struct option_spec *const tables[], size_t n_tables, const char *name, size_t n_name)
{
	const struct option_spec *nearest = NULL;
	unsigned fewest = SLIPS_TOO_MANY;

	for (size_t i = 0; i < n_tables; i++) {
		for (const struct option_spec *o = tables[i]; o && o->name; o++) {
			unsigned n_slips = slip_count(name, n_name, o->name, strlen(o->name));

			if (n_slips < fewest) {
				fewest = n_slips;
				nearest = o;
			}
		}
	}
	return nearest;
}

static int fail_unknown(struct arguments *arguments, const char *name, size_t n_name,
	const struct option_spec *own, const struct option_spec *shared)
{
	const struct option_spec *nearest =
		option_nearest((const struct option_spec *const[]){ own, shared }, 2, name, n_name);

	return fail(arguments, "there is no option --%.*s%s%s%s", (int)n_name, name,
		nearest ? "; --" : "", nearest ? nearest->name : "", nearest ? " is one" : "");
}

static int option_add(
	struct arguments *arguments, const struct option_spec *option, const char *value)
{
	if (option->value && !option->repeatable && arguments_have(arguments, option->name))
		return fail(arguments, "option --%s is given twice", option->name);

	arguments->given[arguments->n_given++] = (struct argument){ option, value };
	return 0;
}

/* next is the word behind it, or NULL. Returns how many words it took. */
static int option_read(struct arguments *arguments, const char *word, const char *next,
	const struct option_spec *own, const struct option_spec *shared)
{
	const char *name = word + 2;
	const char *equals = strchr(name, '=');
	size_t n_name = equals ? (size_t)(equals - name) : strlen(name);
	const struct option_spec *option = option_find(own, name, n_name);
	const char *value = equals ? equals + 1 : next;
	int r;

	if (!option)
		option = option_find(shared, name, n_name);
	if (!option)
		return fail_unknown(arguments, name, n_name, own, shared);
	if (!option->value && equals)
		return fail(arguments, "option --%s takes no value", option->name);
	if (!option->value)
		return option_add(arguments, option, NULL) < 0 ? -EINVAL : 1;

	/* "--reason --json" is a reason forgotten; "--reason=--json" is meant. */
	if (!value || !value[0] || (!equals && strncmp(value, "--", 2) == 0))
		return fail(arguments, "option --%s needs a value: --%s %s", option->name,
			option->name, option->value);
	r = option_add(arguments, option, value);
	return r < 0 ? r : equals ? 1 : 2;
}

int arguments_read(struct arguments *arguments, char *const *words, int n,
	const struct option_spec *own, const struct option_spec *shared, bool leading)
{
	bool options_ended = false;
	int i = 0, r;

	while (i < n) {
		const char *word = words[i];

		if (!options_ended && strcmp(word, "--") == 0) {
			options_ended = true;
			i++;
			continue;
		}
		if (options_ended || word[0] != '-' || strcmp(word, "-") == 0) {
			if (leading)
				break;
			arguments->operands[arguments->n_operands++] = word;
			i++;
			continue;
		}
		if (strcmp(word, "-h") == 0)
			word = "--help";
		if (word[1] != '-')
			return fail(arguments, "there is no option %.32s", word);
		r = option_read(arguments, word, i + 1 < n ? words[i + 1] : NULL, own, shared);
		if (r < 0)
			return r;
		i += r;
	}
	return i;
}

int arguments_check(struct arguments *arguments, const struct option_spec *own,
	size_t n_operands_min, size_t n_operands_max)
{
	for (const struct option_spec *option = own; option && option->name; option++)
		if (option->required && !arguments_have(arguments, option->name))
			return fail(arguments, "--%s %s is missing", option->name, option->value);
	if (arguments->n_operands < n_operands_min)
		return fail(arguments, "an argument is missing");
	if (arguments->n_operands > n_operands_max)
		return fail(arguments, "\"%.64s\" is one argument too many",
			arguments->operands[n_operands_max]);
	return 0;
}

const char *arguments_next(const struct arguments *arguments, const char *name, size_t *index)
{
	while (*index < arguments->n_given) {
		const struct argument *given = &arguments->given[(*index)++];

		if (strcmp(given->option->name, name) == 0)
			return given->value;
	}
	return NULL;
}

const char *arguments_get(const struct arguments *arguments, const char *name)
{
	size_t index = 0;

	return arguments_next(arguments, name, &index);
}

bool arguments_have(const struct arguments *arguments, const char *name)
{
	for (size_t i = 0; i < arguments->n_given; i++)
		if (strcmp(arguments->given[i].option->name, name) == 0)
			return true;
	return false;
}

const char *arguments_operand(const struct arguments *arguments, size_t index)
{
	return index < arguments->n_operands ? arguments->operands[index] : NULL;
}
