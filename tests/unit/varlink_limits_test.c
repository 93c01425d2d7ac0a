/* SPDX-License-Identifier: GPL-3.0-or-later */

/* No Varlink peer takes more than its share, whatever it does or does not do. */

#include "tests/unit/varlink_fixture.h"

static void thousands_of_pipelined_calls_do_not_hold_up_another_peer(void **state)
{
	struct fixture *f = *state;
	int many = peer_new(f), one = peer_new(f);
	char burst[512 * sizeof(ECHO("x"))];

	for (size_t i = 0; i < 512; i++)
		memcpy(burst + i * sizeof(ECHO("x")), ECHO("x"), sizeof(ECHO("x")));
	peer_send_bytes(f, many, burst, sizeof(burst));
	peer_send(f, one, ECHO("y"));
	peer_expect(f, one, ECHOED("y"));
	assert_true(f->n_calls < 32);
	for (size_t i = 0; i < 512; i++)
		peer_expect(f, many, ECHOED("x"));
}

static void message_over_the_bound_closes_only_its_connection(void **state)
{
	struct fixture *f = *state;
	int fd = peer_new(f), other = peer_new(f);
	_cleanup_(freep) char *text = malloc(VARLINK_MESSAGE_BYTES_MAX + 1);

	/* The longest message there may be: padded with spaces, which JSON allows. */
	memset(text, ' ', VARLINK_MESSAGE_BYTES_MAX + 1);
	memcpy(text, ECHO("long"), strlen(ECHO("long")));
	text[VARLINK_MESSAGE_BYTES_MAX] = '\0';
	peer_send_bytes(f, fd, text, VARLINK_MESSAGE_BYTES_MAX + 1);
	peer_expect(f, fd, ECHOED("long"));

	text[VARLINK_MESSAGE_BYTES_MAX] = ' ';
	peer_send_bytes(f, fd, text, VARLINK_MESSAGE_BYTES_MAX + 1);
	peer_expect_closed(f, fd);
	peer_send(f, other, ECHO("fine"));
	peer_expect(f, other, ECHOED("fine"));
	assert_int_equal(f->n_calls, 2);
}

static void subscriber_that_does_not_read_is_cut_off(void **state)
{
	struct fixture *f = *state;
	int slow = peer_new(f), other = peer_new(f);
	size_t n_sent = 0;

	peer_send(f, slow, MORE("Watch"));
	settle(f);
	while (varlink_call_is_open(f->kept)) {
		assert_true(n_sent < 8 * VARLINK_BACKLOG_BYTES_MAX);
		assert_int_equal(varlink_call_notify(f->kept, event_of(1024)), 0);
		n_sent += 1024;
	}
	assert_true(n_sent >= VARLINK_BACKLOG_BYTES_MAX);
	peer_send(f, other, ECHO("fine"));
	peer_expect(f, other, ECHOED("fine"));
}

static void slow_reader_gets_all_and_holds_up_nobody(void **state)
{
	struct fixture *f = *state;
	int slow = peer_new(f), other = peer_new(f);
	size_t n_bytes = 0;
	char byte;

	peer_send(f, slow,
		"{\"method\":\"com.example.test.Big\",\"parameters\":{\"bytes\":3000000}}");
	peer_send(f, slow, ECHO("next"));
	settle(f);
	assert_int_equal(f->n_calls, 0);
	peer_send(f, other, ECHO("fine"));
	peer_expect(f, other, ECHOED("fine"));

	do {
		assert_int_equal(peer_read_byte(f, slow, &byte), 1);
		n_bytes++;
	} while (byte != '\0');
	assert_int_equal(n_bytes, 3000000 + sizeof(ECHOED("")));
	peer_expect(f, slow, ECHOED("next"));
}

static void silent_client_is_cut_off_and_others_are_not(void **state)
{
	struct fixture *f = *state;
	int silent, dribbling, waiting, watching, before = peer_new(f);
	char byte;

	settle(f);
	varlink_server_set_idle(f->server, 100000);
	waiting = peer_new(f);
	peer_send(f, waiting, CALL("Later"));
	settle(f);
	silent = peer_new(f);
	dribbling = peer_new(f);
	for (int i = 0; i < 20; i++) {
		(void)send(dribbling, "{", 1, MSG_NOSIGNAL);
		turn(f);
	}
	peer_expect_closed(f, silent);
	peer_expect_closed(f, dribbling);
	assert_int_equal(recv(waiting, &byte, 1, 0), -1);
	assert_int_equal(varlink_call_reply(f->kept, NULL), 0);
	peer_expect(f, waiting, "{\"parameters\":{}}");
	peer_expect_closed(f, waiting);

	watching = peer_new(f);
	silent = peer_new(f);
	peer_send(f, watching, MORE("Watch"));
	peer_expect_closed(f, silent);
	assert_true(varlink_call_is_open(f->kept));
	peer_send(f, before, ECHO("fine"));
	peer_expect(f, before, ECHOED("fine"));
}

static void connections_are_bounded(void **state)
{
	struct fixture *f = *state;
	int first = peer_new(f), late;

	for (int i = 1; i < VARLINK_CONNECTIONS_MAX; i++)
		peer_new(f);
	settle(f);
	late = peer_new(f);
	peer_expect_closed(f, late);
	peer_leave(f, first);
	settle(f);
	late = peer_new(f);
	peer_send(f, late, ECHO("room"));
	peer_expect(f, late, ECHOED("room"));
}

/* Another user: opens n connections, tells when they stand, and keeps them until told. */
static pid_t crowd_new(const char *path, uid_t uid, int n)
{
	int pair[2];
	pid_t pid;
	char byte;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
			_exit(1);
		for (int i = 0; i < n; i++)
			connect_peer(path);
		(void)!write(pair[0], "", 1);
		for (;;)
			pause();
	}
	close(pair[0]);
	assert_int_equal(read(pair[1], &byte, 1), 1);
	close(pair[1]);
	return pid;
}

static void crowd_leave(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* How many connections there is still room for. */
static size_t count_room(struct fixture *f)
{
	size_t n = 0, before = f->n_peers;
	char byte;

	for (int i = 0; i < VARLINK_CONNECTIONS_MAX; i++)
		peer_new(f);
	settle(f);
	for (size_t i = before; i < f->n_peers; i++) {
		n += recv(f->peers[i], &byte, 1, 0) < 0;
		close(f->peers[i]);
	}
	f->n_peers = before;
	settle(f);
	return n;
}

static void no_user_takes_all_connections(void **state)
{
	struct fixture *f = *state;
	pid_t pids[8];

	if (geteuid() != 0)
		skip();

	pids[0] = crowd_new(f->path, 20001, 40);
	settle(f);
	assert_int_equal(count_room(f), VARLINK_CONNECTIONS_MAX - VARLINK_CONNECTIONS_PER_UID_MAX);
	for (int i = 1; i < 8; i++) {
		pids[i] = crowd_new(f->path, 20001 + i, 40);
		settle(f);
	}
	/* All together leave some to root. */
	assert_int_equal(count_room(f), 8);
	for (int i = 0; i < 8; i++)
		crowd_leave(pids[i]);
	settle(f);
	assert_int_equal(count_room(f), VARLINK_CONNECTIONS_MAX);
}

static void idle_server_sleeps(void **state)
{
	struct fixture *f = *state;
	int fd = peer_new(f);

	peer_send(f, fd, ECHO("1"));
	peer_expect(f, fd, ECHOED("1"));
	shutdown(fd, SHUT_WR);
	peer_expect_closed(f, fd);
	peer_leave(f, fd);
	settle(f);
	assert_int_equal(sd_event_prepare(f->event), 0);
	assert_int_equal(sd_event_wait(f->event, 200000), 0);

	/* Nor does a peer that has shut its sending side and waits for events make it spin. */
	fd = peer_new(f);
	peer_send(f, fd, MORE("Watch"));
	shutdown(fd, SHUT_WR);
	settle(f);
	assert_int_equal(sd_event_prepare(f->event), 0);
	assert_int_equal(sd_event_wait(f->event, 200000), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(thousands_of_pipelined_calls_do_not_hold_up_another_peer),
		TEST(message_over_the_bound_closes_only_its_connection),
		TEST(subscriber_that_does_not_read_is_cut_off),
		TEST(slow_reader_gets_all_and_holds_up_nobody),
		TEST(silent_client_is_cut_off_and_others_are_not),
		TEST(connections_are_bounded),
		TEST(no_user_takes_all_connections),
		TEST(idle_server_sleeps),
	};

	return cmocka_run_group_tests_name("varlink_limits", tests, NULL, NULL);
}
