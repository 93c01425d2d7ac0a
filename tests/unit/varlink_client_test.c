/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The waiting client. */

#include "tests/unit/varlink_fixture.h"

/* The client waits for its peer: the server runs in a child for it. */
static pid_t server_run(struct fixture *f)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;

	/* A loop does not survive fork(). */
	sd_event *event;
	struct varlink_server *server;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/client", f->directory);
	if (sd_event_new(&event) < 0 ||
		bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 8) < 0 ||
		varlink_server_new(event, fd, &service, f, &server) < 0)
		_exit(1);
	for (;;) {
		sd_event_run(event, 20000);
		if (f->kept && varlink_call_wants_more(f->kept) && f->n_calls++ < 4)
			varlink_call_notify(f->kept, json_pack("{s:i}", "n", f->n_calls));
		else if (f->kept && varlink_call_wants_more(f->kept))
			varlink_call_reply(f->kept, json_object());
	}
}

static struct varlink_client *client_new(struct fixture *f)
{
	struct varlink_client *client = NULL;
	char path[128];
	int r = -1;

	snprintf(path, sizeof(path), "%s/client", f->directory);
	for (int i = 0; i < 1000 && r < 0; i++) {
		r = varlink_client_open(path, 1000, &client);
		if (r < 0)
			poll(NULL, 0, 5);
	}
	assert_int_equal(r, 0);
	return client;
}

static int count_event(json_t *parameters, void *userdata)
{
	(*(int *)userdata)++;
	return json_is_integer(json_object_get(parameters, "n")) ? 0 : -ECANCELED;
}

static void client_calls(struct fixture *f)
{
	_cleanup_(varlink_client_freep) struct varlink_client *client = client_new(f);
	json_auto_t *reply = NULL, *error_parameters = NULL, *none = NULL;
	_cleanup_(freep) char *error = NULL, *no_error = NULL, *nothing = NULL;

	assert_int_equal(varlink_client_call(client, "com.example.test.Big",
				 json_pack("{s:i}", "bytes", 2000000), &reply, &no_error),
		0);
	assert_null(no_error);
	assert_int_equal(json_string_length(json_object_get(reply, "text")), 2000000);
	assert_int_equal(varlink_client_call(
				 client, "com.example.test.Echo", NULL, &error_parameters, &error),
		VARLINK_ERROR);
	assert_string_equal(error, "org.varlink.service.InvalidParameter");
	assert_int_equal(varlink_client_call(client, "com.example.test.Echo",
				 event_of(VARLINK_MESSAGE_BYTES_MAX), &none, &nothing),
		-EMSGSIZE);
	assert_int_equal(
		varlink_client_call(client, "com.example.test.Later", NULL, &none, &nothing),
		-ETIMEDOUT);
	assert_int_equal(
		varlink_client_call(client, "com.example.test.Later", NULL, &none, &nothing),
		-ENOTCONN);
}

static void client_subscribes(struct fixture *f)
{
	_cleanup_(varlink_client_freep) struct varlink_client *client = client_new(f);
	_cleanup_(varlink_client_freep) struct varlink_client *closed = client_new(f);
	json_auto_t *none = NULL;
	_cleanup_(freep) char *nothing = NULL;
	int n_events = 0;

	assert_int_equal(varlink_client_subscribe(client, "com.example.test.Watch", NULL,
				 count_event, &n_events, &none, &nothing),
		-ECANCELED);
	assert_in_range(n_events, 2, 5);
	assert_int_equal(
		varlink_client_call(closed, "com.example.test.Fail", NULL, &none, &nothing),
		-EPIPE);
}

static void client_waits_no_longer_than_told(void **state)
{
	struct fixture *f = *state;
	struct varlink_client *client;
	char path[128];
	pid_t pid;

	assert_int_equal(varlink_client_open("/nonexistent/socket", 100, &client), -ENOENT);
	pid = server_run(f);
	client_calls(f);
	client_subscribes(f);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	snprintf(path, sizeof(path), "%s/client", f->directory);
	assert_int_equal(varlink_client_open(path, 100, &client), -ECONNREFUSED);
	unlink(path);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(client_waits_no_longer_than_told),
	};

	return cmocka_run_group_tests_name("varlink_client", tests, NULL, NULL);
}
