/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Names: VMs, policies, requests and their grants.
 *
 *   VM       /subscriptions/S/resourceGroups/R/providers/Microsoft.Compute/virtualMachines/web-1
 *   policy   /subscriptions/S/resourceGroups/R/providers/Microsoft.Security/locations/L/
 *            jitNetworkAccessPolicies/default
 *   request  r-0198c2f4a1b27c3e8f0123456789abcd   time and chance, as UUIDv7 has them
 *   grant    {request}.{index of the VM}.{index of its port}
 *   policy document   p-{version}-{chance}; revocation   {request}.x{chance}
 *
 * Ids of resources compare without regard to (ASCII) case: their key is their id in lower case.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RESOURCE_ID_BYTES_MAX 512
#define NAME_BYTES_MAX 90 /* of a policy, a resource group, a location; Azure's bound */
#define REQUEST_ID_BYTES_MAX 40
#define GRANT_ID_BYTES_MAX 64

/* ASCII letters in lower case (allocated); NULL: no memory. */
char *name_lower(const char *text);

/*
 * NULL where it is fit to be a VM's id, and otherwise what is wrong with it as the rest of a
 * sentence that begins with the id. It begins with "/subscriptions/", ends in
 * "/virtualMachines/{name}" or "/machines/{name}", has no segment that is empty, "." or "..", no
 * white space and none of | % ? # and backslash.
 */
const char *vm_id_check(const char *id);

/* Where the name (its last segment) begins. */
const char *resource_name(const char *id);

/* The same for a segment of a policy's id: its name, its group, a location. */
const char *name_check(const char *name);

/* A new id; grows with time. */
void request_id_new(uint64_t now_usec, char ret[static REQUEST_ID_BYTES_MAX]);
bool request_id_is_valid(const char *id);

/* n_bytes by chance as twice as many hexadecimal digits and a NUL. */
void chance_hex(char *ret, size_t n_bytes);

void grant_id_format(
	const char *request, size_t vm, size_t port, char ret[static GRANT_ID_BYTES_MAX]);

/* Takes a grant's id apart. False where it is none. */
bool grant_id_parse(const char *id, char ret_request[static REQUEST_ID_BYTES_MAX], size_t *ret_vm,
	size_t *ret_port);
