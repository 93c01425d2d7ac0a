/* SPDX-License-Identifier: GPL-3.0-or-later */

/* A client that waits: for the command line and tests, not for an event loop. */

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "agent/common/varlink.h"
#include "agent/common/varlink_frame.h"
#include "agent/common/varlink_reply.h"

struct varlink_client {
	int fd; /* -1 after a failure: what came next could be the answer to an older call */
	struct frame_reader reader;
	struct frame_writer writer;
};

struct varlink_client *varlink_client_free(struct varlink_client *client)
{
	if (!client)
		return NULL;

	closep(&client->fd);
	frame_reader_done(&client->reader);
	frame_writer_done(&client->writer);
	free(client);
	return NULL;
}

/* The send timeout is connect()'s too, which waits while a listener's queue is full. */
static int socket_set_timeout(int fd, int timeout_ms)
{
	struct timeval timeout = {
		.tv_sec = timeout_ms / 1000,
		.tv_usec = timeout_ms % 1000 * 1000,
	};

	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0)
		return -errno;
	return 0;
}

int varlink_client_open(const char *path, int timeout_ms, struct varlink_client **ret)
{
	_cleanup_(varlink_client_freep) struct varlink_client *client = NULL;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int r;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path) + 1);

	client = calloc(1, sizeof(*client));
	if (!client)
		return -ENOMEM;
	frame_reader_init(&client->reader, VARLINK_REPLY_BYTES_MAX);
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client->fd < 0)
		return -errno;
	r = socket_set_timeout(client->fd, timeout_ms);
	if (r < 0)
		return r;
	if (connect(client->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;

	*ret = TAKE_PTR(client);
	return 0;
}

static int client_send(
	struct varlink_client *client, const char *method, json_t *parameters, bool more)
{
	json_auto_t *message = varlink_call_message(method, parameters, more);
	int r;

	if (!message)
		return -ENOMEM;
	if (client->fd < 0)
		return -ENOTCONN;

	r = frame_writer_append(&client->writer, message, VARLINK_MESSAGE_BYTES_MAX);
	if (r < 0)
		return r;
	r = frame_writer_send(&client->writer, client->fd);
	return r > 0 ? -ETIMEDOUT : r;
}

static int client_receive(struct varlink_client *client, struct varlink_reply *ret)
{
	const char *text;
	size_t n_bytes;
	int r;

	do
		r = frame_reader_receive(&client->reader, client->fd, &text, &n_bytes);
	while (r == FRAME_PART);
	if (r == FRAME_WHOLE)
		r = varlink_reply_read(text, n_bytes, ret);
	else if (r == FRAME_END || r == -ECONNRESET)
		r = -EPIPE;
	else if (r == -EAGAIN)
		r = -ETIMEDOUT;
	else if (r == -EMSGSIZE)
		r = -EBADMSG;
	frame_reader_done(&client->reader);
	return r;
}

static int client_fail(struct varlink_client *client, int error)
{
	closep(&client->fd);
	client->fd = -1;
	return error;
}

static int reply_hand_over(struct varlink_reply *reply, json_t **ret_parameters, char **ret_error)
{
	int r = reply->error ? VARLINK_ERROR : 0;

	*ret_parameters = TAKE_PTR(reply->parameters);
	*ret_error = TAKE_PTR(reply->error);
	return r;
}

int varlink_client_call(struct varlink_client *client, const char *method, json_t *parameters,
	json_t **ret_parameters, char **ret_error)
{
	_cleanup_(varlink_reply_done) struct varlink_reply reply = { 0 };
	int r;

	r = client_send(client, method, parameters, false);
	if (r == -EMSGSIZE)
		return r;
	if (r < 0)
		return client_fail(client, r);
	r = client_receive(client, &reply);
	if (r < 0)
		return client_fail(client, r);
	return reply_hand_over(&reply, ret_parameters, ret_error);
}

int varlink_client_subscribe(struct varlink_client *client, const char *method, json_t *parameters,
	int (*callback)(json_t *parameters, void *userdata), void *userdata,
	json_t **ret_parameters, char **ret_error)
{
	int r;

	r = client_send(client, method, parameters, true);
	if (r < 0)
		return client_fail(client, r);

	for (;;) {
		_cleanup_(varlink_reply_done) struct varlink_reply reply = { 0 };

		r = client_receive(client, &reply);
		if (r < 0)
			return client_fail(client, r);
		if (reply.error)
			return reply_hand_over(&reply, ret_parameters, ret_error);
		r = callback(reply.parameters, userdata);
		if (r < 0)
			return client_fail(client, r);
		if (!reply.continues)
			return 0;
		r = socket_set_timeout(client->fd, 0);
		if (r < 0)
			return client_fail(client, r);
	}
}
