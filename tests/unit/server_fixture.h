/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Policies and requests of the control plane, from JSON with ' for ". */

#include <string.h>

#include "contrib/control-plane/jit/ask.h"
#include "contrib/control-plane/jit/names.h"
#include "contrib/control-plane/jit/policy.h"
#include "contrib/control-plane/jit/request.h"

#define NOW INT64_C(1767261600) /* 2026-01-01T10:00:00Z */
#define POLICY_ID \
	"/subscriptions/s/resourceGroups/rg/providers/Microsoft.Security/locations/westeurope/" \
	"jitNetworkAccessPolicies/default"
#define VM_1 "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm1"
#define VM_2 "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm2"

static inline json_t *json_make(const char *text)
{
	_cleanup_(freep) char *copy = strdup(text);
	json_t *json;

	for (char *c = copy; *c; c++)
		if (*c == '\'')
			*c = '"';
	json = json_loads(copy, JSON_REJECT_DUPLICATES, NULL);
	if (!json)
		fail_msg("not JSON: %s", text);
	return json;
}

static inline void assert_json_equal(const json_t *json, const json_t *expected)
{
	if (!json_equal(json, expected)) {
		_cleanup_(freep) char *is = json_dumps(json, JSON_INDENT(1) | JSON_SORT_KEYS);
		_cleanup_(freep) char *wanted =
			json_dumps(expected, JSON_INDENT(1) | JSON_SORT_KEYS);

		fail_msg("is %s\n instead of %s", is, wanted);
	}
}

static inline int policy_try(
	const char *name, const char *body, struct policy **ret, struct problem *problem)
{
	const struct policy_path path = { "s", "rg", "westeurope", name };
	json_auto_t *json = json_make(body);

	return policy_from_body(&path, json, ret, problem);
}

static inline struct policy *policy_make(const char *name, const char *body)
{
	struct problem problem = { 0 };
	struct policy *policy;

	if (policy_try(name, body, &policy, &problem) != 0)
		fail_msg("%s: %s", body, problem.message);
	return policy;
}

static inline void policy_refused(const char *body, const char *message)
{
	struct problem problem = { 0 };
	struct policy *policy;

	assert_int_equal(policy_try("default", body, &policy, &problem), PROBLEM);
	assert_int_equal(problem.status, 400);
	assert_string_equal(problem.code, "InvalidRequestContent");
	if (!strstr(problem.message, message))
		fail_msg("%s: \"%s\" instead of \"%s\"", body, problem.message, message);
}
