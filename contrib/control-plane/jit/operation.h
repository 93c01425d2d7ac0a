/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * A call that changes something, from its body to its answer. Rights are asked for where the
 * change is built, against what memory says then.
 */

#include "contrib/control-plane/identity/identity.h"
#include "contrib/control-plane/jit/jit.h"

struct operation {
	struct jit *jit;
	struct http_request *call;
	const struct principal *principal; /* goes with the call */
	int64_t now_usec;
	/* Why not, and what its entry in the activity log says besides. */
	struct problem problem;
	struct activity_entry entry;

	change_build *build; /* userdata is the operation */
	/* Answers what was done; then the operation is freed. */
	void (*succeed)(struct operation *operation);

	/* Of one kind or another. */
	struct policy_path path;
	char *policy_id; /* of the path, or NULL */
	char *policy_key;
	struct policy *policy; /* to be */
	struct ask *ask;
	char id[48]; /* of the request */
	enum request_form form;
	const char *reason;
	bool kills;
	bool was_there;
};

/* What the call says is borrowed until it is answered. NULL where it has answered that there is no
 * memory. */
struct operation *operation_new(struct jit *jit, struct http_request *call, const char *name);

void operation_free(struct operation *operation);

/* Does it, answers, and frees it. */
void operation_begin(struct operation *operation);

/* Answers with operation->problem and frees it: for what is wrong before anything is built. r is
 * PROBLEM or -errno. */
void operation_fail(struct operation *operation, int r);

/* "reason" and, where wanted, "sessions" of a body. Returns 0 or PROBLEM. */
int operation_read_reason(struct operation *operation, const json_t *body, bool with_sessions);

static inline int64_t operation_now(const struct operation *operation)
{
	return operation->now_usec / 1000000;
}

/* 403 AuthorizationFailed: role is what it takes. vm may be NULL. Returns PROBLEM. */
int operation_deny(
	struct operation *operation, enum role role, const char *resource, const char *vm);

struct evaluation operation_evaluation(const struct operation *operation);

/* For builders; each returns 0 or -errno. */

/* Lets this change and all others at the VM know of one another. */
int operation_guard(struct operation *operation, struct change *change, const char *vm_key,
	const char *vm_id, int64_t policy_version);

/* Guards each VM of a request. */
int operation_guard_request(
	struct operation *operation, struct change *change, const struct request *request);

/* Puts a request, if it is as it was when it was copied (or not there). */
int operation_put_request(
	struct operation *operation, struct change *change, const struct request *request);

/* Signs and puts what a request's ports that open or shut need; the grant of what shuts goes.
 * reason (of the revocation) may be NULL. */
int operation_put_documents(struct operation *operation, struct change *change,
	const struct request *request, const char *reason);

bool access_ends(const struct access *access);

/* Ends what the ports of the request take the place of in earlier ones of the same person. Returns
 * PROBLEM too, where one person would have too much at a VM. */
int operation_replace_older(
	struct operation *operation, struct change *change, const struct request *request);

/* An entry for each port of a request for which wanted (NULL: all) returns true. */
int operation_add_entries(struct operation *operation, struct change *change,
	const struct request *request, bool (*wanted)(const struct access *access),
	const char *reason, const char *message);

int operation_put_document(struct operation *operation, struct change *change,
	enum document_kind kind, const char *vm_key, const char *jti, json_t *claims,
	int64_t until);
