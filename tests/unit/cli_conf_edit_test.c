/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What somebody wrote into agent.conf is still there after a change. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdint.h>
#include <string.h>

#include "agent/cli/conf_edit.h"
#include "agent/cli/enroll_conf.h"
#include "agent/common/file.h"
#include "cleanup.h"

#define EXAMPLE_BYTES_MAX (64 * 1024)

struct edit {
	const char *before;
	const char *section, *key, *value; /* NULL: unset */
	const char *after;
};

static const struct edit edits[] = {
	/* The value, and nothing else of its line or of others. */
	{ "[agent]\nvm_id = a\n", "agent", "vm_id", "b", "[agent]\nvm_id = b\n" },
	{ "[agent]\n  vm_id=a\t; mine\nmode = audit\n", "agent", "vm_id", "bb",
		"[agent]\n  vm_id=bb\t; mine\nmode = audit\n" },
	{ "[agent]\r\nvm_id = a\r\n# c\r\n", "agent", "vm_id", "b",
		"[agent]\r\nvm_id = b\r\n# c\r\n" },
	{ "[agent]\nvm_id = a", "agent", "vm_id", "b", "[agent]\nvm_id = b" },
	{ "[agent]\nvm_id = a;b ;c\n", "agent", "vm_id", "d", "[agent]\nvm_id = d ;c\n" },
	/* An empty one. */
	{ "[agent]\nvm_id =\n", "agent", "vm_id", "b", "[agent]\nvm_id = b\n" },
	{ "[agent]\nvm_id =; c\n", "agent", "vm_id", "b", "[agent]\nvm_id = b ; c\n" },
	/* The key of another section, another key, and a comment are not it. */
	{ "[feed]\nurl = a\n[agent]\nurl_x = 1\n# url = c\n[port url]\nnumber = 22\n", "agent",
		"url", "b",
		"[feed]\nurl = a\n[agent]\nurl_x = 1\n# url = c\nurl = b\n[port url]\nnumber = "
		"22\n" },
	{ "[ feed ] ; x\nurl = a\n", "feed", "url", "b", "[ feed ] ; x\nurl = b\n" },
	/* Below the comment that stands for it; below the last key; below the title. */
	{ "[agent]\n# which VM\n#vm_id =\n\n# how\n#mode = enforce\nmode = audit\n", "agent",
		"vm_id", "b",
		"[agent]\n# which VM\n#vm_id =\nvm_id = b\n\n# how\n#mode = enforce\nmode = "
		"audit\n" },
	{ "[agent]\nmode = audit\n\n# ssh\n[port ssh]\nnumber = 22\n", "agent", "vm_id", "b",
		"[agent]\nmode = audit\nvm_id = b\n\n# ssh\n[port ssh]\nnumber = 22\n" },
	{ "[feed]\n\n[agent]\n", "feed", "url", "b", "[feed]\nurl = b\n\n[agent]\n" },
	/* What is commented out as a section is none, and its keys are not those above. */
	{ "[agent]\nmode = audit\n#[feed]\n#url =\n", "feed", "url", "b",
		"[agent]\nmode = audit\n#[feed]\n#url =\n\n[feed]\nurl = b\n" },
	{ "[agent]\n#[feed]\n#token =\n", "agent", "token", "b",
		"[agent]\ntoken = b\n#[feed]\n#token =\n" },
	/* A section at the end, a newline missing or not; in the file's own way. */
	{ "[agent]\nmode = audit", "feed", "url", "b",
		"[agent]\nmode = audit\n\n[feed]\nurl = b\n" },
	{ "[agent]\r\nmode = audit\r", "agent", "vm_id", "b",
		"[agent]\r\nmode = audit\r\nvm_id = b\r\n" },
	{ "[agent]\r\n", "feed", "url", "b", "[agent]\r\n\r\n[feed]\r\nurl = b\r\n" },
	{ "[feed]", "feed", "url", "b", "[feed]\nurl = b\n" },
	{ "", "feed", "url", "b", "[feed]\nurl = b\n" },
	/* Made a comment. */
	{ "[feed]\n ca = x ; y\nurl = b\n", "feed", "ca", NULL, "[feed]\n# ca = x ; y\nurl = b\n" },
	{ "[feed]\nurl = b\n", "feed", "ca", NULL, "[feed]\nurl = b\n" },
};

static void one_line_changes(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(edits); i++) {
		const struct edit *edit = &edits[i];
		_cleanup_(freep) char *text = strdup(edit->before), *found = NULL;

		if (edit->value)
			assert_int_equal(conf_set(&text, edit->section, edit->key, edit->value), 0);
		else
			assert_int_equal(conf_unset(&text, edit->section, edit->key), 0);
		assert_string_equal(text, edit->after);
		assert_int_equal(conf_get(text, edit->section, edit->key, &found), 0);
		if (edit->value)
			assert_string_equal(found, edit->value);
		else
			assert_null(found);
	}
}

static const struct enroll_conf wanted = {
	.vm_id = "/subscriptions/S/vm",
	.trust = "/etc/other.jwks",
	.url = "https://jit.example.org",
	.ca = "/etc/jitgate/feed-ca.pem",
};

/* Lines of b that a has not, as one text. */
static char *lines_added(const char *a, const char *b)
{
	char *added = NULL;
	size_t n_bytes;
	FILE *stream = open_memstream(&added, &n_bytes);

	while (*b) {
		size_t n = strcspn(b, "\n"), n_same = strcspn(a, "\n");

		if (*a && n == n_same && memcmp(a, b, n) == 0)
			a += n_same + (a[n_same] == '\n');
		else
			fprintf(stream, "%.*s\n", (int)n, b);
		b += n + (b[n] == '\n');
	}
	fclose(stream);
	return added;
}

static void the_example_keeps_its_comments(void **state)
{
	_cleanup_(freep) char *text = NULL, *edited = NULL, *again = NULL, *added = NULL;
	size_t n;

	(void)state;
	assert_int_equal(file_read("agent.conf.example", EXAMPLE_BYTES_MAX, &text, &n), 0);
	assert_int_equal(enroll_conf_edit(text, &wanted, &edited), 0);
	added = lines_added(text, edited);
	assert_string_equal(added,
		"vm_id = /subscriptions/S/vm\n\n[feed]\nurl = https://jit.example.org\n"
		"ca = /etc/jitgate/feed-ca.pem\n");
	assert_int_equal(enroll_conf_edit(edited, &wanted, &again), 0);
	assert_string_equal(again, edited);
}

static void what_the_former_control_plane_needed_goes(void **state)
{
	static const char text[] = "[agent]\nvm_id = /SUBSCRIPTIONS/s/VM ; ours\n[feed]\n"
				   "kind = static\nurl = https://old\nca = /old\ntoken = /t\n"
				   "wait = PT5S\n";
	static const struct enroll_conf other = {
		.vm_id = "/subscriptions/S/vm",
		.url = "https://new",
	};
	_cleanup_(freep) char *edited = NULL;

	(void)state;
	assert_int_equal(enroll_conf_edit(text, &other, &edited), 0);
	assert_string_equal(edited,
		"[agent]\nvm_id = /SUBSCRIPTIONS/s/VM ; ours\n[feed]\nkind = poll\n"
		"url = https://new\n#ca = /old\n#token = /t\nwait = PT5S\n");
}

static void a_new_configuration_locks_nobody_out(void **state)
{
	static const struct enroll_port ports[] = { { 22, PROTOCOL_TCP }, { 53, PROTOCOL_ANY } };
	struct enroll_conf with_ports = wanted;
	_cleanup_(freep) char *without = NULL, *with = NULL;

	(void)state;
	assert_int_equal(enroll_conf_new(&wanted, &without), 0);
	assert_null(strstr(without, "[port"));
	with_ports.ports = ports;
	with_ports.n_ports = N_ELEMENTS(ports);
	assert_int_equal(enroll_conf_new(&with_ports, &with), 0);
	assert_non_null(strstr(with, "\nmode = audit\n"));
	assert_non_null(strstr(with, "\n[port tcp-22]\nnumber = 22\nprotocol = TCP\n"));
	assert_non_null(strstr(with, "\n[port any-53]\nnumber = 53\nprotocol = *\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_line_changes),
		cmocka_unit_test(the_example_keeps_its_comments),
		cmocka_unit_test(what_the_former_control_plane_needed_goes),
		cmocka_unit_test(a_new_configuration_locks_nobody_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
