/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * A request for access: what was asked for, what became of it, and what agents said of its grants.
 * Pure: the time is an argument.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/common/prefix.h"
#include "contrib/control-plane/jit/problem.h"

#define REQUEST_GRANTS_MAX 256 /* ports of all its VMs */
#define REQUEST_TEXT_BYTES_MAX 1024 /* of a justification or a reason; the agents' bound */
#define REQUEST_PENDING_SECONDS (24 * 3600) /* how long it waits to be approved */

enum access_status {
	ACCESS_GRANTED,
	ACCESS_PENDING,
	ACCESS_REPLACED, /* by a newer request */
	ACCESS_REVOKED,
	ACCESS_DENIED,
	ACCESS_EXPIRED, /* only time says it: never stored */
};

/* What agents told of a grant, in µs; 0: has not happened. */
struct progress {
	int64_t delivered;
	int64_t installed;
	int64_t first_connection;
	int64_t ended;
	char *refused_code; /* or NULL */
	char *refused_message;
	int64_t mod_revision; /* of its key; 0: none */
};

struct hold;

/* A port of a VM, for which there is one grant. */
struct access {
	uint16_t number;
	unsigned protocols;
	struct prefix source;
	int64_t end; /* seconds; while pending with a duration: as if granted when asked for */
	int64_t duration; /* seconds, where time begins with the approval; 0 otherwise */
	enum access_status status;
	/* What the change that is being built does to it; never stored. */
	bool opens;
	bool ends; /* was granted or pending */
	bool shuts; /* was granted */
	struct progress progress;
};

struct request_vm {
	char *id;
	char *key;
	struct access *ports;
	size_t n_ports;
};

/* Who decided what, when, and why. */
struct decision {
	char *by; /* NULL: nobody has */
	int64_t at; /* µs */
	char *reason; /* or NULL */
};

struct request {
	char *key; /* its id; first: state/table.h */
	char *requestor;
	int64_t started; /* µs */
	char *justification; /* or NULL */
	char *policy; /* id */
	char *policy_key;
	struct request_vm *vms;
	size_t n_vms;
	int64_t approval_until; /* seconds; 0: nothing of it waited */
	struct decision approval;
	struct decision revocation;
	int64_t mod_revision;
	struct hold *holds; /* calls that wait for it to change: holds.h */
};

/* Status at a time in seconds; 0: as it is stored. */
enum access_status access_status_at(
	const struct request *request, const struct access *access, int64_t now);

/* What is granted or pending is over, as status says. */
void access_end(struct access *access, enum access_status status);

/* The same number and source. */
bool access_is_same(const struct access *a, const struct access *b);

/* Granted or pending, any port of it. */
bool request_is_active(const struct request *request, int64_t now);

/* When the last of it ends, in seconds. */
int64_t request_ends(const struct request *request);

/* The later of its own revision and its progress's. */
int64_t request_revision(const struct request *request);

/* The first VM of it, for what names only one. */
const char *request_first_vm(const struct request *request);

enum request_form {
	REQUEST_STORED,
	REQUEST_AZURE, /* an element of a policy's requests */
	REQUEST_FULL,
};

/* shows NULL: all VMs. now in seconds. A new reference, or NULL. */
json_t *request_to_json(const struct request *request, enum request_form form, int64_t now,
	bool (*shows)(const char *vm_id, const void *userdata), const void *userdata);

/* Reads what REQUEST_STORED writes. Returns 0, -EINVAL, -ENOMEM. */
int request_from_json(const char *id, const json_t *json, struct request **ret);

struct request *request_free(struct request *request);
DEFINE_CLEANUP(struct request *, request_free)

/* Copies for a change. Returns 0 or -ENOMEM. Progress stays with the original. */
int request_copy(const struct request *request, struct request **ret);

int decision_set(struct decision *decision, const char *by, int64_t at_usec, const char *reason);

json_t *progress_to_json(const struct progress *progress);
/* progress must be empty or done. Returns 0 or -ENOMEM. */
int progress_from_json(struct progress *progress, const json_t *json);
void progress_done(struct progress *progress);
