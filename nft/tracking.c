/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

#include "nft/netlink.h"
#include "nft/tracking.h"

struct tracking {
	struct netlink *netlink;
};

int tracking_open(struct tracking **ret)
{
	_cleanup_(tracking_freep) struct tracking *tracking = calloc(1, sizeof(*tracking));
	int status;

	if (!tracking)
		return -ENOMEM;
	status = netlink_open(NETLINK_NETFILTER, 0, &tracking->netlink);
	if (status < 0)
		return status;
	*ret = TAKE_PTR(tracking);
	return 0;
}

struct tracking *tracking_free(struct tracking *tracking)
{
	if (!tracking)
		return NULL;
	netlink_free(tracking->netlink);
	free(tracking);
	return NULL;
}

static void put_tuple(struct nlmsghdr *message, const struct flow *flow)
{
	bool ipv4 = flow->family == AF_INET;
	size_t n = address_bytes(flow->family);
	struct nlattr *tuple = mnl_attr_nest_start(message, CTA_TUPLE_ORIG), *part;

	part = mnl_attr_nest_start(message, CTA_TUPLE_IP);
	mnl_attr_put(message, ipv4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, n, flow->remote.bytes);
	mnl_attr_put(message, ipv4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, n, flow->local.bytes);
	mnl_attr_nest_end(message, part);
	part = mnl_attr_nest_start(message, CTA_TUPLE_PROTO);
	mnl_attr_put_u8(message, CTA_PROTO_NUM, flow->l4proto);
	mnl_attr_put_u16(message, CTA_PROTO_SRC_PORT, htons(flow->remote_port));
	mnl_attr_put_u16(message, CTA_PROTO_DST_PORT, htons(flow->local_port));
	mnl_attr_nest_end(message, part);
	mnl_attr_nest_end(message, tuple);
}

static struct nlmsghdr *flow_request(char *buffer, uint8_t type, const struct flow *flow)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct nfgenmsg *head;

	message->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | type;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	head = mnl_nlmsg_put_extra_header(message, sizeof(*head));
	head->nfgen_family = flow->family;
	head->version = NFNETLINK_V0;
	put_tuple(message, flow);
	return message;
}

struct found {
	struct flow *translated;
	bool found;
};

/* The reply's source is the end that the connection really goes to. */
static void read_reply(const struct nlattr *tuple, struct flow *flow)
{
	struct nlattr *part, *field;

	mnl_attr_for_each_nested (part, tuple) {
		bool is_address = mnl_attr_get_type(part) == CTA_TUPLE_IP;
		size_t n = address_bytes(flow->family);

		mnl_attr_for_each_nested (field, part) {
			uint16_t type = mnl_attr_get_type(field);

			if (is_address && (type == CTA_IP_V4_SRC || type == CTA_IP_V6_SRC) &&
				mnl_attr_get_payload_len(field) == n)
				memcpy(flow->local.bytes, mnl_attr_get_payload(field), n);
			else if (!is_address && type == CTA_PROTO_SRC_PORT &&
				mnl_attr_get_payload_len(field) == sizeof(uint16_t))
				flow->local_port = ntohs(mnl_attr_get_u16(field));
		}
	}
}

static int on_entry(const struct nlmsghdr *message, void *userdata)
{
	struct found *found = userdata;
	struct nlattr *attribute;

	found->found = true;
	mnl_attr_for_each (attribute, message, sizeof(struct nfgenmsg)) {
		if (mnl_attr_get_type(attribute) == CTA_TUPLE_REPLY)
			read_reply(attribute, found->translated);
	}
	return MNL_CB_OK;
}

/* Without the kernel's nf_conntrack_netlink there is nobody to ask: -EINVAL. */
static int absent_is_none(int status)
{
	return status == -ENOENT || status == -EINVAL || status == -EOPNOTSUPP ? 0 : status;
}

int tracking_find(struct tracking *tracking, const struct flow *flow, struct flow *ret_translated)
{
	struct found found = { .translated = ret_translated };
	char buffer[512];
	int status;

	*ret_translated = *flow;
	status = netlink_request(
		tracking->netlink, flow_request(buffer, IPCTNL_MSG_CT_GET, flow), on_entry, &found);
	status = absent_is_none(status);
	return status < 0 ? status : found.found;
}

int tracking_forget(struct tracking *tracking, const struct flow *flow)
{
	char buffer[512];

	return absent_is_none(netlink_request(
		tracking->netlink, flow_request(buffer, IPCTNL_MSG_CT_DELETE, flow), NULL, NULL));
}
