/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What a feed answers, and what is made of the agent's events. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "agent/poll/answer.h"
#include "agent/poll/batch.h"
#include "cleanup.h"

static char reason[ANSWER_REASON_MAX];

static int read_answer(const char *text, bool needs_cursor, struct answer *ret)
{
	reason[0] = '\0';
	return answer_read(text, strlen(text), needs_cursor, ret, reason);
}

static void a_good_answer_is_read(void **state)
{
	struct answer answer;

	(void)state;
	assert_int_equal(read_answer("{\"cursor\":\"c\",\"documents\":[\"a\",\"b\"],\"more\":true,"
				     "\"other\":{\"x\":[]}}",
				 true, &answer),
		0);
	assert_string_equal(answer.cursor, "c");
	assert_int_equal(json_array_size(answer.documents), 2);
	assert_true(answer.more);
	answer_done(&answer);
	assert_int_equal(read_answer(" {\"documents\":[],\"cursor\":\"c\"} ", true, &answer), 0);
	assert_false(answer.more);
	answer_done(&answer);
	/* A static feed's cursor is of no interest. */
	assert_int_equal(read_answer("{\"documents\":[],\"cursor\":7}", false, &answer), 0);
	assert_string_equal(answer.cursor, "");
	answer_done(&answer);
}

static void a_bad_answer_is_told_why(void **state)
{
	static const char *const cases[][2] = {
		{ "", "not JSON" },
		{ "{\"cursor\":\"c\",\"documents\":[]", "not JSON" },
		{ "{\"cursor\":\"c\",\"documents\":[]}}", "not JSON" },
		{ "{\"cursor\":\"\\u0000\",\"documents\":[]}", "not JSON" },
		{ "{\"cursor\":\"c\",\"documents\":[],\"documents\":[]}", "duplicate" },
		{ "[]", "not an object" },
		{ "{}", "cursor" },
		{ "{\"cursor\":7,\"documents\":[]}", "cursor" },
		{ "{\"cursor\":\"\\u001b\",\"documents\":[]}", "cursor" },
		{ "{\"cursor\":\"c\"}", "documents are no list" },
		{ "{\"cursor\":\"c\",\"documents\":\"d\"}", "documents are no list" },
		{ "{\"cursor\":\"c\",\"documents\":[],\"more\":0}", "more" },
		{ "{\"cursor\":\"c\",\"documents\":[],\"more\":null}", "more" },
	};
	struct answer answer;

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		assert_int_equal(read_answer(cases[i][0], true, &answer), -EINVAL);
		if (!strstr(reason, cases[i][1]))
			fail_msg("%s: %s", cases[i][0], reason);
	}
}

/* "[[],[],…]" takes a hundred times its bytes once it is read. */
static void too_many_values_are_not_even_read(void **state)
{
	char *text = malloc(200000), *end;
	struct answer answer;

	(void)state;
	end = stpcpy(text, "{\"cursor\":\"c\",\"documents\":[\"a,[{\\\"[\"");
	for (int i = 1; i < ANSWER_DOCUMENTS_MAX; i++)
		end = stpcpy(end, ",\"d\"");
	strcpy(end, "]}");
	assert_int_equal(read_answer(text, true, &answer), 0);
	assert_int_equal(json_array_size(answer.documents), ANSWER_DOCUMENTS_MAX);
	answer_done(&answer);
	strcpy(end, ",\"d\"]}");
	assert_int_equal(read_answer(text, true, &answer), -EINVAL);
	assert_string_equal(reason, "the answer has more than 8192 documents");
	for (int i = 0; i < 1000; i++)
		end = stpcpy(end, ",[]");
	strcpy(end, "]}");
	assert_int_equal(read_answer(text, true, &answer), -EINVAL);
	assert_string_equal(reason, "the answer has more than 8192 values");
	free(text);
}

static void an_error_is_told_as_the_feed_says_it(void **state)
{
	static const char *const cases[][2] = {
		{ "{\"error\":{\"code\":\"C\",\"message\":\"what\"}}", "HTTP 500: C: what" },
		{ "{\"error\":{\"message\":\"what\"}}", "HTTP 500: what" },
		{ "{\"error\":{\"code\":\"C\"}}", "HTTP 500: C" },
		{ "{\"error\":{\"code\":7,\"message\":[]}}", "HTTP 500" },
		{ "{\"error\":\"x\"}", "HTTP 500" },
		{ "<html>", "HTTP 500" },
		{ "", "HTTP 500" },
		{ "{\"error\":{\"message\":\"a\\nb\\u001b[2J\\u202ec\"}}", "HTTP 500: a?b?[2J?c" },
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		error_describe(500, cases[i][0], strlen(cases[i][0]), reason);
		assert_string_equal(reason, cases[i][1]);
	}
}

static void an_acknowledgement_is_a_number(void **state)
{
	static const char *const wrong[] = { "", "{}", "{\"acknowledged\":\"1\"}",
		"{\"acknowledged\":-1}", "{\"acknowledged\":1.0}", "[1]" };
	static const char good[] = "{\"acknowledged\":9000000000}";
	uint64_t sequence;

	(void)state;
	assert_int_equal(acknowledgement_read(good, strlen(good), &sequence, reason), 0);
	assert_int_equal(sequence, 9000000000);
	for (size_t i = 0; i < N_ELEMENTS(wrong); i++)
		assert_int_equal(
			acknowledgement_read(wrong[i], strlen(wrong[i]), &sequence, reason),
			-EINVAL);
}

/* A list of events with these numbers, ended by 0. */
static json_t *listed(const int *numbers)
{
	json_t *list = json_array();

	for (; *numbers; numbers++)
		json_array_append_new(list, json_pack("{s:i}", "sequence", *numbers));
	return list;
}

/* Makes a batch and compares its numbers; those of events_lost are negative. */
static void assert_batch(const int *numbers, uint64_t newest, uint64_t after, bool is_first,
	size_t n_max, const int *expected, uint64_t n_lost)
{
	json_auto_t *list = listed(numbers);
	struct batch batch;
	const json_t *event;
	size_t i;

	assert_int_equal(batch_make(list, newest, after, is_first, n_max, 0, "boot", &batch), 0);
	json_array_foreach (batch.events, i, event) {
		int sequence = (int)json_integer_value(json_object_get(event, "sequence"));

		if (json_object_get(event, "type"))
			sequence = -sequence;
		assert_int_equal(sequence, expected[i]);
	}
	assert_int_equal(expected[i], 0);
	assert_int_equal(batch.n_lost, n_lost);
	assert_int_equal(batch.last, i > 0 ? (uint64_t)abs(expected[i - 1]) : after);
	batch_done(&batch);
}

#define LIST(...) ((const int[]){ __VA_ARGS__, 0 })
#define NONE ((const int[]){ 0 })

static void a_gap_is_told_once_and_in_its_place(void **state)
{
	(void)state;
	assert_batch(LIST(4, 5, 6), 6, 3, false, 9, LIST(4, 5, 6), 0);
	assert_batch(NONE, 3, 3, false, 9, NONE, 0);
	assert_batch(LIST(7, 8), 8, 3, false, 9, LIST(-6, 7, 8), 3);
	assert_batch(LIST(4, 7, 9), 9, 3, false, 9, LIST(4, -6, 7, -8, 9), 3);
	/* What was never sent is not lost on the first day. */
	assert_batch(LIST(7, 8), 8, 0, true, 9, LIST(7, 8), 0);
	assert_batch(LIST(7, 9), 9, 0, true, 9, LIST(7, -8, 9), 1);
	assert_batch(NONE, 5, 0, true, 9, NONE, 0);
	/* The log has none of them. */
	assert_batch(NONE, 9, 3, false, 9, LIST(-9), 6);
}

static void a_batch_is_bounded(void **state)
{
	(void)state;
	assert_batch(LIST(4, 5, 6), 6, 3, false, 2, LIST(4, 5), 0);
	assert_batch(LIST(7, 8), 8, 3, false, 1, LIST(-6), 3);
	assert_batch(LIST(7, 8), 8, 6, false, 1, LIST(7), 0);
	assert_batch(LIST(4, 9), 9, 3, false, 1, LIST(4), 0);
	assert_batch(LIST(4, 9), 9, 3, false, 2, LIST(4, -8), 4);
}

static void what_is_no_order_is_not_sent(void **state)
{
	static const int wrong[][4] = { { 5, 4 }, { 4, 4 }, { 3, 4 }, { 4, 12 }, { -1, 4 } };
	json_auto_t *strings = json_pack("[{s:s}]", "sequence", "4");
	json_auto_t *object = json_object();
	struct batch batch;

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(wrong); i++) {
		json_auto_t *list = listed(wrong[i]);

		assert_int_equal(batch_make(list, 9, 3, false, 9, 0, "b", &batch), -EBADMSG);
	}
	assert_int_equal(batch_make(strings, 9, 3, false, 9, 0, "b", &batch), -EBADMSG);
	assert_int_equal(batch_make(object, 9, 3, false, 9, 0, "b", &batch), -EBADMSG);
	assert_int_equal(batch_make(NULL, 9, 3, false, 9, 0, "b", &batch), -EBADMSG);
}

static void a_loss_is_an_event_like_the_others(void **state)
{
	json_auto_t *list = listed(LIST(7));
	struct batch batch;
	const char *time, *boot, *type, *message;
	int sequence, count, first, last;

	(void)state;
	assert_int_equal(batch_make(list, 7, 3, false, 9, 1767225600, "boot", &batch), 0);
	assert_int_equal(
		json_unpack(json_array_get(batch.events, 0),
			"{s:i, s:s, s:s, s:s, s:s, s:{s:i, s:i, s:i !} !}", "sequence", &sequence,
			"time", &time, "bootId", &boot, "type", &type, "message", &message,
			"details", "count", &count, "first", &first, "last", &last),
		0);
	assert_int_equal(sequence, 6);
	assert_string_equal(time, "2026-01-01T00:00:00Z");
	assert_string_equal(boot, "boot");
	assert_string_equal(type, "events_lost");
	assert_non_null(strstr(message, "3 events were lost"));
	assert_int_equal(count, 3);
	assert_int_equal(first, 4);
	assert_int_equal(last, 6);
	batch_done(&batch);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_answer_is_read),
		cmocka_unit_test(a_bad_answer_is_told_why),
		cmocka_unit_test(too_many_values_are_not_even_read),
		cmocka_unit_test(an_error_is_told_as_the_feed_says_it),
		cmocka_unit_test(an_acknowledgement_is_a_number),
		cmocka_unit_test(a_gap_is_told_once_and_in_its_place),
		cmocka_unit_test(a_batch_is_bounded),
		cmocka_unit_test(what_is_no_order_is_not_sent),
		cmocka_unit_test(a_loss_is_an_event_like_the_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
