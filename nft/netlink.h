/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A netlink socket: requests with their answers, and dumps. The kernel answers while it is asked,
 * so nothing here waits for anyone. */

#include <libmnl/libmnl.h>
#include <stdint.h>

#include "cleanup.h"

/* Room for one message of a dump (the kernel fills up to 32 KiB) and for one request. */
#define NETLINK_BUFFER_BYTES 32768

struct netlink {
	struct mnl_socket *socket;
	uint32_t sequence;
};

/* bus is NETLINK_NETFILTER, …; non-blocking where flags has SOCK_NONBLOCK. Returns 0 or -errno. */
int netlink_open(int bus, int flags, struct netlink **ret);
struct netlink *netlink_free(struct netlink *netlink);
DEFINE_CLEANUP(struct netlink *, netlink_free)

int netlink_fd(const struct netlink *netlink);
uint32_t netlink_port(const struct netlink *netlink);

/* Reads away what is queued: the rest of a dump that was interrupted or given up. */
void netlink_drain(struct netlink *netlink);

/* A dump that others' changes interrupt is tried again this often. */
#define NETLINK_TRIES 20

/*
 * Sends one request (its sequence number is set here) and calls back for each answering message
 * until the dump or the acknowledgement ends it. The callback returns MNL_CB_OK, or MNL_CB_ERROR
 * with errno set. Returns 0, or -errno: the kernel's, or the callback's. -EINTR: what is dumped
 * changed meanwhile; dump again.
 */
int netlink_request(
	struct netlink *netlink, struct nlmsghdr *request, mnl_cb_t callback, void *userdata);

/* Joins a multicast group (NFNLGRP_…, SKNLGRP_…). Returns 0 or -errno. */
int netlink_join(struct netlink *netlink, unsigned group);
