/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What stands on a command line, read by a table of options from which the help is made too. */

#include <stdbool.h>
#include <stddef.h>

#include "cleanup.h"

/* A table of them ends with a NULL name. */
struct option_spec {
	const char *name; /* without "--" */
	const char *value; /* what its value is called in the help; NULL: it takes none */
	const char *help;
	bool required;
	bool repeatable;
};

struct argument {
	const struct option_spec *option;
	const char *value;
};

/* Values and operands are the caller's argv. */
struct arguments {
	struct argument *given;
	size_t n_given;
	const char **operands;
	size_t n_operands;
	char error[256]; /* what is wrong, as a sentence without a full stop */
};

/* Makes room for what argc arguments may hold. Returns 0 or -ENOMEM. */
int arguments_init(struct arguments *arguments, int argc);
void arguments_done(struct arguments *arguments);

/*
 * Reads n words by up to two tables (NULL: none), adding to what was read before. "--" ends the
 * options; "-" is an operand. Where leading is true, stops at the first operand without reading it.
 * Returns how many words were read; -EINVAL with error filled in.
 */
int arguments_read(struct arguments *arguments, char *const *words, int n,
	const struct option_spec *own, const struct option_spec *shared, bool leading);

/* Whether all that own requires is there. Returns 0; -EINVAL with error filled in. */
int arguments_check(struct arguments *arguments, const struct option_spec *own,
	size_t n_operands_min, size_t n_operands_max);

bool arguments_have(const struct arguments *arguments, const char *name);

/* The value of an option, or NULL where it was not given. */
const char *arguments_get(const struct arguments *arguments, const char *name);

/* The values of a repeatable option, one after the other: start with index 0; NULL ends. */
const char *arguments_next(const struct arguments *arguments, const char *name, size_t *index);

/* The operand at an index, or NULL. */
const char *arguments_operand(const struct arguments *arguments, size_t index);
