/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the control plane's documents claim. New references, or NULL for want of memory. */

#include <jansson.h>
#include <stdint.h>

#include "contrib/control-plane/jit/request.h"

#define DOCUMENT_JTI_BYTES_MAX 80

/* The grant of one port of one VM of a request, issued now (seconds). */
json_t *claims_grant(
	const struct request *request, size_t i_vm, size_t i_port, const char *issuer, int64_t now);

/* Revokes the grants of a request at one VM: jtis is a list, consumed. ret_jti is its own.
 * kill: its sessions end, too. reason may be NULL. */
json_t *claims_revocation(const struct request *request, size_t i_vm, json_t *jtis,
	const char *issuer, int64_t now, bool kill, const char *reason,
	char ret_jti[static DOCUMENT_JTI_BYTES_MAX]);

/* All rules for a VM: ports is a list, consumed. */
json_t *claims_policy(
	const char *vm_id, json_t *ports, const char *issuer, int64_t now, int64_t version);
