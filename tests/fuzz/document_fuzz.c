/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * Signed documents. The input is not the JWS but what it is made of, and the target signs it, so
 * that what lies behind the signature is reached, and findings outlive the keys:
 *
 *   key, tamper | place (2 bytes) | header, one line | claims
 *
 * Where the first byte says so, the JWS is damaged at that place: then it must be refused. Where
 * there is no newline, the input is the document as it is.
 */

#include "agent/daemon/submit.h"
#include "tests/fuzz/documents.h"
#include "tests/fuzz/signing.h"

#define TAMPER 0x80

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

static void try_document(const char *text, size_t n_bytes, bool damaged)
{
	_cleanup_(document_freep) struct document *document = NULL, *again = NULL;
	struct refusal refusal = {};
	uint8_t digest[DOCUMENT_DIGEST_BYTES];
	int r = document_read(text, n_bytes, trust, "vm", &document, &refusal);

	if (r != 0) {
		CHECK(r == REFUSED && !document);
		check_refusal(&refusal);
		CHECK(refusal.code <= REFUSAL_WRONG_AUDIENCE);
		return;
	}
	CHECK(!damaged);
	CHECK(n_bytes <= DOCUMENT_BYTES_MAX);
	CHECK(document->key && trust_find(trust, document->key->kid) == document->key);
	check_document(document);
	check_stable(document);
	CHECK(document_digest(text, n_bytes, digest) == 0);
	CHECK(document_read(text, n_bytes, trust, "another vm", &again, &refusal) == REFUSED);
	CHECK(refusal.code == REFUSAL_WRONG_AUDIENCE);
	check_refusal(&refusal);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *newline = memchr(data, '\n', size);
	_cleanup_(freep) char *text = NULL;
	unsigned first;
	size_t place, n_header;

	if (!newline || newline - data < 3) {
		text = take_text(data, size);
		try_document(text, size, false);
		return 0;
	}
	first = take_byte(&data, &size);
	place = take_byte(&data, &size);
	place = place << 8 | take_byte(&data, &size);
	n_header = (size_t)(newline - data);
	text = sign_any(first % SIGNING_KEYS, (const char *)data, n_header,
		(const char *)newline + 1, size - n_header - 1);
	if (first & TAMPER)
		damage(text, place);
	try_document(text, strlen(text), first & TAMPER);
	return 0;
}
