/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Varlink (https://varlink.org): JSON messages, each ended by a NUL byte, over a Unix stream
 * socket.
 *
 * The server runs in an sd_event loop and answers org.varlink.service itself. Each connection has
 * one call at a time: the next message is read when the call before it is answered.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "cleanup.h"

#define VARLINK_MESSAGE_BYTES_MAX (64 * 1024) /* what a server reads */
#define VARLINK_REPLY_BYTES_MAX (16 * 1024 * 1024) /* what a client reads */
#define VARLINK_BACKLOG_BYTES_MAX \
	(1024 * 1024) /* unsent events: a slower subscriber is cut off \
		       */
#define VARLINK_CONNECTIONS_MAX 128
#define VARLINK_CONNECTIONS_PER_UID_MAX 32 /* root and the server's own user excepted */
/* Answers that wait for their readers: over it, the one that comes is not given. */
#define VARLINK_UNSENT_PER_UID_BYTES_MAX (VARLINK_REPLY_BYTES_MAX + 4 * 1024 * 1024)
/* Without a whole message; subscribers excepted. */
#define VARLINK_IDLE_USEC (UINT64_C(30) * 1000000)

struct varlink_server;
struct varlink_call;

struct varlink_method {
	const char *name; /* qualified: "io.jitgate.Agent.Submit" */
	/*
	 * Answers with varlink_call_reply() or varlink_call_error(), at once or later (then it
	 * takes a reference). parameters is an object, borrowed. A negative return means that it
	 * neither answered nor will: the connection is closed. So it is where the last reference
	 * goes without an answer. NULL answers org.varlink.service.MethodNotImplemented.
	 */
	int (*call)(struct varlink_call *call, json_t *parameters, void *userdata);
};

struct varlink_service {
	const char *vendor;
	const char *product;
	const char *version;
	const char *url;
	const char *interface; /* name of the one interface served */
	const char *description; /* its text, for GetInterfaceDescription */
	const struct varlink_method *methods; /* ends with a NULL name */
};

/* Takes over listen_fd, a listening non-blocking Unix socket, on success. service must outlive the
 * server. Of VARLINK_CONNECTIONS_MAX, the last few are kept for root and the server's own user.
 * Where all are taken, whoever holds most loses the one that was idle longest to a newcomer who
 * holds fewer, or to root; and where nobody holds two, to one who holds none. Who takes more than
 * a fourth of the server's time (root and the server's own user excepted) goes behind the others.
 */
int varlink_server_new(sd_event *event, int listen_fd, const struct varlink_service *service,
	void *userdata, struct varlink_server **ret);
struct varlink_server *varlink_server_free(struct varlink_server *server);
DEFINE_CLEANUP(struct varlink_server *, varlink_server_free)

/* Another idle limit than VARLINK_IDLE_USEC, for connections that come from now on. */
void varlink_server_set_idle(struct varlink_server *server, uint64_t idle_usec);

/* A call lives until its last reference goes. A reply to a peer that has left is dropped. */
struct varlink_call *varlink_call_ref(struct varlink_call *call);
struct varlink_call *varlink_call_unref(struct varlink_call *call);
DEFINE_CLEANUP(struct varlink_call *, varlink_call_unref)

/*
 * Each consumes parameters also on failure. Returns 0, also where the peer has left; -EALREADY
 * where the call is answered; -EMSGSIZE over VARLINK_REPLY_BYTES_MAX; -ENOMEM, also where a reply's
 * parameters are NULL, while an error may have none.
 */
int varlink_call_reply(struct varlink_call *call, json_t *parameters);
int varlink_call_error(struct varlink_call *call, const char *error, json_t *parameters);

/*
 * One of several replies, to a call that asked for "more" (-EINVAL where it did not). Consumes
 * parameters as above. The subscription ends when the peer leaves or lets VARLINK_BACKLOG_BYTES_MAX
 * gather: varlink_call_is_open() is false then. Until then the connection has no idle limit.
 * Nothing tells when it ends: who keeps such calls looks them through when adding one.
 */
int varlink_call_notify(struct varlink_call *call, json_t *parameters);
bool varlink_call_wants_more(const struct varlink_call *call);
bool varlink_call_is_open(const struct varlink_call *call);

/* Answers org.varlink.service.InvalidParameter. */
int varlink_call_invalid_parameter(struct varlink_call *call, const char *parameter);

/* Who calls (SO_PEERCRED, SO_PEERGROUPS, taken when the connection came). */
uid_t varlink_call_uid(const struct varlink_call *call);
pid_t varlink_call_pid(const struct varlink_call *call);
bool varlink_call_in_group(const struct varlink_call *call, gid_t gid);

struct varlink_client;

/* Connects. Returns 0 or -errno (-ENOENT, -ECONNREFUSED: no one listens). timeout_ms bounds each
 * wait. */
int varlink_client_open(const char *path, int timeout_ms, struct varlink_client **ret);
struct varlink_client *varlink_client_free(struct varlink_client *client);
DEFINE_CLEANUP(struct varlink_client *, varlink_client_free)

/* What varlink_client_call() returns for an error reply. */
#define VARLINK_ERROR 1

/*
 * Calls and waits for the reply; consumes parameters (NULL: none). Returns 0 and the reply's
 * parameters; VARLINK_ERROR, the error's parameters and its name (allocated); all owned by the
 * caller. -EMSGSIZE for a call over VARLINK_MESSAGE_BYTES_MAX; after any other -errno (-ETIMEDOUT,
 * -EPIPE, -EBADMSG) the client is of no more use (-ENOTCONN).
 */
int varlink_client_call(struct varlink_client *client, const char *method, json_t *parameters,
	json_t **ret_parameters, char **ret_error);

/*
 * Calls with "more" and calls back for each reply, waiting without bound after the first. Returns 0
 * when the server ended it, with nothing in ret_parameters; what the callback returns where that is
 * negative; otherwise as varlink_client_call().
 */
int varlink_client_subscribe(struct varlink_client *client, const char *method, json_t *parameters,
	int (*callback)(json_t *parameters, void *userdata), void *userdata,
	json_t **ret_parameters, char **ret_error);
