/* SPDX-License-Identifier: GPL-3.0-or-later */

/* A request's life. What may be asked of it is in fields.c, how it is answered in response.c. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "agent/common/times.h"
#include "contrib/control-plane/http/request.h"

/* Bodies of all requests that are on their way. */
#define BODY_BYTES_TOTAL_MAX (64 * 1024 * 1024)
/* What is read and thrown away, so that the client can read why it was refused. */
#define DISCARD_BYTES_MAX (256 * 1024)
#define TIMER_ACCURACY_USEC (100 * USEC_PER_MSEC)

static struct connection *connection_of(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

void *request_begin(void *userdata, const char *target, struct MHD_Connection *mhd)
{
	struct http_request *request = calloc(1, sizeof(*request));

	if (!request)
		return NULL;
	request->server = userdata;
	request->mhd = mhd;
	request->connection = connection_of(mhd);
	request->begun_usec = clock_monotonic_usec();
	/* Where memory fails the connection is closed. */
	if (!request->connection ||
		uri_parse(target, &request->uri, &request->uri_error) == -ENOMEM)
		request->is_answered = true;
	return request;
}

static enum MHD_Result request_queue(struct http_request *request)
{
	enum MHD_Result r;

	if (!request->response)
		return MHD_NO;
	r = MHD_queue_response(request->mhd, request->status, request->response);
	MHD_destroy_response(TAKE_PTR(request->response));
	if (r == MHD_YES)
		connection_wait(request->connection);
	return r;
}

/* Keeps a piece of the body, as far as it is wanted. */
static enum MHD_Result request_append(struct http_request *request, const char *body, size_t n_body)
{
	struct http_server *server = request->server;
	size_t n_max = request_body_max(request);
	char *grown;

	if (!request->is_answered && n_body > n_max - request->n_body)
		http_respond_error(
			request, 413, "RequestTooLarge", "the body has more than %zu bytes", n_max);
	if (!request->is_answered && n_body > BODY_BYTES_TOTAL_MAX - server->n_body_bytes)
		http_respond_error(request, 503, "ServiceUnavailable",
			"too many requests are on their way: try again");
	if (request->is_answered) {
		request->n_discarded += n_body;
		return request->n_discarded > DISCARD_BYTES_MAX ? MHD_NO : MHD_YES;
	}
	grown = realloc(request->body, request->n_body + n_body + 1);
	if (!grown)
		return MHD_NO;
	memcpy(grown + request->n_body, body, n_body);
	request->body = grown;
	request->n_body += n_body;
	request->body[request->n_body] = '\0';
	server->n_body_bytes += n_body;
	return MHD_YES;
}

/*
 * True where a refused request's body is read and thrown away before the answer: a client that is
 * still sending when its connection is closed often sees no answer. One that asks first, or sends
 * much, is answered at once.
 */
static bool request_may_discard(const struct http_request *request)
{
	const char *length = http_request_header(request, "Content-Length");

	return request->response && !request->is_misframed &&
		!http_request_header(request, "Expect") &&
		(!length || (strlen(length) <= 6 && atoi(length) <= HTTP_BODY_BYTES_MAX));
}

static void request_hold(struct http_request *request)
{
	struct http_server *server = request->server;
	struct epoll_event event = { .events = EPOLLRDHUP, .data.ptr = request };

	MHD_suspend_connection(request->mhd);
	/* Where it fails, what is held ends with its timeout. */
	(void)epoll_ctl(server->hangup_fd, EPOLL_CTL_ADD, request->connection->fd, &event);
	request->is_held = true;
	LIST_INSERT_HEAD(&server->held, request, held);
	server->n_held++;
}

void request_release(struct http_request *request)
{
	struct http_server *server = request->server;

	(void)epoll_ctl(server->hangup_fd, EPOLL_CTL_DEL, request->connection->fd, NULL);
	request->is_held = false;
	LIST_REMOVE(request, held);
	server->n_held--;
	MHD_resume_connection(request->mhd);
	/* Without threads nothing else tells its epoll instance. */
	daemon_run_again(request->connection->daemon, 0);
}

/* Before its body is there: what all bodies together may take is not for strangers to fill. */
static void request_admit(struct http_request *request)
{
	struct http_server *server = request->server;

	request_check(request);
	if (!request->is_answered && server->admit)
		(void)server->admit(request, request->match.route, server->userdata);
}

/*
 * Is called when the headers are there; with each piece of the body; when all is there; and after
 * a held request was resumed.
 */
enum MHD_Result request_proceed(void *userdata, struct MHD_Connection *mhd, const char *target,
	const char *method, const char *version, const char *body, size_t *n_body, void **context)
{
	struct http_request *request = *context;

	(void)userdata, (void)mhd, (void)target, (void)version;
	if (!request)
		return MHD_NO;
	if (request->connection)
		request->connection->daemon->n_steps++;
	if (!request->method) {
		request->method = method;
		if (!request->is_answered)
			request_admit(request);
		return request->is_answered && !request_may_discard(request)
			? request_queue(request)
			: MHD_YES;
	}
	if (*n_body > 0) {
		size_t n = *n_body;

		*n_body = 0;
		return request_append(request, body, n);
	}
	if (!request->is_received) {
		request->is_received = true;
		connection_wait_done(request->connection);
		if (!request->is_answered && request->server->is_ending)
			request_turn_away(request);
		if (!request->is_answered)
			request->match.route->handle(request, request->match.userdata);
	}
	if (request->is_answered)
		return request_queue(request);
	request_hold(request);
	return MHD_YES;
}

void request_forget(struct http_request *request)
{
	void (*done)(void *data) = request->data_done;
	void *data = TAKE_PTR(request->data);

	request->data_done = NULL;
	request->timer = sd_event_source_disable_unref(request->timer);
	json_decref(TAKE_PTR(request->json));
	request->server->n_body_bytes -= request->n_body;
	request->n_body = 0;
	free(TAKE_PTR(request->body));
	if (done)
		done(data);
}

void request_end(void *userdata, struct MHD_Connection *mhd, void **context,
	enum MHD_RequestTerminationCode code)
{
	struct http_request *request = TAKE_PTR(*context);

	(void)userdata, (void)mhd, (void)code;
	if (!request)
		return;
	if (request->connection)
		connection_wait(request->connection);
	request_forget(request);
	for (size_t i = 0; i < request->n_headers; i++) {
		free(request->headers[i][0]);
		free(request->headers[i][1]);
	}
	if (request->response)
		MHD_destroy_response(request->response);
	uri_done(&request->uri);
	free(request);
}

void request_hang_up(struct http_request *request)
{
	(void)epoll_ctl(request->server->hangup_fd, EPOLL_CTL_DEL, request->connection->fd, NULL);
	if (request->on_timeout)
		request->on_timeout(request, request->timeout_userdata);
}

void request_turn_away(struct http_request *request)
{
	http_respond_error(request, 503, "ServiceUnavailable", "the server stops: try again");
}

static int request_on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct http_request *request = userdata;

	(void)source, (void)usec;
	request->on_timeout(request, request->timeout_userdata);
	return 0;
}

int http_request_set_timeout(struct http_request *request, uint64_t timeout_usec,
	void (*callback)(struct http_request *request, void *userdata), void *userdata)
{
	sd_event_source *timer = NULL;
	int r;

	r = sd_event_add_time_relative(request->server->event, &timer, CLOCK_MONOTONIC,
		timeout_usec, TIMER_ACCURACY_USEC, request_on_timer, request);
	if (r < 0)
		return r;
	sd_event_source_disable_unref(request->timer);
	request->timer = timer;
	request->on_timeout = callback;
	request->timeout_userdata = userdata;
	return 0;
}

void http_request_set_data(struct http_request *request, void *data, void (*done)(void *data))
{
	if (request->data_done)
		request->data_done(request->data);
	request->data = data;
	request->data_done = done;
}

void *http_request_data(const struct http_request *request)
{
	return request->data;
}
