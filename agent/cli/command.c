/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <string.h>

#include "agent/cli/command.h"

bool command_begins_with(const struct command *command, const char *word)
{
	size_t n = strlen(word);

	return strncmp(command->name, word, n) == 0 && command->name[n] == ' ';
}

static int command_match(const struct command *command, char *const *words, int n)
{
	if (n < 1)
		return 0;
	if (strcmp(command->name, words[0]) == 0)
		return 1;
	if (n < 2 || !command_begins_with(command, words[0]))
		return 0;
	return strcmp(strchr(command->name, ' ') + 1, words[1]) == 0 ? 2 : 0;
}

const struct command *command_find(
	const struct command *const *commands, char *const *words, int n, int *ret_words)
{
	for (; *commands; commands++) {
		*ret_words = command_match(*commands, words, n);
		if (*ret_words > 0)
			return *commands;
	}
	return NULL;
}
