/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Policies and requests: what is in memory is what watches told; what changes is a transaction.
 *
 *   routes (azure.c, requests.c) ──▶ operations (write.c, grant.c, decide.c) ──▶ change ──▶ store
 *      ▲                                                                            │
 *      └────────────── memory (jit.c) ◀── watches: policies, requests, progress, vms
 *
 * Each change that opens or shuts something at a VM compares and puts the VM's key, so that two of
 * them know of one another.
 */

#include <jansson.h>
#include <systemd/sd-event.h>

#include "contrib/control-plane/activity/activity.h"
#include "contrib/control-plane/jit/ask.h"
#include "contrib/control-plane/jit/policy.h"
#include "contrib/control-plane/jit/request.h"
#include "contrib/control-plane/jit/signer.h"
#include "contrib/control-plane/state/table.h"
#include "contrib/control-plane/store/store.h"

#define JIT_POLICIES_MAX 10000
#define JIT_REQUESTS_MAX 100000
#define JIT_REQUESTS_PER_PERSON_MAX 10000
#define JIT_ACTIVE_MAX 1000 /* ports of one person at one VM, granted or pending */
#define JIT_REQUEST_KEPT_SECONDS (30 * 24 * 3600)
#define JIT_DOCUMENT_KEPT_SECONDS 3600

struct jit_vm {
	char *key; /* first: state/table.h */
	char *id; /* as first spelled */
	int64_t mod_revision; /* of vms/{key}; 0: none yet */
	int64_t policy_version; /* of the latest policy document */
	struct table policies; /* that name it */
	struct table requests; /* for it */
};

/* Who has requested something. */
struct jit_person {
	char *key; /* the name; first: state/table.h */
	struct table requests;
};

struct jit_options {
	sd_event *event;
	struct store *store;
	struct leases *leases;
	struct activity *activity;
	const char *url; /* of the server: iss of documents, links */
	struct signer *signer; /* consumed where jit_new() returns 0 */
};

struct jit {
	struct jit_options options;
	struct table policies; /* struct policy */
	struct table requests; /* struct request */
	struct table vms; /* struct jit_vm */
	struct table people; /* struct jit_person */
	struct store_watch *watches[4];
	struct hold *holds; /* calls that wait: holds.h */
	struct renewal *renewal; /* where one is under way: renewal.h */
};

/* Begins to watch: nothing may be answered before the store has told what there is. Returns 0 or
 * -errno. */
int jit_new(const struct jit_options *options, struct jit **ret);

/* After the HTTP server and before the store. */
struct jit *jit_free(struct jit *jit);
DEFINE_CLEANUP(struct jit *, jit_free)

/* Keys that sign from now on; consumes signer. What is signed stays as it is. */
void jit_set_signer(struct jit *jit, struct signer *signer);

/* The VM of a key, or NULL. */
struct jit_vm *jit_find_vm(const struct jit *jit, const char *vm_key);

/* The requests of a person, as principals are called, or NULL. */
const struct table *jit_find_requests_of(const struct jit *jit, const char *requestor);

/* For struct evaluation: userdata is a struct jit. */
struct policy_list jit_find_policies(const char *vm_key, void *userdata);

/* The access that a grant is for, if it is at that VM (NULL: any); NULL where there is none. */
struct access *jit_find_grant(
	const struct jit *jit, const char *grant, const char *vm_key, struct request **ret_request);

/* Routes for people; userdata is the struct jit. */
extern const struct http_route azure_routes[];
extern const struct http_route request_routes[];
