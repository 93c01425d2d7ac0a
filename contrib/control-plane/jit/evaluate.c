/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>

#include "agent/common/times.h"
#include "contrib/control-plane/jit/ask.h"
#include "contrib/control-plane/jit/names.h"

#define DURATION_DEFAULT 3600

/* What all rules for a port say together. */
struct verdict {
	unsigned protocols;
	int64_t max_duration;
	bool needs_approval;
};

static int refuse_source(const struct policy *policy, const struct policy_vm *vm,
	const struct policy_port *rule, const struct prefix *source, struct problem *problem)
{
	char wanted[PREFIX_STRING_MAX], allowed[PREFIX_STRING_MAX];

	return problem_set(problem, 400, "SourceNotAllowed",
		"port %u of %s: source %s is not within %s%s, which policy %s allows", rule->number,
		resource_name(vm->id), prefix_format(source, wanted),
		prefix_format(&rule->prefixes[0], allowed),
		rule->n_prefixes > 1 ? " and its other prefixes" : "", policy->name);
}

/* One policy's say on a port of a VM. */
static int judge_policy(const struct policy *policy, const char *vm_key, uint16_t number,
	const struct prefix *source, struct verdict *verdict, struct problem *problem)
{
	const struct policy_vm *vm = policy_find_vm(policy, vm_key);

	for (size_t i = 0; vm && i < vm->n_ports; i++) {
		const struct policy_port *rule = &vm->ports[i];

		if (rule->number != number || !(rule->protocols & verdict->protocols))
			continue;
		if (!prefix_is_within(source, rule->prefixes, rule->n_prefixes))
			return refuse_source(policy, vm, rule, source, problem);
		if (rule->max_duration < verdict->max_duration)
			verdict->max_duration = rule->max_duration;
		verdict->needs_approval |= rule->needs_approval;
	}
	return 0;
}

/* What policy (its own first, for the code) and the others that name the VM say of a port, with the
 * protocols among those that ret has. */
static int judge(const struct policy *policy, const struct evaluation *evaluation,
	const char *vm_id, const char *vm_key, uint16_t number, const struct prefix *source,
	struct verdict *ret, struct problem *problem)
{
	const struct policy_vm *vm = policy_find_vm(policy, vm_key);
	struct policy_list list;
	int r;

	if (!vm)
		return problem_set(problem, 400, "VirtualMachineNotInPolicy",
			"policy %s does not name virtual machine %s", policy->name, vm_id);
	ret->protocols &= policy_vm_protocols(vm, number);
	if (ret->protocols == 0)
		return problem_set(problem, 400, "PortNotInPolicy",
			"port %u is not in policy %s for %s", number, policy->name,
			resource_name(vm->id));
	r = judge_policy(policy, vm_key, number, source, ret, problem);
	list = evaluation->find_policies(vm_key, evaluation->userdata);
	for (size_t i = 0; i < list.n_policies && r == 0; i++)
		if (strcmp(list.policies[i]->key, policy->key) != 0)
			r = judge_policy(list.policies[i], vm_key, number, source, ret, problem);
	return r;
}

/* The end in seconds: given, or after a duration. An end a little too late is cut, see the head of
 * ask.h. */
static int judge_end(int64_t end, int64_t duration, int64_t now, const struct verdict *verdict,
	uint16_t number, int64_t *ret, struct problem *problem)
{
	int64_t latest = now + verdict->max_duration;
	char asked[TIME_STRING_MAX], allowed[TIME_STRING_MAX], longest[TIME_STRING_MAX];

	duration_format(verdict->max_duration, longest);
	if (end == 0) {
		if (duration > verdict->max_duration)
			return problem_set(problem, 400, "DurationTooLong",
				"port %u: %s is longer than the %s that is allowed: from now it "
				"would end at %s, and may at %s",
				number, duration_format(duration, asked), longest,
				time_format_utc(now + duration, (char[TIME_STRING_MAX]){ 0 }),
				time_format_utc(latest, allowed));
		*ret = now + duration;
		return 0;
	}
	if (end <= now)
		return problem_set(problem, 400, "EndTimeInThePast",
			"port %u: endTimeUtc %s has passed: it is %s here", number,
			time_format_utc(end, asked), time_format_utc(now, allowed));
	if (end > latest + ASK_LEEWAY_SECONDS)
		return problem_set(problem, 400, "DurationTooLong",
			"port %u: endTimeUtc %s is later than %s, which is %s from now and the "
			"latest that is allowed",
			number, time_format_utc(end, asked), time_format_utc(latest, allowed),
			longest);
	*ret = end < latest ? end : latest;
	return 0;
}

static int source_of(const struct ask_port *port, const struct evaluation *evaluation,
	struct prefix *ret, struct problem *problem)
{
	*ret = port->source;
	if (port->has_source)
		return 0;
	if (evaluation->family != AF_INET && evaluation->family != AF_INET6)
		return problem_content(problem,
			"port %u: no source is given, and the address that the call came from is "
			"not known",
			port->number);
	*ret = (struct prefix){
		.family = evaluation->family,
		.length = (uint8_t)(8 * address_bytes(evaluation->family)),
		.address = evaluation->address,
	};
	return 0;
}

static int evaluate_port(const struct ask *ask, const struct ask_vm *vm,
	const struct ask_port *port, const struct policy *policy,
	const struct evaluation *evaluation, struct access *access, struct problem *problem)
{
	int64_t now = evaluation->now_usec / (int64_t)USEC_PER_SEC;
	int64_t duration = ask->duration ? ask->duration : DURATION_DEFAULT;
	struct verdict verdict = { PROTOCOL_ANY, ACCESS_SECONDS_MAX, false };
	int r;

	r = source_of(port, evaluation, &access->source, problem);
	if (r == 0)
		r = judge(policy, evaluation, vm->id, vm->key, port->number, &access->source,
			&verdict, problem);
	if (r != 0)
		return r;
	if (ask->duration == 0 && verdict.max_duration < duration)
		duration = verdict.max_duration;
	r = judge_end(port->end, duration, now, &verdict, port->number, &access->end, problem);
	if (r != 0)
		return r;
	access->number = port->number;
	access->protocols = verdict.protocols;
	access->status = verdict.needs_approval ? ACCESS_PENDING : ACCESS_GRANTED;
	access->opens = !verdict.needs_approval;
	if (verdict.needs_approval && port->end == 0)
		access->duration = duration;
	return 0;
}

/* The VM as the policy spells it. */
static int evaluate_vm(const struct ask *ask, const struct ask_vm *asked,
	const struct policy *policy, const struct evaluation *evaluation, struct request_vm *vm,
	struct problem *problem)
{
	const struct policy_vm *named = policy_find_vm(policy, asked->key);
	int r;

	if (!named)
		return problem_set(problem, 400, "VirtualMachineNotInPolicy",
			"policy %s does not name virtual machine %s", policy->name, asked->id);
	vm->id = strdup(named->id);
	vm->key = strdup(named->key);
	vm->ports = calloc(asked->n_ports, sizeof(*vm->ports));
	if (!vm->id || !vm->key || !vm->ports)
		return -ENOMEM;
	for (size_t i = 0; i < asked->n_ports; i++) {
		r = evaluate_port(
			ask, asked, &asked->ports[i], policy, evaluation, &vm->ports[i], problem);
		if (r != 0)
			return r;
		for (size_t k = 0; k < i; k++)
			if (access_is_same(&vm->ports[i], &vm->ports[k]))
				return problem_content(problem,
					"port %u of %s is asked for twice from the same source",
					vm->ports[i].number, resource_name(vm->id));
		vm->n_ports++;
	}
	return 0;
}

/* How long what is pending waits: a day, or until all that has an end of its own is past it. */
static int64_t pending_until(const struct request *request, int64_t now)
{
	int64_t until = 0;

	for (size_t i = 0; i < request->n_vms; i++)
		for (size_t k = 0; k < request->vms[i].n_ports; k++) {
			const struct access *access = &request->vms[i].ports[k];
			int64_t end =
				access->duration ? now + REQUEST_PENDING_SECONDS : access->end;

			if (access->status == ACCESS_PENDING && end > until)
				until = end;
		}
	return until;
}

static int request_new(const struct ask *ask, const struct policy *policy,
	const struct evaluation *evaluation, struct request **ret)
{
	_cleanup_(request_freep) struct request *request = calloc(1, sizeof(*request));

	if (!request)
		return -ENOMEM;
	request->key = strdup(evaluation->id);
	request->requestor = strdup(evaluation->requestor);
	request->justification = ask->justification ? strdup(ask->justification) : NULL;
	request->policy = strdup(policy->id);
	request->policy_key = strdup(policy->key);
	request->vms = calloc(ask->n_vms, sizeof(*request->vms));
	if (!request->key || !request->requestor || !request->policy || !request->policy_key ||
		!request->vms || (ask->justification && !request->justification))
		return -ENOMEM;
	request->started = evaluation->now_usec;
	*ret = TAKE_PTR(request);
	return 0;
}

int ask_evaluate(const struct ask *ask, const struct policy *policy,
	const struct evaluation *evaluation, struct request **ret, struct problem *problem)
{
	_cleanup_(request_freep) struct request *request = NULL;
	int r;

	r = request_new(ask, policy, evaluation, &request);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ask->n_vms; i++) {
		request->n_vms++;
		r = evaluate_vm(ask, &ask->vms[i], policy, evaluation, &request->vms[i], problem);
		if (r != 0)
			return r;
	}
	request->approval_until =
		pending_until(request, evaluation->now_usec / (int64_t)USEC_PER_SEC);
	*ret = TAKE_PTR(request);
	return 0;
}

int request_approve(struct request *request, const struct policy *policy,
	const struct evaluation *evaluation, struct problem *problem)
{
	int64_t now = evaluation->now_usec / (int64_t)USEC_PER_SEC;
	int r;

	for (size_t i = 0; i < request->n_vms; i++)
		for (size_t k = 0; k < request->vms[i].n_ports; k++) {
			struct access *access = &request->vms[i].ports[k];
			/* No more than the approver was shown. */
			struct verdict verdict = { access->protocols, ACCESS_SECONDS_MAX, false };

			if (access_status_at(request, access, now) != ACCESS_PENDING)
				continue;
			r = judge(policy, evaluation, request->vms[i].id, request->vms[i].key,
				access->number, &access->source, &verdict, problem);
			if (r == 0)
				r = judge_end(access->duration ? 0 : access->end, access->duration,
					now, &verdict, access->number, &access->end, problem);
			if (r != 0)
				return r;
			access->protocols = verdict.protocols;
			access->status = ACCESS_GRANTED;
			access->opens = true;
		}
	return 0;
}
