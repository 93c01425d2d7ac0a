/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * Preloaded into jitgated by tests: answers as a kernel before 6.9 does to a table that is to be
 * owned and to persist. What the daemon does then, it does with the real kernel.
 */

#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

static bool asks_for_ownership(const struct nlmsghdr *message)
{
	const char *attribute =
		(const char *)NLMSG_DATA(message) + NLMSG_ALIGN(sizeof(struct nfgenmsg));
	const char *end = (const char *)message + message->nlmsg_len;

	if (message->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE))
		return false;
	while (attribute + NLA_HDRLEN <= end) {
		struct nlattr head;
		uint32_t flags;

		memcpy(&head, attribute, sizeof(head));
		if (head.nla_type == NFTA_TABLE_FLAGS) {
			memcpy(&flags, attribute + NLA_HDRLEN, sizeof(flags));
			return ntohl(flags) & NFT_TABLE_F_OWNER;
		}
		attribute += NLA_ALIGN(head.nla_len);
	}
	return false;
}

ssize_t sendto(int fd, const void *bytes, size_t n, int flags, const struct sockaddr *address,
	socklen_t n_address)
{
	ssize_t (*real)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
	const struct nlmsghdr *message = bytes;
	int left = (int)n;

	*(void **)&real = dlsym(RTLD_NEXT, "sendto");
	if (address && address->sa_family == AF_NETLINK)
		for (; NLMSG_OK(message, left); message = NLMSG_NEXT(message, left))
			if (asks_for_ownership(message)) {
				errno = EOPNOTSUPP;
				return -1;
			}
	return real(fd, bytes, n, flags, address, n_address);
}
