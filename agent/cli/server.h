/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Calls to the control plane that tell people what went wrong and what to do. */

#include <jansson.h>

#include "agent/cli/command.h"
#include "agent/cli/http.h"

/* What each command that talks to a control plane takes. */
#define SERVER_OPTIONS \
	{ "server", "URL", "the control plane (JITGATE_SERVER, client.conf)", false, false }, \
		{ "token-file", "FILE", "who you are (JITGATE_TOKEN, client.conf)", false, \
			false }, \
	{ \
		"ca", "FILE", "authorities for its certificate (the system's)", false, false \
	}

/* Where it is told how these are found. */
#define SERVER_TEXT \
	" The server and the token are those of the options, else of the environment variables " \
	"JITGATE_SERVER and JITGATE_TOKEN, else of ~/.config/jitgate/client.conf: [client] with " \
	"server, token and ca."

/* How long an answer may take, beyond what the call asks the server to wait. */
#define SERVER_SECONDS 30

/* Finds out which server, with which token. Returns EXIT_DONE and what calls go through; another
 * exit code, having said why. */
int server_open(const struct cli *cli, const struct arguments *arguments, struct http **ret);

/* Calls; body is borrowed, NULL: none. Returns EXIT_DONE and what a status below 300 came with (an
 * object; owned by the caller); another exit code, having said why. */
int server_call(const struct cli *cli, struct http *http, const char *method, const char *path,
	const json_t *body, json_t **ret);

/* Says why a call failed: r is what http_call() returned. Returns the exit code. */
int server_explain(const struct cli *cli, int r, const struct http_answer *answer);

/* Says that something is refused, as JSON where that is wanted. Returns EXIT_REFUSED. */
int server_refuse(const struct cli *cli, const char *code, const char *message);

/* Follows a list to its end or to n_max elements: path is of the first page. Returns EXIT_DONE, the
 * elements (an array, owned by the caller), and whether there are more. */
int server_list(const struct cli *cli, struct http *http, const char *path, size_t n_max,
	json_t **ret, bool *ret_more);
