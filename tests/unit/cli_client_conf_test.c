/* SPDX-License-Identifier: GPL-3.0-or-later */

/* A token reaches the server that it is for, and nobody who should not read it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/cli/client_conf.h"

static char path[] = "/tmp/jitgate-client-conf-XXXXXX";

static void file_make(const char *text, mode_t mode)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	assert_int_equal(chmod(path, mode), 0);
}

static int load(const char *text, mode_t mode, struct client_conf *conf, const char *reason)
{
	_cleanup_(freep) char *error = NULL;
	int r;

	file_make(text, mode);
	*conf = (struct client_conf){ 0 };
	r = client_conf_load(path, conf, &error);
	assert_true(!error == (r == 0));
	if (r < 0) {
		assert_non_null(strstr(error, reason));
		/* What is secret is not told. */
		assert_null(strstr(error, "s3cret"));
	}
	return r;
}

static void all_keys_are_read(void **state)
{
	_cleanup_(client_conf_done) struct client_conf conf = { 0 };

	(void)state;
	assert_int_equal(load("# mine\n[client]\nserver = https://jit.example.org/\n"
			      "token = s3cret\nca = /etc/ca.pem\n",
				 0600, &conf, ""),
		0);
	assert_string_equal(conf.server, "https://jit.example.org/");
	assert_string_equal(conf.token, "s3cret");
	assert_string_equal(conf.ca, "/etc/ca.pem");
}

static void mistakes_are_told(void **state)
{
	static const char *const wrong[][2] = {
		{ "[client]\nserver = http://jit.example.org\n", "http" },
		{ "[client]\nserver = https://jit.example.org/?x\n", "query" },
		{ "[client]\nserver = jit.example.org\n", "https" },
		{ "[clent]\n", "there is no section [clent]: there is [client]" },
		{ "[client]\ntoken = s3cret s3cret\n", "token" },
		{ "[client]\ntoken =\n", "token" },
		{ "[client]\nca = ca.pem\n", "ca" },
		{ "[client]\nuser = alice\n", "user" },
		{ "[server]\n", "server" },
		{ "server = https://a\n", "[client]" },
	};
	_cleanup_(client_conf_done) struct client_conf conf = { 0 };

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(wrong); i++) {
		assert_int_equal(load(wrong[i][0], 0600, &conf, wrong[i][1]), -EINVAL);
		client_conf_done(&conf);
	}
}

static void a_token_that_others_can_read_is_refused(void **state)
{
	static const mode_t modes[] = { 0644, 0640, 0604, 0620, 0601 };
	_cleanup_(client_conf_done) struct client_conf conf = { 0 };
	_cleanup_(freep) char *token = NULL;

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(modes); i++) {
		_cleanup_(freep) char *error = NULL;

		assert_int_equal(
			load("[client]\ntoken = s3cret\n", modes[i], &conf, "chmod 600"), -EPERM);
		client_conf_done(&conf);
		file_make("s3cret\n", modes[i]);
		assert_int_equal(token_load(path, &token, &error), -EPERM);
		assert_non_null(strstr(error, "chmod 600"));
	}
	/* Without one, anybody may read it. */
	assert_int_equal(load("[client]\nserver = https://a\n", 0644, &conf, ""), 0);
}

static void a_token_file_holds_a_token_alone(void **state)
{
	static const char *const wrong[] = { "", "\n", "a b\n", "a\nb\n", "\xc3\xa4\n", "\ta\n",
		"a\"b\n" };
	_cleanup_(freep) char *token = NULL, *error = NULL;

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(wrong); i++) {
		_cleanup_(freep) char *reason = NULL;

		file_make(wrong[i], 0600);
		assert_int_equal(token_load(path, &token, &reason), -EINVAL);
		assert_non_null(reason);
	}
	file_make("s3cret\r\n", 0400);
	assert_int_equal(token_load(path, &token, &error), 0);
	assert_string_equal(token, "s3cret");
}

static void a_slash_makes_no_other_server(void **state)
{
	(void)state;
	assert_true(server_is_same("https://a", "https://a//"));
	assert_true(server_is_same("https://a/b/", "https://a/b"));
	assert_false(server_is_same("https://a", "https://a:8443"));
	assert_false(server_is_same("https://a", "https://a.b"));
}

static void it_lies_where_configurations_lie(void **state)
{
	_cleanup_(freep) char *home = NULL, *xdg = NULL, *relative = NULL;

	(void)state;
	setenv("HOME", "/home/alice", 1);
	unsetenv("XDG_CONFIG_HOME");
	home = client_conf_path();
	assert_string_equal(home, "/home/alice/.config/jitgate/client.conf");
	setenv("XDG_CONFIG_HOME", "/conf", 1);
	xdg = client_conf_path();
	assert_string_equal(xdg, "/conf/jitgate/client.conf");
	setenv("XDG_CONFIG_HOME", "conf", 1);
	relative = client_conf_path();
	assert_string_equal(relative, home);
	unsetenv("XDG_CONFIG_HOME");
	unsetenv("HOME");
	assert_null(client_conf_path());
}

static int make_path(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	closep(&fd);
	return fd < 0 ? -1 : 0;
}

static int remove_path(void **state)
{
	(void)state;
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_keys_are_read),
		cmocka_unit_test(mistakes_are_told),
		cmocka_unit_test(a_token_that_others_can_read_is_refused),
		cmocka_unit_test(a_token_file_holds_a_token_alone),
		cmocka_unit_test(a_slash_makes_no_other_server),
		cmocka_unit_test(it_lies_where_configurations_lie),
	};

	return cmocka_run_group_tests(tests, make_path, remove_path);
}
