/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <string.h>

#include "agent/cli/help.h"

#define USAGE_COLUMNS 80

static size_t option_width(const struct option_spec *option)
{
	return strlen("--") + strlen(option->name) +
		(option->value ? 1 + strlen(option->value) : 0);
}

static size_t options_width(const struct option_spec *options)
{
	size_t n_max = 0;

	for (const struct option_spec *o = options; o && o->name; o++)
		if (option_width(o) > n_max)
			n_max = option_width(o);
	return n_max;
}

/* Fills lines with the words of a text, n_indent columns in; the first line has these already. */
static void text_print(const char *text, size_t n_indent)
{
	size_t n_columns = n_indent;

	while (*text) {
		size_t n_word = strcspn(text, " ");
		bool begins = n_columns == n_indent;

		if (!begins && n_columns + 1 + n_word > USAGE_COLUMNS) {
			printf("\n%*s", (int)n_indent, "");
			n_columns = n_indent;
			begins = true;
		}
		n_columns += printf("%s%.*s", begins ? "" : " ", (int)n_word, text);
		text += n_word + strspn(text + n_word, " ");
	}
	putchar('\n');
}

static void options_print(const char *title, const struct option_spec *options, size_t width)
{
	char help[256];

	if (!options)
		return;

	printf("\n%s:\n", title);
	for (const struct option_spec *o = options; o->name; o++) {
		printf("  --%s%s%s%*s  ", o->name, o->value ? " " : "", o->value ? o->value : "",
			(int)(width - option_width(o)), "");
		snprintf(help, sizeof(help), "%s%s", o->help,
			o->repeatable ? " (may be repeated)" : "");
		text_print(help, width + 4);
	}
}

/* Puts a word on the usage line, or on the next one, under the first word after the name. */
static void usage_add(const char *word, size_t n_indent, size_t *n_columns)
{
	if (*n_columns + 1 + strlen(word) > USAGE_COLUMNS) {
		printf("\n%*s", (int)n_indent, "");
		*n_columns = n_indent;
	}
	*n_columns += printf(" %s", word);
}

static void usage_print(const struct command *command)
{
	size_t n_indent = printf("usage: jitgate %s", command->name);
	size_t n_columns = n_indent;
	char word[96];

	for (const struct option_spec *o = command->options; o && o->name; o++) {
		snprintf(word, sizeof(word), "%s--%s%s%s%s%s", o->required ? "" : "[", o->name,
			o->value ? " " : "", o->value ? o->value : "", o->required ? "" : "]",
			o->repeatable ? "..." : "");
		usage_add(word, n_indent, &n_columns);
	}
	if (command->operands)
		usage_add(command->operands, n_indent, &n_columns);
	putchar('\n');
}

void help_print_command(const struct command *command, const struct option_spec *shared_options)
{
	size_t width = options_width(command->options);

	if (options_width(shared_options) > width)
		width = options_width(shared_options);

	usage_print(command);
	putchar('\n');
	text_print(command->text, 0);
	options_print("Options", command->options, width);
	options_print("Options of every command", shared_options, width);
	printf("\nExample:\n  %s\n", command->example);
}

size_t help_print_family(const struct command *const *commands, const char *word)
{
	size_t n = 0;

	for (; *commands; commands++) {
		if (!command_begins_with(*commands, word))
			continue;
		if (n++ == 0)
			printf("usage: jitgate %s COMMAND ...\n\nCommands:\n", word);
		printf("  %-15s  %s\n", (*commands)->name, (*commands)->summary);
	}
	if (n > 0)
		printf("\n\"jitgate %s COMMAND --help\" tells more of each.\n", word);
	return n;
}

void help_print_program(
	const struct command *const *commands, const struct option_spec *shared_options)
{
	printf("usage: jitgate [OPTIONS] COMMAND ...\n\n");
	text_print(
		"Shows and changes what jitgated, the agent that guards this machine's "
		"management ports, lets in; joins the machine to a control plane, and asks one for "
		"access; makes keys, signs and checks documents.",
		0);
	printf("\nCommands:\n");
	for (; *commands; commands++)
		printf("  %-15s  %s\n", (*commands)->name, (*commands)->summary);
	options_print("Options", shared_options, options_width(shared_options));
	printf("\n\"jitgate COMMAND --help\" tells more of a command, jitgate(1) all of it.\n"
	       "\nExit codes: 0 done, 1 refused or failed, 2 usage, 3 no agent,\nor no control "
	       "plane.\n"
	       "\nExample:\n  jitgate grants\n");
}
