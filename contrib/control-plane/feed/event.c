/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <string.h>

#include "agent/common/text.h"
#include "agent/common/times.h"
#include "contrib/control-plane/feed/event.h"
#include "contrib/control-plane/state/instant.h"

#define TYPE_BYTES_MAX 64
#define HASH_HEX 16

/* The first eight bytes of the SHA-256, hexadecimal. */
static int hash_text(const char *text, char ret[static HASH_HEX + 1])
{
	uint8_t digest[32];

	if (EVP_Digest(text, strlen(text), digest, NULL, EVP_sha256(), NULL) != 1)
		return -ENOMEM;
	for (size_t i = 0; i < HASH_HEX / 2; i++)
		snprintf(ret + 2 * i, 3, "%02x", digest[i]);
	return 0;
}

/* Cut in front of a character that does not fit whole. */
static int take_text(const json_t *json, const char *name, char **ret)
{
	const char *text = json_string_value(json_object_get(json, name));
	size_t n;

	if (!text)
		return 0;
	n = strlen(text);
	if (n > EVENT_TEXT_BYTES_MAX)
		for (n = EVENT_TEXT_BYTES_MAX; n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80;)
			n--;
	*ret = strndup(text, n);
	if (!*ret)
		return -ENOMEM;
	text_make_printable(*ret);
	return 0;
}

static bool type_is_valid(const char *type)
{
	size_t n = type ? strspn(type, "abcdefghijklmnopqrstuvwxyz0123456789_") : 0;

	return n > 0 && n <= TYPE_BYTES_MAX && type[n] == '\0';
}

/*
 * An agent's times are whole seconds: such a record is sorted behind what the server did within
 * that second, since mostly it follows from it.
 */
static int make_key(const json_t *json, const char *vm_key, struct event *event)
{
	_cleanup_(freep) char *text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
	char vm_hash[HASH_HEX + 1], hash[HASH_HEX + 1], time[INSTANT_STRING_MAX];
	int64_t sorted = event->time;

	if (!text || hash_text(text, hash) < 0 || hash_text(vm_key, vm_hash) < 0)
		return -ENOMEM;
	if (sorted % (int64_t)USEC_PER_SEC == 0)
		sorted += (int64_t)USEC_PER_SEC - 1;
	snprintf(event->key, sizeof(event->key), "%s/%s-%019" PRId64 "-%s",
		instant_format(sorted, time), vm_hash, event->sequence, hash);
	return 0;
}

int event_read(const json_t *json, size_t i, const char *vm_key, int64_t now_usec,
	struct event *ret, struct problem *problem)
{
	const struct {
		const char *name;
		char **ret;
	} texts[] = {
		{ "type", &ret->type },
		{ "grant", &ret->grant },
		{ "subject", &ret->subject },
		{ "source", &ret->source },
		{ "protocol", &ret->protocol },
		{ "reason", &ret->reason },
		{ "code", &ret->code },
		{ "message", &ret->message },
	};
	const json_t *sequence = json_object_get(json, "sequence");
	const char *time = json_string_value(json_object_get(json, "time"));
	json_int_t port = json_integer_value(json_object_get(json, "port"));
	int r = 0;

	memset(ret, 0, sizeof(*ret));
	if (!json_is_integer(sequence) || json_integer_value(sequence) < 0)
		return problem_content(problem, "event %zu: sequence is not a number", i + 1);
	if (!time || instant_parse(time, &ret->time) < 0)
		return problem_content(problem,
			"event %zu: time is not a time as \"2026-01-01T10:00:00Z\"", i + 1);
	ret->is_ahead = ret->time > now_usec + EVENT_AHEAD_SECONDS * (int64_t)USEC_PER_SEC;
	if (ret->is_ahead)
		ret->time = now_usec;
	if (!type_is_valid(json_string_value(json_object_get(json, "type"))))
		return problem_content(problem, "event %zu: type is not a word", i + 1);
	ret->sequence = json_integer_value(sequence);
	ret->port = port > 0 && port <= UINT16_MAX ? (int)port : 0;
	for (size_t k = 0; k < N_ELEMENTS(texts) && r == 0; k++)
		r = take_text(json, texts[k].name, texts[k].ret);
	return r == 0 ? make_key(json, vm_key, ret) : r;
}

const char *event_id(const struct event *event)
{
	return strrchr(event->key, '/') + 1;
}

void event_done(struct event *event)
{
	free(event->type);
	free(event->grant);
	free(event->subject);
	free(event->source);
	free(event->protocol);
	free(event->reason);
	free(event->code);
	free(event->message);
	memset(event, 0, sizeof(*event));
}

static bool note(int64_t *what, int64_t time)
{
	if (*what > 0)
		return false;
	*what = time;
	return true;
}

/* What was let in is not undone by the same document coming again, as it does from a feed. */
static bool note_refusal(const struct event *event, struct progress *progress)
{
	char *code, *message;

	if (progress->refused_code || progress->installed > 0 || progress->ended > 0)
		return false;
	code = strdup(event->code ? event->code : "malformed");
	message = event->message ? strdup(event->message) : NULL;
	if (!code || (event->message && !message)) {
		free(code);
		free(message);
		return false;
	}
	progress->refused_code = code;
	progress->refused_message = message;
	return true;
}

/* An agent's times are whole seconds: what follows something within its second is as late as that,
 * not earlier. */
static int64_t moment(const struct event *event, const struct progress *progress)
{
	const int64_t before[] = { progress->delivered, progress->installed,
		progress->first_connection };
	int64_t time = event->time;

	for (size_t i = 0; i < N_ELEMENTS(before); i++)
		if (before[i] > time && before[i] - time < (int64_t)USEC_PER_SEC)
			time = before[i];
	return time;
}

bool event_apply(const struct event *event, struct progress *progress)
{
	bool was_delivered = note(&progress->delivered, event->time);
	int64_t time = moment(event, progress);

	if (strcmp(event->type, "grant_active") == 0)
		return note(&progress->installed, time) || was_delivered;
	if (strcmp(event->type, "session_opened") == 0)
		return note(&progress->first_connection, time) || was_delivered;
	if (strcmp(event->type, "grant_expired") == 0 || strcmp(event->type, "grant_revoked") == 0)
		return note(&progress->ended, time) || was_delivered;
	if (strcmp(event->type, "document_refused") == 0)
		return note_refusal(event, progress) || was_delivered;
	return was_delivered;
}
