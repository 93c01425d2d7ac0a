/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * A connection of the Varlink server: what a peer sends, in two pieces (the first byte says where
 * it is cut), and leaves. The server answers with whole messages, or hangs up; it keeps nothing.
 */

#include <errno.h>
#include <sys/socket.h>

#include "agent/common/strictjson.h"
#include "agent/common/varlink_server.h"
#include "tests/fuzz/fuzz.h"

#define TURNS_MAX 4096

static struct varlink_call *kept;

static int on_echo(struct varlink_call *call, json_t *parameters, void *userdata)
{
	(void)userdata;
	CHECK(json_is_object(parameters));
	return varlink_call_reply(call, json_incref(parameters));
}

/* Answered when the next one comes, or never. */
static int on_later(struct varlink_call *call, json_t *parameters, void *userdata)
{
	(void)parameters, (void)userdata;
	if (kept) {
		(void)varlink_call_reply(kept, json_object());
		varlink_call_unref(kept);
	}
	kept = varlink_call_ref(call);
	return varlink_call_wants_more(call) ? varlink_call_notify(call, json_object()) : 0;
}

static int on_forget(struct varlink_call *call, json_t *parameters, void *userdata)
{
	(void)call, (void)parameters, (void)userdata;
	return 0;
}

static int on_fail(struct varlink_call *call, json_t *parameters, void *userdata)
{
	(void)call, (void)parameters, (void)userdata;
	return -EIO;
}

static int on_complain(struct varlink_call *call, json_t *parameters, void *userdata)
{
	(void)parameters, (void)userdata;
	return varlink_call_invalid_parameter(call, "text");
}

static const struct varlink_method methods[] = {
	{ "x.y.Echo", on_echo },
	{ "x.y.Later", on_later },
	{ "x.y.Forget", on_forget },
	{ "x.y.Fail", on_fail },
	{ "x.y.Complain", on_complain },
	{ "x.y.None", NULL },
	{},
};

static const struct varlink_service service = {
	.vendor = "v",
	.product = "p",
	.version = "1",
	.url = "u",
	.interface = "x.y",
	.description = "interface x.y",
	.methods = methods,
};

static sd_event *event;
static struct varlink_server *server;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)argc, (void)argv;
	CHECK(fd >= 0 && sd_event_new(&event) >= 0);
	/* Bound to no name: nobody connects to it. */
	CHECK(bind(fd, &(struct sockaddr){ .sa_family = AF_UNIX }, sizeof(sa_family_t)) == 0);
	CHECK(listen(fd, 1) == 0);
	CHECK(varlink_server_new(event, fd, &service, NULL, &server) == 0);
	return 0;
}

static void run_loop(void)
{
	int n = 0;

	while (sd_event_run(event, 0) > 0)
		CHECK(++n < TURNS_MAX);
}

/* Each answer is a JSON object with parameters, and its NUL. */
static void check_answers(int fd)
{
	static char bytes[2 * VARLINK_MESSAGE_BYTES_MAX];
	ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	char *text = bytes;

	while (n > 0) {
		char *end = memchr(text, '\0', (size_t)n);
		json_auto_t *message = NULL;
		char error[128];

		if (!end) {
			CHECK((size_t)(text + n - bytes) == sizeof(bytes));
			return;
		}
		CHECK(json_parse_object(
			      text, (size_t)(end - text), &message, error, sizeof(error)) == 0);
		CHECK(json_is_object(json_object_get(message, "parameters")));
		n -= end + 1 - text;
		text = end + 1;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct varlink_peer peer = { .uid = 1000, .gid = 1000, .pid = 1 };
	size_t cut = take_byte(&data, &size);
	int fds[2];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	CHECK(varlink_connection_new(server, fds[0], &peer) == 0);
	cut = size > cut ? cut : size;
	(void)send(fds[1], data, cut, MSG_NOSIGNAL);
	run_loop();
	(void)send(fds[1], data + cut, size - cut, MSG_NOSIGNAL);
	run_loop();
	shutdown(fds[1], SHUT_WR);
	run_loop();
	check_answers(fds[1]);
	close(fds[1]);
	run_loop();
	kept = varlink_call_unref(kept);
	run_loop();
	CHECK(server->n_connections == 0);
	return 0;
}
