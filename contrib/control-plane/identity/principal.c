/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Roles in scopes. */

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "agent/common/text.h"
#include "contrib/control-plane/identity/identity.h"

static const char *const roles[ROLE_COUNT] = {
	[ROLE_READER] = "reader",
	[ROLE_REQUESTER] = "requester",
	[ROLE_APPROVER] = "approver",
	[ROLE_ADMINISTRATOR] = "administrator",
};

const char *role_name(enum role role)
{
	return roles[role];
}

int role_parse(const char *name, enum role *ret)
{
	for (size_t i = 0; i < N_ELEMENTS(roles); i++)
		if (strcmp(roles[i], name) == 0) {
			*ret = (enum role)i;
			return 0;
		}
	return -EINVAL;
}

int scope_check(const char *scope)
{
	static const char root[] = "/subscriptions";
	size_t n_bytes = strlen(scope), n_root = strlen(root);

	if (strcmp(scope, "/") == 0)
		return 0;
	if (strncasecmp(scope, root, n_root) != 0 || (scope[n_root] != '/' && scope[n_root]))
		return -EINVAL;
	if (n_bytes > SCOPE_BYTES_MAX || !text_is_printable(scope))
		return -EINVAL;
	return strstr(scope, "//") || scope[n_bytes - 1] == '/' ? -EINVAL : 0;
}

bool scope_holds(const char *scope, const char *resource)
{
	size_t n_bytes = strlen(scope);

	if (strcmp(scope, "/") == 0)
		return true;
	return strncasecmp(scope, resource, n_bytes) == 0 &&
		(resource[n_bytes] == '\0' || resource[n_bytes] == '/');
}

bool principal_has(const struct principal *principal, enum role role, const char *resource)
{
	for (size_t i = 0; i < principal->n_assignments; i++)
		if (principal->assignments[i].role == role &&
			scope_holds(principal->assignments[i].scope, resource))
			return true;
	return false;
}

bool principal_may_read(const struct principal *principal, const char *resource)
{
	for (size_t i = 0; i < principal->n_assignments; i++)
		if (scope_holds(principal->assignments[i].scope, resource))
			return true;
	return false;
}

struct principal *principal_new(const char *name)
{
	struct principal *principal = calloc(1, sizeof(*principal));

	if (!principal)
		return NULL;
	principal->name = strdup(name);
	if (!principal->name)
		return principal_free(principal);
	for (char *c = principal->name; strchr(name, '@') && *c; c++)
		*c = (char)tolower((unsigned char)*c);
	return principal;
}

int principal_assign(struct principal *principal, enum role role, const char *scope)
{
	struct assignment *assignments = reallocarray(
		principal->assignments, principal->n_assignments + 1, sizeof(*assignments));
	char *copy;

	if (!assignments)
		return -ENOMEM;
	principal->assignments = assignments;
	copy = strdup(scope);
	if (!copy)
		return -ENOMEM;
	assignments[principal->n_assignments++] = (struct assignment){ role, copy };
	return 0;
}

struct principal *principal_free(struct principal *principal)
{
	if (!principal)
		return NULL;
	for (size_t i = 0; i < principal->n_assignments; i++)
		free(principal->assignments[i].scope);
	free(principal->assignments);
	free(principal->name);
	free(principal);
	return NULL;
}
