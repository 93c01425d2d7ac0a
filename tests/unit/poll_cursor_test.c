/* SPDX-License-Identifier: GPL-3.0-or-later */

/* How far it had come, over restarts; and the questions that follow from it. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "agent/common/file.h"
#include "agent/common/url.h"
#include "agent/poll/cursor.h"
#include "agent/poll/feed.h"

#define URL "https://feed.example"
#define VM "web-1"

static char directory[] = "/tmp/cursor-test-XXXXXX";
static char path[64];

static int directory_setup(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/cursor.json", directory);
	return 0;
}

static int directory_teardown(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(directory);
}

static void what_was_saved_comes_back(void **state)
{
	struct cursor cursor = { .documents = "a \"b\" \\ ä/?&",
		.disbelieved = true,
		.events = 41,
		.has_events = true };
	struct cursor back;

	(void)state;
	assert_int_equal(cursor_load(directory, URL, VM, &back), 1);
	assert_string_equal(back.documents, "");
	assert_false(back.has_events);
	assert_int_equal(cursor_save(directory, URL, VM, &cursor), 0);
	assert_int_equal(cursor_load(directory, URL, VM, &back), 0);
	assert_string_equal(back.documents, cursor.documents);
	assert_true(back.disbelieved);
	assert_int_equal(back.events, 41);
	assert_true(back.has_events);
	/* Another feed's cursor, or another machine's, means nothing. */
	assert_int_equal(cursor_load(directory, URL "/other", VM, &back), 1);
	assert_string_equal(back.documents, "");
	assert_int_equal(cursor_load(directory, URL, "web-2", &back), 1);
	assert_false(back.has_events);
	/* Nothing yet is kept too. */
	assert_int_equal(cursor_save(directory, URL, VM, &(struct cursor){}), 0);
	assert_int_equal(cursor_load(directory, URL, VM, &back), 0);
	assert_string_equal(back.documents, "");
	assert_false(back.disbelieved);
	assert_false(back.has_events);
}

static void a_damaged_file_is_begun_anew(void **state)
{
#define HEAD "{\"url\":\"" URL "\",\"vmId\":\"" VM "\","
	static const char *const texts[] = { "", "{", "[]", "7", HEAD "\"documents\":7}",
		HEAD "\"documents\":\"\"}", HEAD "\"documents\":\"a\\nb\"}", HEAD "\"events\":-1}",
		HEAD "\"disbelieved\":1}", HEAD "\"events\":\"1\"}", HEAD "\"events\":1.5}",
		HEAD "\"events\":1,\"events\":2}" };
	struct cursor back;

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
		assert_int_equal(file_write(path, 0600, texts[i], strlen(texts[i])), 0);
		if (cursor_load(directory, URL, VM, &back) != -EBADMSG)
			fail_msg("%s", texts[i]);
		assert_string_equal(back.documents, "");
		assert_false(back.has_events);
	}
}

static void where_nothing_can_be_written_it_is_said(void **state)
{
	(void)state;
	assert_int_equal(cursor_save("/nonexistent", URL, VM, &(struct cursor){}), -ENOENT);
}

static void a_cursor_is_short_and_printable(void **state)
{
	char longest[CURSOR_BYTES_MAX + 2];

	(void)state;
	memset(longest, 'c', sizeof(longest));
	longest[CURSOR_BYTES_MAX + 1] = '\0';
	assert_false(cursor_is_valid(longest));
	longest[CURSOR_BYTES_MAX] = '\0';
	assert_true(cursor_is_valid(longest));
	assert_false(cursor_is_valid(""));
	assert_false(cursor_is_valid("a\x1b[2J"));
	assert_false(cursor_is_valid("\xff"));
}

static void assert_url(enum feed_kind kind, const char *vm_id, const char *cursor, const char *url)
{
	char base[] = "https://feed.example/base";
	struct config_feed feed = { .url = base, .kind = kind };
	_cleanup_(freep) char *made = feed_url(&feed, vm_id, cursor, 50);

	assert_string_equal(made, url);
}

static void a_vm_and_a_cursor_are_one_segment_each(void **state)
{
	(void)state;
	assert_url(FEED_POLL, VM, "", "https://feed.example/base/v1/vms/web-1/documents?wait=50");
	assert_url(FEED_POLL, "/subscriptions/s/virtualMachines/w%b?c#d ä", "1&after=2",
		"https://feed.example/base/v1/vms/"
		"%2Fsubscriptions%2Fs%2FvirtualMachines%2Fw%25b%3Fc%23d%20%C3%A4/"
		"documents?after=1%26after%3D2&wait=50");
	assert_url(FEED_STATIC, VM, "1", "https://feed.example/base");
}

static void urls_that_are_no_feed_are_told_why(void **state)
{
	static const struct {
		const char *url, *reason;
	} cases[] = {
		{ "https://feed.example", NULL },
		{ "https://feed.example:8443/a/b?c=d", NULL },
		{ "https://[2001:db8::1]:443/", NULL },
		{ "https://192.0.2.1", NULL },
		{ "http://localhost:80", NULL },
		{ "http://127.9.9.9/x", NULL },
		{ "http://[::1]", NULL },
		{ "http://localhost.example", "is http://" },
		{ "http://127.0.0.1.example", "is http://" },
		{ "http://[::2]", "is http://" },
		{ "http://128.0.0.1", "is http://" },
		{ "HTTPS://feed.example", "does not begin" },
		{ "ftp://feed.example", "does not begin" },
		{ "", "does not begin" },
		{ "https://", "has no host" },
		{ "https://:443", "has no host" },
		{ "https:///path", "has no host" },
		{ "https://a@b", "has a user" },
		{ "https://a:b@c", "has a user" },
		{ "http://127.0.0.1:80@evil.example", "has a user" },
		{ "https://a:", "has a port" },
		{ "https://a:65536", "has a port" },
		{ "https://a:1x", "has a port" },
		{ "https://[::1", "has no \"]\"" },
		{ "https://[::1]x", "has something between" },
		{ "https://[a]", "has something in brackets" },
		{ "https://a#b", "has a fragment" },
		{ "https://a b", "has characters" },
		{ "https://\xc3\xa4", "has characters" },
		{ "https://a\\b", "has characters" },
		{ "https://a%2fb", "has a host with" },
	};
	char text[2048];

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		const char *reason = url_reason(cases[i].url);

		if (!reason != !cases[i].reason ||
			(reason && strncmp(reason, cases[i].reason, strlen(cases[i].reason)) != 0))
			fail_msg("%s: %s", cases[i].url, reason ? reason : "passes");
	}
	memset(text, 'a', sizeof(text));
	memcpy(text, "https://", 8);
	text[1025] = '\0';
	assert_string_equal(url_reason(text), "is longer than 1024 bytes");
	text[1024] = '\0';
	assert_string_equal(url_reason(text), "has a host that is too long");
	text[8 + 255] = '\0';
	assert_null(url_reason(text));
	text[8 + 255] = 'a';
	text[8 + 256] = '\0';
	assert_string_equal(url_reason(text), "has a host that is too long");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_saved_comes_back),
		cmocka_unit_test(a_damaged_file_is_begun_anew),
		cmocka_unit_test(where_nothing_can_be_written_it_is_said),
		cmocka_unit_test(a_cursor_is_short_and_printable),
		cmocka_unit_test(a_vm_and_a_cursor_are_one_segment_each),
		cmocka_unit_test(urls_that_are_no_feed_are_told_why),
	};

	return cmocka_run_group_tests(tests, directory_setup, directory_teardown);
}
