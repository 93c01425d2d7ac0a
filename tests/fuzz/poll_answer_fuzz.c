/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What jitgate-poll reads: a byte for what it is, then a feed's answers to questions and to events,
 * the times that a feed says to wait, and the poll's own cursor.json. */

#include <errno.h>

#include "agent/poll/answer.h"
#include "agent/poll/backoff.h"
#include "tests/fuzz/fuzz.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned what = take_byte(&data, &size);
	_cleanup_(freep) char *text = take_text(data, size);

	switch (what % 6) {
	case 0:
	case 1:
		check_answer(text, size, what % 6 == 0);
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
	default:
		check_seconds(text);
	}
	return 0;
}
