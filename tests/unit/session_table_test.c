/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Sessions as they are known, also where memory runs out: the table is built in here with copies
 * that fail when told. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static size_t n_left = SIZE_MAX;

static char *failing_strdup(const char *text)
{
	if (n_left == 0)
		return NULL;
	n_left--;
	return strdup(text);
}

#include "agent/daemon/session_table.h"
#define strdup failing_strdup
#include "agent/daemon/session_table.c"
#undef strdup

static struct flow flow_from(uint16_t remote_port)
{
	return (struct flow){ .remote_port = remote_port };
}

/* One that is known without its grant would be passed over where the grant's sessions are ended. */
static void test_no_memory_for_whose_it_is(void **state)
{
	const struct flow flow = flow_from(1);
	struct session_table table = {};
	struct session *session;

	(void)state;
	for (size_t n = 0; n < 2; n++) {
		n_left = n;
		assert_int_equal(
			session_table_add(&table, &flow, "g-1", "alice", 1, &session), -ENOMEM);
		assert_null(session_table_find(&table, &flow));
		assert_int_equal(table.n, 0);
	}
	n_left = SIZE_MAX;
	assert_int_equal(session_table_add(&table, &flow, "g-1", "alice", 1, &session), 0);
	assert_ptr_equal(session_table_find(&table, &flow), session);
	assert_string_equal(session->grant, "g-1");
	session_table_done(&table);
}

static void test_all_of_them_in_order(void **state)
{
	struct session_table table = {};
	struct session *session, *next;
	unsigned n = 0;

	(void)state;
	assert_null(session_table_list(&table));
	for (uint16_t i = 0; i < 100; i++) {
		const struct flow flow = flow_from(i * 37 % 100);

		assert_int_equal(session_table_add(&table, &flow, NULL, NULL, 1, &session), 0);
	}
	for (session = session_table_list(&table); session; session = next, n++) {
		next = session->next;
		assert_int_equal(session->flow.remote_port, n);
		if (n % 3 != 0)
			session_table_drop(&table, session);
	}
	assert_int_equal(n, 100);
	n = 0;
	for (session = session_table_list(&table); session; session = session->next, n++)
		assert_int_equal(session->flow.remote_port, 3 * n);
	assert_int_equal(n, table.n);
	session_table_done(&table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_memory_for_whose_it_is),
		cmocka_unit_test(test_all_of_them_in_order),
	};

	return cmocka_run_group_tests_name("session table", tests, NULL, NULL);
}
