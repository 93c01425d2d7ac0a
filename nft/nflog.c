/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>

#include "nft/netlink.h"
#include "nft/nflog.h"

/* Each packet is sent at once. */
#define QUEUE_THRESHOLD 1

#define IPV4_BYTES 20
#define IPV6_BYTES 40
#define EXTENSIONS_MAX 8

struct nflog {
	struct netlink *netlink;
};

static struct nlmsghdr *config_message(char *buffer, uint16_t group)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct nfgenmsg *head;

	message->nlmsg_type = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	head = mnl_nlmsg_put_extra_header(message, sizeof(*head));
	head->nfgen_family = AF_UNSPEC;
	head->version = NFNETLINK_V0;
	head->res_id = htons(group);
	return message;
}

static int nflog_bind(struct nflog *nflog, uint16_t group, uint32_t n_bytes)
{
	const struct nfulnl_msg_config_cmd bind = { .command = NFULNL_CFG_CMD_BIND };
	const struct nfulnl_msg_config_mode mode = {
		.copy_range = htonl(n_bytes),
		.copy_mode = NFULNL_COPY_PACKET,
	};
	char buffer[256];
	struct nlmsghdr *message;
	int status;

	message = config_message(buffer, group);
	mnl_attr_put(message, NFULA_CFG_CMD, sizeof(bind), &bind);
	status = netlink_request(nflog->netlink, message, NULL, NULL);
	if (status < 0)
		return status;
	message = config_message(buffer, group);
	mnl_attr_put(message, NFULA_CFG_MODE, sizeof(mode), &mode);
	mnl_attr_put_u32(message, NFULA_CFG_QTHRESH, htonl(QUEUE_THRESHOLD));
	return netlink_request(nflog->netlink, message, NULL, NULL);
}

int nflog_open(uint16_t group, uint32_t n_bytes, struct nflog **ret)
{
	_cleanup_(nflog_freep) struct nflog *nflog = calloc(1, sizeof(*nflog));
	int status;

	if (!nflog)
		return -ENOMEM;
	status = netlink_open(NETLINK_NETFILTER, 0, &nflog->netlink);
	if (status == 0)
		status = nflog_bind(nflog, group, n_bytes);
	if (status < 0)
		return status;
	*ret = TAKE_PTR(nflog);
	return 0;
}

struct nflog *nflog_free(struct nflog *nflog)
{
	if (!nflog)
		return NULL;
	netlink_free(nflog->netlink);
	free(nflog);
	return NULL;
}

int nflog_fd(const struct nflog *nflog)
{
	return netlink_fd(nflog->netlink);
}

/* Past the IPv6 extension headers (RFC 8200, section 4): where the ports are, or 0. */
static size_t ipv6_transport(const uint8_t *packet, size_t n_bytes, uint8_t *ret_protocol)
{
	uint8_t next = packet[6];
	size_t at = IPV6_BYTES;

	for (int i = 0; i < EXTENSIONS_MAX && at + 8 <= n_bytes; i++) {
		size_t n;

		switch (next) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
			n = 8 * ((size_t)packet[at + 1] + 1);
			break;
		case IPPROTO_FRAGMENT:
			n = 8;
			break;
		case IPPROTO_AH:
			n = 4 * ((size_t)packet[at + 1] + 2);
			break;
		default:
			*ret_protocol = next;
			return at;
		}
		next = packet[at];
		at += n;
	}
	*ret_protocol = next;
	return at;
}

int packet_flow(const uint8_t *packet, size_t n_bytes, struct flow *ret)
{
	struct flow flow = {};
	size_t at;

	if (n_bytes >= IPV4_BYTES && packet[0] >> 4 == 4) {
		flow.family = AF_INET;
		flow.l4proto = packet[9];
		memcpy(flow.remote.bytes, packet + 12, 4);
		memcpy(flow.local.bytes, packet + 16, 4);
		at = 4 * (size_t)(packet[0] & 0x0f);
	} else if (n_bytes >= IPV6_BYTES && packet[0] >> 4 == 6) {
		flow.family = AF_INET6;
		memcpy(flow.remote.bytes, packet + 8, 16);
		memcpy(flow.local.bytes, packet + 24, 16);
		at = ipv6_transport(packet, n_bytes, &flow.l4proto);
	} else {
		return -EBADMSG;
	}
	if ((flow.l4proto != IPPROTO_TCP && flow.l4proto != IPPROTO_UDP) || at < IPV4_BYTES ||
		at + 4 > n_bytes)
		return -EBADMSG;
	flow.remote_port = (uint16_t)(packet[at] << 8 | packet[at + 1]);
	flow.local_port = (uint16_t)(packet[at + 2] << 8 | packet[at + 3]);
	*ret = flow;
	return 0;
}

struct reader {
	void (*callback)(const struct flow *flow, void *userdata);
	void *userdata;
};

static int on_packet(const struct nlmsghdr *message, void *userdata)
{
	const struct reader *reader = userdata;
	struct nlattr *attribute;
	struct flow flow;

	if (message->nlmsg_type != (NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET) ||
		mnl_nlmsg_get_payload_len(message) < sizeof(struct nfgenmsg))
		return MNL_CB_OK;
	mnl_attr_for_each (attribute, message, sizeof(struct nfgenmsg)) {
		if (mnl_attr_get_type(attribute) == NFULA_PAYLOAD &&
			packet_flow(mnl_attr_get_payload(attribute),
				mnl_attr_get_payload_len(attribute), &flow) == 0)
			reader->callback(&flow, reader->userdata);
	}
	return MNL_CB_OK;
}

int nflog_read(struct nflog *nflog, void (*callback)(const struct flow *flow, void *userdata),
	void *userdata)
{
	struct reader reader = { callback, userdata };
	char buffer[NETLINK_BUFFER_BYTES];
	int status = 0;

	for (;;) {
		ssize_t n = recv(nflog_fd(nflog), buffer, sizeof(buffer), MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return status;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == ENOBUFS)
			status = -ENOBUFS;
		else if (n < 0)
			return -errno;
		else
			(void)mnl_cb_run(buffer, n, 0, 0, on_packet, &reader);
	}
}
