/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The server's own tokens, as the store has them: "tokens/{SHA-256}" is a JSON object. */

#include <stdint.h>

#include "contrib/control-plane/identity/identity.h"
#include "contrib/control-plane/store/store.h"

#define TOKENS_PREFIX "tokens/"

struct token {
	char *hash; /* SHA-256 of the token, hexadecimal */
	char *principal;
	struct assignment assignment;
	int64_t created; /* seconds */
	int64_t expires;
};

void token_done(struct token *token);

/* Writes a token's value for the store (allocated). NULL: no memory. */
char *token_format(const struct token *token);

/* Reads an entry of the store. Returns 0, to be released with token_done(); -EINVAL, -ENOMEM. */
int token_read(const struct store_entry *entry, struct token *ret);

/* All of them, in order of their hash. */
struct tokens {
	struct token *tokens;
	size_t n_tokens;
	size_t n_allocated;
};

/* Takes in what a watch of TOKENS_PREFIX tells. What cannot be read is no token. Returns 0 or
 * -ENOMEM. */
int tokens_take(struct tokens *tokens, const struct store_event *event);
const struct token *tokens_find(const struct tokens *tokens, const char *hash);
void tokens_done(struct tokens *tokens);
