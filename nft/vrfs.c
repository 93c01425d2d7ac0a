/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>

#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include "nft/netlink.h"
#include "nft/vrfs.h"

static bool is_vrf(const struct nlattr *kind)
{
	return mnl_attr_validate(kind, MNL_TYPE_NUL_STRING) >= 0 &&
		strcmp(mnl_attr_get_str(kind), "vrf") == 0;
}

static void read_kinds(const struct nlattr *nest, uint32_t index, struct vrfs *vrfs)
{
	struct nlattr *attribute;

	mnl_attr_for_each_nested (attribute, nest) {
		uint16_t type = mnl_attr_get_type(attribute);

		if (type == IFLA_INFO_KIND && is_vrf(attribute))
			vrfs->exist = true;
		if (type == IFLA_INFO_SLAVE_KIND && vrfs->n_members < VRF_MEMBERS_MAX &&
			is_vrf(attribute))
			vrfs->members[vrfs->n_members++] = index;
	}
}

static int on_link(const struct nlmsghdr *message, void *userdata)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(message);
	struct nlattr *attribute;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*info))
		return MNL_CB_OK;
	mnl_attr_for_each (attribute, message, sizeof(*info))
		if (mnl_attr_get_type(attribute) == IFLA_LINKINFO)
			read_kinds(attribute, (uint32_t)info->ifi_index, userdata);
	return MNL_CB_OK;
}

int vrfs_read(struct vrfs *ret)
{
	_cleanup_(netlink_freep) struct netlink *netlink = NULL;
	int status = netlink_open(NETLINK_ROUTE, 0, &netlink);

	if (status < 0)
		return status;
	status = -EINTR;
	for (int i = 0; i < NETLINK_TRIES && status == -EINTR; i++) {
		char buffer[256];
		struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);

		message->nlmsg_type = RTM_GETLINK;
		message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
		mnl_nlmsg_put_extra_header(message, sizeof(struct ifinfomsg));
		mnl_attr_put_u32(message, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
		ret->exist = false;
		ret->n_members = 0;
		status = netlink_request(netlink, message, on_link, ret);
	}
	return status == -EINTR ? 0 : status; /* news of what changes come, and it is read again */
}

bool vrfs_are_same(const struct vrfs *a, const struct vrfs *b)
{
	return a->exist == b->exist && a->n_members == b->n_members &&
		memcmp(a->members, b->members, a->n_members * sizeof(*a->members)) == 0;
}
