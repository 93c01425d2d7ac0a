/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The sockets that wait for strangers (sock_diag, linux/inet_diag.h). Anyone may ask. */

#include "address.h"

#define LISTENERS_MAX 16384

struct listener {
	uint8_t family; /* AF_INET6 takes IPv4 too where is_dual */
	uint8_t l4proto;
	bool is_dual;
	uint16_t port;
	struct address address; /* zeros: every address */
	uint32_t inode; /* by which /proc/PID/fd names it */
};

struct listener_list {
	struct listener *listeners;
	size_t n;
	size_t n_allocated;
	bool is_cut;
};

/* Appends TCP sockets that listen and UDP sockets that are bound and not connected, of this network
 * namespace. Returns 0 or -errno. */
int listeners_read(struct listener_list *list);
void listener_list_done(struct listener_list *list);

/* True where only this host itself can reach it. */
bool listener_is_loopback(const struct listener *listener);

/* True where it takes packets of the family. */
bool listener_takes(const struct listener *listener, uint8_t family);
