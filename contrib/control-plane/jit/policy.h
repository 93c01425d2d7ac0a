/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * A JIT policy: which ports of which VMs may be asked for, from where and for how long, in Azure's
 * shape. Pure: no store, no clock.
 */

#include <jansson.h>
#include <stdint.h>

#include "agent/common/document.h"
#include "contrib/control-plane/jit/problem.h"

#define POLICY_VMS_MAX 1000
#define POLICY_BODY_BYTES_MAX (1024 * 1024)
#define ACCESS_SECONDS_MIN 300
#define ACCESS_SECONDS_MAX (24 * 3600)

struct policy_port {
	uint16_t number;
	unsigned protocols;
	struct prefix *prefixes;
	size_t n_prefixes;
	bool is_list; /* was given as allowedSourceAddressPrefixes */
	bool needs_approval;
	int64_t max_duration; /* seconds */
};

struct policy_vm {
	char *id; /* as the policy spells it */
	char *key; /* in lower case */
	char *public_address; /* or NULL */
	struct policy_port *ports;
	size_t n_ports;
};

struct policy {
	char *key; /* first: state/table.h */
	char *id;
	char *name;
	char *location;
	char *kind;
	struct policy_vm *vms; /* in the order given */
	size_t n_vms;
	const struct policy_vm **sorted; /* the same by key */
	int64_t mod_revision;
};

/* What the path of a call says of a policy. */
struct policy_path {
	const char *subscription;
	const char *group;
	const char *location;
	const char *name;
};

/* The id of the policy of a path (allocated), or NULL. */
char *policy_path_id(const struct policy_path *path);

/* Returns 0 or PROBLEM. */
int policy_path_check(const struct policy_path *path, struct problem *problem);

/*
 * Reads the body of a PUT. Members that are not known are passed over, those that the server fills
 * in (id, name, type, location, provisioningState, requests) too. Returns 0 and the policy, owned
 * by the caller; PROBLEM; -ENOMEM.
 */
int policy_from_body(const struct policy_path *path, const json_t *body, struct policy **ret,
	struct problem *problem);

/* Reads a policy as policy_to_json() writes it. Returns as policy_from_body(). */
int policy_from_json(const json_t *json, struct policy **ret, struct problem *problem);

/*
 * Azure's shape, without requests. shows NULL: all VMs; otherwise those for which it returns true.
 * A new reference, or NULL.
 */
json_t *policy_to_json(const struct policy *policy,
	bool (*shows)(const char *vm_id, const void *userdata), const void *userdata);

/* The VM of a key (its id in lower case), or NULL. */
const struct policy_vm *policy_find_vm(const struct policy *policy, const char *vm_key);

/* The protocols of the VM's rules for a number, together; 0 where there is none. */
unsigned policy_vm_protocols(const struct policy_vm *vm, uint16_t number);

/* The VM's rules as a policy document has them, added to a list. Returns 0 or -ENOMEM. */
int policy_vm_add_claims(const struct policy_vm *vm, json_t *ports);

struct policy *policy_free(struct policy *policy);
DEFINE_CLEANUP(struct policy *, policy_free)

/* Shared with requests. Each returns 0, PROBLEM, -ENOMEM. where: "virtual machine 1, port 2: ". */
int json_get_string(const json_t *object, const char *where, const char *name, size_t n_bytes_max,
	const char **ret, struct problem *problem);
int json_get_number(
	const json_t *object, const char *where, uint16_t *ret, struct problem *problem);
int json_get_vm_id(
	const json_t *object, const char *where, const char **ret, struct problem *problem);
