/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The signed form of a document. How a JWS is read is in jws.c, what this one claims in claims.c.
 */

#include <errno.h>
#include <jose/b64.h>
#include <jose/jwk.h>
#include <jose/jws.h>
#include <string.h>

#include "agent/common/claims.h"
#include "agent/common/document.h"
#include "agent/common/jws.h"
#include "agent/common/memory.h"

static const struct {
	const char *name;
	const char *type;
} kinds[] = {
	[DOCUMENT_GRANT] = { "grant", "jit-grant+jwt" },
	[DOCUMENT_REVOCATION] = { "revocation", "jit-revocation+jwt" },
	[DOCUMENT_POLICY] = { "policy", "jit-policy+jwt" },
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

/* RFC 7515 lets a verifier ignore keys that the header brings along, but a signer that sends them
 * expects them to count. */
static int header_check_members(const json_t *header, struct refusal *refusal)
{
	static const char *const key_members[] = { "jwk", "jku", "x5c", "x5u" };

	for (size_t i = 0; i < N_ELEMENTS(key_members); i++)
		if (json_object_get(header, key_members[i]))
			return refuse(refusal, REFUSAL_MALFORMED,
				"the header brings a key along (\"%s\"): keys come from the trust "
				"file",
				key_members[i]);
	return 0;
}

static int header_check_type(
	const struct jws *jws, enum document_kind *ret, struct refusal *refusal)
{
	if (!jws->typ || kind_parse_type(jws->typ, ret) < 0)
		return refuse(refusal, REFUSAL_MALFORMED,
			"the header's typ is not one of %s, %s and %s",
			document_kind_type(DOCUMENT_GRANT), document_kind_type(DOCUMENT_REVOCATION),
			document_kind_type(DOCUMENT_POLICY));
	return 0;
}

static int header_find_key(const struct jws *jws, const struct trust *trust,
	const struct trust_key **ret, struct refusal *refusal)
{
	const struct trust_key *key;
	int r;

	r = jws_check_algorithm(jws, refusal);
	if (r != 0)
		return r;
	key = trust_find(trust, jws->kid);
	if (!key)
		return refuse(refusal, REFUSAL_UNKNOWN_KEY, "no key \"%.*s\" in the trust file",
			TRUST_KID_MAX, jws->kid);
	if (strcmp(key->alg, jws->alg) != 0)
		return refuse(refusal, REFUSAL_UNSUPPORTED_ALGORITHM,
			"the document is signed with %s, but key \"%s\" is for %s", jws->alg,
			key->kid, key->alg);
	*ret = key;
	return 0;
}

/* Form, key and signature: everything up to the claims, which are then true of their signer. */
static int document_open(const char *text, size_t n_bytes, const struct trust *trust,
	enum document_kind *ret_kind, const struct trust_key **ret_key, json_t **ret_claims,
	struct refusal *refusal)
{
	_cleanup_(jws_done) struct jws jws = { 0 };
	int r;

	r = jws_read(text, n_bytes, "document", &jws, refusal);
	if (r == 0)
		r = header_check_members(jws.header, refusal);
	if (r == 0)
		r = header_check_type(&jws, ret_kind, refusal);
	if (r == 0)
		r = header_find_key(&jws, trust, ret_key, refusal);
	if (r == 0)
		r = jws_verify(&jws, *ret_key, refusal);
	if (r == 0)
		r = jws_claims(&jws, ret_claims, refusal);
	return r;
}

static int document_judge(const char *text, size_t n_bytes, const struct trust *trust,
	const char *vm_id, struct document **ret, struct refusal *refusal)
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

/* A refusal is for good: it is none where memory was short. */
int document_read(const char *text, size_t n_bytes, const struct trust *trust, const char *vm_id,
	struct document **ret, struct refusal *refusal)
{
	size_t n_failed = memory_n_failed();
	int r = document_judge(text, n_bytes, trust, vm_id, ret, refusal);

	return r == REFUSED && memory_n_failed() != n_failed ? -ENOMEM : r;
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
