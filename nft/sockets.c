/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <linux/filter.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>

#include "nft/netlink.h"
#include "nft/sockets.h"

#define ALL_STATES UINT32_MAX

/* Then others have their turn: who connects and closes without end must not keep the gate from
 * being repaired. */
#define NEWS_AT_ONCE 64

/* A socket that is bound to an interface is found by that only: those of listeners that are (VRFs
 * among them), looked for anew this often at most; and for link-local addresses, any. */
#define INTERFACES_MAX 16
#define INTERFACES_SECONDS 1

#define PORTS_ALSO_MAX 16

struct sockets {
	struct netlink *questions;
	struct netlink *news;
	uint32_t interfaces[INTERFACES_MAX];
	size_t n_interfaces;
	time_t interfaces_read; /* CLOCK_MONOTONIC; 0: never */
	/* Those whose news are read; the second ones since sockets_watch_also(). */
	struct port_range ports[SOCKETS_PORTS_MAX];
	size_t n_ports;
	uint16_t ports_also[PORTS_ALSO_MAX];
	size_t n_ports_also;
};

int sockets_open(struct sockets **ret)
{
	_cleanup_(sockets_freep) struct sockets *sockets = calloc(1, sizeof(*sockets));
	int status;

	if (!sockets)
		return -ENOMEM;
	status = netlink_open(NETLINK_SOCK_DIAG, 0, &sockets->questions);
	if (status == 0)
		status = netlink_open(NETLINK_SOCK_DIAG, SOCK_NONBLOCK, &sockets->news);
	if (status < 0)
		return status;
	*ret = TAKE_PTR(sockets);
	return 0;
}

struct sockets *sockets_free(struct sockets *sockets)
{
	if (!sockets)
		return NULL;
	netlink_free(sockets->questions);
	netlink_free(sockets->news);
	free(sockets);
	return NULL;
}

/* The source of sock_diag is this host's end. interface: 0 where it is bound to none. */
static struct nlmsghdr *flow_request(
	char *buffer, uint16_t type, const struct flow *flow, uint32_t interface)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct inet_diag_req_v2 *request;

	message->nlmsg_type = type;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	request = mnl_nlmsg_put_extra_header(message, sizeof(*request));
	request->sdiag_family = flow->family;
	request->sdiag_protocol = flow->l4proto;
	request->idiag_states = ALL_STATES;
	request->id.idiag_sport = htons(flow->local_port);
	request->id.idiag_dport = htons(flow->remote_port);
	memcpy(request->id.idiag_src, flow->local.bytes, sizeof(request->id.idiag_src));
	memcpy(request->id.idiag_dst, flow->remote.bytes, sizeof(request->id.idiag_dst));
	request->id.idiag_if = interface;
	request->id.idiag_cookie[0] = INET_DIAG_NOCOOKIE;
	request->id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	return message;
}

/* Asked for a connection that it has not, the kernel answers with the listener it would go to. */
static int on_found(const struct nlmsghdr *message, void *userdata)
{
	const struct inet_diag_msg *socket = mnl_nlmsg_get_payload(message);

	if (mnl_nlmsg_get_payload_len(message) >= sizeof(*socket) && socket->id.idiag_dport != 0 &&
		socket->idiag_state != TCP_LISTEN)
		*(int *)userdata = socket->idiag_state;
	return MNL_CB_OK;
}

static int find_at(struct sockets *sockets, const struct flow *flow, uint32_t interface)
{
	char buffer[256];
	int state = 0;
	int status = netlink_request(sockets->questions,
		flow_request(buffer, SOCK_DIAG_BY_FAMILY, flow, interface), on_found, &state);

	if (status < 0 && status != -ENOENT)
		return status;
	return state;
}

/* Asks for all sockets of a family in a state. */
static int sockets_dump(struct sockets *sockets, uint8_t family, uint8_t l4proto, int state,
	mnl_cb_t callback, void *userdata)
{
	const struct flow any = { .family = family, .l4proto = l4proto };
	char buffer[256];
	struct nlmsghdr *message = flow_request(buffer, SOCK_DIAG_BY_FAMILY, &any, 0);
	struct inet_diag_req_v2 *request = mnl_nlmsg_get_payload(message);

	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	request->idiag_states = 1u << state;
	return netlink_request(sockets->questions, message, callback, userdata);
}

static int on_listener(const struct nlmsghdr *message, void *userdata)
{
	const struct inet_diag_msg *socket = mnl_nlmsg_get_payload(message);
	struct sockets *sockets = userdata;
	size_t i = 0;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*socket) || socket->id.idiag_if == 0)
		return MNL_CB_OK;
	while (i < sockets->n_interfaces && sockets->interfaces[i] != socket->id.idiag_if)
		i++;
	if (i == sockets->n_interfaces && i < INTERFACES_MAX)
		sockets->interfaces[sockets->n_interfaces++] = socket->id.idiag_if;
	return MNL_CB_OK;
}

/* What can't be read now is read the next time. */
static void read_interfaces(struct sockets *sockets)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (sockets->interfaces_read > 0 &&
		now.tv_sec - sockets->interfaces_read <= INTERFACES_SECONDS)
		return;
	sockets->interfaces_read = now.tv_sec;
	sockets->n_interfaces = 0;
	(void)sockets_dump(sockets, AF_INET, IPPROTO_TCP, TCP_LISTEN, on_listener, sockets);
	(void)sockets_dump(sockets, AF_INET6, IPPROTO_TCP, TCP_LISTEN, on_listener, sockets);
}

static int find_link_local(struct sockets *sockets, const struct flow *flow, uint32_t *ret)
{
	struct if_nameindex *all = if_nameindex();
	int state = 0;

	for (size_t i = 0; all && all[i].if_index > 0 && state == 0; i++) {
		*ret = all[i].if_index;
		state = find_at(sockets, flow, *ret);
	}
	if (all)
		if_freenameindex(all);
	return state;
}

static bool is_link_local(const struct flow *flow)
{
	return flow->family == AF_INET6 && flow->remote.bytes[0] == 0xfe &&
		(flow->remote.bytes[1] & 0xc0) == 0x80;
}

/* As sockets_find(), with the interface that it was found by. */
static int find(struct sockets *sockets, const struct flow *flow, uint32_t *ret)
{
	int state = find_at(sockets, flow, *ret = 0);

	if (state != 0)
		return state;
	if (is_link_local(flow))
		return find_link_local(sockets, flow, ret);
	read_interfaces(sockets);
	for (size_t i = 0; i < sockets->n_interfaces && state == 0; i++) {
		*ret = sockets->interfaces[i];
		state = find_at(sockets, flow, *ret);
	}
	return state;
}

int sockets_find(struct sockets *sockets, const struct flow *flow)
{
	uint32_t interface;

	return find(sockets, flow, &interface);
}

/* An IPv4 connection of an IPv6 socket has mapped addresses (RFC 4291, section 2.5.5.2). */
static void flow_unmap(struct flow *flow)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (flow->family != AF_INET6 || memcmp(flow->remote.bytes, mapped, sizeof(mapped)) != 0)
		return;
	flow->family = AF_INET;
	memmove(flow->remote.bytes, flow->remote.bytes + 12, 4);
	memset(flow->remote.bytes + 4, 0, 12);
	memmove(flow->local.bytes, flow->local.bytes + 12, 4);
	memset(flow->local.bytes + 4, 0, 12);
}

struct reader {
	uint8_t l4proto;
	void (*callback)(const struct flow *flow, void *userdata);
	void *userdata;
};

static int on_socket(const struct nlmsghdr *message, void *userdata)
{
	const struct reader *reader = userdata;
	const struct inet_diag_msg *socket = mnl_nlmsg_get_payload(message);
	struct flow flow = { .l4proto = reader->l4proto };
	size_t n;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*socket) || socket->id.idiag_dport == 0 ||
		(socket->idiag_family != AF_INET && socket->idiag_family != AF_INET6))
		return MNL_CB_OK;
	flow.family = socket->idiag_family;
	n = address_bytes(flow.family);
	memcpy(flow.remote.bytes, socket->id.idiag_dst, n);
	memcpy(flow.local.bytes, socket->id.idiag_src, n);
	flow.remote_port = ntohs(socket->id.idiag_dport);
	flow.local_port = ntohs(socket->id.idiag_sport);
	flow_unmap(&flow);
	reader->callback(&flow, reader->userdata);
	return MNL_CB_OK;
}

int sockets_foreach_udp(struct sockets *sockets,
	void (*callback)(const struct flow *flow, void *userdata), void *userdata)
{
	struct reader reader = { IPPROTO_UDP, callback, userdata };
	int status =
		sockets_dump(sockets, AF_INET, IPPROTO_UDP, TCP_ESTABLISHED, on_socket, &reader);

	return status < 0
		? status
		: sockets_dump(sockets, AF_INET6, IPPROTO_UDP, TCP_ESTABLISHED, on_socket, &reader);
}

int sockets_destroy(struct sockets *sockets, const struct flow *flow)
{
	char buffer[256];
	uint32_t interface;
	int status = find(sockets, flow, &interface);

	if (status < 0)
		return status;
	if (status == 0)
		return -ENOENT;
	return netlink_request(sockets->questions,
		flow_request(buffer, SOCK_DESTROY, flow, interface), NULL, NULL);
}

static void filter_range(struct sock_fprog *program, uint16_t first, uint16_t last)
{
	program->filter[program->len++] =
		(struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, first, 0, 2);
	program->filter[program->len++] =
		(struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, last, 1, 0);
	program->filter[program->len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, UINT32_MAX);
}

/*
 * Keeps news of local ports within the ranges:
 *
 *   load the port; for each range: below it? next : above it? next : accept;  drop
 */
static int news_filter(struct sockets *sockets)
{
	struct sock_filter code[3 * (SOCKETS_PORTS_MAX + PORTS_ALSO_MAX) + 2];
	const size_t port_at =
		sizeof(struct nlmsghdr) + offsetof(struct inet_diag_msg, id.idiag_sport);
	struct sock_fprog program = { .filter = code };

	code[program.len++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_H | BPF_ABS, port_at);
	for (size_t i = 0; i < sockets->n_ports; i++)
		filter_range(&program, sockets->ports[i].first, sockets->ports[i].last);
	for (size_t i = 0; i < sockets->n_ports_also; i++)
		filter_range(&program, sockets->ports_also[i], sockets->ports_also[i]);
	code[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
	if (setsockopt(netlink_fd(sockets->news), SOL_SOCKET, SO_ATTACH_FILTER, &program,
		    sizeof(program)) < 0)
		return -errno;
	return 0;
}

int sockets_watch(struct sockets *sockets, const struct port_range *ports, size_t n_ports)
{
	static const struct port_range all = { 0, UINT16_MAX };
	int status;

	if (n_ports > SOCKETS_PORTS_MAX) {
		ports = &all;
		n_ports = 1;
	}
	for (size_t i = 0; i < n_ports; i++)
		sockets->ports[i] = ports[i];
	sockets->n_ports = n_ports;
	status = news_filter(sockets);
	if (status == 0)
		status = netlink_join(sockets->news, SKNLGRP_INET_TCP_DESTROY);
	if (status == 0)
		status = netlink_join(sockets->news, SKNLGRP_INET6_TCP_DESTROY);
	return status;
}

static bool is_watched(const struct sockets *sockets, uint16_t port)
{
	for (size_t i = 0; i < sockets->n_ports; i++)
		if (sockets->ports[i].first <= port && port <= sockets->ports[i].last)
			return true;
	for (size_t i = 0; i < sockets->n_ports_also; i++)
		if (sockets->ports_also[i] == port)
			return true;
	return false;
}

int sockets_watch_also(struct sockets *sockets, uint16_t port)
{
	int status;

	if (is_watched(sockets, port))
		return 0;
	if (sockets->n_ports_also == PORTS_ALSO_MAX)
		return -ENOSPC;
	sockets->ports_also[sockets->n_ports_also++] = port;
	status = news_filter(sockets);
	if (status < 0)
		sockets->n_ports_also--;
	return status;
}

int sockets_watch_fd(const struct sockets *sockets)
{
	return netlink_fd(sockets->news);
}

int sockets_watch_read(struct sockets *sockets,
	void (*callback)(const struct flow *flow, void *userdata), void *userdata)
{
	struct reader reader = { IPPROTO_TCP, callback, userdata };
	char buffer[NETLINK_BUFFER_BYTES];
	int status = 0;

	for (int i = 0; i < NEWS_AT_ONCE; i++) {
		ssize_t n = recv(sockets_watch_fd(sockets), buffer, sizeof(buffer), 0);

		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return status;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == ENOBUFS)
			status = -ENOBUFS;
		else if (n < 0)
			return -errno;
		else
			(void)mnl_cb_run(buffer, n, 0, 0, on_socket, &reader);
	}
	return status;
}
