/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdio.h>

#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include "nft/links.h"
#include "nft/netlink.h"

static bool has_xdp(const struct nlattr *nest)
{
	struct nlattr *attribute;

	mnl_attr_for_each_nested (attribute, nest)
		if (mnl_attr_get_type(attribute) == IFLA_XDP_ATTACHED &&
			mnl_attr_get_payload_len(attribute) >= 1)
			return mnl_attr_get_u8(attribute) != XDP_ATTACHED_NONE;
	return false;
}

static int on_link(const struct nlmsghdr *message, void *userdata)
{
	struct links *links = userdata;
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(message);
	struct link *link = &links->links[links->n];
	struct nlattr *attribute;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*info) || links->n >= LINKS_MAX ||
		(info->ifi_flags & IFF_LOOPBACK) || !(info->ifi_flags & IFF_UP))
		return MNL_CB_OK;
	*link = (struct link){ .index = (uint32_t)info->ifi_index };
	mnl_attr_for_each (attribute, message, sizeof(*info)) {
		if (mnl_attr_get_type(attribute) == IFLA_IFNAME &&
			mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) >= 0)
			snprintf(link->name, sizeof(link->name), "%s", mnl_attr_get_str(attribute));
		if (mnl_attr_get_type(attribute) == (IFLA_XDP & NLA_TYPE_MASK))
			link->has_xdp = has_xdp(attribute);
	}
	links->n++;
	return MNL_CB_OK;
}

struct default_route {
	uint32_t index; /* 0: none yet */
	uint32_t metric;
	bool is_multiple;
};

static int on_route(const struct nlmsghdr *message, void *userdata)
{
	struct default_route *route = userdata;
	const struct rtmsg *info = mnl_nlmsg_get_payload(message);
	uint32_t index = 0, metric = 0;
	struct nlattr *attribute;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*info) || info->rtm_dst_len != 0 ||
		info->rtm_table != RT_TABLE_MAIN || info->rtm_type != RTN_UNICAST)
		return MNL_CB_OK;
	mnl_attr_for_each (attribute, message, sizeof(*info)) {
		if (mnl_attr_get_payload_len(attribute) < sizeof(uint32_t))
			continue;
		if (mnl_attr_get_type(attribute) == RTA_OIF)
			index = mnl_attr_get_u32(attribute);
		if (mnl_attr_get_type(attribute) == RTA_PRIORITY)
			metric = mnl_attr_get_u32(attribute);
	}
	if (route->index == 0 || metric < route->metric)
		*route = (struct default_route){ .index = index, .metric = metric };
	else if (metric == route->metric && index != route->index)
		route->is_multiple = true;
	return MNL_CB_OK;
}

static int dump(
	struct netlink *netlink, uint16_t type, uint8_t family, mnl_cb_t callback, void *userdata)
{
	char buffer[256];
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	int status;

	message->nlmsg_type = type;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	if (type == RTM_GETLINK)
		((struct ifinfomsg *)mnl_nlmsg_put_extra_header(message, sizeof(struct ifinfomsg)))
			->ifi_family = family;
	else
		((struct rtmsg *)mnl_nlmsg_put_extra_header(message, sizeof(struct rtmsg)))
			->rtm_family = family;
	status = netlink_request(netlink, message, callback, userdata);
	return status == -EINTR ? 0 : status; /* it changes: no two answers would be the same */
}

int links_read(struct links *ret)
{
	static const uint8_t families[] = { AF_INET, AF_INET6 };
	_cleanup_(netlink_freep) struct netlink *netlink = NULL;
	int status;

	*ret = (struct links){};
	status = netlink_open(NETLINK_ROUTE, 0, &netlink);
	if (status == 0)
		status = dump(netlink, RTM_GETLINK, AF_UNSPEC, on_link, ret);
	for (size_t i = 0; i < N_ELEMENTS(families) && status == 0; i++) {
		struct default_route route = {};

		status = dump(netlink, RTM_GETROUTE, families[i], on_route, &route);
		for (size_t k = 0; k < ret->n; k++)
			if (ret->links[k].index == route.index && !route.is_multiple)
				ret->by_default[i] = &ret->links[k];
	}
	return status;
}

const struct link *links_outside(const struct links *links, uint8_t family)
{
	const struct link *link = links->by_default[family == AF_INET ? 0 : 1];

	return link || links->n != 1 ? link : &links->links[0];
}
