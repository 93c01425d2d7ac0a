/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Azure's routes: Microsoft.Security, jitNetworkAccessPolicies. */

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "contrib/control-plane/identity/identity.h"
#include "contrib/control-plane/jit/api.h"
#include "contrib/control-plane/jit/names.h"
#include "contrib/control-plane/jit/write.h"
#include "contrib/control-plane/server.h"

#define TOP 50
#define TOP_MAX 100
/* Port rules and requests on a page, about; one policy is always whole. */
#define PAGE_WEIGHT_MAX 5000

#define SUBSCRIPTION "/subscriptions/{subscription}"
#define GROUP SUBSCRIPTION "/resourceGroups/{group}"
#define PROVIDER "/providers/Microsoft.Security"
#define LOCATION "/locations/{location}"
#define POLICIES "/jitNetworkAccessPolicies"
#define POLICY GROUP PROVIDER LOCATION POLICIES "/{name}"

/* False where it has answered. */
static bool check_version(struct http_request *request)
{
	static const char *const versions[] = { "2020-01-01", "2015-06-01-preview" };
	const char *version = http_request_query(request, "api-version");

	if (!version) {
		http_respond_error(request, 400, "MissingApiVersionParameter",
			"The api-version query parameter (?api-version=) is required for all "
			"requests.");
		return false;
	}
	for (size_t i = 0; i < N_ELEMENTS(versions); i++)
		if (strcmp(version, versions[i]) == 0)
			return true;
	http_respond_error(request, 400, "InvalidApiVersionParameter",
		"api-version \"%.32s\" is not one of %s and %s", version, versions[0], versions[1]);
	return false;
}

static struct policy_path path_of(const struct http_request *request)
{
	return (struct policy_path){
		.subscription = http_request_parameter(request, "subscription"),
		.group = http_request_parameter(request, "group"),
		.location = http_request_parameter(request, "location"),
		.name = http_request_parameter(request, "name"),
	};
}

/* What is wrong with version or path is answered. False then. */
static bool check_call(struct http_request *request, struct policy_path *ret)
{
	struct problem problem;

	*ret = path_of(request);
	if (!check_version(request))
		return false;
	if (policy_path_check(ret, &problem) != 0) {
		api_respond_problem(request, &problem);
		return false;
	}
	return true;
}

/* How the keys of a list begin (allocated), or NULL. */
static char *list_prefix(const struct policy_path *path)
{
	_cleanup_(freep) char *prefix = NULL;
	int r;

	if (path->group)
		r = asprintf(&prefix, "/subscriptions/%s/resourcegroups/%s/", path->subscription,
			path->group);
	else
		r = asprintf(&prefix, "/subscriptions/%s/", path->subscription);
	if (r < 0) {
		prefix = NULL;
		return NULL;
	}
	return name_lower(prefix);
}

static size_t policy_weight(const struct policy *policy)
{
	size_t weight = 10;

	for (size_t i = 0; i < policy->n_vms; i++)
		weight += policy->vms[i].n_ports;
	return weight;
}

static void list(struct http_request *request, const struct jit *jit,
	const struct policy_path *path, const char *prefix, size_t n_top)
{
	static const char *const parameters[] = { "api-version", "$top", NULL };
	const struct principal *principal = api_principal(request);
	const char *token = api_skip_token(request), *last = NULL;
	json_t *value = json_array();
	size_t weight = 0, i = table_lower_bound(&jit->policies, prefix);

	if (token && strcmp(token, prefix) > 0) {
		i = table_lower_bound(&jit->policies, token);
		if (i < jit->policies.n &&
			strcmp(((struct policy *)jit->policies.items[i])->key, token) == 0)
			i++;
	}
	for (; i < jit->policies.n; i++) {
		const struct policy *policy = jit->policies.items[i];

		if (strncmp(policy->key, prefix, strlen(prefix)) != 0)
			break;
		if ((path->location && strcasecmp(policy->location, path->location) != 0) ||
			!policy_may_be_read(policy, principal))
			continue;
		if (json_array_size(value) == n_top || weight >= PAGE_WEIGHT_MAX) {
			http_respond_json(request, 200,
				api_page(request, jit->options.url, value, last, parameters));
			return;
		}
		json_array_append_new(value, policy_show(jit, policy, principal));
		weight += policy_weight(policy);
		last = policy->key;
	}
	http_respond_json(
		request, 200, api_page(request, jit->options.url, value, NULL, parameters));
}

static void handle_list(struct http_request *request, void *userdata)
{
	_cleanup_(freep) char *prefix = NULL;
	struct policy_path path;
	size_t n_top;

	if (!check_call(request, &path) || !api_top(request, TOP, TOP_MAX, &n_top))
		return;
	prefix = list_prefix(&path);
	if (!prefix)
		return api_respond_error(request, -ENOMEM);
	list(request, userdata, &path, prefix, n_top);
}

/* An operation on the policy of the path; NULL where it has answered. */
static struct operation *begin(struct http_request *request, struct jit *jit, const char *name)
{
	struct operation *operation;
	struct policy_path path;
	_cleanup_(freep) char *id = NULL;

	if (!check_call(request, &path))
		return NULL;
	operation = operation_new(jit, request, name);
	if (!operation)
		return NULL;
	operation->path = path;
	id = policy_path_id(&path);
	operation->policy_key = id ? name_lower(id) : NULL;
	operation->policy_id = TAKE_PTR(id);
	operation->entry.resource = operation->policy_id;
	if (!operation->policy_key) {
		operation_fail(operation, -ENOMEM);
		return NULL;
	}
	return operation;
}

static void handle_get(struct http_request *request, void *userdata)
{
	struct operation *operation = begin(request, userdata, OPERATION_POLICY_READ);
	const struct principal *principal = api_principal(request);
	const struct policy *policy;

	if (!operation)
		return;
	policy = table_find(&operation->jit->policies, operation->policy_key);
	if (policy ? !policy_may_be_read(policy, principal)
		   : !principal_may_read(principal, operation->policy_id))
		return operation_fail(operation,
			operation_deny(operation, ROLE_READER, operation->policy_id, NULL));
	if (!policy)
		return operation_fail(operation,
			problem_set(&operation->problem, 404, "ResourceNotFound",
				"there is no policy %s", operation->policy_id));
	http_respond_json(request, 200, policy_show(operation->jit, policy, principal));
	operation_free(operation);
}

static void handle_put(struct http_request *request, void *userdata)
{
	struct operation *operation;
	json_t *body;
	int r;

	operation = begin(request, userdata, OPERATION_POLICY_WRITE);
	if (!operation)
		return;
	/* Who may write nothing here is told so before what they sent is looked at. */
	if (!principal_has(operation->principal, ROLE_ADMINISTRATOR, operation->policy_id))
		return operation_fail(operation,
			operation_deny(operation, ROLE_ADMINISTRATOR, operation->policy_id, NULL));
	body = http_request_json(request);
	if (!body)
		return operation_free(operation);
	r = policy_from_body(&operation->path, body, &operation->policy, &operation->problem);
	if (r != 0)
		return operation_fail(operation, r);
	policy_write(operation);
}

static void handle_delete(struct http_request *request, void *userdata)
{
	struct operation *operation = begin(request, userdata, OPERATION_POLICY_DELETE);

	if (operation)
		policy_delete(operation);
}

static void handle_initiate(struct http_request *request, void *userdata)
{
	struct operation *operation;
	json_t *body;
	int r;

	operation = begin(request, userdata, OPERATION_INITIATE);
	if (!operation)
		return;
	body = http_request_json(request);
	if (!body)
		return operation_free(operation);
	operation->form = REQUEST_AZURE;
	r = ask_from_initiate(body, &operation->ask, &operation->problem);
	if (r != 0)
		return operation_fail(operation, r);
	request_create(operation);
}

static void handle_revoke(struct http_request *request, void *userdata)
{
	struct operation *operation;
	const char *id = NULL;
	json_t *body;
	int r;

	operation = begin(request, userdata, OPERATION_REVOKE);
	if (!operation)
		return;
	body = http_request_json(request);
	if (!body)
		return operation_free(operation);
	r = json_get_string(
		body, "", "requestId", sizeof(operation->id) - 1, &id, &operation->problem);
	if (r == 0)
		r = operation_read_reason(operation, body, true);
	if (r != 0)
		return operation_fail(operation, r);
	strcpy(operation->id, id);
	operation->form = REQUEST_AZURE;
	request_decide_revoke(operation);
}

const struct http_route azure_routes[] = {
	{ "GET", SUBSCRIPTION PROVIDER POLICIES, "policies_list", 0, handle_list, NEEDS_PRINCIPAL },
	{ "GET", SUBSCRIPTION PROVIDER LOCATION POLICIES, "policies_list", 0, handle_list,
		NEEDS_PRINCIPAL },
	{ "GET", GROUP PROVIDER POLICIES, "policies_list", 0, handle_list, NEEDS_PRINCIPAL },
	{ "GET", GROUP PROVIDER LOCATION POLICIES, "policies_list", 0, handle_list,
		NEEDS_PRINCIPAL },
	{ "GET", POLICY, "policy_get", 0, handle_get, NEEDS_PRINCIPAL },
	{ "PUT", POLICY, "policy_put", POLICY_BODY_BYTES_MAX, handle_put, NEEDS_PRINCIPAL },
	{ "DELETE", POLICY, "policy_delete", 0, handle_delete, NEEDS_PRINCIPAL },
	{ "POST", POLICY "/initiate", "initiate", 0, handle_initiate, NEEDS_PRINCIPAL },
	{ "POST", POLICY "/revoke", "policy_revoke", 0, handle_revoke, NEEDS_PRINCIPAL },
	{ 0 },
};
