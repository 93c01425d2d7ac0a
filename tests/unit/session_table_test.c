/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Sessions as they are known. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/daemon/session_table.h"

static struct flow flow_from(uint16_t remote_port)
{
	return (struct flow){ .remote_port = remote_port };
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
		cmocka_unit_test(test_all_of_them_in_order),
	};

	return cmocka_run_group_tests_name("session table", tests, NULL, NULL);
}
