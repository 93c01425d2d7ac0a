/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What a feed answers, read from its bytes: pure functions. */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/poll/cursor.h"

#define ANSWER_BYTES_MAX (4 * 1024 * 1024)
#define ANSWER_DOCUMENTS_MAX 8192
#define ANSWER_REASON_MAX 256

struct answer {
	char cursor[CURSOR_BYTES_MAX + 1]; /* empty: has none */
	json_t *documents; /* an array; what is no string in it is no document */
	bool more;
};

void answer_done(struct answer *answer);

/*
 * Reads {"cursor", "documents", "more"}. A static feed needs no cursor. Members that are not ours
 * are passed over. Returns 0; -EINVAL with what is wrong in reason, as a sentence without full
 * stop; -ENOMEM.
 */
int answer_read(const char *text, size_t n_bytes, bool needs_cursor, struct answer *ret,
	char reason[static ANSWER_REASON_MAX]);

/* Reads {"acknowledged": number}. Returns as answer_read(). */
int acknowledgement_read(
	const char *text, size_t n_bytes, uint64_t *ret, char reason[static ANSWER_REASON_MAX]);

/* Writes what went wrong: "HTTP 503", with the code and message of {"error": {"code", "message"}}
 * where the body has them, printable. */
void error_describe(
	long status, const char *text, size_t n_bytes, char reason[static ANSWER_REASON_MAX]);
