/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Who calls, and what they may do. A bearer token is the server's own (kept as its SHA-256) or a
 * JWT of an OIDC issuer. Either way it gives a principal with roles in scopes.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cleanup.h"

/* What each may do is told in README.md; roles do not include one another, save that all may read.
 */
enum role {
	ROLE_READER,
	ROLE_REQUESTER,
	ROLE_APPROVER,
	ROLE_ADMINISTRATOR,
	ROLE_COUNT,
};

const char *role_name(enum role role);
int role_parse(const char *name, enum role *ret); /* 0 or -EINVAL */

/*
 * scope: "/", "/subscriptions/S", ".../resourceGroups/R", or a resource's whole id. It holds a
 * resource where it is a prefix of its id by whole segments, without regard to case.
 */
struct assignment {
	enum role role;
	char *scope;
};

struct principal {
	char *name; /* "alice@example.org" */
	struct assignment *assignments;
	size_t n_assignments;
};

/* One without any role. A name with an '@' is an address, and kept in lower case: nobody is two
 * persons by writing it differently. NULL: no memory. */
struct principal *principal_new(const char *name);
/* Copies the scope. Returns 0 or -ENOMEM. */
int principal_assign(struct principal *principal, enum role role, const char *scope);
struct principal *principal_free(struct principal *principal);
DEFINE_CLEANUP(struct principal *, principal_free)

bool scope_holds(const char *scope, const char *resource);

/* 0 or -EINVAL: a scope is "/", or is or lies below "/subscriptions", where all ids are, has no
 * empty segment and at most SCOPE_BYTES_MAX bytes. */
#define SCOPE_BYTES_MAX 512
int scope_check(const char *scope);

/* True where the principal has the role in a scope that holds the resource. */
bool principal_has(const struct principal *principal, enum role role, const char *resource);

/* True where the principal has any role in a scope that holds the resource: may read it. */
bool principal_may_read(const struct principal *principal, const char *resource);

/* What identity_authenticate() returns, besides 0 and -ENOMEM. */
enum identity_answer {
	IDENTIFIED = 0,
	NOT_IDENTIFIED = 1,
};

struct identity;
struct issuer;
struct store;

/* A role for whoever is so called, or is in the group so called by an issuer: one of both. */
struct assignment_rule {
	char *name; /* of its section */
	char *principal;
	char *group;
	struct assignment assignment;
};

/*
 * Keeps the store's tokens in memory: they are there when the store has told what there is. store
 * is borrowed, and outlives it. Returns 0 or -errno.
 */
int identity_new(struct store *store, struct identity **ret);
struct identity *identity_free(struct identity *identity);
DEFINE_CLEANUP(struct identity *, identity_free)

/* What of server.conf counts from now on; borrowed until the next call. */
void identity_configure(struct identity *identity, const struct issuer *issuers, size_t n_issuers,
	const struct assignment_rule *rules, size_t n_rules);

/* For metrics. */
size_t identity_count_tokens(const struct identity *identity);

/*
 * Finds out whose a bearer credential is, at a time. Returns IDENTIFIED and the principal, owned by
 * the caller; NOT_IDENTIFIED with a sentence for the one who called, which says no more than they
 * may know; -ENOMEM.
 */
int identity_authenticate(struct identity *identity, const char *bearer, int64_t now,
	struct principal **ret, const char **ret_reason);
