/* SPDX-License-Identifier: GPL-3.0-or-later */

/* A policy as Azure shows it: with the requests of the last days, newest first. */

#include <errno.h>
#include <string.h>

#include "agent/common/times.h"
#include "contrib/control-plane/identity/identity.h"
#include "contrib/control-plane/jit/api.h"
#include "contrib/control-plane/jit/write.h"

#define SHOWN_REQUESTS_MAX 100
#define SHOWN_DAYS 7

static int compare_newest(const void *a, const void *b)
{
	const struct request *const *x = a, *const *y = b;

	return strcmp((*y)->key, (*x)->key);
}

/* Adds the newest of a VM's requests that are of the policy. */
static size_t gather(const struct jit_vm *vm, const struct policy *policy, int64_t since_usec,
	const struct request **requests)
{
	size_t n = 0;

	for (size_t i = vm->requests.n; i > 0 && n < SHOWN_REQUESTS_MAX; i--) {
		const struct request *request = vm->requests.items[i - 1];

		if (request->started < since_usec)
			break;
		if (strcmp(request->policy_key, policy->key) == 0)
			requests[n++] = request;
	}
	return n;
}

static json_t *show_requests(
	const struct jit *jit, const struct policy *policy, const struct principal *principal)
{
	int64_t now_usec = (int64_t)clock_realtime_usec();
	int64_t since_usec = now_usec - SHOWN_DAYS * INT64_C(86400000000);
	_cleanup_(freep) const struct request **requests =
		calloc(policy->n_vms * SHOWN_REQUESTS_MAX + 1, sizeof(*requests));
	json_t *json = json_array();
	size_t n = 0;

	if (!requests || !json)
		return json;
	for (size_t i = 0; i < policy->n_vms; i++) {
		const struct jit_vm *vm = jit_find_vm(jit, policy->vms[i].key);

		if (vm && principal_may_read(principal, vm->id))
			n += gather(vm, policy, since_usec, requests + n);
	}
	qsort(requests, n, sizeof(*requests), compare_newest);
	for (size_t i = 0; i < n && json_array_size(json) < SHOWN_REQUESTS_MAX; i++)
		if (i == 0 || requests[i] != requests[i - 1])
			json_array_append_new(json,
				request_to_json(requests[i], REQUEST_AZURE,
					now_usec / (int64_t)USEC_PER_SEC, api_may_read, principal));
	return json;
}

json_t *policy_show(
	const struct jit *jit, const struct policy *policy, const struct principal *principal)
{
	json_t *json = policy_to_json(policy, api_may_read, principal);

	json_object_set_new(json_object_get(json, "properties"), "requests",
		show_requests(jit, policy, principal));
	return json;
}
