/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "agent/cli/input.h"
#include "agent/cli/output.h"
#include "agent/common/strictjson.h"
#include "cleanup.h"

#define OBJECT_BYTES_MAX (256 * 1024)
#define TERMINAL_LINE_BYTES_MAX 4096 /* termios(3): what a terminal keeps of a line */

static bool path_is_standard_input(const char *path)
{
	return !path || strcmp(path, "-") == 0;
}

const char *input_name(const char *path)
{
	return path_is_standard_input(path) ? "standard input" : path;
}

int input_open(const char *path, FILE **ret)
{
	if (path_is_standard_input(path)) {
		*ret = stdin;
		return 0;
	}
	*ret = fopen(path, "re");
	return *ret ? 0 : -errno;
}

void input_close(FILE *file)
{
	if (file && file != stdin)
		fclose(file);
}

static void input_closep(FILE **file)
{
	input_close(*file);
}

/* A person who is waited for is told so, and how to end it. */
static void tell_reading(const FILE *file)
{
	if (file == stdin && isatty(STDIN_FILENO) && isatty(STDERR_FILENO))
		fprintf(stderr, "reading standard input (Enter and Ctrl-D end)\n");
}

int input_read(const char *path, size_t n_bytes_max, char **ret, size_t *ret_bytes)
{
	_cleanup_(input_closep) FILE *file = NULL;
	_cleanup_(freep) char *bytes = NULL;
	size_t n;
	int r;

	r = input_open(path, &file);
	if (r < 0)
		return r;
	bytes = malloc(n_bytes_max + 2);
	if (!bytes)
		return -ENOMEM;

	tell_reading(file);
	errno = 0;
	n = fread(bytes, 1, n_bytes_max + 1, file);
	if (ferror(file))
		return errno ? -errno : -EIO;
	if (n > n_bytes_max)
		return -EFBIG;
	bytes[n] = '\0';
	*ret = TAKE_PTR(bytes);
	*ret_bytes = n;
	return 0;
}

/* The terminal's next line, or -EINTR where one of the signals behind the descriptor came first. */
static int read_terminal(int signals, char *line, size_t n_bytes_max, size_t *ret_bytes)
{
	struct pollfd ready[] = {
		{ .fd = signals, .events = POLLIN },
		{ .fd = STDIN_FILENO, .events = POLLIN },
	};
	ssize_t n;

	if (poll(ready, 2, -1) < 0)
		return -errno;
	if (ready[0].revents)
		return -EINTR;
	n = read(STDIN_FILENO, line, n_bytes_max);
	if (n < 0)
		return -errno;
	*ret_bytes = (size_t)n;
	return 0;
}

int input_ask_secret(const char *prompt, char **ret, size_t *ret_bytes)
{
	_cleanup_(closep) int signals = -EBADF;
	_cleanup_(freep) char *line = calloc(1, TERMINAL_LINE_BYTES_MAX + 1);
	struct termios shown, hidden;
	sigset_t caught, before;
	int r;

	if (!line)
		return -ENOMEM;
	if (tcgetattr(STDIN_FILENO, &shown) < 0)
		return -errno;
	hidden = shown;
	hidden.c_lflag &= ~(tcflag_t)ECHO;
	hidden.c_lflag |= ECHONL;
	sigemptyset(&caught);
	for (const int *number = (const int[]){ SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGTSTP, 0 };
		*number; number++)
		sigaddset(&caught, *number);
	signals = signalfd(-1, &caught, SFD_CLOEXEC);
	if (signals < 0)
		return -errno;

	/* Whatever comes meanwhile comes when the terminal shows again what is typed. */
	sigprocmask(SIG_BLOCK, &caught, &before);
	fputs(prompt, stderr);
	fflush(stderr);
	r = tcsetattr(STDIN_FILENO, TCSADRAIN, &hidden) < 0 ? -errno : 0;
	if (r == 0) {
		r = read_terminal(signals, line, TERMINAL_LINE_BYTES_MAX, ret_bytes);
		tcsetattr(STDIN_FILENO, TCSADRAIN, &shown);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (r < 0)
		return r;
	if (*ret_bytes >= TERMINAL_LINE_BYTES_MAX - 1)
		return -EFBIG;
	*ret = TAKE_PTR(line);
	return 0;
}

int input_read_object(const char *path, json_t **ret)
{
	_cleanup_(freep) char *text = NULL;
	char reason[128];
	size_t n_bytes;
	int r;

	r = input_read(path, OBJECT_BYTES_MAX, &text, &n_bytes);
	if (r < 0) {
		output_error("%s: %s", input_name(path), strerror(-r));
		return EXIT_REFUSED;
	}
	if (json_parse_object(text, n_bytes, ret, reason, sizeof(reason)) < 0) {
		output_error("%s: not JSON as it should be: %s", input_name(path), reason);
		return EXIT_REFUSED;
	}
	return EXIT_DONE;
}

int line_reader_init(struct line_reader *reader, FILE *file, size_t n_max)
{
	*reader = (struct line_reader){
		.file = file,
		.n_max = n_max,
		.bytes = malloc(n_max + 1),
	};
	if (!reader->bytes)
		return -ENOMEM;
	tell_reading(file);
	return 0;
}

void line_reader_done(struct line_reader *reader)
{
	free(reader->bytes);
}

int line_reader_next(struct line_reader *reader, char **ret_text, size_t *ret_bytes)
{
	size_t n = 0;
	int c;

	errno = 0;
	while ((c = getc_unlocked(reader->file)) != EOF && c != '\n') {
		if (n < reader->n_max)
			reader->bytes[n] = c;
		n++;
	}
	if (ferror(reader->file))
		return errno ? -errno : -EIO;
	if (c == EOF && n == 0)
		return 0;

	reader->number++;
	reader->ended = c == '\n';
	if (n > reader->n_max)
		return -EMSGSIZE;
	reader->bytes[n] = '\0';
	*ret_text = reader->bytes;
	*ret_bytes = n;
	return 1;
}
