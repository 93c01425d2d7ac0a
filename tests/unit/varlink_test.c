/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What a Varlink peer may send, and what it is answered. */

#include "tests/unit/varlink_fixture.h"

static void call_split_at_every_byte_is_answered(void **state)
{
	static const char message[] = ECHO("hello");
	struct fixture *f = *state;
	int fd = peer_new(f);

	for (size_t i = 0; i <= sizeof(message); i++) {
		peer_send_bytes(f, fd, message, i);
		settle(f);
		peer_send_bytes(f, fd, message + i, sizeof(message) - i);
		peer_expect(f, fd, ECHOED("hello"));
	}
	for (size_t i = 0; i < sizeof(message); i++) {
		peer_send_bytes(f, fd, message + i, 1);
		settle(f);
	}
	peer_expect(f, fd, ECHOED("hello"));
}

static void pipelined_calls_are_answered_in_order(void **state)
{
	struct fixture *f = *state;
	int fd = peer_new(f);

	peer_send_bytes(f, fd, ECHO("1") "\0" CALL("Later") "\0" ECHO("2") "\0" ECHO("3"),
		sizeof(ECHO("1") "\0" CALL("Later") "\0" ECHO("2") "\0" ECHO("3")));
	peer_expect(f, fd, ECHOED("1"));
	peer_expect_nothing(f, fd);
	assert_int_equal(f->n_calls, 2);
	assert_int_equal(varlink_call_reply(f->kept, json_object()), 0);
	peer_expect(f, fd, "{\"parameters\":{}}");
	peer_expect(f, fd, ECHOED("2"));
	peer_expect(f, fd, ECHOED("3"));
}

static void malformed_message_closes_the_connection(void **state)
{
	static const char *const malformed[] = {
		"",
		"[]",
		"{}",
		"{",
		"nonsense",
		"{\"method\":7}",
		"{\"method\":null}",
		"{\"parameters\":{}}",
		"{\"method\":\"com.example.test.Echo\",\"method\":\"com.example.test.Echo\"}",
		"{\"method\":\"com.example.test.Echo\",\"parameters\":{\"a\":1,\"a\":1}}",
		"{\"method\":\"com.example.test.Echo\",\"parameters\":[]}",
		"{\"method\":\"com.example.test.Echo\",\"more\":1}",
		"{\"method\":\"com.example.test.Echo\",\"more\":true,\"oneway\":true}",
		"{\"method\":\"com.example.test.Echo\",\"unknown\":1}",
		"{\"method\":\"com.example.test.Echo\\u0000\"}",
		"{\"method\":\"com.example.test.Echo\"}{}",
		"{\"method\":\"\xff\"}",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < N_ELEMENTS(malformed); i++) {
		int fd = peer_new(f);

		peer_send(f, fd, malformed[i]);
		peer_expect_closed(f, fd);
	}
	assert_int_equal(f->n_calls, 0);
}

static void null_stands_for_an_absent_member(void **state)
{
	struct fixture *f = *state;
	int fd = peer_new(f);

	peer_send(f, fd,
		"{\"method\":\"com.example.test.Echo\",\"parameters\":null,\"more\":null,"
		"\"oneway\":false,\"upgrade\":null}");
	peer_expect(f, fd,
		"{\"parameters\":{\"parameter\":\"text\"},"
		"\"error\":\"org.varlink.service.InvalidParameter\"}");
}

static void service_describes_itself(void **state)
{
	struct fixture *f = *state;
	int fd = peer_new(f);

	peer_send(f, fd, "{\"method\":\"org.varlink.service.GetInfo\"}");
	peer_expect(f, fd,
		"{\"parameters\":{\"vendor\":\"Example\",\"product\":\"test\",\"version\":\"1\","
		"\"url\":\"https://example.com\",\"interfaces\":[\"org.varlink.service\","
		"\"com.example.test\"]}}");
	peer_send(f, fd,
		"{\"method\":\"org.varlink.service.GetInterfaceDescription\","
		"\"parameters\":{\"interface\":\"com.example.test\"}}");
	peer_expect(f, fd,
		"{\"parameters\":{\"description\":\"interface com.example.test\\n"
		"method Echo(text: string) -> (text: string)\\n\"}}");
}

static void what_is_not_there_is_named_in_the_error(void **state)
{
	static const struct {
		const char *call;
		const char *parameters;
		const char *error;
	} cases[] = {
		{ "com.example.test.No", "\"method\":\"com.example.test.No\"", "MethodNotFound" },
		{ "org.varlink.service.No", "\"method\":\"org.varlink.service.No\"",
			"MethodNotFound" },
		{ "No", "\"method\":\"No\"", "MethodNotFound" },
		{ "com.example.No", "\"interface\":\"com.example\"", "InterfaceNotFound" },
		{ "com.example.testing.No", "\"interface\":\"com.example.testing\"",
			"InterfaceNotFound" },
		{ "com.example.test.Unwritten", "\"method\":\"com.example.test.Unwritten\"",
			"MethodNotImplemented" },
		{ "org.varlink.service.GetInterfaceDescription", "\"parameter\":\"interface\"",
			"InvalidParameter" },
	};
	struct fixture *f = *state;
	int fd = peer_new(f);

	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		char text[256];

		snprintf(text, sizeof(text), "{\"method\":\"%s\"}", cases[i].call);
		peer_send(f, fd, text);
		snprintf(text, sizeof(text),
			"{\"parameters\":{%s},\"error\":\"org.varlink.service.%s\"}",
			cases[i].parameters, cases[i].error);
		peer_expect(f, fd, text);
	}
	peer_send(f, fd,
		"{\"method\":\"org.varlink.service.GetInterfaceDescription\","
		"\"parameters\":{\"interface\":\"com.example\"}}");
	peer_expect(f, fd,
		"{\"parameters\":{\"interface\":\"com.example\"},"
		"\"error\":\"org.varlink.service.InterfaceNotFound\"}");
}

static void upgrade_is_refused(void **state)
{
	struct fixture *f = *state;
	int fd = peer_new(f);

	peer_send(f, fd, "{\"method\":\"com.example.test.Echo\",\"upgrade\":true}");
	peer_expect(f, fd,
		"{\"parameters\":{\"parameter\":\"upgrade\"},"
		"\"error\":\"org.varlink.service.InvalidParameter\"}");
	assert_int_equal(f->n_calls, 0);
}

static void oneway_calls_are_made_and_not_answered(void **state)
{
	struct fixture *f = *state;
	int fd = peer_new(f);

	peer_send(f, fd, "{\"method\":\"com.example.test.Echo\",\"oneway\":true}");
	peer_send(f, fd, "{\"method\":\"com.example.test.Forget\",\"oneway\":true}");
	peer_send(f, fd, "{\"method\":\"com.example.test.Later\",\"oneway\":true}");
	peer_expect_nothing(f, fd);
	assert_int_equal(f->n_calls, 3);
	assert_int_equal(varlink_call_reply(f->kept, json_object()), 0);
	peer_send(f, fd, ECHO("next"));
	peer_expect(f, fd, ECHOED("next"));
}

static void oneway_call_of_a_peer_that_left_at_once_is_made(void **state)
{
	struct fixture *f = *state;
	int fd = peer_new(f);

	peer_send(f, fd, "{\"method\":\"com.example.test.Forget\",\"oneway\":true}");
	peer_send(f, fd, "{\"method\":\"com.example.test.Forget\",\"oneway\":true}");
	peer_leave(f, fd);
	settle(f);
	assert_int_equal(f->n_calls, 2);
}

static void peer_that_shut_its_sending_side_gets_its_answer(void **state)
{
	struct fixture *f = *state;
	int fd = peer_new(f), later = peer_new(f);

	peer_send(f, fd, ECHO("1"));
	peer_send(f, fd, ECHO("2"));
	shutdown(fd, SHUT_WR);
	peer_expect(f, fd, ECHOED("1"));
	peer_expect(f, fd, ECHOED("2"));
	peer_expect_closed(f, fd);

	peer_send(f, later, CALL("Later"));
	shutdown(later, SHUT_WR);
	settle(f);
	assert_true(varlink_call_is_open(f->kept));
	assert_int_equal(varlink_call_reply(f->kept, json_object()), 0);
	peer_expect(f, later, "{\"parameters\":{}}");
	peer_expect_closed(f, later);
}

static void half_a_message_and_the_end_closes(void **state)
{
	struct fixture *f = *state;
	int fd = peer_new(f);

	peer_send_bytes(f, fd, ECHO("1"), 10);
	shutdown(fd, SHUT_WR);
	peer_expect_closed(f, fd);
}

static void late_answer_to_a_peer_that_left_is_dropped(void **state)
{
	struct fixture *f = *state;
	int fd = peer_new(f);

	peer_send(f, fd, CALL("Later"));
	settle(f);
	assert_true(varlink_call_is_open(f->kept));
	peer_leave(f, fd);
	settle(f);
	assert_false(varlink_call_is_open(f->kept));
	assert_int_equal(varlink_call_uid(f->kept), geteuid());
	assert_int_equal(varlink_call_reply(f->kept, json_pack("{s:i}", "a", 1)), 0);
}

static void late_answer_after_the_server_is_gone_is_dropped(void **state)
{
	struct fixture *f = *state;
	int fd = peer_new(f);

	peer_send(f, fd, CALL("Later"));
	settle(f);
	f->server = varlink_server_free(f->server);
	peer_expect_closed(f, fd);
	assert_false(varlink_call_is_open(f->kept));
	assert_int_equal(varlink_call_reply(f->kept, json_object()), 0);
}

static void second_answer_is_an_error(void **state)
{
	struct fixture *f = *state;
	int fd = peer_new(f);

	peer_send(f, fd, CALL("Later"));
	settle(f);
	assert_int_equal(varlink_call_reply(f->kept, json_object()), 0);
	assert_int_equal(varlink_call_reply(f->kept, json_object()), -EALREADY);
	peer_expect(f, fd, "{\"parameters\":{}}");
	peer_expect_nothing(f, fd);
}

static void call_that_nobody_answers_closes(void **state)
{
	struct fixture *f = *state;
	int forgotten = peer_new(f), failed = peer_new(f), dropped = peer_new(f);

	peer_send(f, forgotten, CALL("Forget"));
	peer_expect_closed(f, forgotten);
	peer_send(f, failed, CALL("Fail"));
	peer_expect_closed(f, failed);
	peer_send(f, dropped, CALL("Later"));
	peer_expect_nothing(f, dropped);
	f->kept = varlink_call_unref(f->kept);
	peer_expect_closed(f, dropped);
}

static void subscriber_gets_each_event_until_it_leaves(void **state)
{
	struct fixture *f = *state;
	int fd = peer_new(f);

	peer_send(f, fd, MORE("Watch"));
	settle(f);
	assert_true(varlink_call_wants_more(f->kept));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(varlink_call_notify(f->kept, event_of(2)), 0);
		peer_expect(f, fd, "{\"parameters\":{\"event\":\"ee\"},\"continues\":true}");
	}
	peer_leave(f, fd);
	settle(f);
	assert_false(varlink_call_is_open(f->kept));
	assert_int_equal(varlink_call_notify(f->kept, event_of(2)), 0);
}

static void subscription_that_ends_frees_the_connection(void **state)
{
	struct fixture *f = *state;
	int fd = peer_new(f);

	peer_send(f, fd, MORE("Watch"));
	peer_send(f, fd, ECHO("after"));
	settle(f);
	assert_int_equal(varlink_call_notify(f->kept, json_object()), 0);
	assert_int_equal(varlink_call_reply(f->kept, json_object()), 0);
	assert_false(varlink_call_is_open(f->kept));
	assert_int_equal(varlink_call_notify(f->kept, json_object()), -EALREADY);
	peer_expect(f, fd, "{\"parameters\":{},\"continues\":true}");
	peer_expect(f, fd, "{\"parameters\":{}}");
	peer_expect(f, fd, ECHOED("after"));
}

static void only_who_asked_for_more_gets_more(void **state)
{
	struct fixture *f = *state;
	int fd = peer_new(f);

	peer_send(f, fd, CALL("Watch"));
	settle(f);
	assert_false(varlink_call_wants_more(f->kept));
	assert_int_equal(varlink_call_notify(f->kept, json_object()), -EINVAL);
	peer_expect_nothing(f, fd);
}

static void caller_is_known(void **state)
{
	struct fixture *f = *state;
	int fd = peer_new(f);
	char expected[128];

	peer_send(f, fd, CALL("Whoami"));
	snprintf(expected, sizeof(expected),
		"{\"parameters\":{\"uid\":%u,\"me\":true,\"own\":true,\"other\":false}}",
		(unsigned)geteuid());
	peer_expect(f, fd, expected);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(call_split_at_every_byte_is_answered),
		TEST(pipelined_calls_are_answered_in_order),
		TEST(malformed_message_closes_the_connection),
		TEST(null_stands_for_an_absent_member),
		TEST(service_describes_itself),
		TEST(what_is_not_there_is_named_in_the_error),
		TEST(upgrade_is_refused),
		TEST(oneway_calls_are_made_and_not_answered),
		TEST(oneway_call_of_a_peer_that_left_at_once_is_made),
		TEST(peer_that_shut_its_sending_side_gets_its_answer),
		TEST(half_a_message_and_the_end_closes),
		TEST(late_answer_to_a_peer_that_left_is_dropped),
		TEST(late_answer_after_the_server_is_gone_is_dropped),
		TEST(second_answer_is_an_error),
		TEST(call_that_nobody_answers_closes),
		TEST(subscriber_gets_each_event_until_it_leaves),
		TEST(subscription_that_ends_frees_the_connection),
		TEST(only_who_asked_for_more_gets_more),
		TEST(caller_is_known),
	};

	return cmocka_run_group_tests_name("varlink", tests, NULL, NULL);
}
