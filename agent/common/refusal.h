/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Why a document is refused: one code for machines, one sentence for people. */

#include <stdbool.h>

#include "cleanup.h"

enum refusal_code {
	REFUSAL_NONE,
	REFUSAL_MALFORMED,
	REFUSAL_TOO_LARGE,
	REFUSAL_UNSUPPORTED_ALGORITHM,
	REFUSAL_UNKNOWN_KEY,
	REFUSAL_BAD_SIGNATURE,
	REFUSAL_WRONG_AUDIENCE,
	REFUSAL_EXPIRED,
	REFUSAL_DUPLICATE_ID,
	REFUSAL_REVOKED,
	REFUSAL_PORT_NOT_MANAGED,
	REFUSAL_SOURCE_NOT_ALLOWED,
	REFUSAL_DURATION_TOO_LONG,
	REFUSAL_STALE_POLICY,
	REFUSAL_CLOCK_BEHIND,
	REFUSAL_CAPACITY,
	REFUSAL_LEDGER_UNREAD,
	REFUSAL_CODE_COUNT,
};

/* A sentence that names two cloud ids of a VM (266 bytes at most) fits. */
#define REFUSAL_MESSAGE_MAX 640

struct refusal {
	enum refusal_code code;
	char message[REFUSAL_MESSAGE_MAX];
};

/* What functions that may refuse return: documented, positive, the refusal filled in. */
#define REFUSED 1

/* "malformed", "too_large", … */
const char *refusal_code_name(enum refusal_code code);

/* The code of that name; REFUSAL_NONE where there is none. */
enum refusal_code refusal_code_find(const char *name);

/* True where the same document may be admitted later: what stands in its way passes with time. */
bool refusal_passes(enum refusal_code code);

/* True where the document was not believed, and so not judged: another trust file may know its key.
 */
bool refusal_is_of_trust(enum refusal_code code);

/* Fills a refusal in and returns REFUSED. The message is one sentence without a full stop; bytes
 * that are not printable UTF-8 (agent/common/text.h) become '?', and what does not fit an ellipsis.
 */
int refuse(struct refusal *refusal, enum refusal_code code, const char *format, ...) _printf_(3, 4);
