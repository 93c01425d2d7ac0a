/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Policies: written and deleted, with the policy document of each VM whose rules change. */

#include <errno.h>
#include <string.h>

#include "agent/common/times.h"
#include "contrib/control-plane/jit/api.h"
#include "contrib/control-plane/jit/claims.h"
#include "contrib/control-plane/jit/write.h"

/* The rules of all policies for a VM, with `next` (NULL: nothing) in the place of the policy of
 * that key. */
static json_t *rules_of(const struct jit *jit, const char *vm_key, const char *policy_key,
	const struct policy *next)
{
	struct policy_list list = jit_find_policies(vm_key, (void *)(uintptr_t)jit);
	const struct policy_vm *vm = next ? policy_find_vm(next, vm_key) : NULL;
	json_t *rules = json_array();
	bool is_added = !vm;

	for (size_t i = 0; i <= list.n_policies; i++) {
		const struct policy *policy = i < list.n_policies ? list.policies[i] : NULL;
		int order = policy ? strcmp(policy->key, policy_key) : 1;

		/* In order of the policies' keys, as memory has them. */
		if (order >= 0 && !is_added) {
			policy_vm_add_claims(vm, rules);
			is_added = true;
		}
		if (policy && order != 0)
			policy_vm_add_claims(policy_find_vm(policy, vm_key), rules);
	}
	return rules;
}

static int put_policy_document(struct operation *operation, struct change *change,
	const char *vm_key, const char *vm_id, json_t *rules)
{
	const struct jit_vm *vm = jit_find_vm(operation->jit, vm_key);
	int64_t version = operation->now_usec / 1000;
	int r;

	if (json_array_size(rules) > DOCUMENT_PORTS_MAX) {
		r = problem_content(&operation->problem,
			"virtual machine \"%s\" would have %zu port rules in all policies "
			"together, more than %d",
			vm_id, json_array_size(rules), DOCUMENT_PORTS_MAX);
		json_decref(rules);
		return r;
	}
	if (vm && version <= vm->policy_version)
		version = vm->policy_version + 1;
	r = operation_guard(operation, change, vm_key, vm_id, version);
	if (r < 0) {
		json_decref(rules);
		return r;
	}
	r = operation_put_document(operation, change, DOCUMENT_POLICY, vm_key, "policy",
		claims_policy(vm_id, rules, operation->jit->options.url, operation_now(operation),
			version),
		0);
	return r != -E2BIG
		? r
		: problem_content(&operation->problem,
			  "virtual machine \"%s\" would have more prefixes in all policies "
			  "together than fit into the 16 KiB that an agent takes",
			  vm_id);
}

int policy_sign_anew(struct operation *operation, struct change *change, const struct jit_vm *vm)
{
	return put_policy_document(
		operation, change, vm->key, vm->id, rules_of(operation->jit, vm->key, "", NULL));
}

/* One VM of the old or the new policy. */
static int update_vm(struct operation *operation, struct change *change, const struct policy_vm *vm,
	const char *policy_key)
{
	json_t *before = rules_of(operation->jit, vm->key, policy_key,
		table_find(&operation->jit->policies, policy_key));
	json_t *after = rules_of(operation->jit, vm->key, policy_key, operation->policy);
	bool is_same = json_equal(before, after);

	json_decref(before);
	if (!is_same)
		return put_policy_document(operation, change, vm->key, vm->id, after);
	json_decref(after);
	/* The other policies' part of it must stay the same, too, until this is done. */
	return operation_guard(operation, change, vm->key, vm->id, 0);
}

static int check_rights(struct operation *operation, const struct policy *policy, const char *id)
{
	const struct principal *principal = operation->principal;

	if (!principal_has(principal, ROLE_ADMINISTRATOR, id))
		return operation_deny(operation, ROLE_ADMINISTRATOR, id, NULL);
	for (size_t i = 0; policy && i < policy->n_vms; i++)
		if (!principal_has(principal, ROLE_ADMINISTRATOR, policy->vms[i].id))
			return operation_deny(operation, ROLE_ADMINISTRATOR, id, policy->vms[i].id);
	return 0;
}

/* old may be NULL, so may operation->policy. */
static int build(struct operation *operation, struct change *change, const struct policy *old,
	const char *key)
{
	const struct policy *new = operation->policy;
	int r;

	r = change_compare(change, old ? old->mod_revision : 0, "policies/%s", key);
	if (r == 0 && new)
		r = change_put(change, policy_to_json(new, NULL, NULL), 0, "policies/%s", key);
	else if (r == 0)
		r = change_delete(change, "policies/%s", key);
	for (size_t i = 0; new &&i < new->n_vms &&r == 0; i++)
		r = update_vm(operation, change, &new->vms[i], key);
	for (size_t i = 0; old && i < old->n_vms && r == 0; i++)
		if (!new || !policy_find_vm(new, old->vms[i].key))
			r = update_vm(operation, change, &old->vms[i], key);
	return r;
}

static int build_write(struct change *change, void *userdata)
{
	struct operation *operation = userdata;
	const struct policy *new = operation->policy;
	const struct policy *old = table_find(&operation->jit->policies, new->key);
	char message[128];
	int r;

	r = check_rights(operation, new, new->id);
	if (r == 0)
		r = check_rights(operation, old, new->id);
	if (r == 0 && !old && operation->jit->policies.n >= JIT_POLICIES_MAX)
		r = problem_set(&operation->problem, 409, "Conflict",
			"there are %d policies already, which is the most that are kept",
			JIT_POLICIES_MAX);
	if (r == 0)
		r = build(operation, change, old, new->key);
	if (r != 0)
		return r;
	snprintf(message, sizeof(message), "%zu virtual machine%s", new->n_vms,
		new->n_vms == 1 ? "" : "s");
	return activity_add(operation->jit->options.activity, change, operation->now_usec,
		&(struct activity_entry){
			.operation = OPERATION_POLICY_WRITE,
			.principal = operation->principal->name,
			.resource = new->id,
			.result = "Succeeded",
			.message = message,
		});
}

static void succeed_write(struct operation *operation)
{
	const struct policy *policy = table_find(&operation->jit->policies, operation->policy->key);

	/* Someone may have deleted it since. */
	http_respond_json(operation->call, 200,
		policy_show(
			operation->jit, policy ? policy : operation->policy, operation->principal));
}

void policy_write(struct operation *operation)
{
	operation->build = build_write;
	operation->succeed = succeed_write;
	operation->entry.resource = operation->policy->id;
	operation_begin(operation);
}

static int build_delete(struct change *change, void *userdata)
{
	struct operation *operation = userdata;
	const char *id = operation->entry.resource;
	const struct policy *old = table_find(&operation->jit->policies, operation->policy_key);
	int r = check_rights(operation, old, id);

	operation->was_there = old != NULL;
	if (r != 0 || !old)
		return r;
	r = build(operation, change, old, operation->policy_key);
	if (r != 0)
		return r;
	return activity_add(operation->jit->options.activity, change, operation->now_usec,
		&(struct activity_entry){
			.operation = OPERATION_POLICY_DELETE,
			.principal = operation->principal->name,
			.resource = old->id,
			.result = "Succeeded",
			.message = "deleted",
		});
}

static void succeed_delete(struct operation *operation)
{
	http_respond_empty(operation->call, operation->was_there ? 200 : 204);
}

void policy_delete(struct operation *operation)
{
	operation->build = build_delete;
	operation->succeed = succeed_delete;
	operation_begin(operation);
}
