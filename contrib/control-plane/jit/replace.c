/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * A newer request for the same VM, port and source takes the place of the older one of the same
 * person: nobody ends what another was granted by asking for it. The older grant is revoked in the
 * same revision, behind the new one, so that the port stays open between.
 */

#include <errno.h>
#include <string.h>

#include "contrib/control-plane/jit/operation.h"

/* What is older waited a day and was granted for another, at most. */
#define ACTIVE_USEC_MAX \
	((REQUEST_PENDING_SECONDS + ACCESS_SECONDS_MAX + ASK_LEEWAY_SECONDS) * INT64_C(1000000))

/* Copies of the requests that change, each once. */
struct copies {
	struct request **requests;
	size_t n;
};

bool access_ends(const struct access *access)
{
	return access->ends;
}

static void copies_done(struct copies *copies)
{
	for (size_t i = 0; i < copies->n; i++)
		request_free(copies->requests[i]);
	free(copies->requests);
}

static struct request *copies_get(struct copies *copies, const struct request *request)
{
	struct request **grown;

	for (size_t i = 0; i < copies->n; i++)
		if (strcmp(copies->requests[i]->key, request->key) == 0)
			return copies->requests[i];
	grown = reallocarray(copies->requests, copies->n + 1, sizeof(*grown));
	if (!grown)
		return NULL;
	copies->requests = grown;
	if (request_copy(request, &copies->requests[copies->n]) < 0)
		return NULL;
	return copies->requests[copies->n++];
}

/* What is pending takes nothing from what is granted. */
static bool is_replaced(
	const struct request_vm *vm, const struct access *older, enum access_status status)
{
	for (size_t i = 0; i < vm->n_ports; i++)
		if (access_is_same(&vm->ports[i], older) &&
			(status == ACCESS_PENDING || vm->ports[i].opens))
			return true;
	return false;
}

/* Ends the ports of older, at one VM, that the newer one's take the place of, and counts those that
 * stay. */
static int mark(const struct request_vm *vm, const struct request *older, struct copies *copies,
	int64_t now, size_t *n_active)
{
	for (size_t i = 0; i < older->n_vms; i++) {
		const struct request_vm *other = &older->vms[i];

		for (size_t k = 0; strcmp(other->key, vm->key) == 0 && k < other->n_ports; k++) {
			enum access_status status = access_status_at(older, &other->ports[k], now);
			struct request *copy;

			if (status > ACCESS_PENDING)
				continue;
			if (!is_replaced(vm, &other->ports[k], status)) {
				++*n_active;
				continue;
			}
			copy = copies_get(copies, older);
			if (!copy)
				return -ENOMEM;
			access_end(&copy->vms[i].ports[k], ACCESS_REPLACED);
		}
	}
	return 0;
}

/* What the request takes the place of at one of its VMs. */
static int gather(struct operation *operation, const struct request *request,
	const struct request_vm *vm, struct copies *copies)
{
	const struct jit_vm *known = jit_find_vm(operation->jit, vm->key);
	size_t n_active = vm->n_ports;
	int r = 0;

	for (size_t i = known ? known->requests.n : 0; i > 0 && r == 0; i--) {
		const struct request *older = known->requests.items[i - 1];

		if (older->started < operation->now_usec - ACTIVE_USEC_MAX)
			break;
		if (strcmp(older->requestor, request->requestor) == 0 &&
			strcmp(older->key, request->key) != 0)
			r = mark(vm, older, copies, operation_now(operation), &n_active);
	}
	if (r == 0 && n_active > JIT_ACTIVE_MAX)
		return problem_set(&operation->problem, 429, "TooManyRequests",
			"%s would have %zu ports of %s at once, more than %d: revoke what is no "
			"longer needed",
			request->requestor, n_active, vm->id, JIT_ACTIVE_MAX);
	return r;
}

static int put_replaced(struct operation *operation, struct change *change,
	const struct request *older, const struct request *newer)
{
	static const char reason[] = "a newer request took its place";
	char message[80];
	int r;

	snprintf(message, sizeof(message), "%.40s took its place", newer->key);
	r = operation_put_request(operation, change, older);
	if (r == 0)
		r = operation_put_documents(operation, change, older, reason);
	if (r == 0)
		r = operation_add_entries(
			operation, change, older, access_ends, newer->justification, message);
	return r;
}

int operation_replace_older(
	struct operation *operation, struct change *change, const struct request *request)
{
	struct copies copies = { 0 };
	int r = 0;

	for (size_t i = 0; i < request->n_vms && r == 0; i++)
		r = gather(operation, request, &request->vms[i], &copies);
	for (size_t i = 0; i < copies.n && r == 0; i++)
		r = put_replaced(operation, change, copies.requests[i], request);
	copies_done(&copies);
	return r;
}
