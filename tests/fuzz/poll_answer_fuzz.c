/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What jitgate-poll reads: a byte for what it is, then a feed's answers to questions and to events,
 * the times that a feed says to wait, the poll's own cursor.json, and the agent's list of events.
 */

#include <errno.h>

#include "agent/common/strictjson.h"
#include "agent/poll/answer.h"
#include "agent/poll/backoff.h"
#include "agent/poll/batch.h"
#include "tests/fuzz/fuzz.h"

#define AFTER 7
#define BATCH_MAX 4

static void check_answer(const char *text, size_t n_bytes, bool needs_cursor)
{
	char reason[ANSWER_REASON_MAX] = "";
	struct answer answer = {};

	if (answer_read(text, n_bytes, needs_cursor, &answer, reason) < 0) {
		check_message(reason);
		return;
	}
	CHECK(json_is_array(answer.documents));
	CHECK(json_array_size(answer.documents) <= ANSWER_DOCUMENTS_MAX);
	CHECK(needs_cursor ? cursor_is_valid(answer.cursor) : !*answer.cursor);
	answer_done(&answer);
}

static void check_acknowledgement(const char *text, size_t n_bytes)
{
	char reason[ANSWER_REASON_MAX] = "";
	uint64_t number;

	if (acknowledgement_read(text, n_bytes, &number, reason) < 0)
		check_message(reason);
	else
		CHECK(number <= INT64_MAX);
}

static void check_error(const char *text, size_t n_bytes)
{
	char reason[ANSWER_REASON_MAX] = "";

	error_describe(503, text, n_bytes, reason);
	check_message(reason);
	CHECK(strncmp(reason, "HTTP 503", 8) == 0);
}

static void check_seconds(const char *text)
{
	int64_t seconds = retry_after_parse(text, 1767261600);

	CHECK(seconds == -EINVAL || (seconds >= 0 && seconds <= BACKOFF_RETRY_AFTER_MAX_SECONDS));
}

/* What is read is what is written and read again. */
static void check_cursor(const char *text, size_t n_bytes)
{
	const char *directory = scratch_directory(), *url = "https://feed", *vm_id = "vm";
	struct cursor cursor, again;

	free(scratch_file("cursor.json", text, n_bytes));
	if (cursor_load(directory, url, vm_id, &cursor) != 0) {
		CHECK(!*cursor.documents && !cursor.has_events && !cursor.disbelieved);
		return;
	}
	CHECK(!*cursor.documents || cursor_is_valid(cursor.documents));
	CHECK(cursor_save(directory, url, vm_id, &cursor) == 0);
	CHECK(cursor_load(directory, url, vm_id, &again) == 0);
	check_same_text(cursor.documents, again.documents);
	CHECK(cursor.events == again.events && cursor.has_events == again.has_events);
	CHECK(cursor.disbelieved == again.disbelieved);
}

/* What is sent is in order, and follows what was sent before. */
static void check_batch(const char *text, size_t n_bytes)
{
	_cleanup_(batch_done) struct batch batch = {};
	json_auto_t *reply = NULL;
	const json_t *event;
	uint64_t last = AFTER;
	char error[256];
	size_t i;

	if (json_parse_object(text, n_bytes, &reply, error, sizeof(error)) < 0)
		return;
	if (batch_make(json_object_get(reply, "events"),
		    (uint64_t)json_integer_value(json_object_get(reply, "newest")), AFTER,
		    json_is_true(json_object_get(reply, "first")), BATCH_MAX, 1767261600, "boot",
		    &batch) < 0)
		return;
	CHECK(json_array_size(batch.events) <= BATCH_MAX);
	json_array_foreach (batch.events, i, event) {
		uint64_t sequence =
			(uint64_t)json_integer_value(json_object_get(event, "sequence"));

		CHECK(sequence > last);
		last = sequence;
	}
	CHECK(batch.last == last);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned what = take_byte(&data, &size);
	_cleanup_(freep) char *text = take_text(data, size);

	switch (what % 7) {
	case 0:
	case 1:
		check_answer(text, size, what % 7 == 0);
		break;
	case 2:
		check_acknowledgement(text, size);
		break;
	case 3:
		check_error(text, size);
		break;
	case 4:
		check_cursor(text, size);
		break;
	case 5:
		check_seconds(text);
		break;
	default:
		check_batch(text, size);
	}
	return 0;
}
