/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Documents as the daemon holds them once they are verified, and numbers by chance. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "agent/common/document.h"
#include "agent/daemon/clock.h"
#include "agent/common/times.h"

#define NOW INT64_C(1767261600)

/* Claims as JSON, with ' for ", as printf() has them. */
static inline struct document *document_make(enum document_kind kind, const char *format, ...)
{
	_cleanup_(freep) char *text = NULL;
	struct document *document = NULL;
	struct refusal refusal = {};
	json_auto_t *claims = NULL;
	va_list list;

	va_start(list, format);
	assert_true(vasprintf(&text, format, list) >= 0);
	va_end(list);
	for (char *c = text; *c; c++)
		if (*c == '\'')
			*c = '"';
	claims = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	if (!claims)
		fail_msg("not JSON: %s", text);
	if (document_from_claims(kind, claims, &document, &refusal) != 0)
		fail_msg("%s: %s: %s", text, refusal_code_name(refusal.code), refusal.message);
	return document;
}

/* A grant of 22/TCP to 192.0.2.7, issued at NOW, that begins at once. */
static inline struct document *grant_make(const char *id, int64_t expires)
{
	return document_make(DOCUMENT_GRANT,
		"{'iss': 'cp', 'aud': 'vm', 'jti': '%s', 'sub': 'alice', 'iat': %lld, 'exp': %lld, "
		"'ports': [{'number': 22, 'protocol': 'TCP', "
		"'allowedSourceAddressPrefix': '192.0.2.7'}]}",
		id, (long long)NOW, (long long)expires);
}

static inline struct moment moment_make(int64_t wall_seconds, uint64_t boot_seconds)
{
	return (struct moment){ (uint64_t)wall_seconds * USEC_PER_SEC,
		boot_seconds * USEC_PER_SEC };
}

/* xorshift64: the same on every machine. */
static uint64_t chance_state = UINT64_C(0x6a697467617465);

static inline void chance_seed(uint64_t seed)
{
	chance_state = UINT64_C(0x6a697467617465) ^ seed * UINT64_C(0x9e3779b97f4a7c15);
}

static inline unsigned chance(unsigned n)
{
	chance_state ^= chance_state << 13;
	chance_state ^= chance_state >> 7;
	chance_state ^= chance_state << 17;
	return (unsigned)((chance_state >> 11) % n);
}
