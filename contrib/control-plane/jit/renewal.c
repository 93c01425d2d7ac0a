/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * A policy document lives until its policies change, longer than the key that signed it. An agent
 * that trusts only the keys that are published would refuse it, and with it leave open what the
 * policy shuts. So it is signed anew, as the next version. One VM after the other:
 *
 *   the next VM ──▶ its document ──▶ of a published key? ──▶ the next VM
 *                                        └─ no: signed anew ──┘
 */

#include <errno.h>
#include <string.h>
#include <syslog.h>

#include "agent/common/log.h"
#include "agent/common/times.h"
#include "contrib/control-plane/jit/renewal.h"
#include "contrib/control-plane/jit/write.h"
#include "contrib/control-plane/server.h"

struct renewal {
	struct jit *jit;
	char *vm_key; /* that is looked at; NULL: none yet */
	bool again; /* the keys have changed since it began */
	size_t n_signed;
};

static void look_at_next(struct renewal *renewal);

struct renewal *renewal_free(struct renewal *renewal)
{
	if (!renewal)
		return NULL;
	free(renewal->vm_key);
	free(renewal);
	return NULL;
}

static void renewal_end(struct renewal *renewal, int error)
{
	if (error < 0)
		log_line(LOG_ERR,
			"policies can't be signed anew: %s; VMs that join may lack theirs until "
			"the next reload",
			strerror(-error));
	if (renewal->n_signed > 0)
		log_line(LOG_NOTICE,
			"the policies of %zu VMs were signed anew: the key that had signed them is "
			"not published any more",
			renewal->n_signed);
	renewal->jit->renewal = renewal_free(renewal);
}

static int build(struct change *change, void *userdata)
{
	struct renewal *renewal = userdata;
	const struct jit_vm *vm = jit_find_vm(renewal->jit, renewal->vm_key);
	struct operation operation = {
		.jit = renewal->jit,
		.now_usec = (int64_t)clock_realtime_usec(),
	};
	int r = vm ? policy_sign_anew(&operation, change, vm) : -ENOENT;

	if (r == PROBLEM)
		log_line(LOG_ERR,
			"a policy can't be signed anew: %s; a VM that joins lacks it until it is "
			"written shorter",
			operation.problem.message);
	return r;
}

static void on_signed(int error, int64_t revision, void *userdata)
{
	struct renewal *renewal = userdata;

	(void)revision;
	if (error < 0)
		return renewal_end(renewal, error);
	/* What is wrong with one VM's policy is told, and keeps no other from theirs. */
	renewal->n_signed += error == 0;
	look_at_next(renewal);
}

static void on_document(int error, const struct store_range_result *result, void *userdata)
{
	_cleanup_(document_freep) struct document *document = NULL;
	struct renewal *renewal = userdata;
	const struct jit_options *options = &renewal->jit->options;
	struct refusal refusal;

	if (error == 0 && result->n_entries > 0)
		error = document_read(result->entries[0].value, result->entries[0].n_value,
			options->signer->trust, NULL, &document, &refusal);
	if (error < 0)
		renewal_end(renewal, error);
	else if (error == REFUSED)
		change_begin(options->store, options->leases, build, on_signed, renewal);
	else
		look_at_next(renewal);
}

static const struct jit_vm *next_vm(const struct renewal *renewal)
{
	const struct table *vms = &renewal->jit->vms;
	size_t i = renewal->vm_key ? table_lower_bound(vms, renewal->vm_key) : 0;

	for (; i < vms->n; i++) {
		const struct jit_vm *vm = vms->items[i];

		if (vm->policy_version > 0 &&
			(!renewal->vm_key || strcmp(vm->key, renewal->vm_key) != 0))
			return vm;
	}
	return NULL;
}

static void look_at_next(struct renewal *renewal)
{
	const struct jit_vm *vm = next_vm(renewal);
	_cleanup_(freep) char *key = NULL;
	int r;

	if (!vm && renewal->again) {
		renewal->again = false;
		free(TAKE_PTR(renewal->vm_key));
		vm = next_vm(renewal);
	}
	if (!vm)
		return renewal_end(renewal, 0);
	free(renewal->vm_key);
	renewal->vm_key = strdup(vm->key);
	if (!renewal->vm_key || asprintf(&key, "documents/%s|policy", vm->key) < 0)
		return renewal_end(renewal, -ENOMEM);
	r = store_range(renewal->jit->options.store, &(struct store_range){ .from = key },
		on_document, renewal);
	if (r < 0)
		renewal_end(renewal, r);
}

void renewal_begin(struct jit *jit)
{
	if (jit->renewal) {
		jit->renewal->again = true;
		return;
	}
	jit->renewal = calloc(1, sizeof(*jit->renewal));
	if (!jit->renewal) {
		log_line(LOG_ERR, "policies can't be signed anew: %s", strerror(ENOMEM));
		return;
	}
	jit->renewal->jit = jit;
	look_at_next(jit->renewal);
}
