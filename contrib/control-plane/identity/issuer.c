/* SPDX-License-Identifier: GPL-3.0-or-later */

/* No claim is read before the signature holds: the key's id picks the issuer, and the claims must
 * then be of that issuer. */

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "agent/common/jws.h"
#include "agent/common/text.h"
#include "contrib/control-plane/identity/issuer.h"

static int not_issued(const char **ret_reason, const char *reason)
{
	*ret_reason = reason;
	return NOT_ISSUED;
}

void issuer_done(struct issuer *issuer)
{
	for (size_t i = 0; i < issuer->n_keys; i++)
		trust_key_done(&issuer->keys[i]);
	free(issuer->keys);
	free(issuer->name);
	free(issuer->issuer);
	free(issuer->audience);
	free(issuer->jwks);
	free(issuer->principal_claim);
	free(issuer->groups_claim);
	*issuer = (struct issuer){ 0 };
}

void issued_done(struct issued *issued)
{
	free(issued->principal);
	json_decref(issued->groups);
	*issued = (struct issued){ 0 };
}

/* RFC 7515 section 4.1.9, RFC 9068 section 2.1. */
static bool type_is_token(const char *typ)
{
	static const char *const types[] = { "JWT", "at+jwt", "application/at+jwt" };

	for (size_t i = 0; i < N_ELEMENTS(types); i++)
		if (!typ || strcasecmp(typ, types[i]) == 0)
			return true;
	return false;
}

/* RFC 7519 section 2, NumericDate: a fraction is allowed. */
static bool claim_is_date(const json_t *claim)
{
	return json_is_number(claim) && json_number_value(claim) >= 0 &&
		json_number_value(claim) < 1e15;
}

static int check_times(const json_t *claims, int64_t now, const char **ret_reason)
{
	const json_t *exp = json_object_get(claims, "exp");
	const json_t *nbf = json_object_get(claims, "nbf");
	const json_t *iat = json_object_get(claims, "iat");
	const double earliest = (double)(now - ISSUER_LEEWAY_SECONDS);
	const double latest = (double)(now + ISSUER_LEEWAY_SECONDS);

	if (!claim_is_date(exp) || (nbf && !claim_is_date(nbf)) || (iat && !claim_is_date(iat)))
		return not_issued(
			ret_reason, "the token's exp is missing, or one of its times is none");
	if (json_number_value(exp) <= earliest)
		return not_issued(ret_reason, "the token has expired");
	if (nbf && json_number_value(nbf) > latest)
		return not_issued(ret_reason, "the token is not valid yet");
	if (iat && json_number_value(iat) > latest)
		return not_issued(ret_reason, "the token was issued in the future");
	return 0;
}

static bool audience_has(const json_t *aud, const char *audience)
{
	const json_t *value;
	size_t i;

	if (json_is_string(aud))
		return strcmp(json_string_value(aud), audience) == 0;
	json_array_foreach (aud, i, value)
		if (json_is_string(value) && strcmp(json_string_value(value), audience) == 0)
			return true;
	return false;
}

/* Who controls the address is known only where the issuer has asked there. Those that never say
 * (Entra ID) let nobody choose it. */
static int check_email(const json_t *claims, const char **ret_reason)
{
	const json_t *verified = json_object_get(claims, "email_verified");

	if (!verified || json_is_true(verified) ||
		(json_is_string(verified) && strcmp(json_string_value(verified), "true") == 0))
		return 0;
	return not_issued(ret_reason, "the token's email address is not verified");
}

/* One claim, always: who may choose between two (with the scopes they ask for) is two persons, and
 * the one approves what the other requests. */
static int read_principal(
	const struct issuer *issuer, const json_t *claims, char **ret, const char **ret_reason)
{
	const json_t *claim = json_object_get(claims, issuer->principal_claim);
	int r;

	if (!claim)
		return not_issued(ret_reason,
			"the token names nobody: it lacks the claim that does so (email, where "
			"principal_claim says no other)");
	if (!json_is_string(claim) || json_string_length(claim) == 0 ||
		json_string_length(claim) > ISSUER_PRINCIPAL_BYTES_MAX ||
		!text_is_printable(json_string_value(claim)))
		return not_issued(ret_reason, "the token names nobody");
	r = strcmp(issuer->principal_claim, "email") == 0 ? check_email(claims, ret_reason) : 0;
	if (r != 0)
		return r;
	*ret = strdup(json_string_value(claim));
	return *ret ? 0 : -ENOMEM;
}

static int read_groups(
	const struct issuer *issuer, const json_t *claims, json_t **ret, const char **ret_reason)
{
	json_t *claim = json_object_get(claims, issuer->groups_claim);
	const json_t *group;
	size_t i;

	if (!claim)
		return 0;
	if (!json_is_array(claim) || json_array_size(claim) > ISSUER_GROUPS_MAX)
		return not_issued(ret_reason, "the token's groups are no list, or too many");
	json_array_foreach (claim, i, group)
		if (!json_is_string(group))
			return not_issued(ret_reason, "one of the token's groups is no string");
	*ret = json_incref(claim);
	return 0;
}

static int read_claims(const struct issuer *issuer, const json_t *claims, int64_t now,
	struct issued *ret, const char **ret_reason)
{
	const char *iss = json_string_value(json_object_get(claims, "iss"));
	struct issued issued = { 0 };
	int r;

	if (!iss || strcmp(iss, issuer->issuer) != 0)
		return not_issued(ret_reason, "the token is of another issuer");
	if (!audience_has(json_object_get(claims, "aud"), issuer->audience))
		return not_issued(ret_reason, "the token is for another audience");
	r = check_times(claims, now, ret_reason);
	if (r == 0)
		r = read_principal(issuer, claims, &issued.principal, ret_reason);
	if (r == 0)
		r = read_groups(issuer, claims, &issued.groups, ret_reason);
	if (r == 0)
		*ret = issued;
	else
		issued_done(&issued);
	return r;
}

static const struct trust_key *issuer_find_key(const struct issuer *issuer, const struct jws *jws)
{
	for (size_t i = 0; i < issuer->n_keys; i++)
		if (strcmp(issuer->keys[i].kid, jws->kid) == 0 &&
			strcmp(issuer->keys[i].alg, jws->alg) == 0)
			return &issuer->keys[i];
	return NULL;
}

static int read_signed(const struct issuer *issuers, size_t n_issuers, const struct jws *jws,
	int64_t now, struct issued *ret, const char **ret_reason)
{
	int r = not_issued(ret_reason, "the token is signed with a key that is not known");

	/* Two issuers may call their keys the same. */
	for (size_t i = 0; i < n_issuers; i++) {
		const struct trust_key *key = issuer_find_key(&issuers[i], jws);
		json_auto_t *claims = NULL;
		struct refusal refusal;

		if (!key)
			continue;
		r = jws_verify(jws, key, &refusal);
		if (r == REFUSED) {
			r = not_issued(ret_reason, "the token's signature does not verify");
			continue;
		}
		if (r == 0)
			r = jws_claims(jws, &claims, &refusal);
		if (r == REFUSED)
			return not_issued(ret_reason, "the token's claims are no JSON object");
		return r < 0 ? r : read_claims(&issuers[i], claims, now, ret, ret_reason);
	}
	return r;
}

int issuer_read_token(const struct issuer *issuers, size_t n_issuers, const char *text, int64_t now,
	struct issued *ret, const char **ret_reason)
{
	_cleanup_(jws_done) struct jws jws = { 0 };
	struct refusal refusal;
	int r;

	if (strlen(text) > ISSUER_TOKEN_BYTES_MAX)
		return not_issued(ret_reason, "the token is too long");
	r = jws_read(text, strlen(text), "token", &jws, &refusal);
	if (r == REFUSED)
		return not_issued(ret_reason, "the token is malformed");
	if (r < 0)
		return r;
	if (!type_is_token(jws.typ))
		return not_issued(ret_reason, "the token is of another type (typ)");
	if (jws_check_algorithm(&jws, &refusal) != 0)
		return not_issued(
			ret_reason, "the token's alg is not one of ES256, ES384, PS256 and RS256");
	return read_signed(issuers, n_issuers, &jws, now, ret, ret_reason);
}
