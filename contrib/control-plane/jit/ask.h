/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * What someone asks for, and whether policies let them have it.
 *
 *   ask (a body) ──▶ evaluate: policies of the VM, time, caller's address ──▶ request, or why not
 *
 * Pure. What is judged here is what the agent will judge again: each rule of each policy that names
 * the VM must be satisfied where it names the port, so another policy can only tighten.
 */

#include <jansson.h>
#include <stdint.h>

#include "contrib/control-plane/jit/policy.h"
#include "contrib/control-plane/jit/request.h"

/* How much later than the longest an absolute end may be: the caller's clock may be ahead. */
#define ASK_LEEWAY_SECONDS 60

struct ask_port {
	uint16_t number;
	bool has_source; /* false: the caller's address */
	struct prefix source;
	int64_t end; /* seconds; 0: as the ask's duration says */
};

struct ask_vm {
	char *id; /* of a short ask: its name may do */
	char *key;
	struct ask_port *ports;
	size_t n_ports;
};

struct ask {
	char *justification; /* or NULL */
	struct ask_vm *vms;
	size_t n_vms;
	int64_t duration; /* seconds; 0: none was given */
};

/* The body of Azure's initiate. Returns 0, PROBLEM, -ENOMEM. */
int ask_from_initiate(const json_t *body, struct ask **ret, struct problem *problem);

/* The body of POST /v1/requests. Returns the same. */
int ask_from_body(const json_t *body, struct ask **ret, struct problem *problem);

/* A VM's name is replaced by its id. Returns 0 or -ENOMEM. */
int ask_vm_set_id(struct ask_vm *vm, const char *id);

struct ask *ask_free(struct ask *ask);
DEFINE_CLEANUP(struct ask *, ask_free)

/* The policies that name a VM. */
struct policy_list {
	const struct policy *const *policies;
	size_t n_policies;
};

struct evaluation {
	const char *id; /* of the request to be */
	const char *requestor;
	int64_t now_usec;
	/* The caller's address; AF_UNSPEC: not known. */
	uint8_t family;
	struct address address;
	/* The policies that name a VM, the one that is asked among them. */
	struct policy_list (*find_policies)(const char *vm_key, void *userdata);
	void *userdata;
};

/* Returns 0 and the request, owned by the caller; PROBLEM; -ENOMEM. */
int ask_evaluate(const struct ask *ask, const struct policy *policy,
	const struct evaluation *evaluation, struct request **ret, struct problem *problem);

/*
 * Grants what of a request is pending, if policies still allow it: sets status, protocols and end
 * of those ports. policy is the request's, as it is now. Returns 0 or PROBLEM.
 */
int request_approve(struct request *request, const struct policy *policy,
	const struct evaluation *evaluation, struct problem *problem);
