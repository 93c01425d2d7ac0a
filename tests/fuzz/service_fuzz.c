/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * The agent's own methods: a byte for who calls (root, a reader, anyone), then a request a line,
 * its document signed where it has one to be signed. Each is answered or ends the connection; who
 * may not change anything changes nothing; an agent that starts again has the same grants.
 */

#include <sys/socket.h>

#include "agent/common/strictjson.h"
#include "agent/common/varlink_server.h"
#include "tests/fuzz/agents.h"

#define TURNS_MAX 4096
#define ANYONE 12345

static void run_loop(sd_event *event)
{
	int n = 0;

	while (sd_event_run(event, 0) > 0)
		CHECK(++n < TURNS_MAX);
}

/* Sends a request, with its NUL. */
static void ask(int fd, const char *line, size_t n_bytes)
{
	json_auto_t *request = NULL;
	_cleanup_(freep) char *text = NULL;
	char error[256];

	if (json_parse_object(line, n_bytes, &request, error, sizeof(error)) == 0) {
		sign_document(json_object_get(request, "parameters"));
		text = json_dumps(request, JSON_COMPACT);
	} else
		text = take_text((const uint8_t *)line, n_bytes);
	(void)send(fd, text, strlen(text) + 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* What is told to people in an answer's error. */
static void check_error(const json_t *message)
{
	const char *error = json_string_value(json_object_get(message, "error"));
	const json_t *parameters = json_object_get(message, "parameters");

	if (error && strcmp(error, "io.jitgate.Agent.Refused") == 0) {
		check_message(json_string_value(json_object_get(parameters, "code")));
		check_message(json_string_value(json_object_get(parameters, "message")));
	}
}

/* Returns whether anything was answered. */
static bool check_answers(int fd)
{
	static char bytes[1024 * 1024];
	ssize_t n = recv(fd, bytes, sizeof(bytes) - 1, MSG_DONTWAIT);
	bool answered = n > 0;

	for (char *text = bytes, *end; n > 0; n -= end + 1 - text, text = end + 1) {
		json_auto_t *message = NULL;
		char error[128];

		end = memchr(text, '\0', (size_t)n);
		CHECK(end);
		CHECK(json_parse_object(
			      text, (size_t)(end - text), &message, error, sizeof(error)) == 0);
		check_error(message);
	}
	return answered;
}

static void call_all(struct agent *agent, const char *text, uid_t uid)
{
	int fds[2] = { -1, -1 };

	while (*text) {
		size_t n = strcspn(text, "\n");
		struct varlink_peer peer = { .uid = uid, .gid = ANYONE, .pid = 1 };

		if (fds[1] < 0) {
			CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
				      fds) == 0);
			CHECK(varlink_connection_new(agent->server, fds[0], &peer) == 0);
		}
		ask(fds[1], text, n);
		run_loop(agent->event);
		text += text[n] ? n + 1 : n;
		/* No answer: hung up, or one-way. */
		if (!check_answers(fds[1])) {
			close(fds[1]);
			fds[1] = -1;
		}
	}
	if (fds[1] >= 0)
		close(fds[1]);
	run_loop(agent->event);
}

static int check_signed(struct registry_entry *entry, void *userdata)
{
	(void)userdata;
	CHECK(!entry->grant || entry->grant->origin == GRANT_SIGNED);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uid_t uid = take_byte(&data, &size) & 1 ? ANYONE : 0;
	_cleanup_(freep) char *text = take_text(data, size);
	struct agent *agent = agents_get();
	size_t n_live;

	agents_start(agent);
	call_all(agent, text, uid);
	if (uid != 0)
		CHECK(registry_foreach(agent->registry, check_signed, NULL) == 0);
	n_live = registry_count_live(agent->registry);
	CHECK(n_live <= agent->config->max_grants);
	if (n_live > 0) {
		agents_stop(agent);
		agents_start(agent);
		CHECK(registry_count_live(agent->registry) == n_live);
	}
	agents_forget(agent);
	return 0;
}
