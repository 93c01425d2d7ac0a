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
	assert_int_equal(varlink_call_reply(f->kept, json_object()), 0);
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

/* Another user: a process that holds connections, and does with them what it is told. */
struct crowd {
	pid_t pid;
	int control;
};

#define CROWD_MAX 64

static void crowd_run(const char *path, int control)
{
	int fds[CROWD_MAX], n = 0;
	char command[2], byte;
	ssize_t n_read;

	while (read(control, command, sizeof(command)) == sizeof(command)) {
		int fd = fds[(int)command[1]];

		switch (command[0]) {
		case '+': /* one more */
			fds[n++] = connect_peer(path);
			break;
		case 'e':
			(void)!send(fd, ECHO("x"), sizeof(ECHO("x")), MSG_NOSIGNAL);
			break;
		case 'w':
			(void)!send(fd, MORE("Watch"), sizeof(MORE("Watch")), MSG_NOSIGNAL);
			break;
		}
		/* Whether it is open, of the one; what has come is of no interest. */
		fd = fds[command[0] == '+' ? n - 1 : command[1]];
		do
			n_read = recv(fd, &byte, 1, 0);
		while (n_read == 1);
		byte = n_read < 0 && errno == EAGAIN ? 'o' : 'c';
		(void)!write(control, &byte, 1);
	}
	_exit(0);
}

static char crowd_tell(const struct crowd *crowd, char what, int i)
{
	const char command[2] = { what, i };
	char answer;

	assert_int_equal(write(crowd->control, command, sizeof(command)), sizeof(command));
	assert_int_equal(read(crowd->control, &answer, 1), 1);
	return answer;
}

static bool crowd_has(struct fixture *f, const struct crowd *crowd, int i)
{
	settle(f);
	return crowd_tell(crowd, '?', i) == 'o';
}

static int crowd_count(struct fixture *f, const struct crowd *crowd, int n)
{
	int n_open = 0;

	for (int i = 0; i < n; i++)
		n_open += crowd_has(f, crowd, i);
	return n_open;
}

static void crowd_add(struct fixture *f, const struct crowd *crowd, int n)
{
	for (int i = 0; i < n; i++)
		(void)crowd_tell(crowd, '+', 0);
	settle(f);
}

static struct crowd crowd_new(struct fixture *f, uid_t uid, int n)
{
	struct crowd crowd;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	crowd.pid = fork();
	assert_true(crowd.pid >= 0);
	if (crowd.pid == 0) {
		/* What the server closes must not stay open here. */
		if (dup2(pair[0], 3) < 0 || close_range(4, ~0u, 0) < 0 ||
			setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
			_exit(1);
		crowd_run(f->path, 3);
	}
	close(pair[0]);
	crowd.control = pair[1];
	crowd_add(f, &crowd, n);
	return crowd;
}

static void crowd_leave(struct fixture *f, struct crowd *crowd)
{
	close(crowd->control);
	kill(crowd->pid, SIGKILL);
	assert_int_equal(waitpid(crowd->pid, NULL, 0), crowd->pid);
	settle(f);
}

#define FOR_OTHERS (VARLINK_CONNECTIONS_MAX - 8) /* the rest is kept for root */

static void no_user_takes_more_than_his_share(void **state)
{
	struct fixture *f = *state;
	struct crowd crowd;

	if (geteuid() != 0)
		skip();

	crowd = crowd_new(f, 20001, 40);
	assert_int_equal(crowd_count(f, &crowd, 40), VARLINK_CONNECTIONS_PER_UID_MAX);
	crowd_leave(f, &crowd);
}

/* Four users take all places; whoever comes with fewer gets one, of the one who holds most. */
static void a_crowd_keeps_nobody_out(void **state)
{
	struct fixture *f = *state;
	struct crowd crowds[4], late;

	if (geteuid() != 0)
		skip();

	for (int i = 0; i < 4; i++)
		crowds[i] = crowd_new(f, 20001 + i, i == 2 ? 32 : (FOR_OTHERS - 32) / 3 + (i == 3));
	late = crowd_new(f, 20010, 1);
	assert_true(crowd_has(f, &late, 0));
	assert_int_equal(crowd_count(f, &crowds[2], 32), 31);
	/* And keeps it, though those who lost theirs come again. */
	for (int i = 0; i < 4; i++)
		crowd_add(f, &crowds[i], 20);
	assert_true(crowd_has(f, &late, 0));
	crowd_add(f, &late, 10);
	assert_int_equal(crowd_count(f, &late, 11), 11);
	for (int i = 0; i < 4; i++)
		crowd_leave(f, &crowds[i]);
	crowd_leave(f, &late);
}

/* Nobody is put out by whom he would put out in turn. */
static void those_who_hold_as_many_do_not_put_each_other_out(void **state)
{
	struct fixture *f = *state;
	struct crowd crowds[5], sixth;

	if (geteuid() != 0)
		skip();

	for (int i = 0; i < 5; i++)
		crowds[i] = crowd_new(f, 20001 + i, FOR_OTHERS / 5);
	sixth = crowd_new(f, 20006, 40);
	assert_int_equal(crowd_count(f, &sixth, 40), FOR_OTHERS / 6);
	for (int i = 0; i < 5; i++) {
		crowd_add(f, &crowds[i], 5);
		assert_int_equal(crowd_count(f, &crowds[i], FOR_OTHERS / 5 + 5), FOR_OTHERS / 6);
	}
	for (int i = 0; i < 5; i++)
		crowd_leave(f, &crowds[i]);
	crowd_leave(f, &sixth);
}

/* A call under way, as that of who waits for events, goes last. */
static void the_longest_idle_makes_room(void **state)
{
	struct fixture *f = *state;
	struct crowd many, others[3], late;

	if (geteuid() != 0)
		skip();

	many = crowd_new(f, 20001, 32);
	for (int i = 0; i < 3; i++)
		others[i] = crowd_new(f, 20002 + i, (FOR_OTHERS - 32 + i) / 3);
	(void)crowd_tell(&many, 'w', 0);
	settle(f);
	for (int i = 31; i > 0; i--) {
		(void)crowd_tell(&many, 'e', i);
		settle(f);
	}
	assert_int_equal(crowd_count(f, &many, 32), 32);
	late = crowd_new(f, 20009, 1);
	assert_false(crowd_has(f, &many, 31));
	assert_int_equal(crowd_count(f, &many, 31), 31);
	assert_true(varlink_call_is_open(f->kept));
	crowd_leave(f, &many);
	crowd_leave(f, &late);
	for (int i = 0; i < 3; i++)
		crowd_leave(f, &others[i]);
}

static void subscriptions_count_too(void **state)
{
	struct fixture *f = *state;
	struct crowd crowds[4], late;

	if (geteuid() != 0)
		skip();

	for (int i = 0; i < 4; i++) {
		crowds[i] = crowd_new(f, 20001 + i, FOR_OTHERS / 4);
		for (int k = 0; k < FOR_OTHERS / 4; k++) {
			(void)crowd_tell(&crowds[i], 'w', k);
			settle(f);
		}
	}
	late = crowd_new(f, 20010, 1);
	assert_true(crowd_has(f, &late, 0));
	for (int i = 0; i < 4; i++)
		crowd_leave(f, &crowds[i]);
	crowd_leave(f, &late);
}

static void root_always_gets_in(void **state)
{
	struct fixture *f = *state;
	struct crowd crowds[4];
	size_t before = f->n_peers;

	if (geteuid() != 0)
		skip();

	for (int i = 0; i < 4; i++)
		crowds[i] = crowd_new(f, 20001 + i, 30);
	for (int i = 0; i < VARLINK_CONNECTIONS_MAX; i++) {
		int fd = peer_new(f);

		peer_send(f, fd, ECHO("in"));
		peer_expect(f, fd, ECHOED("in"));
	}
	/* Of root's own, none makes room. */
	peer_expect_closed(f, peer_new(f));
	peer_send(f, f->peers[before], ECHO("in"));
	peer_expect(f, f->peers[before], ECHOED("in"));
	for (int i = 0; i < 4; i++)
		crowd_leave(f, &crowds[i]);
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
		TEST(no_user_takes_more_than_his_share),
		TEST(a_crowd_keeps_nobody_out),
		TEST(those_who_hold_as_many_do_not_put_each_other_out),
		TEST(the_longest_idle_makes_room),
		TEST(subscriptions_count_too),
		TEST(root_always_gets_in),
		TEST(idle_server_sleeps),
	};

	return cmocka_run_group_tests_name("varlink_limits", tests, NULL, NULL);
}
