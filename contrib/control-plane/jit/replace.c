/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * A newer request for the same VM, port and source takes the place of the older one. The older
 * grant is revoked in the same revision, behind the new one, so that the port stays open between.
 */

#include <errno.h>
#include <string.h>

#include "contrib/control-plane/jit/operation.h"

/* Copies of the requests that change, each once. */
struct copies {
	struct request **requests;
	size_t n;
};

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

/* What is pending takes nothing from what is granted, nor from another person's that is pending. */
static bool takes_place(const struct request *newer, const struct access *access,
	const struct request *older, const struct access *other, int64_t now)
{
	enum access_status status = access_status_at(older, other, now);

	if (!access_is_same(access, other))
		return false;
	if (status == ACCESS_GRANTED)
		return access->opens;
	return status == ACCESS_PENDING && strcmp(newer->requestor, older->requestor) == 0;
}

/* Marks the ports of older, at one VM, that the newer one's take the place of. */
static int mark(const struct request *newer, const struct request_vm *vm,
	const struct request *older, struct copies *copies, int64_t now)
{
	for (size_t i = 0; i < older->n_vms; i++) {
		if (strcmp(older->vms[i].key, vm->key) != 0)
			continue;
		for (size_t k = 0; k < older->vms[i].n_ports * vm->n_ports; k++) {
			size_t other = k / vm->n_ports;
			struct request *copy;
			struct access *access;

			if (!takes_place(newer, &vm->ports[k % vm->n_ports], older,
				    &older->vms[i].ports[other], now))
				continue;
			copy = copies_get(copies, older);
			if (!copy)
				return -ENOMEM;
			access = &copy->vms[i].ports[other];
			access->shuts = access->status == ACCESS_GRANTED;
			access->status = ACCESS_REPLACED;
		}
	}
	return 0;
}

int operation_replace_older(
	struct operation *operation, struct change *change, const struct request *request)
{
	struct copies copies = { 0 };
	int64_t now = operation_now(operation);
	int r = 0;

	for (size_t i = 0; i < request->n_vms && r == 0; i++) {
		const struct jit_vm *vm = jit_find_vm(operation->jit, request->vms[i].key);

		for (size_t k = 0; vm && k < vm->n_requests && r == 0; k++)
			if (strcmp(vm->requests[k]->key, request->key) != 0)
				r = mark(request, &request->vms[i], vm->requests[k], &copies, now);
	}
	for (size_t i = 0; i < copies.n && r == 0; i++) {
		r = operation_put_request(operation, change, copies.requests[i]);
		if (r == 0)
			r = operation_put_documents(operation, change, copies.requests[i]);
	}
	copies_done(&copies);
	return r;
}
