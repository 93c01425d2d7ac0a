/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * A Varlink server with a few methods, and raw sockets to it: the test is every peer and runs the
 * server's loop itself.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "agent/common/varlink.h"

#define WAIT_USEC (UINT64_C(10) * 1000000)
#define PEERS_MAX 256

struct fixture {
	char directory[32];
	char path[64];
	sd_event *event;
	struct varlink_server *server;
	struct varlink_call *kept; /* by Later and Watch */
	unsigned n_calls;
	int peers[PEERS_MAX];
	size_t n_peers;
};

static inline uint64_t now_usec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Echo answers, Later and Watch keep the call, Big answers with so many bytes, Forget does nothing,
 * Fail fails, Whoami tells the caller. */

static int on_echo(struct varlink_call *call, json_t *parameters, void *userdata)
{
	struct fixture *f = userdata;

	f->n_calls++;
	if (!json_is_string(json_object_get(parameters, "text")))
		return varlink_call_invalid_parameter(call, "text");
	return varlink_call_reply(call, json_incref(parameters));
}

static int on_keep(struct varlink_call *call, json_t *parameters, void *userdata)
{
	struct fixture *f = userdata;

	(void)parameters;
	f->n_calls++;
	varlink_call_unref(f->kept);
	f->kept = varlink_call_ref(call);
	return 0;
}

static int on_big(struct varlink_call *call, json_t *parameters, void *userdata)
{
	size_t n_bytes = json_integer_value(json_object_get(parameters, "bytes"));
	_cleanup_(freep) char *text = malloc(n_bytes);

	(void)userdata;
	memset(text, 'x', n_bytes);
	return varlink_call_reply(call, json_pack("{s:s%}", "text", text, n_bytes));
}

static int on_forget(struct varlink_call *call, json_t *parameters, void *userdata)
{
	(void)call;
	(void)parameters;
	((struct fixture *)userdata)->n_calls++;
	return 0;
}

static int on_fail(struct varlink_call *call, json_t *parameters, void *userdata)
{
	(void)call;
	(void)parameters;
	(void)userdata;
	return -EIO;
}

static int on_whoami(struct varlink_call *call, json_t *parameters, void *userdata)
{
	(void)parameters;
	(void)userdata;
	return varlink_call_reply(call,
		json_pack("{s:I, s:b, s:b, s:b}", "uid", (json_int_t)varlink_call_uid(call), "me",
			varlink_call_pid(call) == getpid(), "own",
			varlink_call_in_group(call, getegid()), "other",
			varlink_call_in_group(call, 54321)));
}

static const struct varlink_method methods[] = {
	{ "com.example.test.Echo", on_echo },
	{ "com.example.test.Later", on_keep },
	{ "com.example.test.Watch", on_keep },
	{ "com.example.test.Big", on_big },
	{ "com.example.test.Forget", on_forget },
	{ "com.example.test.Fail", on_fail },
	{ "com.example.test.Whoami", on_whoami },
	{ "com.example.test.Unwritten", NULL },
	{ NULL, NULL },
};

static const struct varlink_service service = {
	.vendor = "Example",
	.product = "test",
	.version = "1",
	.url = "https://example.com",
	.interface = "com.example.test",
	.description = "interface com.example.test\nmethod Echo(text: string) -> (text: string)\n",
	.methods = methods,
};

static inline int fixture_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	strcpy(f->directory, "/tmp/varlink_test.XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	assert_int_equal(chmod(f->directory, 0755), 0);
	snprintf(f->path, sizeof(f->path), "%s/socket", f->directory);
	strcpy(address.sun_path, f->path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(chmod(f->path, 0666), 0);
	assert_int_equal(listen(fd, 256), 0);
	assert_true(sd_event_new(&f->event) >= 0);
	assert_int_equal(varlink_server_new(f->event, fd, &service, f, &f->server), 0);
	*state = f;
	return 0;
}

static inline int fixture_teardown(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < f->n_peers; i++)
		closep(&f->peers[i]);
	varlink_server_free(f->server);
	varlink_call_unref(f->kept);
	sd_event_unref(f->event);
	unlink(f->path);
	rmdir(f->directory);
	free(f);
	return 0;
}

static inline void turn(struct fixture *f)
{
	assert_true(sd_event_run(f->event, 5000) >= 0);
}

/* Runs the loop until nothing is left to do. */
static inline void settle(struct fixture *f)
{
	while (sd_event_run(f->event, 2000) > 0)
		;
}

static inline int connect_peer(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static inline int peer_new(struct fixture *f)
{
	int fd = connect_peer(f->path);

	assert_true(f->n_peers < PEERS_MAX);
	f->peers[f->n_peers++] = fd;
	return fd;
}

static inline void peer_leave(struct fixture *f, int fd)
{
	for (size_t i = 0; i < f->n_peers; i++)
		if (f->peers[i] == fd)
			f->peers[i] = -1;
	close(fd);
}

static inline void peer_send_bytes(struct fixture *f, int fd, const char *bytes, size_t n_bytes)
{
	uint64_t until = now_usec() + WAIT_USEC;

	while (n_bytes > 0) {
		ssize_t n = send(fd, bytes, n_bytes, MSG_NOSIGNAL);

		if (n < 0) {
			assert_int_equal(errno, EAGAIN);
			assert_true(now_usec() < until);
			turn(f);
			continue;
		}
		bytes += n;
		n_bytes -= n;
	}
}

/* With its NUL. */
static inline void peer_send(struct fixture *f, int fd, const char *text)
{
	peer_send_bytes(f, fd, text, strlen(text) + 1);
}

/* Reads one byte: 1, or 0 at the end. */
static inline int peer_read_byte(struct fixture *f, int fd, char *ret)
{
	uint64_t until = now_usec() + WAIT_USEC;

	for (;;) {
		ssize_t n = recv(fd, ret, 1, 0);

		if (n >= 0)
			return n;
		if (errno == ECONNRESET)
			return 0;
		assert_int_equal(errno, EAGAIN);
		assert_true(now_usec() < until);
		turn(f);
	}
}

static inline void peer_expect(struct fixture *f, int fd, const char *expected)
{
	char text[4096];
	size_t n = 0;

	do {
		assert_true(n < sizeof(text));
		assert_int_equal(peer_read_byte(f, fd, &text[n]), 1);
	} while (text[n++] != '\0');
	assert_string_equal(text, expected);
}

static inline void peer_expect_closed(struct fixture *f, int fd)
{
	char byte;

	assert_int_equal(peer_read_byte(f, fd, &byte), 0);
}

static inline void peer_expect_nothing(struct fixture *f, int fd)
{
	char byte;

	settle(f);
	assert_int_equal(recv(fd, &byte, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
}

static inline json_t *event_of(size_t n_bytes)
{
	_cleanup_(freep) char *text = malloc(n_bytes + 1);

	memset(text, 'e', n_bytes);
	return json_pack("{s:s%}", "event", text, n_bytes);
}

#define ECHO(text) "{\"method\":\"com.example.test.Echo\",\"parameters\":{\"text\":\"" text "\"}}"
#define ECHOED(text) "{\"parameters\":{\"text\":\"" text "\"}}"
#define CALL(name) "{\"method\":\"com.example.test." name "\"}"
#define MORE(name) "{\"method\":\"com.example.test." name "\",\"more\":true}"
