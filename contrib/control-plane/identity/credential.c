/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <jose/b64.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "contrib/control-plane/identity/credential.h"

#define RANDOM_BYTES 32
#define RANDOM_CHARACTERS 43

int credential_new(const char *prefix, char text[static CREDENTIAL_STRING_MAX])
{
	unsigned char bytes[RANDOM_BYTES];
	size_t n_prefix = strlen(prefix);

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return -EIO;
	memcpy(text, prefix, n_prefix);
	if (jose_b64_enc_buf(bytes, sizeof(bytes), text + n_prefix, RANDOM_CHARACTERS) !=
		RANDOM_CHARACTERS)
		return -EIO;
	text[n_prefix + RANDOM_CHARACTERS] = '\0';
	return 0;
}

bool credential_is_valid(const char *prefix, const char *text)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				       "0123456789-_";
	size_t n_prefix = strlen(prefix);

	return strncmp(text, prefix, n_prefix) == 0 &&
		strlen(text) == n_prefix + RANDOM_CHARACTERS &&
		strspn(text + n_prefix, alphabet) == RANDOM_CHARACTERS;
}

int credential_hash(const char *text, char hash[static CREDENTIAL_HASH_MAX])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned n_digest;

	if (EVP_Digest(text, strlen(text), digest, &n_digest, EVP_sha256(), NULL) != 1)
		return -ENOMEM;
	for (unsigned i = 0; i < n_digest; i++)
		sprintf(hash + 2 * (size_t)i, "%02x", digest[i]);
	return 0;
}
