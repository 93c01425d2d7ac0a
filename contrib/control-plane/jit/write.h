/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What a call asks to be changed. Each consumes the operation, and answers. */

#include "contrib/control-plane/jit/operation.h"

/* operation->policy is what the policy is to be: 200 and the policy. */
void policy_write(struct operation *operation);

/* operation->policy_key: 200, or 204 where there is none. entry.resource is its id. */
void policy_delete(struct operation *operation);

/* For builders: puts the VM's policy document again, as its policies are, with the next version.
 * Returns 0, PROBLEM or -errno. */
int policy_sign_anew(struct operation *operation, struct change *change, const struct jit_vm *vm);

/* operation->ask for the policy of policy_key, or (NULL) for whichever of the VM's allows it; in
 * operation->form: 202 for Azure, 201. */
void request_create(struct operation *operation);

/* operation->id, reason, and kills for revoke: 200 and the request. */
void request_decide_approve(struct operation *operation);
void request_decide_deny(struct operation *operation);
void request_decide_revoke(struct operation *operation);

/* Azure's shape with requests, as the principal may see it. A new reference, or NULL. */
json_t *policy_show(
	const struct jit *jit, const struct policy *policy, const struct principal *principal);
