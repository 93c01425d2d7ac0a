/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What becomes of a request: approved, denied, revoked. */

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "contrib/control-plane/jit/api.h"
#include "contrib/control-plane/jit/write.h"

/* A copy of the request for the change. */
static int get_copy(struct operation *operation, struct request **ret)
{
	struct request *request = table_find(&operation->jit->requests, operation->id);
	bool may_read = false;

	for (size_t i = 0; request && i < request->n_vms; i++)
		may_read |= principal_may_read(operation->principal, request->vms[i].id);
	operation->entry.request = operation->id;
	if (!request)
		return problem_set(&operation->problem, 404, "ResourceNotFound",
			"there is no request %s", operation->id);
	if (may_read || strcmp(request->requestor, operation->principal->name) == 0)
		return request_copy(request, ret);
	/* Those whose VM it is see who tried. */
	operation->entry.vm = request_first_vm(request);
	return problem_set(&operation->problem, 403, "AuthorizationFailed",
		"%s may not read request %s", operation->principal->name, operation->id);
}

static int deny(
	struct operation *operation, const struct request *request, enum role role, const char *vm)
{
	/* The entry outlives this copy of the request. */
	const struct jit_vm *kept = NULL;

	for (size_t i = 0; i < request->n_vms; i++)
		if (request->vms[i].id == vm)
			kept = jit_find_vm(operation->jit, request->vms[i].key);
	return operation_deny(operation, role, NULL, kept ? kept->id : NULL);
}

static int conflict(struct operation *operation, const char *what)
{
	return problem_set(
		&operation->problem, 409, "Conflict", "request %s %s", operation->id, what);
}

static bool opens(const struct access *access)
{
	return access->opens;
}

static int put(struct operation *operation, struct change *change, const struct request *request,
	bool (*wanted)(const struct access *access), const char *message)
{
	int r = operation_guard_request(operation, change, request);

	if (r == 0)
		r = operation_put_request(operation, change, request);
	if (r == 0)
		r = operation_put_documents(operation, change, request, operation->reason);
	if (r == 0)
		r = operation_add_entries(
			operation, change, request, wanted, operation->reason, message);
	return r;
}

/* Rights of who decides on what waits. */
static int check_approver(struct operation *operation, const struct request *request)
{
	for (size_t i = 0; i < request->n_vms; i++)
		if (!principal_has(operation->principal, ROLE_APPROVER, request->vms[i].id))
			return deny(operation, request, ROLE_APPROVER, request->vms[i].id);
	return 0;
}

static bool is_pending(const struct operation *operation, const struct request *request)
{
	for (size_t i = 0; i < request->n_vms; i++)
		for (size_t k = 0; k < request->vms[i].n_ports; k++)
			if (access_status_at(request, &request->vms[i].ports[k],
				    operation_now(operation)) == ACCESS_PENDING)
				return true;
	return false;
}

static int approve(struct operation *operation, struct request *request)
{
	const struct policy *policy = table_find(&operation->jit->policies, request->policy_key);
	const struct evaluation evaluation = operation_evaluation(operation);
	struct problem problem = { 0 };
	int r;

	if (!is_pending(operation, request))
		return conflict(operation, "has nothing that waits for approval");
	if (!policy)
		return conflict(operation, "is of a policy that has been deleted");
	r = request_approve(request, policy, &evaluation, &problem);
	if (r != PROBLEM)
		return r;
	return problem_set(&operation->problem, 409, "Conflict",
		"policy no longer allows request %s: %s", operation->id, problem.message);
}

static int build_approve(struct change *change, void *userdata)
{
	struct operation *operation = userdata;
	_cleanup_(request_freep) struct request *request = NULL;
	int r;

	r = get_copy(operation, &request);
	if (r == 0)
		r = check_approver(operation, request);
	if (r != 0)
		return r;
	if (strcasecmp(request->requestor, operation->principal->name) == 0)
		return problem_set(&operation->problem, 403, "SelfApprovalForbidden",
			"request %s is %s's own: someone else must approve it", operation->id,
			operation->principal->name);
	r = approve(operation, request);
	if (r == 0)
		r = decision_set(&request->approval, operation->principal->name,
			operation->now_usec, operation->reason);
	if (r == 0)
		r = operation_replace_older(operation, change, request);
	return r == 0 ? put(operation, change, request, opens, "approved") : r;
}

static int build_deny(struct change *change, void *userdata)
{
	struct operation *operation = userdata;
	_cleanup_(request_freep) struct request *request = NULL;
	int r;

	r = get_copy(operation, &request);
	if (r == 0)
		r = check_approver(operation, request);
	if (r == 0 && !is_pending(operation, request))
		r = conflict(operation, "has nothing that waits for approval");
	if (r == 0)
		r = decision_set(&request->approval, operation->principal->name,
			operation->now_usec, operation->reason);
	for (size_t i = 0; r == 0 && i < request->n_vms; i++)
		for (size_t k = 0; k < request->vms[i].n_ports; k++) {
			struct access *access = &request->vms[i].ports[k];

			if (access_status_at(request, access, operation_now(operation)) ==
				ACCESS_PENDING)
				access_end(access, ACCESS_DENIED);
		}
	return r == 0 ? put(operation, change, request, access_ends, "denied") : r;
}

/* To shut what one opened oneself takes no role that may have been lost since. */
static bool may_revoke(
	const struct operation *operation, const struct request *request, const char *vm)
{
	const struct principal *principal = operation->principal;

	return strcmp(request->requestor, principal->name) == 0 ||
		principal_has(principal, ROLE_APPROVER, vm) ||
		principal_has(principal, ROLE_ADMINISTRATOR, vm);
}

/* At the VMs that are the caller's to shut: what else the request is for keeps nobody from that. */
static int mark_revoked(struct operation *operation, struct request *request)
{
	int64_t now = operation_now(operation);
	const char *denied = NULL;
	bool may = false, did = false;

	for (size_t i = 0; i < request->n_vms; i++) {
		const struct request_vm *vm = &request->vms[i];

		if (!may_revoke(operation, request, vm->id)) {
			denied = denied ? denied : vm->id;
			continue;
		}
		may = true;
		for (size_t k = 0; k < vm->n_ports; k++)
			if (access_status_at(request, &vm->ports[k], now) <= ACCESS_PENDING) {
				access_end(&vm->ports[k], ACCESS_REVOKED);
				did = true;
			}
	}
	if (!may)
		return deny(operation, request, ROLE_APPROVER, denied);
	if (!did)
		return conflict(operation, "has ended already");
	return decision_set(&request->revocation, operation->principal->name, operation->now_usec,
		operation->reason);
}

static int build_revoke(struct change *change, void *userdata)
{
	struct operation *operation = userdata;
	_cleanup_(request_freep) struct request *request = NULL;
	int r;

	r = get_copy(operation, &request);
	if (r != 0)
		return r;
	if (operation->policy_key && strcmp(operation->policy_key, request->policy_key) != 0)
		return problem_set(&operation->problem, 404, "ResourceNotFound",
			"request %s is of another policy", operation->id);
	r = mark_revoked(operation, request);
	return r == 0 ? put(operation, change, request, access_ends, "revoked") : r;
}

static void succeed(struct operation *operation)
{
	const struct request *request = table_find(&operation->jit->requests, operation->id);
	const struct principal *principal = operation->principal;

	if (!request)
		return api_respond_error(operation->call, -EIO);
	http_respond_json(operation->call, 200,
		request_to_json(request, operation->form, operation_now(operation),
			strcmp(request->requestor, principal->name) == 0 ? NULL : api_may_read,
			principal));
}

static void decide(struct operation *operation, change_build *build)
{
	operation->build = build;
	operation->succeed = succeed;
	operation_begin(operation);
}

void request_decide_approve(struct operation *operation)
{
	decide(operation, build_approve);
}

void request_decide_deny(struct operation *operation)
{
	decide(operation, build_deny);
}

void request_decide_revoke(struct operation *operation)
{
	decide(operation, build_revoke);
}
