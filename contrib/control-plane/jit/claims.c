/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <stdio.h>

#include "contrib/control-plane/jit/claims.h"
#include "contrib/control-plane/jit/names.h"

json_t *claims_grant(
	const struct request *request, size_t i_vm, size_t i_port, const char *issuer, int64_t now)
{
	const struct request_vm *vm = &request->vms[i_vm];
	const struct access *access = &vm->ports[i_port];
	char jti[GRANT_ID_BYTES_MAX], source[PREFIX_STRING_MAX];

	grant_id_format(request->key, i_vm, i_port, jti);
	return json_pack("{s:s, s:s, s:s, s:s, s:s*, s:I, s:I, s:[{s:i, s:s, s:s}]}", "iss", issuer,
		"aud", vm->id, "jti", jti, "sub", request->requestor, "justification",
		request->justification, "iat", (json_int_t)now, "exp", (json_int_t)access->end,
		"ports", "number", access->number, "protocol", protocol_format(access->protocols),
		"allowedSourceAddressPrefix", prefix_format(&access->source, source));
}

json_t *claims_revocation(const struct request *request, size_t i_vm, json_t *jtis,
	const char *issuer, int64_t now, bool kill, const char *reason,
	char ret_jti[static DOCUMENT_JTI_BYTES_MAX])
{
	char chance[17];

	chance_hex(chance, 8);
	snprintf(ret_jti, DOCUMENT_JTI_BYTES_MAX, "%s.x%s", request->key, chance);
	return json_pack("{s:s, s:s, s:s, s:I, s:o, s:s, s:s*}", "iss", issuer, "aud",
		request->vms[i_vm].id, "jti", ret_jti, "iat", (json_int_t)now, "revokes", jtis,
		"sessions", kill ? "kill" : "keep", "reason", reason);
}

json_t *claims_policy(
	const char *vm_id, json_t *ports, const char *issuer, int64_t now, int64_t version)
{
	char jti[DOCUMENT_JTI_BYTES_MAX], chance[17];

	chance_hex(chance, 8);
	snprintf(jti, sizeof(jti), "p-%lld-%s", (long long)version, chance);
	return json_pack("{s:s, s:s, s:s, s:I, s:I, s:o}", "iss", issuer, "aud", vm_id, "jti", jti,
		"iat", (json_int_t)now, "version", (json_int_t)version, "ports", ports);
}
