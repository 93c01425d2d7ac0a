/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * A connection reads one message, has it answered, sends the answer, and only then reads on. What
 * a peer sends meanwhile waits in the kernel, so neither who pipelines nor who does not read makes
 * us hold more than one message and one answer (events of a subscription excepted: they have their
 * own bound), and who pipelines thousands has one handled in a turn of the loop.
 *
 *            EPOLLIN               dispatch            reply               all sent
 *   reading ---------> whole message ------> call under way ----> sending ----------> reading
 *
 * A peer that shuts its sending side is noticed when reading on, hence after its answer. One that
 * has left altogether is EPOLLHUP, at once.
 */

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "agent/common/closing.h"
#include "agent/common/strictjson.h"
#include "agent/common/times.h"
#include "agent/common/varlink_server.h"

#define IDLE_ACCURACY_USEC 1000000

struct varlink_call {
	unsigned n_ref;
	struct varlink_connection *connection;
	bool more;
	bool oneway;
	bool answered;
};

struct request {
	const char *method;
	json_t *parameters; /* NULL where there are none */
	bool more;
	bool oneway;
	bool upgrade;
};

static struct varlink_connection *connection_ref(struct varlink_connection *connection)
{
	connection->n_ref++;
	return connection;
}

static struct varlink_connection *connection_unref(struct varlink_connection *connection)
{
	if (!connection || --connection->n_ref > 0)
		return NULL;

	free(connection->peer.groups);
	free(connection);
	return NULL;
}
DEFINE_CLEANUP(struct varlink_connection *, connection_unref)

static void list_push(struct varlink_server *server, struct varlink_connection *connection)
{
	connection->previous = NULL;
	connection->next = server->connections;
	if (connection->next)
		connection->next->previous = connection;
	server->connections = connection;
	server->n_connections++;
}

static void list_remove(struct varlink_server *server, struct varlink_connection *connection)
{
	if (connection->previous)
		connection->previous->next = connection->next;
	else
		server->connections = connection->next;
	if (connection->next)
		connection->next->previous = connection->previous;
	server->n_connections--;
}

void varlink_connection_close(struct varlink_connection *connection)
{
	struct varlink_server *server = connection->server;

	if (!server)
		return;

	list_remove(server, connection);
	connection->server = NULL;
	connection->call = NULL;
	connection->io = sd_event_source_disable_unref(connection->io);
	connection->idle = sd_event_source_disable_unref(connection->idle);
	frame_reader_done(&connection->reader);
	frame_writer_done(&connection->writer);
	close_at_once(TAKE_FD(connection->fd));
	connection_unref(connection);
}

bool varlink_connection_is_busy(const struct varlink_connection *connection)
{
	return connection->call || frame_writer_unsent(&connection->writer) > 0;
}

/* Asks the loop for what can go on next. Hang-ups are told without asking. */
static void connection_update(struct varlink_connection *connection)
{
	uint32_t events = 0;

	if (connection->fd < 0)
		return;

	if (frame_writer_unsent(&connection->writer) > 0)
		events = EPOLLOUT;
	else if (!connection->call)
		events = EPOLLIN;
	if (sd_event_source_set_io_events(connection->io, events) < 0)
		varlink_connection_close(connection);
}

static int connection_await_message(struct varlink_connection *connection)
{
	int r;

	r = sd_event_source_set_time_relative(connection->idle, connection->idle_usec);
	if (r < 0)
		return r;
	return sd_event_source_set_enabled(connection->idle, SD_EVENT_ONESHOT);
}

static int connection_send(struct varlink_connection *connection)
{
	int r;

	r = frame_writer_send(&connection->writer, connection->fd);
	if (r < 0)
		varlink_connection_close(connection);
	return r;
}

/* null stands for absence: some clients write it. */
static bool member_is(const json_t *value, json_type type)
{
	return json_typeof(value) == type || json_is_null(value);
}

static int flag_read(const json_t *value, bool *ret)
{
	if (!json_is_boolean(value) && !json_is_null(value))
		return -EBADMSG;
	*ret = json_is_true(value);
	return 0;
}

static int request_read(json_t *message, struct request *ret)
{
	struct request request = { 0 };
	const char *key;
	json_t *value;
	int r = 0;

	json_object_foreach (message, key, value) {
		if (strcmp(key, "method") == 0)
			request.method = json_string_value(value);
		else if (strcmp(key, "parameters") == 0 && member_is(value, JSON_OBJECT))
			request.parameters = json_is_null(value) ? NULL : value;
		else if (strcmp(key, "more") == 0)
			r = flag_read(value, &request.more);
		else if (strcmp(key, "oneway") == 0)
			r = flag_read(value, &request.oneway);
		else if (strcmp(key, "upgrade") == 0)
			r = flag_read(value, &request.upgrade);
		else
			return -EBADMSG;
		if (r < 0)
			return r;
	}
	if (!request.method || (request.more && request.oneway))
		return -EBADMSG;

	*ret = request;
	return 0;
}

static int call_new(struct varlink_connection *connection, const struct request *request,
	struct varlink_call **ret)
{
	struct varlink_call *call = calloc(1, sizeof(*call));

	if (!call)
		return -ENOMEM;

	*call = (struct varlink_call){
		.n_ref = 1,
		.connection = connection_ref(connection),
		.more = request->more,
		.oneway = request->oneway,
	};
	connection->call = call;
	*ret = call;
	return 0;
}

static int connection_dispatch(
	struct varlink_connection *connection, const char *text, size_t n_bytes)
{
	_cleanup_(varlink_call_unrefp) struct varlink_call *call = NULL;
	json_auto_t *message = NULL;
	json_auto_t *parameters = NULL;
	struct request request;
	char error[128];
	int r;

	r = json_parse_object(text, n_bytes, &message, error, sizeof(error));
	if (r < 0)
		return r;
	r = request_read(message, &request);
	if (r < 0)
		return r;
	parameters = request.parameters ? json_incref(request.parameters) : json_object();
	if (!parameters)
		return -ENOMEM;

	/* Until the answer, it is not the peer who keeps us waiting. */
	r = sd_event_source_set_enabled(connection->idle, SD_EVENT_OFF);
	if (r < 0)
		return r;
	r = call_new(connection, &request, &call);
	if (r < 0)
		return r;
	if (request.upgrade)
		return varlink_call_invalid_parameter(call, "upgrade");
	return varlink_server_dispatch(connection->server, call, request.method, parameters);
}

static void connection_receive(struct varlink_connection *connection)
{
	const char *text;
	size_t n_bytes;
	int r;

	r = frame_reader_receive(&connection->reader, connection->fd, &text, &n_bytes);
	if (r == -EAGAIN || r == FRAME_PART)
		return;
	if (r == FRAME_WHOLE) {
		list_remove(connection->server, connection);
		list_push(connection->server, connection);
		r = connection_dispatch(connection, text, n_bytes);
	} else if (r == FRAME_END)
		r = -EPIPE;
	frame_reader_done(&connection->reader);
	if (r < 0)
		varlink_connection_close(connection);
}

static void connection_go_on(struct varlink_connection *connection, uint32_t revents)
{
	bool gone = revents & (EPOLLHUP | EPOLLERR);

	/* Nobody is left to read the answer. What was sent before leaving is still handled. */
	if (gone && varlink_connection_is_busy(connection)) {
		varlink_connection_close(connection);
		return;
	}
	if ((revents & EPOLLOUT) && connection_send(connection) < 0)
		return;
	if (!varlink_connection_is_busy(connection))
		connection_receive(connection);
	connection_update(connection);
}

static int connection_on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	_cleanup_(connection_unrefp) struct varlink_connection *connection =
		connection_ref(userdata);
	struct varlink_server *server = connection->server;
	uint64_t begun_usec = clock_monotonic_usec(), now_usec;

	(void)source;
	(void)fd;
	connection_go_on(connection, revents);
	now_usec = clock_monotonic_usec();
	if (connection->share)
		share_use(connection->share, now_usec - begun_usec, now_usec);
	varlink_server_rank(server, now_usec);
	return 0;
}

static int connection_on_idle(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	varlink_connection_close(userdata);
	return 0;
}

static int connection_attach(struct varlink_connection *connection, sd_event *event)
{
	int r;

	r = sd_event_add_io(
		event, &connection->io, connection->fd, EPOLLIN, connection_on_io, connection);
	if (r < 0)
		return r;
	return sd_event_add_time_relative(event, &connection->idle, CLOCK_MONOTONIC,
		connection->idle_usec, IDLE_ACCURACY_USEC, connection_on_idle, connection);
}

int varlink_connection_new(struct varlink_server *server, int fd, struct varlink_peer *peer)
{
	_cleanup_(connection_unrefp) struct varlink_connection *connection = NULL;
	int r;

	connection = calloc(1, sizeof(*connection));
	if (!connection)
		return -ENOMEM;

	connection->n_ref = 1;
	connection->fd = fd;
	connection->idle_usec = server->idle_usec;
	frame_reader_init(&connection->reader, VARLINK_MESSAGE_BYTES_MAX);
	r = connection_attach(connection, server->event);
	if (r < 0) {
		sd_event_source_disable_unref(connection->io);
		sd_event_source_disable_unref(connection->idle);
		return r;
	}

	connection->peer = *peer;
	*peer = (struct varlink_peer){ 0 };
	connection->server = server;
	if (!varlink_uid_is_trusted(connection->peer.uid))
		connection->share = &server->shares[share_index(connection->peer.uid)];
	list_push(server, TAKE_PTR(connection));
	return 0;
}

struct varlink_call *varlink_call_ref(struct varlink_call *call)
{
	call->n_ref++;
	return call;
}

/* The connection is free for the next message. */
static void call_finish(struct varlink_call *call)
{
	struct varlink_connection *connection = call->connection;

	call->answered = true;
	if (connection->fd < 0)
		return;

	connection->call = NULL;
	if (connection_await_message(connection) < 0)
		varlink_connection_close(connection);
	connection_update(connection);
}

struct varlink_call *varlink_call_unref(struct varlink_call *call)
{
	if (!call || --call->n_ref > 0)
		return NULL;

	/* Nobody can answer it any more. Who asked should not wait for ever. */
	if (!call->answered) {
		if (call->oneway)
			call_finish(call);
		else
			varlink_connection_close(call->connection);
	}
	connection_unref(call->connection);
	free(call);
	return NULL;
}

/* What a user's connections have not read, together. */
static size_t unsent_of_uid(const struct varlink_connection *connection)
{
	size_t n_bytes = 0;

	for (const struct varlink_connection *c = connection->server->connections; c; c = c->next)
		if (c->peer.uid == connection->peer.uid)
			n_bytes += frame_writer_unsent(&c->writer);
	return n_bytes;
}

static int call_send(struct varlink_call *call, const json_t *message)
{
	struct varlink_connection *connection = call->connection;
	int r;

	if (connection->fd < 0 || call->oneway)
		return 0;

	r = frame_writer_append(&connection->writer, message, VARLINK_REPLY_BYTES_MAX);
	if (r < 0)
		return r;
	if (connection->share && unsent_of_uid(connection) > VARLINK_UNSENT_PER_UID_BYTES_MAX) {
		varlink_connection_close(connection);
		return 0;
	}

	/* A peer that has left is no failure of whoever answers. */
	(void)connection_send(connection);
	return 0;
}

static int call_answer(struct varlink_call *call, const json_t *message)
{
	int r;

	if (!message)
		return -ENOMEM;
	if (call->answered)
		return -EALREADY;

	r = call_send(call, message);
	if (r < 0)
		return r;
	call_finish(call);
	return 0;
}

static json_t *message_new(json_t *parameters)
{
	return json_pack("{s:o}", "parameters", parameters);
}

int varlink_call_reply(struct varlink_call *call, json_t *parameters)
{
	json_auto_t *message = message_new(parameters);

	return call_answer(call, message);
}

int varlink_call_error(struct varlink_call *call, const char *error, json_t *parameters)
{
	/* Parameters are always there: some clients insist. */
	json_auto_t *message = message_new(parameters ? parameters : json_object());

	json_object_set_new(message, "error", json_string(error));
	return call_answer(call, message);
}

int varlink_call_invalid_parameter(struct varlink_call *call, const char *parameter)
{
	return varlink_call_error(call, "org.varlink.service.InvalidParameter",
		json_pack("{s:s}", "parameter", parameter));
}

int varlink_call_notify(struct varlink_call *call, json_t *parameters)
{
	json_auto_t *message = message_new(parameters);
	struct varlink_connection *connection = call->connection;
	int r;

	if (!message || json_object_set_new(message, "continues", json_true()) < 0)
		return -ENOMEM;
	if (!call->more)
		return -EINVAL;
	if (call->answered)
		return -EALREADY;

	r = call_send(call, message);
	if (r < 0)
		return r;
	if (frame_writer_unsent(&connection->writer) > VARLINK_BACKLOG_BYTES_MAX)
		varlink_connection_close(connection);
	connection_update(connection);
	return 0;
}

bool varlink_call_wants_more(const struct varlink_call *call)
{
	return call->more;
}

bool varlink_call_is_open(const struct varlink_call *call)
{
	return call->connection->fd >= 0 && !call->answered;
}

uid_t varlink_call_uid(const struct varlink_call *call)
{
	return call->connection->peer.uid;
}

pid_t varlink_call_pid(const struct varlink_call *call)
{
	return call->connection->peer.pid;
}

bool varlink_call_in_group(const struct varlink_call *call, gid_t gid)
{
	const struct varlink_peer *peer = &call->connection->peer;

	if (peer->gid == gid)
		return true;
	for (size_t i = 0; i < peer->n_groups; i++)
		if (peer->groups[i] == gid)
			return true;
	return false;
}
