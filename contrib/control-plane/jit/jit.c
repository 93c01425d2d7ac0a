/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * What is in memory. Watches tell of changes in the order of revisions; a thing of which the store
 * holds what this version can't read is left out, and told of.
 */

#include <errno.h>
#include <string.h>
#include <syslog.h>

#include "agent/common/log.h"
#include "contrib/control-plane/jit/holds.h"
#include "contrib/control-plane/jit/jit.h"
#include "contrib/control-plane/jit/names.h"
#include "contrib/control-plane/jit/renewal.h"
#include "contrib/control-plane/server.h"

enum {
	WATCH_POLICIES,
	WATCH_REQUESTS,
	WATCH_PROGRESS,
	WATCH_VMS,
	N_WATCHES,
};

static const char *const prefixes[N_WATCHES] = {
	[WATCH_POLICIES] = "policies/",
	[WATCH_REQUESTS] = "requests/",
	[WATCH_PROGRESS] = "progress/",
	[WATCH_VMS] = "vms/",
};

struct jit_vm *jit_find_vm(const struct jit *jit, const char *vm_key)
{
	return table_find(&jit->vms, vm_key);
}

struct policy_list jit_find_policies(const char *vm_key, void *userdata)
{
	const struct jit_vm *vm = jit_find_vm(userdata, vm_key);

	return vm ? (struct policy_list){ (const struct policy *const *)vm->policies.items,
		vm->policies.n }
		  : (struct policy_list){ NULL, 0 };
}

struct access *jit_find_grant(
	const struct jit *jit, const char *grant, const char *vm_key, struct request **ret_request)
{
	char id[REQUEST_ID_BYTES_MAX];
	struct request *request;
	size_t i, k;

	if (!grant_id_parse(grant, id, &i, &k))
		return NULL;
	request = table_find(&jit->requests, id);
	if (!request || i >= request->n_vms || k >= request->vms[i].n_ports)
		return NULL;
	if (vm_key && strcmp(request->vms[i].key, vm_key) != 0)
		return NULL;
	*ret_request = request;
	return &request->vms[i].ports[k];
}

const struct table *jit_find_requests_of(const struct jit *jit, const char *requestor)
{
	const struct jit_person *person = table_find(&jit->people, requestor);

	return person ? &person->requests : NULL;
}

/* VMs stay: what was once named has its key in the store. */
static struct jit_vm *vm_ensure(struct jit *jit, const char *key, const char *id)
{
	struct jit_vm *vm = jit_find_vm(jit, key);

	if (vm)
		return vm;
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return NULL;
	vm->key = strdup(key);
	vm->id = strdup(id);
	if (vm->key && vm->id && table_insert(&jit->vms, vm) == 0)
		return vm;
	free(vm->key);
	free(vm->id);
	free(vm);
	return NULL;
}

static void vm_free(struct jit_vm *vm)
{
	table_done(&vm->policies);
	table_done(&vm->requests);
	free(vm->key);
	free(vm->id);
	free(vm);
}

static void person_free(struct jit_person *person)
{
	table_done(&person->requests);
	free(person->key);
	free(person);
}

static int person_add_request(struct jit *jit, struct request *request)
{
	struct jit_person *person = table_find(&jit->people, request->requestor);

	if (person)
		return table_insert(&person->requests, request);
	person = calloc(1, sizeof(*person));
	if (!person)
		return -ENOMEM;
	person->key = strdup(request->requestor);
	if (person->key && table_insert(&person->requests, request) == 0 &&
		table_insert(&jit->people, person) == 0)
		return 0;
	person_free(person);
	return -ENOMEM;
}

static void person_remove_request(struct jit *jit, const struct request *request)
{
	struct jit_person *person = table_find(&jit->people, request->requestor);

	if (!person)
		return;
	(void)table_remove(&person->requests, request->key);
	if (person->requests.n == 0)
		person_free(table_remove(&jit->people, person->key));
}

static void policy_forget(struct jit *jit, const char *key)
{
	struct policy *policy = table_remove(&jit->policies, key);

	for (size_t i = 0; policy && i < policy->n_vms; i++) {
		struct jit_vm *vm = jit_find_vm(jit, policy->vms[i].key);

		if (vm)
			(void)table_remove(&vm->policies, key);
	}
	policy_free(policy);
}

static int policy_learn(struct jit *jit, const char *key, const json_t *json, int64_t revision)
{
	struct policy *policy;
	struct problem problem;
	int r;

	r = policy_from_json(json, &policy, &problem);
	if (r != 0)
		return r < 0 ? r : -EINVAL;
	policy->mod_revision = revision;
	policy_forget(jit, key);
	r = table_insert(&jit->policies, policy);
	if (r < 0) {
		policy_free(policy);
		return r;
	}
	for (size_t i = 0; i < policy->n_vms && r == 0; i++) {
		struct jit_vm *vm = vm_ensure(jit, policy->vms[i].key, policy->vms[i].id);

		r = vm ? table_insert(&vm->policies, policy) : -ENOMEM;
	}
	return r;
}

static void request_forget(struct jit *jit, const char *id)
{
	struct request *request = table_remove(&jit->requests, id);

	if (!request)
		return;
	for (size_t i = 0; i < request->n_vms; i++) {
		struct jit_vm *vm = jit_find_vm(jit, request->vms[i].key);

		if (vm)
			(void)table_remove(&vm->requests, id);
	}
	person_remove_request(jit, request);
	holds_answer(jit, request);
	request_free(request);
}

/* What is said anew goes where the old was, so that pointers to it hold; VMs and ports of a request
 * never change. */
static void request_replace(struct request *old, struct request *new)
{
	struct request swapped;

	for (size_t i = 0; i < old->n_vms && i < new->n_vms; i++)
		for (size_t k = 0; k < old->vms[i].n_ports && k < new->vms[i].n_ports; k++) {
			new->vms[i].ports[k].progress = old->vms[i].ports[k].progress;
			old->vms[i].ports[k].progress = (struct progress){ 0 };
		}
	swapped = *old;
	*old = *new;
	*new = swapped;
	old->holds = new->holds;
	new->holds = NULL;
}

static int request_learn(struct jit *jit, const char *id, const json_t *json, int64_t revision)
{
	struct request *request, *old = table_find(&jit->requests, id);
	int r;

	r = request_from_json(id, json, &request);
	if (r < 0)
		return r;
	request->mod_revision = revision;
	if (old) {
		request_replace(old, request);
		request_free(request);
		holds_answer(jit, old);
		return 0;
	}
	r = table_insert(&jit->requests, request);
	if (r < 0) {
		request_free(request);
		return r;
	}
	r = person_add_request(jit, request);
	for (size_t i = 0; i < request->n_vms && r == 0; i++) {
		struct jit_vm *vm = vm_ensure(jit, request->vms[i].key, request->vms[i].id);

		r = vm ? table_insert(&vm->requests, request) : -ENOMEM;
	}
	return r;
}

static int progress_learn(struct jit *jit, const char *grant, const json_t *json, int64_t revision)
{
	struct request *request;
	struct access *access = jit_find_grant(jit, grant, NULL, &request);
	int r;

	/* It ends with its request, a moment before or after. */
	if (!access)
		return 0;
	progress_done(&access->progress);
	r = json ? progress_from_json(&access->progress, json) : 0;
	access->progress.mod_revision = json ? revision : 0;
	holds_answer(jit, request);
	return r;
}

static int vm_learn(struct jit *jit, const char *key, const json_t *json, int64_t revision)
{
	const char *id = json_string_value(json_object_get(json, "id"));
	struct jit_vm *vm = vm_ensure(jit, key, id ? id : key);

	if (!vm)
		return -ENOMEM;
	vm->mod_revision = json ? revision : 0;
	vm->policy_version = json_integer_value(json_object_get(json, "policyVersion"));
	return 0;
}

static int learn(struct jit *jit, unsigned what, const struct store_event *event)
{
	const char *key = event->entry.key + strlen(prefixes[what]);
	int64_t revision = event->entry.mod_revision;
	json_auto_t *json = event->deleted
		? NULL
		: json_loadb(event->entry.value, event->entry.n_value, 0, NULL);

	if (!json && !event->deleted)
		return -EINVAL;
	switch (what) {
	case WATCH_POLICIES:
		if (json)
			return policy_learn(jit, key, json, revision);
		policy_forget(jit, key);
		return 0;
	case WATCH_REQUESTS:
		if (json)
			return request_learn(jit, key, json, revision);
		request_forget(jit, key);
		return 0;
	case WATCH_PROGRESS:
		return progress_learn(jit, key, json, revision);
	default:
		return vm_learn(jit, key, json, revision);
	}
}

static void on_events(struct jit *jit, unsigned what, int error, const struct store_event *events,
	size_t n_events)
{
	int r;

	if (error < 0) {
		/* Memory would no longer follow: start again rather than judge by what was. */
		sd_event_exit(jit->options.event, error);
		return;
	}
	for (size_t i = 0; i < n_events; i++) {
		r = learn(jit, what, &events[i]);
		if (r == -ENOMEM) {
			sd_event_exit(jit->options.event, r);
			return;
		}
		if (r < 0)
			log_line(LOG_ERR, "%s: not as this version writes it; left out",
				events[i].entry.key);
	}
}

/* One handler for each watch, since only the handler tells them apart. */
#define DEFINE_HANDLER(name, what) \
	static void name(int error, int64_t revision, const struct store_event *events, \
		size_t n_events, void *userdata) \
	{ \
		(void)revision; \
		on_events(userdata, what, error, events, n_events); \
	}

DEFINE_HANDLER(on_policies, WATCH_POLICIES)
DEFINE_HANDLER(on_requests, WATCH_REQUESTS)
DEFINE_HANDLER(on_progress, WATCH_PROGRESS)
DEFINE_HANDLER(on_vms, WATCH_VMS)

int jit_new(const struct jit_options *options, struct jit **ret)
{
	static store_on_events *const handlers[N_WATCHES] = {
		[WATCH_POLICIES] = on_policies,
		[WATCH_REQUESTS] = on_requests,
		[WATCH_PROGRESS] = on_progress,
		[WATCH_VMS] = on_vms,
	};
	_cleanup_(jit_freep) struct jit *jit = calloc(1, sizeof(*jit));
	int r;

	if (!jit)
		return -ENOMEM;
	jit->options = *options;
	jit->options.signer = NULL; /* the caller's, until it is done */
	for (size_t i = 0; i < N_WATCHES; i++) {
		r = store_watch(options->store, prefixes[i], 0, handlers[i], jit, &jit->watches[i]);
		if (r < 0)
			return r;
	}
	jit->options.signer = options->signer;
	*ret = TAKE_PTR(jit);
	return 0;
}

void jit_set_signer(struct jit *jit, struct signer *signer)
{
	signer_free(jit->options.signer);
	jit->options.signer = signer;
}

struct jit *jit_free(struct jit *jit)
{
	if (!jit)
		return NULL;
	for (size_t i = 0; i < N_WATCHES; i++)
		store_watch_free(jit->watches[i]);
	for (size_t i = 0; i < jit->policies.n; i++)
		policy_free(jit->policies.items[i]);
	for (size_t i = 0; i < jit->requests.n; i++)
		request_free(jit->requests.items[i]);
	for (size_t i = 0; i < jit->vms.n; i++)
		vm_free(jit->vms.items[i]);
	for (size_t i = 0; i < jit->people.n; i++)
		person_free(jit->people.items[i]);
	holds_forget(jit);
	renewal_free(jit->renewal);
	table_done(&jit->policies);
	table_done(&jit->requests);
	table_done(&jit->vms);
	table_done(&jit->people);
	signer_free(jit->options.signer);
	free(jit);
	return NULL;
}
