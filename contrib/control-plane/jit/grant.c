/* SPDX-License-Identifier: GPL-3.0-or-later */

/* A request is made: evaluated, granted or left to an approver, and signed. */

#include <errno.h>
#include <string.h>

#include "contrib/control-plane/jit/api.h"
#include "contrib/control-plane/jit/names.h"
#include "contrib/control-plane/jit/write.h"

#define DROPPED_MAX 16 /* older requests for a new one */

static int check_rights(struct operation *operation, const char *resource)
{
	for (size_t i = 0; i < operation->ask->n_vms; i++) {
		const char *vm = operation->ask->vms[i].id;

		if (!principal_has(operation->principal, ROLE_REQUESTER, vm))
			return operation_deny(operation, ROLE_REQUESTER, resource, vm);
	}
	return 0;
}

static int evaluate_named(struct operation *operation, struct request **ret)
{
	const struct policy *policy = table_find(&operation->jit->policies, operation->policy_key);
	const struct evaluation evaluation = operation_evaluation(operation);

	/* Whether there is one that they may not read is not theirs to find out. */
	if (!policy || !policy_may_be_read(policy, operation->principal))
		return problem_set(&operation->problem, 404, "ResourceNotFound",
			"there is no policy %s", operation->policy_id);
	return ask_evaluate(operation->ask, policy, &evaluation, ret, &operation->problem);
}

/* The first of the VM's policies that allows it; where none does, what the one said that came
 * closest: a policy that does not have the port has least to say. */
static int evaluate_any(struct operation *operation, struct request **ret)
{
	const struct ask_vm *vm = &operation->ask->vms[0];
	const struct evaluation evaluation = operation_evaluation(operation);
	struct policy_list list = jit_find_policies(vm->key, operation->jit);
	struct problem problem;
	int r;

	problem_set(&operation->problem, 400, "VirtualMachineNotInPolicy",
		"no policy names virtual machine %s", vm->id);
	for (size_t i = 0; i < list.n_policies; i++) {
		r = ask_evaluate(operation->ask, list.policies[i], &evaluation, ret, &problem);
		if (r <= 0)
			return r;
		if (i == 0 || strcmp(operation->problem.code, "PortNotInPolicy") == 0)
			operation->problem = problem;
	}
	return PROBLEM;
}

static int drop(struct change *change, const struct request *request)
{
	char grant[GRANT_ID_BYTES_MAX];
	int r = change_compare(change, request->mod_revision, "requests/%s", request->key);

	if (r == 0)
		r = change_delete(change, "requests/%s", request->key);
	for (size_t i = 0; i < request->n_vms; i++)
		for (size_t k = 0; k < request->vms[i].n_ports && r == 0; k++) {
			if (request->vms[i].ports[k].progress.mod_revision == 0)
				continue;
			grant_id_format(request->key, i, k, grant);
			r = change_delete(change, "progress/%s", grant);
		}
	return r;
}

/* The oldest that has ended makes room for one more: one's own where one has that many, so that
 * nobody's requests are in the way of another's for long. */
static int make_room(struct operation *operation, struct change *change)
{
	const struct jit *jit = operation->jit;
	const struct table *own = jit_find_requests_of(jit, operation->principal->name);
	bool is_own = own && own->n >= JIT_REQUESTS_PER_PERSON_MAX;
	const struct table *full = is_own ? own : &jit->requests;
	const size_t n_max = is_own ? JIT_REQUESTS_PER_PERSON_MAX : JIT_REQUESTS_MAX;
	size_t n_dropped = 0;
	int r = 0;

	if (full->n < n_max)
		return 0;
	/* Several that are made at once may have passed the bound. */
	for (size_t i = 0;
		r == 0 && i < full->n && n_dropped < DROPPED_MAX && n_dropped <= full->n - n_max;
		i++)
		if (!request_is_active(full->items[i], operation_now(operation))) {
			r = drop(change, full->items[i]);
			n_dropped++;
		}
	if (r < 0 || n_dropped > 0)
		return r;
	return problem_set(&operation->problem, 429, "TooManyRequests",
		"%zu requests%s%s are active, which is the most", full->n, is_own ? " of " : "",
		is_own ? operation->principal->name : "");
}

/* What a refusal's entry in the log names, as far as it was understood. */
static void note_ask(struct operation *operation)
{
	const struct ask_vm *vm = &operation->ask->vms[0];

	operation->entry.vm = vm->id;
	operation->entry.port = vm->ports[0].number;
	operation->entry.reason = operation->ask->justification;
}

static int build(struct change *change, void *userdata)
{
	struct operation *operation = userdata;
	_cleanup_(request_freep) struct request *request = NULL;
	int r;

	note_ask(operation);
	r = check_rights(operation, operation->entry.resource);
	if (r != 0)
		return r;
	r = operation->policy_key ? evaluate_named(operation, &request)
				  : evaluate_any(operation, &request);
	if (r == 0)
		r = make_room(operation, change);
	if (r == 0)
		r = operation_guard_request(operation, change, request);
	if (r == 0)
		r = operation_replace_older(operation, change, request);
	if (r == 0)
		r = operation_put_request(operation, change, request);
	if (r == 0)
		r = operation_put_documents(operation, change, request, NULL);
	if (r == 0)
		r = operation_add_entries(
			operation, change, request, NULL, request->justification, "granted");
	return r;
}

static void succeed(struct operation *operation)
{
	const struct request *request = table_find(&operation->jit->requests, operation->id);

	if (!request)
		return api_respond_error(operation->call, -EIO);
	http_respond_json(operation->call, operation->form == REQUEST_AZURE ? 202 : 201,
		request_to_json(request, operation->form, operation_now(operation), NULL, NULL));
}

void request_create(struct operation *operation)
{
	request_id_new((uint64_t)operation->now_usec, operation->id);
	operation->build = build;
	operation->succeed = succeed;
	operation_begin(operation);
}
