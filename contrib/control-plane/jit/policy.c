/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>

#include "agent/common/text.h"
#include "agent/common/times.h"
#include "contrib/control-plane/jit/names.h"
#include "contrib/control-plane/jit/policy.h"

#define TYPE "Microsoft.Security/locations/jitNetworkAccessPolicies"
#define WHERE_MAX 80

char *policy_path_id(const struct policy_path *path)
{
	char *id;

	if (asprintf(&id,
		    "/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Security/locations/%s/"
		    "jitNetworkAccessPolicies/%s",
		    path->subscription, path->group, path->location, path->name) < 0)
		return NULL;
	return id;
}

int policy_path_check(const struct policy_path *path, struct problem *problem)
{
	const struct {
		const char *what;
		const char *name;
	} segments[] = {
		{ "the subscription", path->subscription },
		{ "the resource group", path->group },
		{ "the location", path->location },
		{ "the policy's name", path->name },
	};

	for (size_t i = 0; i < N_ELEMENTS(segments); i++) {
		const char *reason = segments[i].name ? name_check(segments[i].name) : NULL;

		if (reason)
			return problem_content(problem, "%s \"%.128s\" %s", segments[i].what,
				segments[i].name, reason);
	}
	return 0;
}

/* ret is NULL where it is absent or null. */
static int get_string_optional(const json_t *object, const char *where, const char *name,
	size_t n_bytes_max, const char **ret, struct problem *problem)
{
	const json_t *value = json_object_get(object, name);

	*ret = NULL;
	if (!value || json_is_null(value))
		return 0;
	if (!json_is_string(value))
		return problem_content(problem, "%s%s is not a string", where, name);
	if (json_string_length(value) > n_bytes_max)
		return problem_content(
			problem, "%s%s is longer than %zu bytes", where, name, n_bytes_max);
	if (!text_is_printable(json_string_value(value)))
		return problem_content(problem, "%s%s has control characters", where, name);
	*ret = json_string_value(value);
	return 0;
}

int json_get_string(const json_t *object, const char *where, const char *name, size_t n_bytes_max,
	const char **ret, struct problem *problem)
{
	int r = get_string_optional(object, where, name, n_bytes_max, ret, problem);

	if (r == 0 && !*ret)
		return problem_content(problem, "%s%s is missing", where, name);
	if (r == 0 && !**ret)
		return problem_content(problem, "%s%s is empty", where, name);
	return r;
}

int json_get_number(const json_t *object, const char *where, uint16_t *ret, struct problem *problem)
{
	const json_t *value = json_object_get(object, "number");
	json_int_t number = json_integer_value(value);

	if (!value)
		return problem_content(problem, "%snumber is missing", where);
	/* Azure's contract has 0 too, but nothing listens there, and an agent can't guard it. */
	if (!json_is_integer(value) || number < 1 || number > UINT16_MAX)
		return problem_content(
			problem, "%snumber is not a whole number from 1 to 65535", where);
	*ret = (uint16_t)number;
	return 0;
}

int json_get_vm_id(
	const json_t *object, const char *where, const char **ret, struct problem *problem)
{
	const char *reason;
	int r;

	r = json_get_string(object, where, "id", RESOURCE_ID_BYTES_MAX, ret, problem);
	if (r != 0)
		return r;
	reason = vm_id_check(*ret);
	return reason ? problem_content(problem, "%sid \"%s\" %s", where, *ret, reason) : 0;
}

static int read_prefix(const json_t *value, const char *where, const char *name, struct prefix *ret,
	struct problem *problem)
{
	const char *text = json_string_value(value);
	const char *reason;

	if (!text)
		return problem_content(problem, "%s%s is not a string", where, name);
	reason = prefix_parse_reason(text, ret);
	return reason ? problem_content(problem, "%s%s \"%.64s\" %s", where, name, text, reason)
		      : 0;
}

static int read_prefixes(
	const json_t *json, const char *where, struct policy_port *port, struct problem *problem)
{
	static const char name_one[] = "allowedSourceAddressPrefix";
	static const char name_list[] = "allowedSourceAddressPrefixes";
	const json_t *one = json_object_get(json, name_one);
	const json_t *list = json_object_get(json, name_list);
	size_t n;
	int r;

	one = json_is_null(one) ? NULL : one;
	list = json_is_null(list) ? NULL : list;
	if (!one && !list)
		return problem_content(
			problem, "%s%s or %s is missing", where, name_one, name_list);
	if (one && list)
		return problem_content(
			problem, "%sgives both %s and %s: one of them", where, name_one, name_list);
	if (list &&
		(!json_is_array(list) || json_array_size(list) == 0 ||
			json_array_size(list) > DOCUMENT_PREFIXES_MAX))
		return problem_content(problem, "%s%s is not a list of 1 to %d prefixes", where,
			name_list, DOCUMENT_PREFIXES_MAX);
	n = list ? json_array_size(list) : 1;
	port->is_list = list != NULL;
	port->prefixes = calloc(n, sizeof(*port->prefixes));
	if (!port->prefixes)
		return -ENOMEM;
	for (; port->n_prefixes < n; port->n_prefixes++) {
		r = read_prefix(list ? json_array_get(list, port->n_prefixes) : one, where,
			list ? name_list : name_one, &port->prefixes[port->n_prefixes], problem);
		if (r != 0)
			return r;
	}
	return 0;
}

static int read_duration(
	const json_t *json, const char *where, struct policy_port *port, struct problem *problem)
{
	const char *text = NULL;
	int r;

	r = json_get_string(
		json, where, "maxRequestAccessDuration", TIME_STRING_MAX, &text, problem);
	if (r != 0)
		return r;
	if (duration_parse(text, &port->max_duration) < 0 ||
		port->max_duration < ACCESS_SECONDS_MIN || port->max_duration > ACCESS_SECONDS_MAX)
		return problem_content(problem,
			"%smaxRequestAccessDuration \"%s\" is not an ISO 8601 duration from 5 "
			"minutes to 1 day, as \"PT3H\"",
			where, text);
	return 0;
}

static int read_port(
	const json_t *json, const char *where, struct policy_port *port, struct problem *problem)
{
	const json_t *approval = json_object_get(json, "approvalRequired");
	const char *protocol = NULL;
	int r;

	if (!json_is_object(json))
		return problem_content(problem, "%snot an object", where);
	r = json_get_number(json, where, &port->number, problem);
	if (r == 0)
		r = json_get_string(json, where, "protocol", 8, &protocol, problem);
	if (r != 0)
		return r;
	if (protocol_parse(protocol, &port->protocols) < 0)
		return problem_content(
			problem, "%sprotocol \"%s\" is not TCP, UDP or *", where, protocol);
	r = read_prefixes(json, where, port, problem);
	if (r == 0)
		r = read_duration(json, where, port, problem);
	if (r != 0)
		return r;
	if (approval && !json_is_boolean(approval) && !json_is_null(approval))
		return problem_content(problem, "%sapprovalRequired is not true or false", where);
	port->needs_approval = json_is_true(approval);
	return 0;
}

/* What an agent can be told of one VM is bounded by one document. */
static int read_ports(
	const json_t *list, size_t i_vm, struct policy_vm *vm, struct problem *problem)
{
	const json_t *json;
	size_t i;
	int r;

	if (!json_is_array(list) || json_array_size(list) == 0 ||
		json_array_size(list) > DOCUMENT_PORTS_MAX)
		return problem_content(problem,
			"virtual machine %zu: ports is not a list of 1 to %d port rules", i_vm + 1,
			DOCUMENT_PORTS_MAX);
	vm->ports = calloc(json_array_size(list), sizeof(*vm->ports));
	if (!vm->ports)
		return -ENOMEM;
	json_array_foreach (list, i, json) {
		char where[WHERE_MAX];

		snprintf(where, sizeof(where), "virtual machine %zu, port %zu: ", i_vm + 1, i + 1);
		/* Counted before it is whole, so that policy_free() sees it. */
		vm->n_ports++;
		r = read_port(json, where, &vm->ports[i], problem);
		if (r != 0)
			return r;
	}
	return 0;
}

static int read_vm(const json_t *json, size_t i, struct policy_vm *vm, struct problem *problem)
{
	const char *id = NULL, *address = NULL;
	char where[WHERE_MAX];
	int r;

	snprintf(where, sizeof(where), "virtual machine %zu: ", i + 1);
	if (!json_is_object(json))
		return problem_content(problem, "%snot an object", where);
	r = json_get_vm_id(json, where, &id, problem);
	if (r == 0)
		r = get_string_optional(json, where, "publicIpAddress", 64, &address, problem);
	if (r != 0)
		return r;
	vm->id = strdup(id);
	vm->key = name_lower(id);
	vm->public_address = address ? strdup(address) : NULL;
	if (!vm->id || !vm->key || (address && !vm->public_address))
		return -ENOMEM;
	return read_ports(json_object_get(json, "ports"), i, vm, problem);
}

static int compare_vms(const void *a, const void *b)
{
	const struct policy_vm *const *x = a, *const *y = b;

	return strcmp((*x)->key, (*y)->key);
}

static int sort_vms(struct policy *policy, struct problem *problem)
{
	policy->sorted = calloc(policy->n_vms + 1, sizeof(struct policy_vm *));
	if (!policy->sorted)
		return -ENOMEM;
	for (size_t i = 0; i < policy->n_vms; i++)
		policy->sorted[i] = &policy->vms[i];
	qsort(policy->sorted, policy->n_vms, sizeof(*policy->sorted), compare_vms);
	for (size_t i = 1; i < policy->n_vms; i++)
		if (strcmp(policy->sorted[i - 1]->key, policy->sorted[i]->key) == 0)
			return problem_content(problem,
				"virtual machine \"%s\" is given twice: one element with all its "
				"ports",
				policy->sorted[i]->id);
	return 0;
}

static int read_vms(const json_t *list, struct policy *policy, struct problem *problem)
{
	const json_t *json;
	size_t i;
	int r;

	if (!json_is_array(list))
		return problem_content(problem, "properties.virtualMachines is not a list");
	if (json_array_size(list) > POLICY_VMS_MAX)
		return problem_content(problem,
			"properties.virtualMachines has %zu elements, more than %d",
			json_array_size(list), POLICY_VMS_MAX);
	policy->vms = calloc(json_array_size(list) + 1, sizeof(*policy->vms));
	if (!policy->vms)
		return -ENOMEM;
	json_array_foreach (list, i, json) {
		policy->n_vms++;
		r = read_vm(json, i, &policy->vms[i], problem);
		if (r != 0)
			return r;
	}
	return sort_vms(policy, problem);
}

static int policy_read(const json_t *json, struct policy *policy, struct problem *problem)
{
	const json_t *properties = json_object_get(json, "properties");
	const char *kind = NULL;
	int r;

	r = get_string_optional(json, "", "kind", NAME_BYTES_MAX, &kind, problem);
	if (r != 0)
		return r;
	policy->kind = strdup(kind ? kind : "Basic");
	if (!policy->kind)
		return -ENOMEM;
	if (!json_is_object(properties))
		return problem_content(problem, "properties is missing or not an object");
	return read_vms(json_object_get(properties, "virtualMachines"), policy, problem);
}

int policy_from_body(const struct policy_path *path, const json_t *body, struct policy **ret,
	struct problem *problem)
{
	_cleanup_(policy_freep) struct policy *policy = NULL;
	int r;

	r = policy_path_check(path, problem);
	if (r != 0)
		return r;
	policy = calloc(1, sizeof(*policy));
	if (!policy)
		return -ENOMEM;
	policy->id = policy_path_id(path);
	policy->key = policy->id ? name_lower(policy->id) : NULL;
	policy->name = strdup(path->name);
	policy->location = strdup(path->location);
	if (!policy->key || !policy->name || !policy->location)
		return -ENOMEM;
	r = policy_read(body, policy, problem);
	if (r != 0)
		return r;
	*ret = TAKE_PTR(policy);
	return 0;
}

int policy_from_json(const json_t *json, struct policy **ret, struct problem *problem)
{
	_cleanup_(policy_freep) struct policy *policy = calloc(1, sizeof(*policy));
	const char *id, *name, *location;
	int r;

	if (!policy)
		return -ENOMEM;
	if (json_unpack((json_t *)(uintptr_t)json, "{s:s, s:s, s:s}", "id", &id, "name", &name,
		    "location", &location) < 0)
		return problem_content(problem, "id, name or location is missing");
	policy->id = strdup(id);
	policy->key = name_lower(id);
	policy->name = strdup(name);
	policy->location = strdup(location);
	if (!policy->id || !policy->key || !policy->name || !policy->location)
		return -ENOMEM;
	r = policy_read(json, policy, problem);
	if (r != 0)
		return r;
	*ret = TAKE_PTR(policy);
	return 0;
}

/* A rule in the words of documents, which are Azure's. */
static json_t *port_to_json(const struct policy_port *port)
{
	char text[PREFIX_STRING_MAX], duration[TIME_STRING_MAX];
	json_t *json = json_pack(
		"{s:i, s:s}", "number", port->number, "protocol", protocol_format(port->protocols));
	json_t *list;

	if (!json)
		return NULL;
	if (port->is_list) {
		list = json_array();
		for (size_t i = 0; i < port->n_prefixes; i++)
			json_array_append_new(
				list, json_string(prefix_format(&port->prefixes[i], text)));
		json_object_set_new(json, "allowedSourceAddressPrefixes", list);
	} else {
		json_object_set_new(json, "allowedSourceAddressPrefix",
			json_string(prefix_format(&port->prefixes[0], text)));
	}
	json_object_set_new(json, "maxRequestAccessDuration",
		json_string(duration_format(port->max_duration, duration)));
	return json;
}

static json_t *vm_to_json(const struct policy_vm *vm)
{
	json_t *ports = json_array();

	for (size_t i = 0; i < vm->n_ports; i++) {
		json_t *port = port_to_json(&vm->ports[i]);

		if (vm->ports[i].needs_approval)
			json_object_set_new(port, "approvalRequired", json_true());
		json_array_append_new(ports, port);
	}
	return json_pack("{s:s, s:o, s:s*}", "id", vm->id, "ports", ports, "publicIpAddress",
		vm->public_address);
}

json_t *policy_to_json(const struct policy *policy,
	bool (*shows)(const char *vm_id, const void *userdata), const void *userdata)
{
	json_t *vms = json_array();

	for (size_t i = 0; i < policy->n_vms; i++)
		if (!shows || shows(policy->vms[i].id, userdata))
			json_array_append_new(vms, vm_to_json(&policy->vms[i]));
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:{s:s, s:o}}", "id", policy->id, "name",
		policy->name, "type", TYPE, "kind", policy->kind, "location", policy->location,
		"properties", "provisioningState", "Succeeded", "virtualMachines", vms);
}

static int compare_key(const void *key, const void *item)
{
	const struct policy_vm *const *vm = item;

	return strcmp(key, (*vm)->key);
}

const struct policy_vm *policy_find_vm(const struct policy *policy, const char *vm_key)
{
	const struct policy_vm **found = bsearch(
		vm_key, policy->sorted, policy->n_vms, sizeof(*policy->sorted), compare_key);

	return found ? *found : NULL;
}

unsigned policy_vm_protocols(const struct policy_vm *vm, uint16_t number)
{
	unsigned protocols = 0;

	for (size_t i = 0; i < vm->n_ports; i++)
		if (vm->ports[i].number == number)
			protocols |= vm->ports[i].protocols;
	return protocols;
}

int policy_vm_add_claims(const struct policy_vm *vm, json_t *ports)
{
	for (size_t i = 0; i < vm->n_ports; i++)
		if (json_array_append_new(ports, port_to_json(&vm->ports[i])) < 0)
			return -ENOMEM;
	return 0;
}

static void vm_done(struct policy_vm *vm)
{
	for (size_t i = 0; i < vm->n_ports; i++)
		free(vm->ports[i].prefixes);
	free(vm->ports);
	free(vm->public_address);
	free(vm->id);
	free(vm->key);
}

struct policy *policy_free(struct policy *policy)
{
	if (!policy)
		return NULL;
	for (size_t i = 0; i < policy->n_vms; i++)
		vm_done(&policy->vms[i]);
	free(policy->vms);
	free(policy->sorted);
	free(policy->key);
	free(policy->id);
	free(policy->name);
	free(policy->location);
	free(policy->kind);
	free(policy);
	return NULL;
}
