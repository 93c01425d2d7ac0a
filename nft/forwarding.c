/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include <linux/rtnetlink.h>

#include "nft/forwarding.h"
#include "nft/netlink.h"

struct forwarding {
	struct netlink *netlink;
};

int forwarding_open(struct forwarding **ret)
{
	_cleanup_(forwarding_freep) struct forwarding *forwarding = calloc(1, sizeof(*forwarding));
	int status;

	if (!forwarding)
		return -ENOMEM;
	status = netlink_open(NETLINK_ROUTE, SOCK_NONBLOCK, &forwarding->netlink);
	if (status == 0)
		status = netlink_join(forwarding->netlink, RTNLGRP_IPV4_NETCONF);
	if (status == 0)
		status = netlink_join(forwarding->netlink, RTNLGRP_IPV6_NETCONF);
	if (status == 0)
		status = netlink_join(forwarding->netlink, RTNLGRP_LINK);
	if (status < 0)
		return status;
	*ret = TAKE_PTR(forwarding);
	return 0;
}

struct forwarding *forwarding_free(struct forwarding *forwarding)
{
	if (!forwarding)
		return NULL;
	netlink_free(forwarding->netlink);
	free(forwarding);
	return NULL;
}

int forwarding_fd(const struct forwarding *forwarding)
{
	return netlink_fd(forwarding->netlink);
}

void forwarding_drain(struct forwarding *forwarding)
{
	netlink_drain(forwarding->netlink);
}

/* conf/all, conf/default and one directory for each interface: a setting of 0 means no. */
static bool any_forwards(const char *conf)
{
	DIR *directory = opendir(conf);
	const struct dirent *entry;
	bool on = false;

	if (!directory)
		return errno != ENOENT; /* the family is not there at all */
	while (!on && (entry = readdir(directory))) {
		_cleanup_(freep) char *path = NULL;
		_cleanup_(fclosep) FILE *file = NULL;

		if (entry->d_name[0] == '.')
			continue;
		if (asprintf(&path, "%s/%s/forwarding", conf, entry->d_name) < 0) {
			path = NULL;
			on = true;
			break;
		}
		file = fopen(path, "re");
		on = file ? fgetc(file) != '0' : errno != ENOENT;
	}
	closedir(directory);
	return on;
}

bool forwarding_is_on(void)
{
	return any_forwards("/proc/sys/net/ipv4/conf") || any_forwards("/proc/sys/net/ipv6/conf");
}
