/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <string.h>

#include "agent/cli/complete.h"
#include "agent/cli/complete_value.h"

#define PLACEHOLDER_BYTES_MAX 64
#define CANDIDATE_BYTES_MAX 512

struct completion {
	struct candidates candidates;
	struct cli *cli;
	const struct command *const *commands;
	const struct option_spec *shared_options;
	char *const *words;
	int n; /* words; the last is completed */
	const struct command *command; /* NULL: not yet known */
	const char *first; /* a word that is no command without a second one, or NULL */
	size_t n_operands; /* behind the command */
	bool options_ended;
	const struct option_spec *value_of; /* the option whose value is completed, or NULL */
	const char *current; /* the last word, or what stands behind "--name=" in it */
	const char *begin; /* what stands in front of that */
	int n_begin;
	size_t n_found;
	char *text; /* the lines, which the kind of answer goes before */
	FILE *stream;
};

static void add(struct candidates *candidates, const char *text, const char *help)
{
	struct completion *completion = (struct completion *)candidates;

	if (strncmp(text, completion->current, strlen(completion->current)) != 0)
		return;
	completion->n_found++;
	fprintf(completion->stream, "%.*s%s\t%s\n", completion->n_begin, completion->begin, text,
		help);
}

static const struct option_spec *option_find(
	const struct option_spec *options, const char *name, size_t n_name)
{
	for (; options && options->name; options++)
		if (strlen(options->name) == n_name && strncmp(options->name, name, n_name) == 0)
			return options;
	return NULL;
}

/* The option that a word names, whether its value stands in it or not. */
static const struct option_spec *option_of(const struct completion *completion, const char *word)
{
	const char *name = word + strlen("--");
	size_t n_name = strcspn(name, "=");
	const struct option_spec *option = NULL;

	if (strncmp(word, "--", 2) != 0 || completion->options_ended)
		return NULL;
	if (completion->command)
		option = option_find(completion->command->options, name, n_name);
	return option ? option : option_find(completion->shared_options, name, n_name);
}

static bool is_option(const struct completion *completion, const char *word)
{
	return word[0] == '-' && !completion->options_ended;
}

static bool is_given(const struct completion *completion, const struct option_spec *option)
{
	for (int i = 0; i + 1 < completion->n; i++)
		if (option_of(completion, completion->words[i]) == option)
			return true;
	return false;
}

static void add_options(struct completion *completion, const struct option_spec *options)
{
	char text[CANDIDATE_BYTES_MAX];

	for (; options && options->name; options++) {
		if (!options->repeatable && is_given(completion, options))
			continue;
		snprintf(text, sizeof(text), "--%s", options->name);
		add(&completion->candidates, text, options->help);
	}
}

/* The second words of commands that begin with this one. */
static void add_second_words(struct completion *completion, const char *first)
{
	for (const struct command *const *c = completion->commands; *c; c++)
		if (command_begins_with(*c, first))
			add(&completion->candidates, strchr((*c)->name, ' ') + 1, (*c)->summary);
}

/* Names of commands: the first words, each once; those of one first word stand together. */
static void add_commands(struct completion *completion)
{
	for (const struct command *const *c = completion->commands; *c; c++) {
		const char *name = (*c)->name;
		int n_first = (int)strcspn(name, " ");
		char first[CANDIDATE_BYTES_MAX];

		snprintf(first, sizeof(first), "%.*s", n_first, name);
		if (c[1] && (strcmp(c[1]->name, first) == 0 || command_begins_with(c[1], first)))
			continue;
		add(&completion->candidates, first, name[n_first] ? "" : (*c)->summary);
	}
	add(&completion->candidates, "help", "what a command does");
}

/* The operand at an index as the usage line shows it, without brackets: "[FILE|-]..." goes on. */
static bool operand_find(const struct command *command, size_t index, char *text, size_t n_text)
{
	const char *operands = command->operands ? command->operands : "";
	size_t n;

	if (index >= command->n_operands_max)
		return false;
	while (index > 0 && strchr(operands, ' ')) {
		operands = strchr(operands, ' ') + 1;
		index--;
	}
	operands += *operands == '[';
	n = strcspn(operands, " ");
	while (n > 0 && (operands[n - 1] == '.' || operands[n - 1] == ']'))
		n--;
	snprintf(text, n_text, "%.*s", (int)n, operands);
	return true;
}

static void add_operands(struct completion *completion)
{
	char placeholder[PLACEHOLDER_BYTES_MAX];

	if (completion->n_operands == 0)
		add_second_words(completion, completion->command->name);
	if (operand_find(
		    completion->command, completion->n_operands, placeholder, sizeof(placeholder)))
		complete_value(
			completion->cli, completion->command, placeholder, &completion->candidates);
}

/* Reads the words in front of the last one. */
static void read_words(struct completion *completion)
{
	int n_before = completion->n - 1, n_words;

	for (int i = 0; i < n_before; i++) {
		char *const *word = &completion->words[i];
		const struct option_spec *option = option_of(completion, *word);

		if (strcmp(*word, "--") == 0) {
			completion->options_ended = true;
		} else if (option && option->value && !strchr(*word, '=')) {
			if (strcmp(option->name, "socket") == 0 && i + 1 < n_before)
				completion->cli->socket = word[1];
			completion->value_of = ++i == n_before ? option : NULL;
		} else if (is_option(completion, *word) && (*word)[1]) {
			continue;
		} else if (completion->command) {
			completion->n_operands++;
		} else if (strcmp(*word, "help") != 0) {
			completion->command =
				command_find(completion->commands, word, n_before - i, &n_words);
			completion->first = completion->command ? NULL : *word;
			i += completion->command ? n_words - 1 : 0;
		}
	}
}

/* "--name=VALUE": VALUE is what is completed. */
static void split_value(struct completion *completion)
{
	const char *equals = strchr(completion->current, '=');
	const struct option_spec *option = option_of(completion, completion->current);

	if (!equals || !option || completion->value_of)
		return;
	completion->value_of = option;
	completion->begin = completion->current;
	completion->n_begin = (int)(equals + 1 - completion->current);
	completion->current = equals + 1;
}

static void complete_last(struct completion *completion)
{
	const struct command *command = completion->command;

	if (completion->value_of) {
		if (completion->value_of->value)
			complete_value(completion->cli, command, completion->value_of->value,
				&completion->candidates);
		return;
	}
	if (is_option(completion, completion->current)) {
		add_options(completion, command ? command->options : NULL);
		add_options(completion, completion->shared_options);
		return;
	}
	if (!command && completion->first)
		add_second_words(completion, completion->first);
	else if (!command)
		add_commands(completion);
	else
		add_operands(completion);
	/* Unasked where nothing else can follow. */
	if (command && completion->n_found == 0 && !completion->candidates.files &&
		!completion->options_ended)
		add_options(completion, command->options);
}

int complete_print(struct cli *cli, const struct command *const *commands,
	const struct option_spec *shared_options, char *const *words, int n)
{
	struct completion completion = {
		.candidates = { .add = add },
		.cli = cli,
		.commands = commands,
		.shared_options = shared_options,
		.begin = "",
	};
	size_t n_bytes;

	if (n > 0 && strcmp(words[0], "--") == 0) {
		words++;
		n--;
	}
	completion.stream = open_memstream(&completion.text, &n_bytes);
	if (n == 0 || !completion.stream)
		goto done;
	completion.words = words;
	completion.n = n;
	completion.current = words[n - 1];
	read_words(&completion);
	split_value(&completion);
	complete_last(&completion);
done:
	if (completion.stream)
		fclose(completion.stream);
	printf("%s\n%s", completion.candidates.files ? "files" : "words",
		completion.text ? completion.text : "");
	free(completion.text);
	return EXIT_DONE;
}
