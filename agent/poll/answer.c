/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "agent/common/strictjson.h"
#include "agent/common/text.h"
#include "agent/poll/answer.h"
#include "cleanup.h"

/* Of what an answer may hold besides its documents. */
#define OTHER_VALUES_MAX 256

void answer_done(struct answer *answer)
{
	json_decref(answer->documents);
	*answer = (struct answer){};
}

/*
 * The values in text, at most: a JSON value takes up to a hundred times the memory of its bytes
 * ("[[],[],…]"), so this is asked before it is read.
 */
static size_t count_values(const char *text, size_t n_bytes)
{
	bool in_string = false;
	size_t n = 0;

	for (size_t i = 0; i < n_bytes; i++) {
		char c = text[i];

		if (in_string && c == '\\')
			i++;
		else if (c == '"')
			in_string = !in_string;
		else if (!in_string && (c == ',' || c == '[' || c == '{'))
			n++;
	}
	return n;
}

_printf_(2, 3) static int wrong(char reason[static ANSWER_REASON_MAX], const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(reason, ANSWER_REASON_MAX, format, arguments);
	va_end(arguments);
	text_make_printable(reason);
	return -EINVAL;
}

static int parse(
	const char *text, size_t n_bytes, json_t **ret, char reason[static ANSWER_REASON_MAX])
{
	char why[128];

	if (count_values(text, n_bytes) > ANSWER_DOCUMENTS_MAX + OTHER_VALUES_MAX)
		return wrong(reason, "the answer has more than %d values", ANSWER_DOCUMENTS_MAX);
	if (json_parse_object(text, n_bytes, ret, why, sizeof(why)) < 0)
		return wrong(reason, "the answer is not JSON as it should be: %s", why);
	return 0;
}

static int read_cursor(const json_t *object, bool needs_cursor, struct answer *answer,
	char reason[static ANSWER_REASON_MAX])
{
	const json_t *value = json_object_get(object, "cursor");
	const char *cursor = json_string_value(value);

	if (!needs_cursor)
		return 0;
	if (!cursor || !cursor_is_valid(cursor))
		return wrong(reason, "the answer's cursor is no text of 1 to %d bytes",
			CURSOR_BYTES_MAX);
	memcpy(answer->cursor, cursor, strlen(cursor) + 1);
	return 0;
}

int answer_read(const char *text, size_t n_bytes, bool needs_cursor, struct answer *ret,
	char reason[static ANSWER_REASON_MAX])
{
	json_auto_t *object = NULL;
	json_t *documents, *more;
	struct answer answer = {};
	int r;

	r = parse(text, n_bytes, &object, reason);
	if (r == 0)
		r = read_cursor(object, needs_cursor, &answer, reason);
	if (r < 0)
		return r;
	documents = json_object_get(object, "documents");
	more = json_object_get(object, "more");
	if (!json_is_array(documents))
		return wrong(reason, "the answer's documents are no list");
	if (json_array_size(documents) > ANSWER_DOCUMENTS_MAX)
		return wrong(reason, "the answer has more than %d documents", ANSWER_DOCUMENTS_MAX);
	if (more && !json_is_boolean(more))
		return wrong(reason, "the answer's \"more\" is neither true nor false");
	answer.more = json_is_true(more);
	answer.documents = json_incref(documents);
	*ret = answer;
	return 0;
}

int acknowledgement_read(
	const char *text, size_t n_bytes, uint64_t *ret, char reason[static ANSWER_REASON_MAX])
{
	json_auto_t *object = NULL;
	const json_t *number;
	int r;

	r = parse(text, n_bytes, &object, reason);
	if (r < 0)
		return r;
	number = json_object_get(object, "acknowledged");
	if (!json_is_integer(number) || json_integer_value(number) < 0)
		return wrong(reason, "the answer's \"acknowledged\" is no sequence number");
	*ret = (uint64_t)json_integer_value(number);
	return 0;
}

void error_describe(
	long status, const char *text, size_t n_bytes, char reason[static ANSWER_REASON_MAX])
{
	char ignored[ANSWER_REASON_MAX];
	json_auto_t *object = NULL;
	const json_t *error;
	const char *code, *message;

	snprintf(reason, ANSWER_REASON_MAX, "HTTP %ld", status);
	if (parse(text, n_bytes, &object, ignored) < 0)
		return;
	error = json_object_get(object, "error");
	code = json_string_value(json_object_get(error, "code"));
	message = json_string_value(json_object_get(error, "message"));
	if (code || message)
		(void)wrong(reason, "HTTP %ld: %.48s%s%.160s", status, code ? code : "",
			code && message ? ": " : "", message ? message : "");
}
