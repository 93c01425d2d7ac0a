/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "contrib/control-plane/identity/credential.h"
#include "contrib/control-plane/identity/issuer.h"
#include "contrib/control-plane/identity/tokens.h"

struct identity {
	struct store *store;
	struct store_watch *watch;
	struct tokens tokens;
	const struct issuer *issuers;
	size_t n_issuers;
	const struct assignment_rule *rules;
	size_t n_rules;
};

static int identity_watch(struct identity *identity);

/* Where the store is lost, nobody is let in by a token that may have been revoked. */
static void identity_on_events(int error, int64_t revision, const struct store_event *events,
	size_t n_events, void *userdata)
{
	struct identity *identity = userdata;

	(void)revision;
	for (size_t i = 0; error == 0 && i < n_events; i++)
		error = tokens_take(&identity->tokens, &events[i]);
	if (error == 0)
		return;
	tokens_done(&identity->tokens);
	identity->watch = store_watch_free(identity->watch);
	if (error != -EIO)
		(void)identity_watch(identity);
}

static int identity_watch(struct identity *identity)
{
	return store_watch(
		identity->store, TOKENS_PREFIX, 0, identity_on_events, identity, &identity->watch);
}

int identity_new(struct store *store, struct identity **ret)
{
	_cleanup_(identity_freep) struct identity *identity = calloc(1, sizeof(*identity));
	int r;

	if (!identity)
		return -ENOMEM;
	identity->store = store;
	r = identity_watch(identity);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(identity);
	return 0;
}

struct identity *identity_free(struct identity *identity)
{
	if (!identity)
		return NULL;
	store_watch_free(identity->watch);
	tokens_done(&identity->tokens);
	free(identity);
	return NULL;
}

void identity_configure(struct identity *identity, const struct issuer *issuers, size_t n_issuers,
	const struct assignment_rule *rules, size_t n_rules)
{
	identity->issuers = issuers;
	identity->n_issuers = n_issuers;
	identity->rules = rules;
	identity->n_rules = n_rules;
}

size_t identity_count_tokens(const struct identity *identity)
{
	return identity->tokens.n_tokens;
}

static bool groups_have(const json_t *groups, const char *name)
{
	const json_t *group;
	size_t i;

	json_array_foreach (groups, i, group)
		if (strcmp(json_string_value(group), name) == 0)
			return true;
	return false;
}

static bool rule_applies(
	const struct assignment_rule *rule, const struct principal *principal, const json_t *groups)
{
	if (!rule->principal)
		return groups_have(groups, rule->group);
	/* As principal_new() has them. */
	return strchr(rule->principal, '@') ? strcasecmp(rule->principal, principal->name) == 0
					    : strcmp(rule->principal, principal->name) == 0;
}

static int assign_by_rules(
	const struct identity *identity, struct principal *principal, const json_t *groups)
{
	for (size_t i = 0; i < identity->n_rules; i++) {
		const struct assignment_rule *rule = &identity->rules[i];
		int r;

		if (!rule_applies(rule, principal, groups))
			continue;
		r = principal_assign(principal, rule->assignment.role, rule->assignment.scope);
		if (r < 0)
			return r;
	}
	return 0;
}

static int authenticate_token(struct identity *identity, const char *bearer, int64_t now,
	struct principal **ret, const char **ret_reason)
{
	_cleanup_(principal_freep) struct principal *principal = NULL;
	char hash[CREDENTIAL_HASH_MAX];
	const struct token *token;
	int r;

	r = credential_hash(bearer, hash);
	if (r < 0)
		return r;
	token = tokens_find(&identity->tokens, hash);
	if (!token || token->expires <= now) {
		*ret_reason = "the token is not known, has expired or was revoked";
		return NOT_IDENTIFIED;
	}
	principal = principal_new(token->principal);
	if (!principal)
		return -ENOMEM;
	r = principal_assign(principal, token->assignment.role, token->assignment.scope);
	if (r == 0)
		r = assign_by_rules(identity, principal, NULL);
	if (r == 0)
		*ret = TAKE_PTR(principal);
	return r;
}

static int authenticate_issued(struct identity *identity, const char *bearer, int64_t now,
	struct principal **ret, const char **ret_reason)
{
	_cleanup_(principal_freep) struct principal *principal = NULL;
	_cleanup_(issued_done) struct issued issued = { 0 };
	int r;

	r = issuer_read_token(
		identity->issuers, identity->n_issuers, bearer, now, &issued, ret_reason);
	if (r != 0)
		return r == NOT_ISSUED ? NOT_IDENTIFIED : r;
	principal = principal_new(issued.principal);
	if (!principal)
		return -ENOMEM;
	r = assign_by_rules(identity, principal, issued.groups);
	if (r == 0)
		*ret = TAKE_PTR(principal);
	return r;
}

int identity_authenticate(struct identity *identity, const char *bearer, int64_t now,
	struct principal **ret, const char **ret_reason)
{
	if (credential_is_valid(CREDENTIAL_TOKEN, bearer))
		return authenticate_token(identity, bearer, now, ret, ret_reason);
	if (identity->n_issuers > 0)
		return authenticate_issued(identity, bearer, now, ret, ret_reason);
	*ret_reason = "the credential is no token of this server";
	return NOT_IDENTIFIED;
}
