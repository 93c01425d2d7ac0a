/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The claims of a document to be signed, made from options so that nobody has to write JSON. */

#include <jansson.h>

#include "agent/cli/arguments.h"
#include "agent/common/document.h"

/* How long a grant lasts where nothing says so. */
#define GRANT_SECONDS_DEFAULT 3600

/*
 * Sets what the options of `jitgate sign` give, then what is missing and obvious: jti at random,
 * iat now, iss the key's name, exp of a grant. Returns 0; -EINVAL, with what is wrong with an
 * option in ret_error (allocated, owned by the caller); -ENOMEM.
 */
int claims_complete(json_t *claims, enum document_kind kind, const struct arguments *arguments,
	const char *kid, int64_t now, char **ret_error);
