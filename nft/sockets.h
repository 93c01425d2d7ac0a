/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The kernel's sockets (sock_diag, linux/inet_diag.h): is a session there, end it, tell when one
 * has ended. */

#include "address.h"
#include "cleanup.h"

struct sockets;

/* Opens one netlink socket for questions and one for news. Returns 0 or -errno. */
int sockets_open(struct sockets **ret);
struct sockets *sockets_free(struct sockets *sockets);
DEFINE_CLEANUP(struct sockets *, sockets_free)

/* The state (TCP_ESTABLISHED, … of netinet/tcp.h; never 0) of the connected socket that the kernel
 * has for the flow; 0 where it has none; -errno. */
int sockets_find(struct sockets *sockets, const struct flow *flow);

/* Calls back for each connected UDP socket. Returns 0 or -errno. */
int sockets_foreach_udp(struct sockets *sockets,
	void (*callback)(const struct flow *flow, void *userdata), void *userdata);

/* Ends the flow's socket: both ends get a reset (TCP). Returns 0; -ENOENT where it has none;
 * -EOPNOTSUPP where the kernel was built without CONFIG_INET_DIAG_DESTROY; -errno. */
int sockets_destroy(struct sockets *sockets, const struct flow *flow);

/*
 * News of TCP sockets that are gone, of local ports in the ranges only (the filter runs in the
 * kernel). Watching again replaces the ranges. n_ports is bounded by SOCKETS_PORTS_MAX; with more,
 * every port's are told.
 */
#define SOCKETS_PORTS_MAX 64
int sockets_watch(struct sockets *sockets, const struct port_range *ports, size_t n_ports);
int sockets_watch_fd(const struct sockets *sockets);

/* News of one more local port, from now on. Returns 0, also where they are told already; -ENOSPC
 * where there are some such ports; -errno. */
int sockets_watch_also(struct sockets *sockets, uint16_t port);

/* Reads what is there, or the first part of it. Returns 0; -ENOBUFS where some were lost; -errno.
 */
int sockets_watch_read(struct sockets *sockets,
	void (*callback)(const struct flow *flow, void *userdata), void *userdata);
