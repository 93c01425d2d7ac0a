/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "agent/common/strictjson.h"
#include "agent/common/times.h"
#include "contrib/control-plane/identity/tokens.h"

void token_done(struct token *token)
{
	free(token->hash);
	free(token->principal);
	free(token->assignment.scope);
	*token = (struct token){ 0 };
}

char *token_format(const struct token *token)
{
	char created[TIME_STRING_MAX], expires[TIME_STRING_MAX];
	json_auto_t *json = json_pack("{s:s, s:s, s:s, s:s, s:s}", "principal", token->principal,
		"role", role_name(token->assignment.role), "scope", token->assignment.scope,
		"created", time_format_utc(token->created, created), "expires",
		time_format_utc(token->expires, expires));

	return json ? json_dumps(json, JSON_COMPACT) : NULL;
}

int token_read(const struct store_entry *entry, struct token *ret)
{
	const char *principal, *role, *scope, *created, *expires;
	json_auto_t *json = NULL;
	struct token token = { 0 };
	char error[256];
	int r;

	r = json_parse_object(entry->value, entry->n_value, &json, error, sizeof(error));
	if (r < 0)
		return r;
	if (strncmp(entry->key, TOKENS_PREFIX, strlen(TOKENS_PREFIX)) != 0 ||
		json_unpack(json, "{s:s, s:s, s:s, s:s, s:s}", "principal", &principal, "role",
			&role, "scope", &scope, "created", &created, "expires", &expires) < 0 ||
		role_parse(role, &token.assignment.role) < 0 || scope_check(scope) < 0 ||
		time_parse_utc(created, &token.created) < 0 ||
		time_parse_utc(expires, &token.expires) < 0)
		return -EINVAL;
	token.hash = strdup(entry->key + strlen(TOKENS_PREFIX));
	token.principal = strdup(principal);
	token.assignment.scope = strdup(scope);
	if (!token.hash || !token.principal || !token.assignment.scope) {
		token_done(&token);
		return -ENOMEM;
	}
	*ret = token;
	return 0;
}

/* Where a hash is, or would be. */
static size_t tokens_place(const struct tokens *tokens, const char *hash, bool *ret_found)
{
	size_t low = 0, high = tokens->n_tokens;

	*ret_found = false;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(tokens->tokens[middle].hash, hash);

		if (order == 0) {
			*ret_found = true;
			return middle;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void tokens_remove(struct tokens *tokens, const char *hash)
{
	bool found;
	size_t i = tokens_place(tokens, hash, &found);

	if (!found)
		return;
	token_done(&tokens->tokens[i]);
	tokens->n_tokens--;
	memmove(&tokens->tokens[i], &tokens->tokens[i + 1],
		(tokens->n_tokens - i) * sizeof(*tokens->tokens));
}

static int tokens_insert(struct tokens *tokens, struct token *token)
{
	bool found;
	size_t i = tokens_place(tokens, token->hash, &found);

	if (tokens->n_tokens == tokens->n_allocated) {
		size_t n = 2 * tokens->n_allocated + 16;
		struct token *grown = reallocarray(tokens->tokens, n, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		tokens->tokens = grown;
		tokens->n_allocated = n;
	}
	memmove(&tokens->tokens[i + 1], &tokens->tokens[i],
		(tokens->n_tokens - i) * sizeof(*tokens->tokens));
	tokens->tokens[i] = *token;
	tokens->n_tokens++;
	return 0;
}

int tokens_take(struct tokens *tokens, const struct store_event *event)
{
	struct token token = { 0 };
	int r;

	/* What a put replaces is gone even where the new value is none. */
	tokens_remove(tokens, event->entry.key + strlen(TOKENS_PREFIX));
	if (event->deleted)
		return 0;
	r = token_read(&event->entry, &token);
	if (r == 0)
		r = tokens_insert(tokens, &token);
	if (r < 0)
		token_done(&token);
	return r == -ENOMEM ? r : 0;
}

const struct token *tokens_find(const struct tokens *tokens, const char *hash)
{
	bool found;
	size_t i = tokens_place(tokens, hash, &found);

	return found ? &tokens->tokens[i] : NULL;
}

void tokens_done(struct tokens *tokens)
{
	for (size_t i = 0; i < tokens->n_tokens; i++)
		token_done(&tokens->tokens[i]);
	free(tokens->tokens);
	*tokens = (struct tokens){ 0 };
}
