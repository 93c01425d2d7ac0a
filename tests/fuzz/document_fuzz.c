/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * Signed documents. The input is not the JWS but what it is made of, and the target signs it, so
 * that what lies behind the signature is reached, and findings outlive the keys:
 *
 *   key | place (2 bytes) | header, one line | claims
 *
 * What is accepted is damaged, at that place: then it must be refused. Where there is no newline,
 * the input is the document as it is.
 */

#include "agent/daemon/submit.h"
#include "tests/fuzz/documents.h"
#include "tests/fuzz/signing.h"

static struct trust *trust;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	_cleanup_(freep) char *text = signing_trust(SIGNING_KEYS);
	char *error;

	(void)argc, (void)argv;
	CHECK(trust_parse(text, strlen(text), "trust.jwks", &trust, &error) == 0);
	return 0;
}

/* Another character of base64url or a dot, at any place of the text. */
static void damage(char *text, size_t at)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
	const size_t n = strlen(text);
	const char *found = strchr(alphabet, text[at % n]);

	text[at % n] = alphabet[(size_t)(found - alphabet + 1) % (sizeof(alphabet) - 1)];
}

/* Returns whether it is accepted. */
static bool try_document(const char *text, size_t n_bytes)
{
	_cleanup_(document_freep) struct document *document = NULL, *again = NULL;
	struct refusal refusal = {};
	uint8_t digest[DOCUMENT_DIGEST_BYTES];
	int r = document_read(text, n_bytes, trust, "vm", &document, &refusal);

	if (r != 0) {
		CHECK(r == REFUSED && !document);
		check_refusal(&refusal);
		CHECK(refusal.code <= REFUSAL_WRONG_AUDIENCE);
		return false;
	}
	CHECK(n_bytes <= DOCUMENT_BYTES_MAX);
	CHECK(document->key && trust_find(trust, document->key->kid) == document->key);
	check_document(document);
	check_stable(document);
	CHECK(document_digest(text, n_bytes, digest) == 0);
	CHECK(document_read(text, n_bytes, trust, "another vm", &again, &refusal) == REFUSED);
	CHECK(refusal.code == REFUSAL_WRONG_AUDIENCE);
	check_refusal(&refusal);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *newline = memchr(data, '\n', size);
	_cleanup_(freep) char *text = NULL;
	unsigned key;
	size_t place, n_header;

	if (!newline || newline - data < 3) {
		text = take_text(data, size);
		(void)try_document(text, size);
		return 0;
	}
	key = take_byte(&data, &size) % SIGNING_KEYS;
	place = take_byte(&data, &size);
	place = place << 8 | take_byte(&data, &size);
	n_header = (size_t)(newline - data);
	text = sign_any(
		key, (const char *)data, n_header, (const char *)newline + 1, size - n_header - 1);
	if (try_document(text, strlen(text))) {
		damage(text, place);
		CHECK(!try_document(text, strlen(text)));
	}
	return 0;
}
