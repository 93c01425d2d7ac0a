/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <sys/socket.h>

#include "nft/netlink.h"

#define ERRNO_MAX 4095 /* of Linux (linux/err.h) */

int netlink_open(int bus, int flags, struct netlink **ret)
{
	_cleanup_(netlink_freep) struct netlink *netlink = calloc(1, sizeof(*netlink));

	if (!netlink)
		return -ENOMEM;
	netlink->socket = mnl_socket_open2(bus, SOCK_CLOEXEC | flags);
	if (!netlink->socket)
		return -errno;
	if (mnl_socket_bind(netlink->socket, 0, MNL_SOCKET_AUTOPID) < 0)
		return -errno;
	/* An error need not repeat the message that it is about: that can be long. */
	(void)mnl_socket_setsockopt(netlink->socket, NETLINK_CAP_ACK, &(int){ 1 }, sizeof(int));
	netlink->sequence = 1;
	*ret = TAKE_PTR(netlink);
	return 0;
}

struct netlink *netlink_free(struct netlink *netlink)
{
	if (!netlink)
		return NULL;
	if (netlink->socket)
		mnl_socket_close(netlink->socket);
	free(netlink);
	return NULL;
}

int netlink_fd(const struct netlink *netlink)
{
	return mnl_socket_get_fd(netlink->socket);
}

uint32_t netlink_port(const struct netlink *netlink)
{
	return mnl_socket_get_portid(netlink->socket);
}

void netlink_drain(struct netlink *netlink)
{
	char buffer[NETLINK_BUFFER_BYTES];

	while (recv(netlink_fd(netlink), buffer, sizeof(buffer), MSG_DONTWAIT) >= 0 ||
		errno == EINTR || errno == ENOBUFS)
		;
}

/* libmnl sets errno to what the kernel names: here it becomes one that exists. */
static int named_error(void)
{
	return errno > 0 && errno <= ERRNO_MAX ? -errno : -EPROTO;
}

int netlink_request(
	struct netlink *netlink, struct nlmsghdr *request, mnl_cb_t callback, void *userdata)
{
	char buffer[NETLINK_BUFFER_BYTES];
	int status;

	/* What an answer that was given up has left would be taken for this one's. */
	netlink_drain(netlink);
	request->nlmsg_seq = netlink->sequence++;
	if (mnl_socket_sendto(netlink->socket, request, request->nlmsg_len) < 0)
		return -errno;
	do {
		ssize_t n = mnl_socket_recvfrom(netlink->socket, buffer, sizeof(buffer));

		if (n < 0)
			return -errno;
		status = mnl_cb_run(
			buffer, n, request->nlmsg_seq, netlink_port(netlink), callback, userdata);
		if (status < 0)
			return named_error();
	} while (status > MNL_CB_STOP);
	return 0;
}

int netlink_join(struct netlink *netlink, unsigned group)
{
	if (mnl_socket_setsockopt(netlink->socket, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) <
		0)
		return -errno;
	return 0;
}
