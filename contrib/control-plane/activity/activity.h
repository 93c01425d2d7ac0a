/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * The activity log: who did what, where, and how it ended. What changes something has its entry in
 * the same transaction; what is denied has one of its own.
 */

#include <stdint.h>

#include "contrib/control-plane/http/http.h"
#include "contrib/control-plane/state/change.h"

/* Azure's operations, and ours. */
#define OPERATION_POLICY_WRITE "Microsoft.Security/locations/jitNetworkAccessPolicies/write"
#define OPERATION_POLICY_DELETE "Microsoft.Security/locations/jitNetworkAccessPolicies/delete"
#define OPERATION_POLICY_READ "Microsoft.Security/locations/jitNetworkAccessPolicies/read"
#define OPERATION_INITIATE "Microsoft.Security/locations/jitNetworkAccessPolicies/initiate/action"
#define OPERATION_APPROVE "jitgate/requests/approve/action"
#define OPERATION_DENY "jitgate/requests/deny/action"
#define OPERATION_REVOKE "jitgate/requests/revoke/action"
#define OPERATION_REQUEST_READ "jitgate/requests/read"
#define OPERATION_ENROLL "jitgate/vms/enroll/action"
#define OPERATION_ENROLLMENT_NEW "jitgate/vms/newEnrollment/action"
#define OPERATION_TOKEN_NEW "jitgate/tokens/newToken/action"
#define OPERATION_TOKEN_REVOKE "jitgate/tokens/revokeToken/action"
#define OPERATION_AGENT "jitgate/agents/" /* and the type of the agent's record */

struct activity {
	struct store *store;
	struct leases *leases;
	const char *url; /* of the server, for links */
	int64_t retention; /* seconds */
	struct page *pages; /* that are read, or wait for it: read.c */
};

/* What is not known of an entry is NULL or 0. Strings are borrowed. */
struct activity_entry {
	const char *operation;
	const char *principal;
	const char *subject; /* whom an agent says it was, where we do not know */
	const char *vm;
	const char *resource; /* a policy's id */
	const char *request;
	int port;
	const char *protocol;
	const char *source;
	const char *reason;
	const char *result; /* "Succeeded", "Denied", "Refused", "Failed" */
	const char *code;
	const char *message;
};

/* Adds an entry to a change. now in µs. Returns as change_put() does. */
int activity_add(const struct activity *activity, struct change *change, int64_t now_usec,
	const struct activity_entry *entry);

/* The same under an id of the caller's, put only where it is not there. Time is µs. */
json_t *activity_entry_to_json(
	const struct activity_entry *entry, const char *id, int64_t time_usec);

/*
 * Writes an entry by itself, and then answers with an error: 403 and its like. A problem of the
 * store is told in the log of the process only: whoever may not do a thing is told that in any
 * case.
 */
void activity_answer(const struct activity *activity, struct http_request *request, unsigned status,
	const char *code, const struct activity_entry *entry);

/* GET /v1/activity; userdata is a struct activity. */
extern const struct http_route activity_routes[];
