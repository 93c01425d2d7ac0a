/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Credentials that the server makes: a prefix that says what one is for, and 32 random bytes in
 * base64url. Nowhere kept; what is kept is the SHA-256, which finds it again.
 */

#include <stdbool.h>

#define CREDENTIAL_TOKEN "jgt_" /* a principal's */
#define CREDENTIAL_ENROLLMENT "jge_" /* good once, to join a VM */
#define CREDENTIAL_AGENT "jga_" /* a VM's */

#define CREDENTIAL_STRING_MAX 48 /* prefix, 43 characters, NUL */
#define CREDENTIAL_HASH_MAX 65

/* Makes one. Returns 0 or -errno. */
int credential_new(const char *prefix, char text[static CREDENTIAL_STRING_MAX]);

/* True for what credential_new() could have made. */
bool credential_is_valid(const char *prefix, const char *text);

/* Writes the SHA-256 in lower-case hexadecimal. Returns 0 or -ENOMEM. */
int credential_hash(const char *text, char hash[static CREDENTIAL_HASH_MAX]);
