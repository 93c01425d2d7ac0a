/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * The signed form of a document. What it claims is read in claims.c.
 *
 *   base64url(header) . base64url(claims) . base64url(signature)
 *
 * libjose verifies with the algorithm that the header names; its own comparison of that with the
 * key's is one-sided (version 11: strcmp() < 0). So the header is compared here first, and what
 * libjose gets are those same bytes, with one key whose fitness for its alg was settled when the
 * trust file was read. No claim is parsed before the signature holds.
 */

#include <errno.h>
#include <jose/b64.h>
#include <jose/jwk.h>
#include <jose/jws.h>
#include <string.h>

#include "agent/common/base64url.h"
#include "agent/common/claims.h"
#include "agent/common/document.h"
#include "agent/common/strictjson.h"

static const struct {
	const char *name;
	const char *type;
} kinds[] = {
	[DOCUMENT_GRANT] = { "grant", "jit-grant+jwt" },
	[DOCUMENT_REVOCATION] = { "revocation", "jit-revocation+jwt" },
	[DOCUMENT_POLICY] = { "policy", "jit-policy+jwt" },
};

/* The header's members, borrowed from it. */
struct header {
	const char *alg;
	const char *kid;
	enum document_kind kind;
};

enum {
	PART_HEADER,
	PART_CLAIMS,
	PART_SIGNATURE,
	N_PARTS,
};

struct part {
	const char *text;
	size_t n_bytes;
};

const char *document_kind_name(enum document_kind kind)
{
	return kinds[kind].name;
}

const char *document_kind_type(enum document_kind kind)
{
	return kinds[kind].type;
}

int document_kind_parse_name(const char *name, enum document_kind *ret)
{
	for (size_t i = 0; i < N_ELEMENTS(kinds); i++)
		if (strcmp(kinds[i].name, name) == 0) {
			*ret = (enum document_kind)i;
			return 0;
		}
	return -EINVAL;
}

static int kind_parse_type(const char *type, enum document_kind *ret)
{
	for (size_t i = 0; i < N_ELEMENTS(kinds); i++)
		if (strcmp(kinds[i].type, type) == 0) {
			*ret = (enum document_kind)i;
			return 0;
		}
	return -EINVAL;
}

static int document_split(const char *text, size_t n_bytes, struct part parts[static N_PARTS],
	struct refusal *refusal)
{
	const char *end = text + n_bytes;

	for (size_t i = 0; i < N_PARTS; i++) {
		const char *dot = memchr(text, '.', (size_t)(end - text));

		if ((dot == NULL) != (i == N_PARTS - 1))
			return refuse(refusal, REFUSAL_MALFORMED,
				"the document is not a compact JWS: it needs three parts with a "
				"dot between them");
		parts[i].text = text;
		parts[i].n_bytes = (size_t)((dot ? dot : end) - text);
		text = dot ? dot + 1 : end;
	}
	return 0;
}

static int part_decode(const struct part *part, const char *name, char **ret, size_t *ret_bytes,
	struct refusal *refusal)
{
	int r = base64url_decode(part->text, part->n_bytes, ret, ret_bytes);

	if (r == -EINVAL)
		return refuse(refusal, REFUSAL_MALFORMED,
			"the document's %s is not base64url without padding", name);
	return r;
}

/* What the header may not have: RFC 7515 lets a verifier ignore keys that it brings along, but a
 * signer that sends them expects them to count. "b64" (RFC 7797) changes what is signed. */
static int header_check_members(const json_t *json, struct refusal *refusal)
{
	static const char *const key_members[] = { "jwk", "jku", "x5c", "x5u" };

	if (json_object_get(json, "crit"))
		return refuse(refusal, REFUSAL_MALFORMED,
			"the header has \"crit\", and no extension is understood");
	if (json_object_get(json, "b64"))
		return refuse(refusal, REFUSAL_MALFORMED,
			"the header has \"b64\", and unencoded payloads are not understood");
	for (size_t i = 0; i < N_ELEMENTS(key_members); i++)
		if (json_object_get(json, key_members[i]))
			return refuse(refusal, REFUSAL_MALFORMED,
				"the header brings a key along (\"%s\"): keys come from the trust "
				"file",
				key_members[i]);
	return 0;
}

static int header_read(const json_t *json, struct header *ret, struct refusal *refusal)
{
	const char *typ = json_string_value(json_object_get(json, "typ"));
	int r;

	r = header_check_members(json, refusal);
	if (r != 0)
		return r;
	if (!typ || kind_parse_type(typ, &ret->kind) < 0)
		return refuse(refusal, REFUSAL_MALFORMED,
			"the header's typ is not one of %s, %s and %s",
			document_kind_type(DOCUMENT_GRANT), document_kind_type(DOCUMENT_REVOCATION),
			document_kind_type(DOCUMENT_POLICY));
	ret->kid = json_string_value(json_object_get(json, "kid"));
	if (!ret->kid || !*ret->kid)
		return refuse(refusal, REFUSAL_MALFORMED, "the header names no key (\"kid\")");
	ret->alg = json_string_value(json_object_get(json, "alg"));
	if (!ret->alg)
		return refuse(
			refusal, REFUSAL_MALFORMED, "the header names no algorithm (\"alg\")");
	return 0;
}

static int header_find_key(const struct header *header, const struct trust *trust,
	const struct trust_key **ret, struct refusal *refusal)
{
	const struct trust_key *key;

	if (!algorithm_is_supported(header->alg))
		return refuse(refusal, REFUSAL_UNSUPPORTED_ALGORITHM,
			"alg \"%.32s\" is not supported: ES256, ES384, PS256 and RS256 are",
			header->alg);
	key = trust_find(trust, header->kid);
	if (!key)
		return refuse(refusal, REFUSAL_UNKNOWN_KEY, "no key \"%.*s\" in the trust file",
			TRUST_KID_MAX, header->kid);
	if (strcmp(key->alg, header->alg) != 0)
		return refuse(refusal, REFUSAL_UNSUPPORTED_ALGORITHM,
			"the document is signed with %s, but key \"%s\" is for %s", header->alg,
			key->kid, key->alg);
	*ret = key;
	return 0;
}

static int signature_verify(const struct part parts[static N_PARTS], const struct trust_key *key,
	struct refusal *refusal)
{
	json_auto_t *jws = json_pack("{s:s%, s:s%, s:s%}", "protected", parts[PART_HEADER].text,
		parts[PART_HEADER].n_bytes, "payload", parts[PART_CLAIMS].text,
		parts[PART_CLAIMS].n_bytes, "signature", parts[PART_SIGNATURE].text,
		parts[PART_SIGNATURE].n_bytes);

	if (!jws)
		return -ENOMEM;
	if (!jose_jws_ver(NULL, jws, NULL, key->jwk, true))
		return refuse(refusal, REFUSAL_BAD_SIGNATURE,
			"the signature does not verify with key \"%s\"", key->kid);
	return 0;
}

/* A part that must be a JSON object. */
static int part_parse(
	const struct part *part, const char *name, json_t **ret, struct refusal *refusal)
{
	_cleanup_(freep) char *text = NULL;
	char error[256];
	size_t n_bytes;
	int r;

	r = part_decode(part, name, &text, &n_bytes, refusal);
	if (r != 0)
		return r;
	r = json_parse_object(text, n_bytes, ret, error, sizeof(error));
	if (r == -EINVAL)
		return refuse(refusal, REFUSAL_MALFORMED, "the document's %s: %s", name, error);
	return r;
}

/* Form, key and signature: everything up to the claims, which are then true of their signer. */
static int document_open(const char *text, size_t n_bytes, const struct trust *trust,
	enum document_kind *ret_kind, const struct trust_key **ret_key, json_t **ret_claims,
	struct refusal *refusal)
{
	struct part parts[N_PARTS];
	json_auto_t *header_json = NULL;
	struct header header = { 0 };
	const struct trust_key *key = NULL;
	int r;

	r = document_split(text, n_bytes, parts, refusal);
	if (r != 0)
		return r;
	r = part_parse(&parts[PART_HEADER], "header", &header_json, refusal);
	if (r != 0)
		return r;
	for (size_t i = PART_CLAIMS; i < N_PARTS; i++) {
		_cleanup_(freep) char *bytes = NULL;
		size_t n;

		r = part_decode(
			&parts[i], i == PART_CLAIMS ? "payload" : "signature", &bytes, &n, refusal);
		if (r != 0)
			return r;
	}
	r = header_read(header_json, &header, refusal);
	if (r != 0)
		return r;
	r = header_find_key(&header, trust, &key, refusal);
	if (r != 0)
		return r;
	r = signature_verify(parts, key, refusal);
	if (r != 0)
		return r;
	r = part_parse(&parts[PART_CLAIMS], "payload", ret_claims, refusal);
	if (r != 0)
		return r;
	*ret_kind = header.kind;
	*ret_key = key;
	return 0;
}

int document_read(const char *text, size_t n_bytes, const struct trust *trust, const char *vm_id,
	struct document **ret, struct refusal *refusal)
{
	_cleanup_(document_freep) struct document *document = NULL;
	json_auto_t *claims = NULL;
	const struct trust_key *key = NULL;
	enum document_kind kind = DOCUMENT_GRANT;
	int r;

	if (n_bytes > DOCUMENT_BYTES_MAX)
		return refuse(refusal, REFUSAL_TOO_LARGE,
			"the document has %zu bytes, more than %d", n_bytes, DOCUMENT_BYTES_MAX);
	r = document_open(text, n_bytes, trust, &kind, &key, &claims, refusal);
	if (r != 0)
		return r;
	r = document_from_claims(kind, claims, &document, refusal);
	if (r != 0)
		return r;
	if (vm_id && !document_audience_matches(claims, vm_id))
		return claims_refuse_audience(claims, vm_id, refusal);
	document->key = key;
	*ret = TAKE_PTR(document);
	return 0;
}

/* True for a private key whose public half would pass in a trust file. */
static int jwk_check_signing(const json_t *jwk)
{
	json_auto_t *public_jwk = json_deep_copy(jwk);
	char error[256];

	if (!public_jwk)
		return -ENOMEM;
	if (!json_object_get(jwk, "d") || !jose_jwk_prm(NULL, jwk, false, "sign") ||
		!jose_jwk_pub(NULL, public_jwk))
		return -EINVAL;
	/* Permission to verify is the public half's to have. */
	json_object_del(public_jwk, "key_ops");
	return trust_check_jwk(public_jwk, error, sizeof(error));
}

int document_sign(enum document_kind kind, const json_t *claims, const json_t *jwk, char **ret)
{
	_cleanup_(freep) char *text = NULL;
	json_auto_t *template = NULL;
	json_auto_t *jws = NULL;
	const char *protected, *payload, *signature;
	int r;

	r = jwk_check_signing(jwk);
	if (r < 0)
		return r;
	text = json_dumps(claims, JSON_COMPACT);
	if (!text)
		return -ENOMEM;
	jws = json_pack("{s:o}", "payload", jose_b64_enc(text, strlen(text)));
	template = json_pack("{s:{s:O, s:O, s:s}}", "protected", "alg", json_object_get(jwk, "alg"),
		"kid", json_object_get(jwk, "kid"), "typ", document_kind_type(kind));
	if (!jws || !template)
		return -ENOMEM;
	if (!jose_jws_sig(NULL, jws, template, jwk))
		return -EINVAL;
	if (json_unpack(jws, "{s:s, s:s, s:s}", "protected", &protected, "payload", &payload,
		    "signature", &signature) < 0)
		return -EINVAL;
	return asprintf(ret, "%s.%s.%s", protected, payload, signature) < 0 ? -ENOMEM : 0;
}

void document_forget_ports(struct document *document)
{
	for (size_t i = 0; i < document->n_ports; i++)
		free(document->ports[i].prefixes);
	free(document->ports);
	document->ports = NULL;
	document->n_ports = 0;
}

struct document *document_free(struct document *document)
{
	if (!document)
		return NULL;
	document_forget_ports(document);
	for (size_t i = 0; i < document->n_revokes; i++)
		free(document->revokes[i]);
	free(document->revokes);
	free(document->id);
	free(document->issuer);
	free(document->subject);
	free(document->justification);
	free(document->reason);
	free(document);
	return NULL;
}
