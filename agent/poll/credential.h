/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What this machine shows the feed: a bearer token, a client certificate. */

#include <stddef.h>

#include "agent/common/config.h"

#define CREDENTIAL_ERROR_MAX 256

/*
 * The header with the token, from the configured file, or from the systemd credential feed-token.
 * Returns 0 and "Authorization: Bearer …" (allocated, owned by the caller), NULL where there is
 * neither; -errno with a sentence in error where it can't be read or is no token.
 */
int credential_header(
	const struct config_feed *feed, char **ret, char error[static CREDENTIAL_ERROR_MAX]);

/* The paths of client certificate and key, configured or systemd credentials; both NULL where there
 * are none. Returns 0 or -ENOMEM; allocated, owned by the caller. */
int credential_certificate(const struct config_feed *feed, char **ret_certificate, char **ret_key);
