/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Reading what is asked for. Judging it is in evaluate.c. */

#include <errno.h>
#include <string.h>

#include "agent/common/text.h"
#include "agent/common/times.h"
#include "contrib/control-plane/jit/ask.h"
#include "contrib/control-plane/jit/names.h"

#define WHERE_MAX 80

struct ask *ask_free(struct ask *ask)
{
	if (!ask)
		return NULL;
	for (size_t i = 0; i < ask->n_vms; i++) {
		free(ask->vms[i].ports);
		free(ask->vms[i].id);
		free(ask->vms[i].key);
	}
	free(ask->vms);
	free(ask->justification);
	free(ask);
	return NULL;
}

int ask_vm_set_id(struct ask_vm *vm, const char *id)
{
	char *new_id = strdup(id), *new_key = name_lower(id);

	if (!new_id || !new_key) {
		free(new_id);
		free(new_key);
		return -ENOMEM;
	}
	free(vm->id);
	free(vm->key);
	vm->id = new_id;
	vm->key = new_key;
	return 0;
}

static int read_justification(const json_t *body, struct ask *ask, struct problem *problem)
{
	const json_t *value = json_object_get(body, "justification");
	const char *text;
	int r;

	if (!value || json_is_null(value) || json_string_length(value) == 0)
		return !value || json_is_null(value) || json_is_string(value)
			? 0
			: problem_content(problem, "justification is not a string");
	r = json_get_string(body, "", "justification", REQUEST_TEXT_BYTES_MAX, &text, problem);
	if (r != 0)
		return r;
	ask->justification = strdup(text);
	return ask->justification ? 0 : -ENOMEM;
}

static int read_source(const json_t *json, const char *where, const char *name,
	struct ask_port *port, struct problem *problem)
{
	const json_t *value = json_object_get(json, name);
	const char *text = json_string_value(value), *reason;

	if (!value || json_is_null(value) || (text && !*text))
		return 0;
	if (!text)
		return problem_content(problem, "%s%s is not a string", where, name);
	reason = prefix_parse_reason(text, &port->source);
	if (reason)
		return problem_content(problem, "%s%s \"%.64s\" %s", where, name, text, reason);
	port->has_source = true;
	return 0;
}

/* Fractions of a second are dropped. */
static int read_end(const json_t *json, const char *where, int64_t *ret, struct problem *problem)
{
	const char *text = NULL;
	int r = json_get_string(json, where, "endTimeUtc", TIME_STRING_MAX, &text, problem);

	if (r != 0)
		return r;
	if (time_parse_utc(text, ret) < 0 || *ret <= 0)
		return problem_content(problem,
			"%sendTimeUtc \"%s\" is not a time as \"2026-01-01T10:00:00Z\"", where,
			text);
	return 0;
}

static int read_port(const json_t *json, const char *where, const char *source_name,
	struct ask_port *port, struct problem *problem)
{
	int r;

	if (!json_is_object(json))
		return problem_content(problem, "%snot an object", where);
	r = json_get_number(json, where, &port->number, problem);
	return r != 0 ? r : read_source(json, where, source_name, port, problem);
}

static int ports_allocate(
	const json_t *list, const char *where, struct ask_vm *vm, struct problem *problem)
{
	if (!json_is_array(list) || json_array_size(list) == 0 ||
		json_array_size(list) > DOCUMENT_PORTS_MAX)
		return problem_content(problem, "%sports is not a list of 1 to %d ports", where,
			DOCUMENT_PORTS_MAX);
	vm->ports = calloc(json_array_size(list), sizeof(*vm->ports));
	return vm->ports ? 0 : -ENOMEM;
}

static int read_vm(const json_t *json, size_t i, struct ask_vm *vm, struct problem *problem)
{
	const json_t *list = json_object_get(json, "ports"), *port;
	const char *id = NULL;
	char where[WHERE_MAX];
	size_t k;
	int r;

	snprintf(where, sizeof(where), "virtual machine %zu: ", i + 1);
	if (!json_is_object(json))
		return problem_content(problem, "%snot an object", where);
	r = json_get_vm_id(json, where, &id, problem);
	if (r == 0)
		r = ask_vm_set_id(vm, id);
	if (r == 0)
		r = ports_allocate(list, where, vm, problem);
	if (r != 0)
		return r;
	json_array_foreach (list, k, port) {
		snprintf(where, sizeof(where), "virtual machine %zu, port %zu: ", i + 1, k + 1);
		vm->n_ports++;
		r = read_port(port, where, "allowedSourceAddressPrefix", &vm->ports[k], problem);
		if (r == 0)
			r = read_end(port, where, &vm->ports[k].end, problem);
		if (r != 0)
			return r;
	}
	return 0;
}

static int check_total(const struct ask *ask, struct problem *problem)
{
	size_t n = 0;

	for (size_t i = 0; i < ask->n_vms; i++)
		n += ask->vms[i].n_ports;
	if (n > REQUEST_GRANTS_MAX)
		return problem_content(problem, "%zu ports are asked for, more than %d at once", n,
			REQUEST_GRANTS_MAX);
	for (size_t i = 0; i < ask->n_vms; i++)
		for (size_t k = 0; k < i; k++)
			if (strcmp(ask->vms[i].key, ask->vms[k].key) == 0)
				return problem_content(problem,
					"virtual machine \"%s\" is given twice: one element with "
					"all its ports",
					ask->vms[i].id);
	return 0;
}

static int ask_new(const json_t *body, size_t n_vms, struct ask **ret, struct problem *problem)
{
	_cleanup_(ask_freep) struct ask *ask = calloc(1, sizeof(*ask));
	int r;

	if (!ask)
		return -ENOMEM;
	ask->vms = calloc(n_vms, sizeof(*ask->vms));
	if (!ask->vms)
		return -ENOMEM;
	r = read_justification(body, ask, problem);
	if (r != 0)
		return r;
	*ret = TAKE_PTR(ask);
	return 0;
}

int ask_from_initiate(const json_t *body, struct ask **ret, struct problem *problem)
{
	_cleanup_(ask_freep) struct ask *ask = NULL;
	const json_t *list = json_object_get(body, "virtualMachines"), *vm;
	size_t i;
	int r;

	if (!json_is_array(list) || json_array_size(list) == 0 ||
		json_array_size(list) > REQUEST_GRANTS_MAX)
		return problem_content(problem,
			"virtualMachines is not a list of 1 to %d virtual machines",
			REQUEST_GRANTS_MAX);
	r = ask_new(body, json_array_size(list), &ask, problem);
	if (r != 0)
		return r;
	json_array_foreach (list, i, vm) {
		ask->n_vms++;
		r = read_vm(vm, i, &ask->vms[i], problem);
		if (r != 0)
			return r;
	}
	r = check_total(ask, problem);
	if (r != 0)
		return r;
	*ret = TAKE_PTR(ask);
	return 0;
}

/* "duration", "endTimeUtc", or neither. ret_end is 0 where there is none. */
static int read_times(
	const json_t *body, struct ask *ask, int64_t *ret_end, struct problem *problem)
{
	const json_t *duration = json_object_get(body, "duration");
	const json_t *end = json_object_get(body, "endTimeUtc");
	const char *text = json_string_value(duration);

	*ret_end = 0;
	duration = json_is_null(duration) ? NULL : duration;
	end = json_is_null(end) ? NULL : end;
	if (duration && end)
		return problem_content(problem, "duration and endTimeUtc are both given: one");
	if (end)
		return read_end(body, "", ret_end, problem);
	if (duration && (!text || duration_parse(text, &ask->duration) < 0))
		return problem_content(
			problem, "duration is not an ISO 8601 duration, as \"PT1H\"");
	return 0;
}

int ask_from_body(const json_t *body, struct ask **ret, struct problem *problem)
{
	_cleanup_(ask_freep) struct ask *ask = NULL;
	const json_t *list = json_object_get(body, "ports"), *port;
	const char *vm = NULL;
	int64_t end = 0;
	size_t i;
	int r;

	r = ask_new(body, 1, &ask, problem);
	if (r == 0)
		r = json_get_string(body, "", "vm", RESOURCE_ID_BYTES_MAX, &vm, problem);
	if (r == 0)
		r = read_times(body, ask, &end, problem);
	if (r != 0)
		return r;
	ask->n_vms = 1;
	r = ask_vm_set_id(&ask->vms[0], vm);
	if (r == 0)
		r = ports_allocate(list, "", &ask->vms[0], problem);
	if (r != 0)
		return r;
	json_array_foreach (list, i, port) {
		char where[WHERE_MAX];

		snprintf(where, sizeof(where), "port %zu: ", i + 1);
		ask->vms[0].n_ports++;
		ask->vms[0].ports[i].end = end;
		r = read_port(port, where, "source", &ask->vms[0].ports[i], problem);
		if (r != 0)
			return r;
	}
	*ret = TAKE_PTR(ask);
	return 0;
}
