/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * client.conf: which control plane a person's command line talks to.
 *
 *   [client]
 *   server = https://jit.example.org
 *   token = ...
 *   ca = /etc/ssl/our-authority.pem
 */

#include <stdbool.h>

#include "cleanup.h"

struct client_conf {
	char *server;
	char *token;
	char *ca;
};

/* Where it is: below XDG_CONFIG_HOME, or .config in HOME (allocated); NULL where neither is set. */
char *client_conf_path(void);

/*
 * Reads it into conf, which begins as zeros. Returns 0; -ENOENT where there is none; another
 * -errno, with a sentence in ret_error (allocated, owned by the caller; NULL for want of memory). A
 * file with a token that others may read is -EPERM.
 */
int client_conf_load(const char *path, struct client_conf *conf, char **ret_error);
void client_conf_done(struct client_conf *conf);

/*
 * Where a token may stand alone in a file, or "-": its one line, which a person at a terminal is
 * asked for. Returns 0 and the token (allocated, owned by the caller); -errno, with a sentence in
 * ret_error as above.
 */
int token_load(const char *path, char **ret, char **ret_error);

/* Whether two base URLs are the same but for slashes at the end. */
bool server_is_same(const char *a, const char *b);
