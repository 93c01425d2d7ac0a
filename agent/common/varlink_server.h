/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Inside the Varlink server: what its connections (varlink_connection.c) and it (varlink_server.c)
 * know of each other.
 */

#include "agent/common/varlink.h"
#include "agent/common/varlink_frame.h"
#include "agent/common/varlink_share.h"

struct varlink_peer {
	uid_t uid;
	gid_t gid;
	pid_t pid;
	gid_t *groups;
	size_t n_groups;
};

/* On the server's list while fd is open; calls that are answered later keep it longer. */
struct varlink_connection {
	unsigned n_ref;
	struct varlink_server *server; /* NULL once closed */
	struct varlink_connection *previous;
	struct varlink_connection *next;

	int fd; /* -1 once closed */
	struct varlink_peer peer;
	struct frame_reader reader;
	struct frame_writer writer;
	struct varlink_call *call; /* under way, borrowed: one at a time */
	struct share *share; /* of the server's time; NULL for root and the server's own user */
	bool goes_behind; /* the share is used up: others go first */

	sd_event_source *io;
	sd_event_source *idle;
	uint64_t idle_usec;
};

struct varlink_server {
	sd_event *event;
	const struct varlink_service *service;
	void *userdata;
	uint64_t idle_usec;

	int listen_fd;
	int spare_fd; /* given up to turn peers away when descriptors run out */
	sd_event_source *accept;
	struct varlink_connection *connections; /* who spoke last comes first */
	size_t n_connections;
	struct share shares[SHARES];
};

/* Root and the server's own user. */
bool varlink_uid_is_trusted(uid_t uid);

/* Takes over fd and peer's groups on success and puts the connection on the server's list. */
int varlink_connection_new(struct varlink_server *server, int fd, struct varlink_peer *peer);

/* Closes and takes it off the list; closed twice is fine. */
void varlink_connection_close(struct varlink_connection *connection);

/* Lets those go behind who have used up their share of the time, and the others back. */
void varlink_server_rank(struct varlink_server *server, uint64_t now_usec);

/* True while a call is under way (a subscription always is) or its answer being sent. */
bool varlink_connection_is_busy(const struct varlink_connection *connection);

/* Finds the method and calls it. Returns 0, or -errno where the call will not be answered. */
int varlink_server_dispatch(struct varlink_server *server, struct varlink_call *call,
	const char *method, json_t *parameters);
