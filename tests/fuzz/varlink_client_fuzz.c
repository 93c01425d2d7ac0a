/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The Varlink client's reading: what a server sends to a call (even first byte) or to a
 * subscription (odd). */

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "agent/common/varlink.h"
#include "tests/fuzz/fuzz.h"

#define TIMEOUT_MS 1000
#define REPLIES_MAX 64

static struct sockaddr_un address = { .sun_family = AF_UNIX };
static int listen_fd;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", scratch_directory());
	listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(listen_fd >= 0);
	CHECK(bind(listen_fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	CHECK(listen(listen_fd, 8) == 0);
	return 0;
}

static int on_reply(json_t *parameters, void *userdata)
{
	unsigned *n_replies = userdata;

	CHECK(json_is_object(parameters));
	return ++*n_replies < REPLIES_MAX ? 0 : -ECANCELED;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool subscribe = take_byte(&data, &size) & 1;
	_cleanup_(varlink_client_freep) struct varlink_client *client = NULL;
	_cleanup_(closep) int fd = -1;
	json_auto_t *parameters = NULL;
	_cleanup_(freep) char *error = NULL;
	unsigned n_replies = 0;
	int r;

	CHECK(varlink_client_open(address.sun_path, TIMEOUT_MS, &client) == 0);
	fd = accept(listen_fd, NULL, NULL);
	CHECK(fd >= 0);
	/* What does not fit the socket's buffer is not sent. */
	(void)send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
	if (subscribe)
		r = varlink_client_subscribe(
			client, "x.y.Z", NULL, on_reply, &n_replies, &parameters, &error);
	else
		r = varlink_client_call(client, "x.y.Z", NULL, &parameters, &error);
	CHECK(r <= VARLINK_ERROR && r != -ETIMEDOUT);
	CHECK((r == VARLINK_ERROR) == (error != NULL));
	CHECK(!parameters || json_is_object(parameters));
	if (r < 0)
		CHECK(varlink_client_call(client, "x.y.Z", NULL, &parameters, &error) == -ENOTCONN);
	return 0;
}
