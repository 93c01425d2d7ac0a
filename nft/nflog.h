/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Tells of each new connection that a grant lets in: the rules log its first packet's headers to a
 * netlink group (linux/netfilter/nfnetlink_log.h). */

#include "address.h"
#include "cleanup.h"

struct nflog;

/* Binds the group. Returns 0; -EBUSY where another process has it; -errno. */
int nflog_open(uint16_t group, uint32_t n_bytes, struct nflog **ret);
struct nflog *nflog_free(struct nflog *nflog);
DEFINE_CLEANUP(struct nflog *, nflog_free)

int nflog_fd(const struct nflog *nflog);

/* Reads what is there and calls back for each connection. Returns 0; -ENOBUFS where some were lost;
 * -errno. */
int nflog_read(struct nflog *nflog, void (*callback)(const struct flow *flow, void *userdata),
	void *userdata);

/* The connection of a packet that starts with its IPv4 or IPv6 header. Returns 0, or -EBADMSG where
 * it is cut short, or neither TCP nor UDP. */
int packet_flow(const uint8_t *packet, size_t n_bytes, struct flow *ret);
