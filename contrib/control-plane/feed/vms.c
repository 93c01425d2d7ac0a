/* SPDX-License-Identifier: GPL-3.0-or-later */

/* GET /v1/vms: those that policies name or that are enrolled, in order of their ids. */

#include <errno.h>
#include <string.h>

#include "contrib/control-plane/feed/feed.h"
#include "contrib/control-plane/identity/identity.h"
#include "contrib/control-plane/jit/api.h"
#include "contrib/control-plane/jit/names.h"
#include "contrib/control-plane/state/instant.h"

#define TOP 100
#define TOP_MAX 1000

static json_t *policies_to_json(const struct jit_vm *vm)
{
	json_t *json = json_array();

	for (size_t i = 0; vm && i < vm->policies.n; i++)
		json_array_append_new(
			json, json_string(((struct policy *)vm->policies.items[i])->id));
	return json;
}

/* Either may be NULL. */
static json_t *vm_to_json(const struct jit_vm *vm, const struct feed_agent *agent, const char *id)
{
	bool is_enrolled = agent && agent->id;

	return json_pack("{s:s, s:s, s:b, s:o, s:o*, s:s*}", "id", id, "name", resource_name(id),
		"enrolled", is_enrolled, "policies", policies_to_json(vm), "lastContact",
		is_enrolled ? instant_to_json(agent->last_contact) : NULL, "agentVersion",
		is_enrolled && *agent->version ? agent->version : NULL);
}

/* The next of two tables, by key: one of both, or the same in both. */
struct merge {
	const struct table *vms, *agents;
	size_t i_vm, i_agent;
	const struct jit_vm *vm;
	const struct feed_agent *agent;
	const char *key;
};

static bool merge_next(struct merge *merge)
{
	const struct jit_vm *vm =
		merge->i_vm < merge->vms->n ? merge->vms->items[merge->i_vm] : NULL;
	const struct feed_agent *agent =
		merge->i_agent < merge->agents->n ? merge->agents->items[merge->i_agent] : NULL;
	int order;

	if (!vm && !agent)
		return false;
	order = !vm ? 1 : !agent ? -1 : strcmp(vm->key, agent->key);
	merge->vm = order <= 0 ? vm : NULL;
	merge->agent = order >= 0 ? agent : NULL;
	merge->key = merge->vm ? vm->key : agent->key;
	merge->i_vm += order <= 0;
	merge->i_agent += order >= 0;
	return true;
}

void feed_handle_vms(struct http_request *call, void *userdata)
{
	static const char *const parameters[] = { "top", NULL };
	const struct feed *feed = userdata;
	const char *token = api_skip_token(call), *last = NULL;
	struct merge merge = {
		.vms = &feed->options.jit->vms,
		.agents = &feed->agents,
	};
	size_t n_top;
	json_t *value;

	if (!api_top(call, TOP, TOP_MAX, &n_top))
		return;
	if (token) {
		merge.i_vm = table_lower_bound(merge.vms, token);
		merge.i_agent = table_lower_bound(merge.agents, token);
	}
	value = json_array();
	while (merge_next(&merge)) {
		bool is_named = merge.vm && merge.vm->policies.n > 0;
		const char *id = merge.vm ? merge.vm->id : merge.agent->id;

		if ((!is_named && !(merge.agent && merge.agent->id)) ||
			!principal_may_read(api_principal(call), id) ||
			(token && strcmp(merge.key, token) == 0))
			continue;
		if (json_array_size(value) == n_top) {
			http_respond_json(call, 200,
				api_page(call, feed->options.url, value, last, parameters));
			return;
		}
		json_array_append_new(value, vm_to_json(merge.vm, merge.agent, id));
		last = merge.key;
	}
	http_respond_json(call, 200, api_page(call, feed->options.url, value, NULL, parameters));
}
