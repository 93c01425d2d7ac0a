/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* server.conf, read whole. server.conf.example tells each key and its default. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contrib/control-plane/identity/identity.h"
#include "contrib/control-plane/identity/issuer.h"

#define SERVER_ISSUERS_MAX 16
#define SERVER_ASSIGNMENTS_MAX 1024

struct server_config {
	char *listen;
	char *url; /* as others reach it, without a slash at its end */
	char *state;
	char *signing_key; /* a file */
	char *tls_certificate; /* a file; NULL: no TLS */
	char *tls_key;
	uint64_t max_connections;
	uint64_t max_connections_per_address; /* 0: no limit */
	uint64_t rate_limit; /* a second, for each principal; 0: no limit */
	int64_t activity_retention; /* seconds */
	struct issuer issuers[SERVER_ISSUERS_MAX]; /* with their keys */
	size_t n_issuers;
	struct assignment_rule assignments[SERVER_ASSIGNMENTS_MAX];
	size_t n_assignments;
};

/*
 * Reads it, and the keys of its issuers. Returns 0 and the configuration, owned by the caller;
 * -errno, with "file:line: what is wrong" in ret_error (allocated, owned by the caller; NULL for
 * want of memory).
 */
int server_config_load(const char *path, struct server_config **ret, char **ret_error);

/* Reads certificate and key (PEM, allocated, owned by the caller), which are fit for one another;
 * both NULL without TLS. Returns as above. */
int server_config_read_tls(const struct server_config *config, char **ret_certificate,
	char **ret_key, char **ret_error);

/* Takes over from one just read what can change while the server runs: issuers, assignments, names
 * of files. The rest stays, pointers too. */
void server_config_take(struct server_config *config, struct server_config *from);

/* What root makes in the state's directory the server must be able to write: root becomes the user
 * whose it is, and keeps the capabilities in kept. Returns 0 or -errno. */
int server_config_become_owner(const struct server_config *config, uint64_t kept);

struct server_config *server_config_free(struct server_config *config);
DEFINE_CLEANUP(struct server_config *, server_config_free)
