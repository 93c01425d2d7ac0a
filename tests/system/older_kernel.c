/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * Preloaded into jitgated by tests: to a table that is to be owned and to persist, the kernel
 * answers as one before 6.9 does. What the daemon asks for has a flag more then, which no kernel
 * knows. And its sockets take descriptors, as before 6.16.
 */

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#define UNKNOWN_FLAG (UINT32_C(1) << 31)
#define PASSRIGHTS 83 /* SO_PASSRIGHTS */

static void spoil(struct nlmsghdr *message)
{
	char *attribute = (char *)NLMSG_DATA(message) + NLMSG_ALIGN(sizeof(struct nfgenmsg));
	const char *end = (const char *)message + message->nlmsg_len;

	if (message->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE))
		return;
	while (attribute + NLA_HDRLEN <= end) {
		struct nlattr head;
		uint32_t flags;

		memcpy(&head, attribute, sizeof(head));
		if (head.nla_type == NFTA_TABLE_FLAGS) {
			memcpy(&flags, attribute + NLA_HDRLEN, sizeof(flags));
			if (ntohl(flags) & NFT_TABLE_F_OWNER)
				flags |= htonl(UNKNOWN_FLAG);
			memcpy(attribute + NLA_HDRLEN, &flags, sizeof(flags));
		}
		attribute += NLA_ALIGN(head.nla_len);
	}
}

ssize_t sendto(int fd, const void *bytes, size_t n, int flags, const struct sockaddr *address,
	socklen_t n_address)
{
	ssize_t (*real)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
	struct nlmsghdr *copy = NULL, *message;
	int left = (int)n, error;
	ssize_t sent;

	*(void **)&real = dlsym(RTLD_NEXT, "sendto");
	if (address && address->sa_family == AF_NETLINK && (copy = malloc(n))) {
		memcpy(copy, bytes, n);
		for (message = copy; NLMSG_OK(message, left); message = NLMSG_NEXT(message, left))
			spoil(message);
	}
	sent = real(fd, copy ? copy : bytes, n, flags, address, n_address);
	error = errno;
	free(copy);
	errno = error;
	return sent;
}

int setsockopt(int fd, int level, int option, const void *value, socklen_t n)
{
	int (*real)(int, int, int, const void *, socklen_t);

	if (level == SOL_SOCKET && option == PASSRIGHTS) {
		errno = ENOPROTOOPT;
		return -1;
	}
	*(void **)&real = dlsym(RTLD_NEXT, "setsockopt");
	return real(fd, level, option, value, n);
}
