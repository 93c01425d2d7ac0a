/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 *   base64url(header) . base64url(claims) . base64url(signature)
 *
 * libjose verifies with the algorithm that the header names; its own comparison of that with the
 * key's is one-sided (version 11: strcmp() < 0). So a reader compares the header first, and what
 * libjose gets are those same bytes, with one key whose fitness for its alg was settled when the
 * key's file was read. No claim is parsed before the signature holds.
 */

#include <errno.h>
#include <jose/jws.h>
#include <string.h>

#include "agent/common/base64url.h"
#include "agent/common/jws.h"
#include "agent/common/memory.h"
#include "agent/common/strictjson.h"

static int jws_split(struct jws *jws, const char *text, size_t n_bytes, struct refusal *refusal)
{
	struct jws_part *const parts[] = { &jws->header_part, &jws->payload_part,
		&jws->signature_part };
	const char *end = text + n_bytes;

	for (size_t i = 0; i < N_ELEMENTS(parts); i++) {
		const char *dot = memchr(text, '.', (size_t)(end - text));

		if ((dot == NULL) != (i == N_ELEMENTS(parts) - 1))
			return refuse(refusal, REFUSAL_MALFORMED,
				"the %s is not a compact JWS: it needs three parts with a dot "
				"between them",
				jws->what);
		parts[i]->text = text;
		parts[i]->n_bytes = (size_t)((dot ? dot : end) - text);
		text = dot ? dot + 1 : end;
	}
	return 0;
}

static int part_decode(const struct jws *jws, const struct jws_part *part, const char *name,
	char **ret, size_t *ret_bytes, struct refusal *refusal)
{
	int r = base64url_decode(part->text, part->n_bytes, ret, ret_bytes);

	if (r == -EINVAL)
		return refuse(refusal, REFUSAL_MALFORMED,
			"the %s's %s is not base64url without padding", jws->what, name);
	return r;
}

/* A part that must be a JSON object. */
static int part_parse(const struct jws *jws, const struct jws_part *part, const char *name,
	json_t **ret, struct refusal *refusal)
{
	_cleanup_(freep) char *text = NULL;
	char error[256];
	size_t n_bytes;
	int r;

	r = part_decode(jws, part, name, &text, &n_bytes, refusal);
	if (r != 0)
		return r;
	if (json_parse_object(text, n_bytes, ret, error, sizeof(error)) < 0)
		return refuse(
			refusal, REFUSAL_MALFORMED, "the %s's %s: %s", jws->what, name, error);
	return 0;
}

static int part_check(const struct jws *jws, const struct jws_part *part, const char *name,
	struct refusal *refusal)
{
	_cleanup_(freep) char *bytes = NULL;
	size_t n_bytes;

	return part_decode(jws, part, name, &bytes, &n_bytes, refusal);
}

/* "b64" (RFC 7797) changes what is signed. */
static int header_read(struct jws *jws, struct refusal *refusal)
{
	if (json_object_get(jws->header, "crit"))
		return refuse(refusal, REFUSAL_MALFORMED,
			"the header has \"crit\", and no extension is understood");
	if (json_object_get(jws->header, "b64"))
		return refuse(refusal, REFUSAL_MALFORMED,
			"the header has \"b64\", and unencoded payloads are not understood");
	jws->typ = json_string_value(json_object_get(jws->header, "typ"));
	jws->kid = json_string_value(json_object_get(jws->header, "kid"));
	if (!jws->kid || !*jws->kid)
		return refuse(refusal, REFUSAL_MALFORMED, "the header names no key (\"kid\")");
	jws->alg = json_string_value(json_object_get(jws->header, "alg"));
	if (!jws->alg)
		return refuse(
			refusal, REFUSAL_MALFORMED, "the header names no algorithm (\"alg\")");
	return 0;
}

int jws_read(const char *text, size_t n_bytes, const char *what, struct jws *ret,
	struct refusal *refusal)
{
	struct jws jws = { .what = what };
	int r;

	r = jws_split(&jws, text, n_bytes, refusal);
	if (r == 0)
		r = part_parse(&jws, &jws.header_part, "header", &jws.header, refusal);
	if (r == 0)
		r = part_check(&jws, &jws.payload_part, "payload", refusal);
	if (r == 0)
		r = part_check(&jws, &jws.signature_part, "signature", refusal);
	if (r == 0)
		r = header_read(&jws, refusal);
	if (r == 0)
		*ret = jws;
	else
		jws_done(&jws);
	return r;
}

void jws_done(struct jws *jws)
{
	json_decref(jws->header);
	*jws = (struct jws){ 0 };
}

int jws_check_algorithm(const struct jws *jws, struct refusal *refusal)
{
	if (algorithm_is_supported(jws->alg))
		return 0;
	return refuse(refusal, REFUSAL_UNSUPPORTED_ALGORITHM,
		"alg \"%.32s\" is not supported: ES256, ES384, PS256 and RS256 are", jws->alg);
}

int jws_verify(const struct jws *jws, const struct trust_key *key, struct refusal *refusal)
{
	json_auto_t *json = json_pack("{s:s%, s:s%, s:s%}", "protected", jws->header_part.text,
		jws->header_part.n_bytes, "payload", jws->payload_part.text,
		jws->payload_part.n_bytes, "signature", jws->signature_part.text,
		jws->signature_part.n_bytes);

	if (!json)
		return -ENOMEM;
	/* Twice: libjose has allocations of its own, whose failure nothing tells (memory.h). */
	if (jose_jws_ver(NULL, json, NULL, key->jwk, true) ||
		jose_jws_ver(NULL, json, NULL, key->jwk, true))
		return 0;
	if (memory_is_gone())
		return -ENOMEM;
	return refuse(refusal, REFUSAL_BAD_SIGNATURE,
		"the signature does not verify with key \"%s\"", key->kid);
}

int jws_claims(const struct jws *jws, json_t **ret, struct refusal *refusal)
{
	return part_parse(jws, &jws->payload_part, "payload", ret, refusal);
}
