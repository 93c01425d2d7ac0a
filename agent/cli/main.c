/* SPDX-License-Identifier: GPL-3.0-or-later */

/* jitgate: the command line. */

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "agent/cli/client.h"
#include "agent/cli/complete.h"
#include "agent/cli/help.h"
#include "agent/cli/output.h"
#include "agent/cli/slip.h"
#include "agent/common/confine.h"

static const struct command *const commands[] = {
	&command_status,
	&command_grants,
	&command_sessions,
	&command_denied,
	&command_watch,
	&command_explain,
	&command_submit,
	&command_grant,
	&command_revoke,
	&command_doctor,
	&command_assess,
	&command_audit,
	&command_reload,
	&command_enforce,
	&command_confirm,
	&command_enroll,
	&command_request,
	/* Before the command whose name its own begins with. */
	&command_requests_revoke,
	&command_requests,
	&command_approve,
	&command_deny,
	&command_activity,
	&command_key_new,
	&command_key_public,
	&command_key_fingerprint,
	&command_sign,
	&command_verify,
	NULL,
};

static const struct option_spec shared_options[] = {
	{ .name = "socket", .value = "PATH", .help = "the agent's socket (" AGENT_SOCKET ")" },
	{ .name = "json", .help = "print JSON" },
	{ .name = "help", .help = "print this" },
	{ .name = "version", .help = "print the version" },
	{ 0 },
};

/* Those that begin with a word: "key new, key public, key fingerprint". */
static const char *family_describe(const char *word, char *text, size_t n_text)
{
	size_t n = 0;

	text[0] = '\0';
	for (size_t i = 0; commands[i]; i++)
		if (command_begins_with(commands[i], word) && n < n_text)
			n += snprintf(
				text + n, n_text - n, "%s%s", n > 0 ? ", " : "", commands[i]->name);
	return text;
}

static int complain_unknown(const struct cli *cli, char *const *words, int n)
{
	unsigned fewest = SLIPS_TOO_MANY;
	const char *nearest = "";
	char family[128];

	if (family_describe(words[0], family, sizeof(family))[0])
		return output_usage(cli, "%s%s%s: there is no such command; there are %s", words[0],
			n > 1 ? " " : "", n > 1 ? words[1] : "", family);
	for (size_t i = 0; commands[i]; i++) {
		const char *name = commands[i]->name;
		unsigned n_slips = slip_count(words[0], strlen(words[0]), name, strcspn(name, " "));

		if (n_slips < fewest) {
			fewest = n_slips;
			nearest = name;
		}
	}
	return output_usage(cli, "%s: there is no such command%s%.*s%s", words[0],
		nearest[0] ? "; " : "", (int)strcspn(nearest, " "), nearest,
		nearest[0] ? " is one" : "");
}

static int print_help(const struct cli *cli)
{
	if (cli->command)
		help_print_command(cli->command, shared_options);
	else
		help_print_program(commands, shared_options);
	return EXIT_DONE;
}

/* "jitgate help grants" is "jitgate grants --help". */
static int run_help(struct cli *cli, char *const *words, int n)
{
	int n_words;

	cli->command = command_find(commands, words, n, &n_words);
	if (n == 1 && !cli->command && help_print_family(commands, words[0]) > 0)
		return EXIT_DONE;
	if (n > 0 && !cli->command)
		return complain_unknown(cli, words, n);
	return print_help(cli);
}

/* What was printed has to arrive: a full disk must not look like success. */
static int finish(int exit_code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return exit_code;

	output_error("can't write to standard output: %s", strerror(errno));
	return exit_code == EXIT_DONE ? EXIT_REFUSED : exit_code;
}

static int run(struct cli *cli, const struct arguments *arguments)
{
	if (arguments_have(arguments, "help"))
		return print_help(cli);
	if (arguments_have(arguments, "version")) {
		printf("jitgate %s\n", JITGATE_VERSION);
		return EXIT_DONE;
	}
	if (!cli->command)
		return output_usage(cli, "which command?");

	cli->json = arguments_have(arguments, "json");
	if (arguments_have(arguments, "socket"))
		cli->socket = arguments_get(arguments, "socket");
	return cli->command->run(cli, arguments);
}

/* Options of every command may stand before the command's name and after it. */
static int read_and_run(struct cli *cli, struct arguments *arguments, char *const *words, int n)
{
	const struct command *command;
	int n_words;
	int r;

	r = arguments_read(arguments, words, n, NULL, shared_options, true);
	if (r < 0)
		return output_usage(cli, "%s", arguments->error);
	words += r;
	n -= r;
	if (n == 0)
		return run(cli, arguments);
	if (strcmp(words[0], "help") == 0)
		return run_help(cli, words + 1, n - 1);
	if (strcmp(words[0], "complete") == 0)
		return complete_print(cli, commands, shared_options, words + 1, n - 1);

	command = command_find(commands, words, n, &n_words);
	cli->command = command;
	if (!command && n == 2 && strcmp(words[1], "--help") == 0)
		return run_help(cli, words, 1);
	if (!command)
		return complain_unknown(cli, words, n);

	r = arguments_read(
		arguments, words + n_words, n - n_words, command->options, shared_options, false);
	if (r >= 0 && !arguments_have(arguments, "help") && !arguments_have(arguments, "version"))
		r = arguments_check(arguments, command->options, command->n_operands_min,
			command->n_operands_max);
	if (r < 0)
		return output_usage(cli, "%s", arguments->error);
	return run(cli, arguments);
}

int main(int argc, char **argv)
{
	_cleanup_(arguments_done) struct arguments arguments = { 0 };
	struct cli cli = {
		.socket = AGENT_SOCKET,
		.colour = output_has_colour(),
		.now = time(NULL),
	};

	/* It may read private keys. */
	(void)confine_process();
	/* systemd starts services with it ignored: then `jitgate watch | head -1` would go on. */
	signal(SIGPIPE, SIG_DFL);
	if (arguments_init(&arguments, argc) < 0)
		return output_failure(-ENOMEM);
	return finish(read_and_run(&cli, &arguments, argv + 1, argc > 0 ? argc - 1 : 0));
}
