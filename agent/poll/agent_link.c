/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "agent/common/times.h"
#include "agent/common/varlink.h"
#include "agent/common/varlink_frame.h"
#include "agent/common/varlink_reply.h"
#include "agent/poll/agent_link.h"
#include "agent/poll/backoff.h"
#include "agent/common/log.h"
#include "agent/poll/random.h"

#define INTERFACE "io.jitgate.Agent."
#define REPLY_BYTES_MAX (1024 * 1024)
#define ANSWER_USEC (30 * USEC_PER_SEC)
#define RETRY_MIN_USEC (50 * USEC_PER_MSEC)
#define RETRY_BASE_USEC (200 * USEC_PER_MSEC)
#define RETRY_MAX_USEC (2 * USEC_PER_SEC)
#define NOT_PERMITTED_USEC (60 * USEC_PER_SEC)
#define TIMER_ACCURACY_USEC (10 * USEC_PER_MSEC)

struct connection {
	struct agent_link *link;
	int fd; /* -1: closed */
	sd_event_source *io;
	struct frame_reader reader;
	struct frame_writer writer;
	/* status as for link_answer_t. It may close the connection. */
	void (*on_reply)(
		struct agent_link *link, int status, const char *error, const json_t *parameters);
};

struct call {
	struct call *next;
	json_t *message;
	link_answer_t on_answer;
	void *userdata;
};

struct agent_link {
	sd_event *event;
	const char *path;
	struct link_listener listener;

	struct connection calling;
	sd_event_source *deadline; /* of the call under way */
	sd_event_source *begin; /* a call waits for the loop */
	struct call *calls; /* the first is under way once calling is open */
	struct call **calls_end;

	struct connection listening;
	sd_event_source *retry;
	struct backoff backoff;
	int told; /* what listening failed with last */
};

static void connection_close(struct connection *connection)
{
	connection->io = sd_event_source_disable_unref(connection->io);
	closep(&connection->fd);
	connection->fd = -1;
	frame_reader_done(&connection->reader);
	frame_writer_done(&connection->writer);
}

static void reply_deliver(struct connection *connection, const char *text, size_t n_bytes)
{
	_cleanup_(varlink_reply_done) struct varlink_reply reply = {};
	const char *error;
	int r = varlink_reply_read(text, n_bytes, &reply);

	frame_reader_done(&connection->reader);
	if (r < 0) {
		connection->on_reply(connection->link, r, NULL, NULL);
		return;
	}
	error = reply.error ? strrchr(reply.error, '.') : NULL;
	connection->on_reply(connection->link, reply.error ? LINK_ERROR : 0,
		error ? error + 1 : reply.error, reply.parameters);
}

static int connection_send(struct connection *connection)
{
	int r = frame_writer_send(&connection->writer, connection->fd);

	if (r < 0)
		return r;
	return sd_event_source_set_io_events(connection->io, r > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static int connection_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct connection *connection = userdata;
	const char *text;
	size_t n_bytes;
	int r = 0;

	(void)source;
	if (events & EPOLLOUT)
		r = connection_send(connection);
	if (r >= 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
		r = frame_reader_receive(&connection->reader, fd, &text, &n_bytes);
		if (r == FRAME_WHOLE)
			reply_deliver(connection, text, n_bytes);
		if (r == FRAME_WHOLE || r == -EAGAIN)
			return 0;
		if (r == FRAME_END)
			r = -EPIPE;
		/* FRAME_PART: the rest comes. */
	}
	if (r < 0)
		connection->on_reply(connection->link, r == -EMSGSIZE ? -EBADMSG : r, NULL, NULL);
	return 0;
}

/* Connects and sends a message. Returns 0 or -errno, being closed then. */
static int connection_begin(struct connection *connection, const json_t *message)
{
	struct agent_link *link = connection->link;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int r;

	/* config.c has bounded it. */
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", link->path);
	if (connection->fd < 0) {
		connection->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		r = connection->fd < 0 ? -errno : 0;
		/* Never under way: it is done, or fails, or the agent's queue is full (EAGAIN). */
		if (r == 0 &&
			connect(connection->fd, (const struct sockaddr *)&address,
				sizeof(address)) < 0)
			r = -errno;
		if (r == 0)
			r = sd_event_add_io(link->event, &connection->io, connection->fd, EPOLLIN,
				connection_on_io, connection);
		if (r < 0) {
			connection_close(connection);
			return r;
		}
	}
	r = frame_writer_append(&connection->writer, message, VARLINK_MESSAGE_BYTES_MAX);
	if (r == 0)
		r = connection_send(connection);
	if (r < 0)
		connection_close(connection);
	return r;
}

/* Calls */

static void calls_next(struct agent_link *link);

/* Answers the first call, and begins the next. */
static void calls_answer(
	struct agent_link *link, int status, const char *error, const json_t *parameters)
{
	struct call *call = link->calls;

	(void)sd_event_source_set_enabled(link->deadline, SD_EVENT_OFF);
	if (status < 0)
		connection_close(&link->calling);
	if (!call) /* it said something that nobody asked for, or hung up */
		return;
	link->calls = call->next;
	if (!link->calls)
		link->calls_end = &link->calls;
	call->on_answer(status, error, parameters, call->userdata);
	json_decref(call->message);
	free(call);
	if (link->calls)
		calls_next(link);
	else
		connection_close(&link->calling);
}

static void calls_next(struct agent_link *link)
{
	/* From the loop: whoever calls is not called back within, and failures do not pile up. */
	if (link->calls)
		(void)sd_event_source_set_enabled(link->begin, SD_EVENT_ONESHOT);
}

static int calls_on_begin(sd_event_source *source, void *userdata)
{
	struct agent_link *link = userdata;
	int r;

	(void)source;
	r = connection_begin(&link->calling, link->calls->message);
	if (r < 0) {
		calls_answer(link, r, NULL, NULL);
		return 0;
	}
	(void)sd_event_source_set_time_relative(link->deadline, ANSWER_USEC);
	(void)sd_event_source_set_enabled(link->deadline, SD_EVENT_ONESHOT);
	return 0;
}

static int calls_on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source, (void)usec;
	calls_answer(userdata, -ETIMEDOUT, NULL, NULL);
	return 0;
}

int agent_link_call(struct agent_link *link, const char *method, json_t *parameters,
	link_answer_t on_answer, void *userdata)
{
	struct call *call = calloc(1, sizeof(*call));
	char name[64];

	snprintf(name, sizeof(name), INTERFACE "%s", method);
	if (!call || !parameters) {
		json_decref(parameters);
		free(call);
		return -ENOMEM;
	}
	call->message = varlink_call_message(name, parameters, false);
	if (!call->message) {
		free(call);
		return -ENOMEM;
	}
	call->on_answer = on_answer;
	call->userdata = userdata;
	*link->calls_end = call;
	link->calls_end = &call->next;
	if (link->calls == call)
		calls_next(link);
	return 0;
}

/* Listening */

static void listening_retry(struct agent_link *link, uint64_t usec)
{
	connection_close(&link->listening);
	(void)sd_event_source_set_time_relative(link->retry, usec);
	(void)sd_event_source_set_enabled(link->retry, SD_EVENT_ONESHOT);
}

/* Told when it changes, not at each try. */
static void listening_fail(struct agent_link *link, int status, const char *error)
{
	bool not_permitted = error && strcmp(error, "NotPermitted") == 0;
	uint64_t wait_usec =
		not_permitted ? NOT_PERMITTED_USEC : backoff_next(&link->backoff, random_number());

	if (not_permitted && link->told != -EPERM) {
		log_line(LOG_ERR,
			"jitgated does not let this user read events: it must be in the group "
			"jitgate; documents are handed over nevertheless");
		link->told = -EPERM;
	} else if (!not_permitted && link->told != -EPIPE) {
		log_line(LOG_WARNING, "jitgated can't be reached at %s: %s", link->path,
			error                      ? error
				: status == -EPIPE ? "it hung up"
						   : strerror(-status));
		link->told = -EPIPE;
	}
	listening_retry(link, wait_usec);
}

static void listening_on_reply(
	struct agent_link *link, int status, const char *error, const json_t *parameters)
{
	const json_t *event = json_object_get(parameters, "event");
	const char *type = json_string_value(json_object_get(event, "type"));

	if (status != 0) {
		listening_fail(link, status, error);
		return;
	}
	if (event) {
		link->listener.on_event(type ? type : "", link->listener.userdata);
		return;
	}
	/* The first, without an event: from here on none is missed. */
	if (link->told != 0)
		log_line(LOG_INFO, "jitgated is there");
	link->told = 0;
	backoff_reset(&link->backoff);
	link->listener.on_up(link->listener.userdata);
}

static int listening_on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct agent_link *link = userdata;
	json_auto_t *message = varlink_call_message(INTERFACE "Monitor", NULL, true);
	int r;

	(void)source, (void)usec;
	r = message ? connection_begin(&link->listening, message) : -ENOMEM;
	if (r < 0)
		listening_fail(link, r, NULL);
	return 0;
}

static void connection_init(struct connection *connection, struct agent_link *link,
	void (*on_reply)(
		struct agent_link *link, int status, const char *error, const json_t *parameters))
{
	connection->link = link;
	connection->fd = -1;
	connection->on_reply = on_reply;
	frame_reader_init(&connection->reader, REPLY_BYTES_MAX);
}

int agent_link_new(sd_event *event, const char *path, const struct link_listener *listener,
	struct agent_link **ret)
{
	_cleanup_(agent_link_freep) struct agent_link *link = calloc(1, sizeof(*link));
	int r;

	if (!link)
		return -ENOMEM;
	link->event = sd_event_ref(event);
	link->path = path;
	link->listener = *listener;
	link->calls_end = &link->calls;
	link->backoff = (struct backoff){
		.base_usec = RETRY_BASE_USEC,
		.max_usec = RETRY_MAX_USEC,
		.min_usec = RETRY_MIN_USEC,
	};
	connection_init(&link->calling, link, calls_answer);
	connection_init(&link->listening, link, listening_on_reply);
	r = sd_event_add_defer(event, &link->begin, calls_on_begin, link);
	if (r >= 0)
		r = sd_event_source_set_enabled(link->begin, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_time_relative(event, &link->deadline, CLOCK_BOOTTIME, 0,
			TIMER_ACCURACY_USEC, calls_on_deadline, link);
	if (r >= 0)
		r = sd_event_source_set_enabled(link->deadline, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_time_relative(event, &link->retry, CLOCK_BOOTTIME, 0,
			TIMER_ACCURACY_USEC, listening_on_retry, link);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(link);
	return 0;
}

struct agent_link *agent_link_free(struct agent_link *link)
{
	if (!link)
		return NULL;
	while (link->calls) {
		struct call *call = link->calls;

		link->calls = call->next;
		json_decref(call->message);
		free(call);
	}
	if (link->calling.link)
		connection_close(&link->calling);
	if (link->listening.link)
		connection_close(&link->listening);
	sd_event_source_disable_unref(link->deadline);
	sd_event_source_disable_unref(link->begin);
	sd_event_source_disable_unref(link->retry);
	sd_event_unref(link->event);
	free(link);
	return NULL;
}
