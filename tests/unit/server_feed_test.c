/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What an agent is given next, and what is made of what it tells. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "contrib/control-plane/feed/documents.h"
#include "contrib/control-plane/feed/event.h"
#include "tests/unit/server_fixture.h"

#define ID "r-0198c2f4a1b27c3e8f0123456789abcd"

static void add(struct feed_agent *agent, const char *jti, int64_t revision)
{
	assert_int_equal(feed_documents_add(agent, jti, jti, revision), 0);
}

static void empty(struct feed_agent *agent)
{
	while (agent->n_documents > 0) {
		_cleanup_(freep) char *jti = strdup(agent->documents[0].jti);

		feed_documents_remove(agent, jti);
	}
	free(agent->documents);
}

static void test_of_one_revision_policy_grants_revocations(void **state)
{
	static const char *const expected[] = { ID ".0.9", "policy", ID ".0.0", ID ".0.1", ID ".x1",
		ID ".0.2" };
	struct feed_agent agent = { 0 };

	(void)state;
	add(&agent, ID ".0.2", 8);
	add(&agent, ID ".x1", 7);
	add(&agent, ID ".0.0", 7);
	add(&agent, "policy", 7);
	add(&agent, ID ".0.1", 7);
	add(&agent, ID ".0.9", 3);
	assert_int_equal(agent.n_documents, N_ELEMENTS(expected));
	for (size_t i = 0; i < N_ELEMENTS(expected); i++)
		assert_string_equal(agent.documents[i].jti, expected[i]);
	empty(&agent);
}

static void test_pages_are_cut_between_revisions(void **state)
{
	struct feed_agent agent = { 0 };
	size_t first, end;
	char jti[64];

	(void)state;
	assert_false(feed_documents_page(&agent, 0, &first, &end));
	assert_int_equal(end - first, 0);
	/* Ten to a revision. */
	for (int i = 0; i < 1000; i++) {
		snprintf(jti, sizeof(jti), "%s.0.%d", ID, i);
		add(&agent, jti, 1 + i / 10);
	}
	assert_true(feed_documents_page(&agent, 0, &first, &end));
	assert_int_equal(first, 0);
	assert_int_equal(end, 260);
	assert_true(feed_documents_page(&agent, agent.documents[end - 1].revision, &first, &end));
	assert_int_equal(first, 260);
	assert_false(feed_documents_page(&agent, 80, &first, &end));
	assert_int_equal(first, 800);
	assert_int_equal(end, 1000);
	assert_false(feed_documents_page(&agent, 100, &first, &end));
	assert_int_equal(end - first, 0);
	empty(&agent);
}

static void test_a_revision_is_whole_however_large(void **state)
{
	struct feed_agent agent = { 0 };
	size_t first, end;
	char jti[64];

	(void)state;
	for (int i = 0; i < 600; i++) {
		snprintf(jti, sizeof(jti), "%s.0.%d", ID, i);
		add(&agent, jti, i < 300 ? 5 : 6);
	}
	assert_true(feed_documents_page(&agent, 4, &first, &end));
	assert_int_equal(end - first, 300);
	assert_false(feed_documents_page(&agent, 5, &first, &end));
	assert_int_equal(end - first, 300);
	empty(&agent);
}

static void test_cursors_of_this_store_only(void **state)
{
	(void)state;
	assert_int_equal(feed_cursor_parse("ab-c-12", "ab-c", 20), 12);
	assert_int_equal(feed_cursor_parse("ab-c-0", "ab-c", 20), 0);
	assert_int_equal(feed_cursor_parse("ab-c-21", "ab-c", 20), -1);
	assert_int_equal(feed_cursor_parse("ab-d-12", "ab-c", 20), -1);
	assert_int_equal(feed_cursor_parse("ab-c", "ab-c", 20), -1);
	assert_int_equal(feed_cursor_parse("ab-c-", "ab-c", 20), -1);
	assert_int_equal(feed_cursor_parse("ab-c-1x", "ab-c", 20), -1);
	assert_int_equal(feed_cursor_parse("ab-c--1", "ab-c", 20), -1);
	assert_int_equal(feed_cursor_parse("ab-c-99999999999999999999", "ab-c", 20), -1);
	assert_int_equal(feed_cursor_parse(NULL, "ab-c", 20), -1);
}

static struct event event_make(const char *text)
{
	json_auto_t *json = json_make(text);
	struct problem problem = { 0 };
	struct event event;

	if (event_read(json, 0, "/vm", (NOW + 3600) * 1000000, &event, &problem) != 0)
		fail_msg("%s: %s", text, problem.message);
	return event;
}

static void test_the_same_event_has_the_same_key(void **state)
{
	struct event one = event_make("{'sequence': 7, 'time': '2026-01-01T10:00:00Z', 'type': "
				      "'grant_active', 'port': 22}");
	struct event same = event_make("{'port': 22, 'type': 'grant_active', 'sequence': 7, "
				       "'time': '2026-01-01T10:00:00Z'}");
	struct event other = event_make("{'sequence': 7, 'time': '2026-01-01T10:00:00Z', 'type': "
					"'grant_active', 'port': 23}");

	(void)state;
	assert_string_equal(one.key, same.key);
	assert_string_not_equal(one.key, other.key);
	/* Behind what the server did within the same second. */
	assert_true(strncmp(one.key, "2026-01-01T10:00:00.999999Z/", 28) == 0);
	event_done(&one);
	event_done(&same);
	event_done(&other);
}

static void test_what_is_far_ahead_is_now(void **state)
{
	struct event near =
		event_make("{'sequence': 1, 'time': '2026-01-01T11:04:59Z', 'type': 'x'}");
	struct event far =
		event_make("{'sequence': 2, 'time': '9999-01-01T00:00:00Z', 'type': 'x'}");

	(void)state;
	assert_int_equal(near.time, (NOW + 3899) * 1000000);
	assert_int_equal(far.time, (NOW + 3600) * 1000000);
	assert_true(strncmp(far.key, "2026-01-01T11:00:00", 19) == 0);
	event_done(&near);
	event_done(&far);
}

static void test_progress_begins_with_the_first(void **state)
{
	struct progress progress = { .delivered = NOW * 1000000 + 250000 };
	struct event active = event_make("{'sequence': 1, 'time': '2026-01-01T10:00:00Z', 'type': "
					 "'grant_active'}");
	struct event later = event_make("{'sequence': 2, 'time': '2026-01-01T11:00:00Z', 'type': "
					"'grant_active'}");
	struct event refused = event_make("{'sequence': 3, 'time': '2026-01-01T11:00:00Z', 'type': "
					  "'document_refused', 'code': 'expired'}");
	struct event odd = event_make("{'sequence': 3, 'time': '2026-01-01T11:00:00Z', 'type': "
				      "'something_new', 'port': 99999, 'grant': 5}");

	(void)state;
	assert_true(event_apply(&active, &progress));
	/* Not before it was delivered, though the agent's second began before. */
	assert_int_equal(progress.installed, NOW * 1000000 + 250000);
	assert_false(event_apply(&active, &progress));
	assert_false(event_apply(&later, &progress));
	assert_int_equal(progress.installed, NOW * 1000000 + 250000);
	/* It comes again, too late: it was let in all the same. */
	assert_false(event_apply(&refused, &progress));
	assert_null(progress.refused_code);
	progress.installed = 0;
	assert_true(event_apply(&refused, &progress));
	assert_string_equal(progress.refused_code, "expired");
	assert_false(event_apply(&odd, &progress));
	assert_int_equal(odd.port, 0);
	assert_null(odd.grant);
	progress_done(&progress);
	event_done(&active);
	event_done(&later);
	event_done(&refused);
	event_done(&odd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_of_one_revision_policy_grants_revocations),
		cmocka_unit_test(test_pages_are_cut_between_revisions),
		cmocka_unit_test(test_a_revision_is_whole_however_large),
		cmocka_unit_test(test_cursors_of_this_store_only),
		cmocka_unit_test(test_the_same_event_has_the_same_key),
		cmocka_unit_test(test_what_is_far_ahead_is_now),
		cmocka_unit_test(test_progress_begins_with_the_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
