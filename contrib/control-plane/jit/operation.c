/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>

#include "agent/common/times.h"
#include "contrib/control-plane/jit/api.h"
#include "contrib/control-plane/jit/claims.h"
#include "contrib/control-plane/jit/names.h"
#include "contrib/control-plane/jit/operation.h"

struct operation *operation_new(struct jit *jit, struct http_request *call, const char *name)
{
	struct operation *operation = calloc(1, sizeof(*operation));

	if (!operation) {
		api_respond_error(call, -ENOMEM);
		return NULL;
	}
	operation->jit = jit;
	operation->call = call;
	operation->principal = api_principal(call);
	operation->now_usec = (int64_t)clock_realtime_usec();
	operation->entry.operation = name;
	operation->entry.principal = operation->principal->name;
	return operation;
}

void operation_free(struct operation *operation)
{
	policy_free(operation->policy);
	ask_free(operation->ask);
	free(operation->policy_id);
	free(operation->policy_key);
	free(operation);
}

/* Decisions are logged: what a role or a policy does not let pass. What makes no sense is not one.
 */
static bool is_decision(const struct problem *problem)
{
	static const char *const codes[] = { "PortNotInPolicy", "SourceNotAllowed",
		"DurationTooLong", "EndTimeInThePast", "VirtualMachineNotInPolicy", "Conflict" };

	for (size_t i = 0; i < N_ELEMENTS(codes); i++)
		if (strcmp(problem->code, codes[i]) == 0)
			return true;
	return problem->status == 403;
}

void operation_fail(struct operation *operation, int r)
{
	struct problem *problem = &operation->problem;

	if (r < 0) {
		api_respond_error(operation->call, r);
	} else if (is_decision(problem)) {
		operation->entry.result = problem->status == 403 ? "Denied" : "Refused";
		operation->entry.code = problem->code;
		operation->entry.message = problem->message;
		activity_answer(operation->jit->options.activity, operation->call, problem->status,
			problem->code, &operation->entry);
	} else {
		api_respond_problem(operation->call, problem);
	}
	operation_free(operation);
}

int operation_read_reason(struct operation *operation, const json_t *body, bool with_sessions)
{
	const char *sessions = NULL;
	int r;

	r = api_body_string(
		body, "reason", REQUEST_TEXT_BYTES_MAX, &operation->reason, &operation->problem);
	if (r == 0 && with_sessions)
		r = api_body_string(body, "sessions", 8, &sessions, &operation->problem);
	if (r != 0)
		return r;
	operation->kills = sessions && strcmp(sessions, "kill") == 0;
	if (sessions && !operation->kills && strcmp(sessions, "keep") != 0)
		return problem_content(&operation->problem, "sessions is not \"keep\" or \"kill\"");
	return 0;
}

static int operation_build(struct change *change, void *userdata)
{
	struct operation *operation = userdata;

	return operation->build(change, operation);
}

static void operation_done(int error, int64_t revision, void *userdata)
{
	struct operation *operation = userdata;

	(void)revision;
	if (error != 0)
		return operation_fail(operation, error);
	operation->succeed(operation);
	operation_free(operation);
}

void operation_begin(struct operation *operation)
{
	change_begin(operation->jit->options.store, operation->jit->options.leases, operation_build,
		operation_done, operation);
}

int operation_deny(
	struct operation *operation, enum role role, const char *resource, const char *vm)
{
	operation->entry.resource = resource;
	operation->entry.vm = vm;
	return problem_set(&operation->problem, 403, "AuthorizationFailed",
		"%s has no role %s for %s", operation->principal->name, role_name(role),
		vm ? vm : resource);
}

struct evaluation operation_evaluation(const struct operation *operation)
{
	struct evaluation evaluation = {
		.id = operation->id,
		.requestor = operation->principal->name,
		.now_usec = operation->now_usec,
		.find_policies = jit_find_policies,
		.userdata = operation->jit,
	};

	http_request_source(operation->call, &evaluation.family, &evaluation.address);
	return evaluation;
}

int operation_guard(struct operation *operation, struct change *change, const char *vm_key,
	const char *vm_id, int64_t policy_version)
{
	const struct jit_vm *vm = jit_find_vm(operation->jit, vm_key);
	int r;

	if (vm && policy_version < vm->policy_version)
		policy_version = vm->policy_version;
	r = change_compare(change, vm ? vm->mod_revision : 0, "vms/%s", vm_key);
	if (r < 0)
		return r;
	return change_put(change,
		json_pack("{s:s, s:I}", "id", vm ? vm->id : vm_id, "policyVersion",
			(json_int_t)policy_version),
		0, "vms/%s", vm_key);
}

int operation_guard_request(
	struct operation *operation, struct change *change, const struct request *request)
{
	int r = 0;

	for (size_t i = 0; i < request->n_vms && r == 0; i++)
		r = operation_guard(operation, change, request->vms[i].key, request->vms[i].id, 0);
	return r;
}

int operation_put_request(
	struct operation *operation, struct change *change, const struct request *request)
{
	int r = change_compare(change, request->mod_revision, "requests/%s", request->key);

	(void)operation;
	if (r < 0)
		return r;
	return change_put(change, request_to_json(request, REQUEST_STORED, 0, NULL, NULL),
		request_ends(request) + JIT_REQUEST_KEPT_SECONDS, "requests/%s", request->key);
}

int operation_put_document(struct operation *operation, struct change *change,
	enum document_kind kind, const char *vm_key, const char *jti, json_t *claims, int64_t until)
{
	_cleanup_(freep) char *document = NULL;
	int r = signer_sign(operation->jit->options.signer, kind, claims, &document);

	return r < 0 ? r : change_put_text(change, document, until, "documents/%s|%s", vm_key, jti);
}

/*
 * One revocation for all grants of the request that end at a VM. The grants themselves are handed
 * out no more: an agent that has not seen them yet would open the port for a moment, and whoever
 * connects in it stays.
 */
static int put_revocation(struct operation *operation, struct change *change,
	const struct request *request, size_t i_vm, const char *reason)
{
	const struct request_vm *vm = &request->vms[i_vm];
	char grant[GRANT_ID_BYTES_MAX], jti[DOCUMENT_JTI_BYTES_MAX];
	json_t *jtis = json_array();
	json_t *claims;
	int64_t until = 0;
	int r = 0;

	for (size_t k = 0; k < vm->n_ports && r == 0; k++) {
		if (!vm->ports[k].shuts)
			continue;
		grant_id_format(request->key, i_vm, k, grant);
		json_array_append_new(jtis, json_string(grant));
		r = change_delete(change, "documents/%s|%s", vm->key, grant);
		if (vm->ports[k].end > until)
			until = vm->ports[k].end;
	}
	if (r < 0 || json_array_size(jtis) == 0) {
		json_decref(jtis);
		return r;
	}
	claims = claims_revocation(request, i_vm, jtis, operation->jit->options.url,
		operation_now(operation), operation->kills, reason, jti);
	return operation_put_document(operation, change, DOCUMENT_REVOCATION, vm->key, jti, claims,
		until + JIT_DOCUMENT_KEPT_SECONDS);
}

int operation_put_documents(struct operation *operation, struct change *change,
	const struct request *request, const char *reason)
{
	char jti[GRANT_ID_BYTES_MAX];
	int r = 0;

	for (size_t i = 0; i < request->n_vms && r == 0; i++) {
		const struct request_vm *vm = &request->vms[i];

		for (size_t k = 0; k < vm->n_ports && r == 0; k++) {
			if (!vm->ports[k].opens)
				continue;
			grant_id_format(request->key, i, k, jti);
			r = operation_put_document(operation, change, DOCUMENT_GRANT, vm->key, jti,
				claims_grant(request, i, k, operation->jit->options.url,
					operation_now(operation)),
				vm->ports[k].end + JIT_DOCUMENT_KEPT_SECONDS);
		}
		if (r == 0)
			r = put_revocation(operation, change, request, i, reason);
	}
	return r;
}

int operation_add_entries(struct operation *operation, struct change *change,
	const struct request *request, bool (*wanted)(const struct access *access),
	const char *reason, const char *message)
{
	int r = 0;

	for (size_t i = 0; i < request->n_vms; i++)
		for (size_t k = 0; k < request->vms[i].n_ports && r == 0; k++) {
			const struct access *access = &request->vms[i].ports[k];
			char source[PREFIX_STRING_MAX];

			if (wanted && !wanted(access))
				continue;
			r = activity_add(operation->jit->options.activity, change,
				operation->now_usec,
				&(struct activity_entry){
					.operation = operation->entry.operation,
					.principal = operation->principal->name,
					.vm = request->vms[i].id,
					.resource = request->policy,
					.request = request->key,
					.port = access->number,
					.protocol = protocol_format(access->protocols),
					.source = prefix_format(&access->source, source),
					.reason = reason,
					.result = "Succeeded",
					.message = access->status == ACCESS_PENDING
						? "waits for approval"
						: message,
				});
		}
	return r;
}
