/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The socket that a server listens on. */

#include <stdbool.h>

struct listener {
	int fd;
	char *path; /* of a Unix socket that we made: removed at the end */
	bool is_local; /* nobody outside this machine reaches it */
};

/*
 * Opens what http_options.listen says, or takes the socket that systemd passed (sd_listen_fds).
 * Returns 0; -errno, with a sentence in ret_error (allocated, owned by the caller).
 */
int listener_open(struct listener *listener, const char *where, char **ret_error);
void listener_close(struct listener *listener);
