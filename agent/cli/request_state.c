/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <stdio.h>
#include <string.h>

#include "agent/cli/output.h"
#include "agent/cli/request_state.h"
#include "agent/common/refusal.h"

#define PREFIXES_SHOWN 4

static const json_t *port_refusal(const json_t *port)
{
	const json_t *refused = json_object_get(json_object_get(port, "progress"), "refused");

	return json_is_object(refused) ? refused : NULL;
}

static bool port_has(const json_t *port, const char *progress)
{
	return json_is_string(json_object_get(json_object_get(port, "progress"), progress));
}

static bool port_is(const json_t *port, const char *status)
{
	return strcmp(member_text(port, "status", ""), status) == 0;
}

/* What is refused for now, the agent takes as soon as it can. */
static const json_t *port_obstacle(const json_t *port)
{
	const json_t *refused = port_refusal(port);

	return refused && refusal_passes(refusal_code_find(member_text(refused, "code", "")))
		? refused
		: NULL;
}

enum request_stage port_stage(const json_t *port)
{
	if ((port_refusal(port) && !port_obstacle(port)) || port_is(port, "Revoked") ||
		port_has(port, "ended"))
		return REQUEST_ENDED;
	if (port_is(port, "PendingApproval"))
		return REQUEST_PENDING;
	if (port_has(port, "installed"))
		return REQUEST_OPEN;
	return port_has(port, "delivered") ? REQUEST_DELIVERED : REQUEST_GRANTED;
}

static const char *ended_state(const json_t *port)
{
	static const struct {
		const char *reason;
		const char *state;
	} states[] = {
		{ "Expired", "expired" },
		{ "NewerRequestInitiated", "replaced" },
		{ "Denied", "denied" },
	};
	const char *reason = member_text(port, "statusReason", "");

	if (port_refusal(port) && !port_obstacle(port))
		return "refused";
	for (size_t i = 0; i < N_ELEMENTS(states); i++)
		if (strcmp(states[i].reason, reason) == 0)
			return states[i].state;
	return port_is(port, "Revoked") ? "revoked" : "ended";
}

const char *port_state(const json_t *port)
{
	static const char *const states[] = {
		[REQUEST_PENDING] = "pending",
		[REQUEST_GRANTED] = "granted",
		[REQUEST_DELIVERED] = "delivered",
		[REQUEST_OPEN] = "open",
	};
	enum request_stage stage = port_stage(port);

	return stage == REQUEST_ENDED ? ended_state(port) : states[stage];
}

const json_t *request_decisive_port(const json_t *request)
{
	const json_t *found = NULL;
	json_t *vm, *port;
	size_t i, j;

	json_array_foreach (json_object_get(request, "virtualMachines"), i, vm)
		json_array_foreach (json_object_get(vm, "ports"), j, port)
			if (!found || port_stage(port) < port_stage(found))
				found = port;
	return found;
}

enum request_stage request_stage(const json_t *request)
{
	const json_t *port = request_decisive_port(request);

	return port ? port_stage(port) : REQUEST_PENDING;
}

const char *request_obstacle(const json_t *request)
{
	const json_t *refused = port_obstacle(request_decisive_port(request));

	return refused ? member_text(refused, "message", "it does not say why") : NULL;
}

const char *request_end_code(const json_t *port)
{
	const json_t *refused = port_obstacle(port) ? NULL : port_refusal(port);

	return refused ? member_text(refused, "code", "refused")
		       : member_text(port, "statusReason", "ended");
}

const char *request_end_describe(
	const json_t *request, const json_t *port, char *text, size_t n_text)
{
	const json_t *approval = json_object_get(request, "approval");
	const json_t *refused = port_obstacle(port) ? NULL : port_refusal(port);
	const char *reason = member_text(approval, "reason", "");
	const char *state = port_state(port);

	if (refused)
		snprintf(text, n_text,
			"the machine's agent refuses port %" JSON_INTEGER_FORMAT ": %s",
			member_integer(port, "number"),
			member_text(refused, "message", "it does not say why"));
	else if (strcmp(state, "denied") == 0)
		snprintf(text, n_text, "denied by %s%s%s",
			member_text(approval, "by", "an approver"), reason[0] ? ": " : "", reason);
	else if (strcmp(state, "replaced") == 0)
		snprintf(text, n_text, "a newer request took its place");
	else if (strcmp(state, "expired") == 0)
		snprintf(text, n_text, "its time is over");
	else
		snprintf(text, n_text, "it was revoked before its end");
	return text;
}

const char *vm_name(const char *id)
{
	const char *slash = strrchr(id, '/');

	return slash && slash[1] ? slash + 1 : id;
}

char *port_sources(const json_t *port)
{
	const json_t *list = json_object_get(port, "allowedSourceAddressPrefixes");

	if (json_array_size(list) > 0)
		return list_describe(list, PREFIXES_SHOWN);
	return strdup(member_text(port, "allowedSourceAddressPrefix", "?"));
}
