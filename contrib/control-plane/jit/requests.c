/* SPDX-License-Identifier: GPL-3.0-or-later */

/* /v1/requests: what Azure lacks. And the keys. */

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "agent/common/times.h"
#include "contrib/control-plane/identity/identity.h"
#include "contrib/control-plane/jit/api.h"
#include "contrib/control-plane/jit/holds.h"
#include "contrib/control-plane/jit/names.h"
#include "contrib/control-plane/jit/write.h"
#include "contrib/control-plane/server.h"

#define TOP 100
#define TOP_MAX 1000
#define PAGE_GRANTS_MAX 5000
#define WAIT_SECONDS_MAX 60
#define CANDIDATES_MAX 5 /* VMs of one name that an error lists */

static bool may_read_request(const struct request *request, const struct principal *principal)
{
	for (size_t i = 0; i < request->n_vms; i++)
		if (principal_may_read(principal, request->vms[i].id))
			return true;
	return false;
}

/* By id or by name. */
static bool has_vm(const struct request *request, const char *wanted)
{
	for (size_t i = 0; i < request->n_vms; i++) {
		const char *id = request->vms[i].id;

		if (strcasecmp(*wanted == '/' ? id : resource_name(id), wanted) == 0)
			return true;
	}
	return false;
}

struct filter {
	const char *vm;
	bool all;
	int64_t now;
};

/* False where it has answered. */
static bool filter_read(struct http_request *call, struct filter *ret)
{
	const char *state = http_request_query(call, "state");

	*ret = (struct filter){
		.vm = http_request_query(call, "vm"),
		.all = state && strcmp(state, "all") == 0,
		.now = (int64_t)(clock_realtime_usec() / USEC_PER_SEC),
	};
	if (!state || ret->all || strcmp(state, "active") == 0)
		return true;
	http_respond_error(
		call, 400, "InvalidRequestContent", "state is not \"active\" or \"all\"");
	return false;
}

static bool filter_wants(const struct filter *filter, const struct request *request)
{
	return (!filter->vm || has_vm(request, filter->vm)) &&
		(filter->all || request_is_active(request, filter->now));
}

static size_t count_grants(const struct request *request)
{
	size_t n = 0;

	for (size_t i = 0; i < request->n_vms; i++)
		n += request->vms[i].n_ports;
	return n;
}

/* Of everyone, or of whom the query names: "me" is the caller. NULL: there are none. */
static const struct table *find_requests(const struct jit *jit, const struct http_request *call)
{
	const char *requestor = http_request_query(call, "requestor");
	_cleanup_(principal_freep) struct principal *principal = NULL;

	if (!requestor)
		return &jit->requests;
	if (strcmp(requestor, "me") == 0)
		return jit_find_requests_of(jit, api_principal(call)->name);
	principal = principal_new(requestor);
	return principal ? jit_find_requests_of(jit, principal->name) : NULL;
}

static void handle_list(struct http_request *call, void *userdata)
{
	static const char *const parameters[] = { "vm", "requestor", "state", "top", NULL };
	const struct principal *principal = api_principal(call);
	const char *token = api_skip_token(call), *last = NULL;
	const struct jit *jit = userdata;
	const struct table *requests = find_requests(jit, call);
	size_t n_top, n_grants = 0, i = requests ? requests->n : 0;
	struct filter filter;
	json_t *value;

	if (!api_top(call, TOP, TOP_MAX, &n_top) || !filter_read(call, &filter))
		return;
	value = json_array();
	if (token && requests)
		i = table_lower_bound(requests, token);
	for (; i > 0; i--) {
		const struct request *request = requests->items[i - 1];

		if (!filter_wants(&filter, request) || !may_read_request(request, principal))
			continue;
		if (json_array_size(value) == n_top || n_grants >= PAGE_GRANTS_MAX) {
			http_respond_json(call, 200,
				api_page(call, jit->options.url, value, last, parameters));
			return;
		}
		json_array_append_new(value,
			request_to_json(
				request, REQUEST_FULL, filter.now, api_may_read, principal));
		n_grants += count_grants(request);
		last = request->key;
	}
	http_respond_json(call, 200, api_page(call, jit->options.url, value, NULL, parameters));
}

/* An operation on the request of the path; NULL where it has answered. */
static struct operation *begin(struct http_request *call, struct jit *jit, const char *name)
{
	const char *id = http_request_parameter(call, "id");
	struct operation *operation;

	if (!request_id_is_valid(id)) {
		http_respond_error(
			call, 404, "ResourceNotFound", "\"%.64s\" is no request's id", id);
		return NULL;
	}
	operation = operation_new(jit, call, name);
	if (!operation)
		return NULL;
	strcpy(operation->id, id);
	operation->form = REQUEST_FULL;
	operation->entry.request = operation->id;
	return operation;
}

static void handle_get(struct http_request *call, void *userdata)
{
	struct operation *operation;
	int64_t after = 0, wait = 0;
	struct request *request;
	struct jit *jit = userdata;

	if (!api_number(call, "after", INT64_MAX, &after) ||
		!api_number(call, "wait", WAIT_SECONDS_MAX, &wait))
		return;
	operation = begin(call, jit, OPERATION_REQUEST_READ);
	if (!operation)
		return;
	request = table_find(&jit->requests, operation->id);
	if (!request)
		return operation_fail(operation,
			problem_set(&operation->problem, 404, "ResourceNotFound",
				"there is no request %s", operation->id));
	if (!may_read_request(request, operation->principal))
		return operation_fail(operation,
			operation_deny(operation, ROLE_READER, request->policy,
				request_first_vm(request)));
	if (wait > 0 && request_revision(request) <= after)
		holds_add(jit, request, call, after, wait);
	else
		http_respond_json(call, 200,
			request_to_json(request, REQUEST_FULL, operation_now(operation),
				api_may_read, operation->principal));
	operation_free(operation);
}

/* VMs that policies name and that are so called. */
struct candidates {
	const struct jit_vm *vms[CANDIDATES_MAX];
	size_t n; /* that the principal may request */
	const struct jit_vm *other; /* one that they may only read */
};

static struct candidates find_candidates(
	const struct jit *jit, const struct principal *principal, const char *name)
{
	struct candidates found = { 0 };

	for (size_t i = 0; i < jit->vms.n; i++) {
		const struct jit_vm *vm = jit->vms.items[i];

		if (vm->policies.n == 0 || strcasecmp(resource_name(vm->id), name) != 0)
			continue;
		if (principal_has(principal, ROLE_REQUESTER, vm->id)) {
			if (found.n < CANDIDATES_MAX)
				found.vms[found.n] = vm;
			found.n++;
		} else if (principal_may_read(principal, vm->id)) {
			found.other = vm;
		}
	}
	return found;
}

static int tell_ambiguous(struct operation *operation, const struct candidates *found)
{
	char ids[CANDIDATES_MAX * 256];
	size_t n = 0;

	for (size_t i = 0; i < found->n && i < CANDIDATES_MAX && n < sizeof(ids); i++)
		n += (size_t)snprintf(
			ids + n, sizeof(ids) - n, "%s%s", i > 0 ? ", " : "", found->vms[i]->id);
	return problem_content(&operation->problem,
		"%zu virtual machines are called %s: name one by its id: %s", found->n,
		operation->ask->vms[0].id, ids);
}

/* A name becomes an id where only one VM that the caller may request has it. */
static int resolve_vm(struct operation *operation)
{
	struct ask_vm *asked = &operation->ask->vms[0];
	struct candidates found;
	const char *reason;

	if (asked->id[0] == '/') {
		reason = vm_id_check(asked->id);
		return reason
			? problem_content(&operation->problem, "vm \"%s\" %s", asked->id, reason)
			: 0;
	}
	found = find_candidates(operation->jit, operation->principal, asked->id);
	if (found.n == 1)
		return ask_vm_set_id(asked, found.vms[0]->id);
	if (found.n > 1)
		return tell_ambiguous(operation, &found);
	if (found.other)
		return operation_deny(operation, ROLE_REQUESTER, NULL, found.other->id);
	return problem_set(&operation->problem, 404, "ResourceNotFound",
		"no virtual machine that you may request is called %s", asked->id);
}

static void handle_create(struct http_request *call, void *userdata)
{
	json_t *body = http_request_json(call);
	struct operation *operation;
	int r;

	if (!body)
		return;
	operation = operation_new(userdata, call, OPERATION_INITIATE);
	if (!operation)
		return;
	operation->form = REQUEST_FULL;
	r = ask_from_body(body, &operation->ask, &operation->problem);
	if (r == 0)
		r = resolve_vm(operation);
	if (r != 0)
		return operation_fail(operation, r);
	request_create(operation);
}

static void decide(struct http_request *call, void *userdata, const char *name, bool with_sessions,
	void (*act)(struct operation *operation))
{
	json_t *body = http_request_json(call);
	struct operation *operation;
	int r;

	if (!body)
		return;
	operation = begin(call, userdata, name);
	if (!operation)
		return;
	r = operation_read_reason(operation, body, with_sessions);
	if (r != 0)
		return operation_fail(operation, r);
	act(operation);
}

static void handle_approve(struct http_request *call, void *userdata)
{
	decide(call, userdata, OPERATION_APPROVE, false, request_decide_approve);
}

static void handle_deny(struct http_request *call, void *userdata)
{
	decide(call, userdata, OPERATION_DENY, false, request_decide_deny);
}

static void handle_revoke(struct http_request *call, void *userdata)
{
	decide(call, userdata, OPERATION_REVOKE, true, request_decide_revoke);
}

static void handle_keys(struct http_request *call, void *userdata)
{
	const struct jit *jit = userdata;

	http_respond_json(call, 200, json_deep_copy(jit->options.signer->published));
}

const struct http_route request_routes[] = {
	{ "GET", "/v1/requests", "requests_list", 0, handle_list, NEEDS_PRINCIPAL },
	{ "POST", "/v1/requests", "request_create", 0, handle_create, NEEDS_PRINCIPAL },
	{ "GET", "/v1/requests/{id}", "request_get", 0, handle_get, NEEDS_PRINCIPAL },
	{ "POST", "/v1/requests/{id}/approve", "request_approve", 0, handle_approve,
		NEEDS_PRINCIPAL },
	{ "POST", "/v1/requests/{id}/deny", "request_deny", 0, handle_deny, NEEDS_PRINCIPAL },
	{ "POST", "/v1/requests/{id}/revoke", "request_revoke", 0, handle_revoke, NEEDS_PRINCIPAL },
	{ "GET", "/.well-known/jwks.json", "keys", 0, handle_keys, NEEDS_NOTHING },
	{ 0 },
};
