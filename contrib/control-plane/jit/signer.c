/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <jose/jwk.h>
#include <stdarg.h>
#include <string.h>

#include "agent/common/file.h"
#include "agent/common/strictjson.h"
#include "agent/common/text.h"
#include "contrib/control-plane/jit/signature.h"
#include "contrib/control-plane/jit/signer.h"

static _printf_(3, 4) int fail(char **ret_error, int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(ret_error, format, arguments) < 0)
		*ret_error = NULL;
	va_end(arguments);
	if (*ret_error)
		text_make_printable(*ret_error);
	return error;
}

/* The public half is checked as agents check it when they read the trust file. */
static int add_key(struct signer *signer, json_t *jwk, const char *path, size_t i, char **ret_error)
{
	json_t *keys = json_object_get(signer->published, "keys");
	json_auto_t *public_jwk = json_deep_copy(jwk);
	char error[256];
	int r;

	if (!json_is_object(jwk) || !jose_jwk_pub(NULL, public_jwk))
		return fail(ret_error, -EINVAL, "%s: key %zu is no JWK with a public half", path,
			i + 1);
	json_object_del(public_jwk, "key_ops");
	r = trust_check_jwk(public_jwk, error, sizeof(error));
	if (r == -EINVAL)
		return fail(ret_error, r, "%s: key %zu: %s", path, i + 1, error);
	if (r < 0)
		return r;
	if (!signer->key && json_object_get(jwk, "d"))
		signer->key = json_incref(jwk);
	return json_array_append(keys, public_jwk);
}

/* What only the whole set shows (kid given twice, too many keys), and whether agents take what the
 * first key signs. */
static int check_signing(struct signer *signer, const char *path, char **ret_error)
{
	_cleanup_(document_freep) struct document *document = NULL;
	_cleanup_(freep) char *set = json_dumps(signer->published, JSON_COMPACT);
	_cleanup_(freep) char *text = NULL;
	struct refusal refusal = { 0 };
	int r;

	r = trust_parse(set, strlen(set), path, &signer->trust, ret_error);
	if (r < 0)
		return r;
	r = signer_sign(signer, DOCUMENT_REVOCATION,
		json_pack("{s:s, s:s, s:s, s:i, s:[s]}", "iss", "a", "aud", "a", "jti", "a", "iat",
			0, "revokes", "a"),
		&text);
	if (r == 0)
		r = document_read(text, strlen(text), signer->trust, NULL, &document, &refusal);
	if (r == -EINVAL || r == REFUSED)
		return fail(ret_error, -EINVAL, "%s: the first private key can't sign%s%s", path,
			*refusal.message ? ": " : "", refusal.message);
	return r;
}

int signer_parse(
	const char *text, size_t n_bytes, const char *path, struct signer **ret, char **ret_error)
{
	_cleanup_(signer_freep) struct signer *signer = calloc(1, sizeof(*signer));
	json_auto_t *json = NULL;
	json_t *keys, *jwk;
	char error[256];
	size_t i;
	int r;

	*ret_error = NULL;
	if (!signer)
		return -ENOMEM;
	r = json_parse_object(text, n_bytes, &json, error, sizeof(error));
	if (r == -EINVAL)
		return fail(ret_error, r, "%s: not JSON as RFC 8259 wants it: %s", path, error);
	if (r < 0)
		return r;
	signer->published = json_pack("{s:[]}", "keys");
	keys = json_object_get(json, "keys");
	if (!keys)
		r = add_key(signer, json, path, 0, ret_error);
	json_array_foreach (keys, i, jwk)
		if (r == 0)
			r = add_key(signer, jwk, path, i, ret_error);
	if (r == 0 && !signer->key)
		r = fail(ret_error, -EINVAL,
			"%s: has no private key that could sign (jitgate key new --kid NAME)",
			path);
	if (r == 0) {
		r = signature_new(signer->key, &signer->signature);
		if (r == -EINVAL)
			r = fail(ret_error, r, "%s: the first private key can't sign", path);
	}
	if (r == 0)
		r = check_signing(signer, path, ret_error);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(signer);
	return 0;
}

int signer_load(const char *path, struct signer **ret, char **ret_error)
{
	_cleanup_(freep) char *text = NULL;
	size_t n_bytes;
	int r;

	*ret_error = NULL;
	r = file_read(path, TRUST_FILE_BYTES_MAX, &text, &n_bytes);
	if (r < 0)
		return fail(ret_error, r, "%s: %s", path, strerror(-r));
	r = signer_parse(text, n_bytes, path, ret, ret_error);
	explicit_bzero(text, n_bytes);
	return r;
}

struct signer *signer_free(struct signer *signer)
{
	if (!signer)
		return NULL;
	signature_free(signer->signature);
	json_decref(signer->key);
	json_decref(signer->published);
	trust_free(signer->trust);
	free(signer);
	return NULL;
}

int signer_sign(const struct signer *signer, enum document_kind kind, json_t *claims, char **ret)
{
	_cleanup_(freep) char *document = NULL;
	json_auto_t *owned = claims;
	int r;

	if (!owned)
		return -ENOMEM;
	r = signature_sign(signer->signature, kind, owned, &document);
	if (r < 0)
		return r;
	if (strlen(document) > DOCUMENT_BYTES_MAX)
		return -E2BIG;
	*ret = TAKE_PTR(document);
	return 0;
}
