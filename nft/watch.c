/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/filter.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "nft/netlink.h"
#include "nft/sets.h"
#include "nft/watch.h"

/* Every message of nf_tables that belongs to a table has the table's name as this attribute. */
#define ATTRIBUTE_TABLE 1
_Static_assert(NFTA_TABLE_NAME == ATTRIBUTE_TABLE && NFTA_CHAIN_TABLE == ATTRIBUTE_TABLE &&
		NFTA_RULE_TABLE == ATTRIBUTE_TABLE && NFTA_SET_TABLE == ATTRIBUTE_TABLE &&
		NFTA_SET_ELEM_LIST_TABLE == ATTRIBUTE_TABLE && NFTA_OBJ_TABLE == ATTRIBUTE_TABLE,
	"the table's name is where we look for it");

/* Bursts of others' changes (a container engine starting) fit; past that it is an overrun. */
#define RECEIVE_BYTES (1024 * 1024)

struct watch {
	struct netlink *netlink;
};

/* Drops messages whose nlmsg_pid is ours. The filter reads big-endian; the field is in host order.
 */
static int watch_filter(struct watch *watch, uint32_t own_port)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_pid)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(own_port), 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	const struct sock_fprog program = { .len = N_ELEMENTS(code), .filter = code };

	if (setsockopt(netlink_fd(watch->netlink), SOL_SOCKET, SO_ATTACH_FILTER, &program,
		    sizeof(program)) < 0)
		return -errno;
	return 0;
}

int watch_open(uint32_t own_port, struct watch **ret)
{
	_cleanup_(watch_freep) struct watch *watch = calloc(1, sizeof(*watch));
	const int n_bytes = RECEIVE_BYTES;
	int status;

	if (!watch)
		return -ENOMEM;
	status = netlink_open(NETLINK_NETFILTER, SOCK_NONBLOCK, &watch->netlink);
	if (status == 0)
		status = watch_filter(watch, own_port);
	if (status == 0)
		status = netlink_join(watch->netlink, NFNLGRP_NFTABLES);
	if (status < 0)
		return status;
	if (setsockopt(watch_fd(watch), SOL_SOCKET, SO_RCVBUFFORCE, &n_bytes, sizeof(n_bytes)) < 0)
		(void)setsockopt(watch_fd(watch), SOL_SOCKET, SO_RCVBUF, &n_bytes, sizeof(n_bytes));
	*ret = TAKE_PTR(watch);
	return 0;
}

struct watch *watch_free(struct watch *watch)
{
	if (!watch)
		return NULL;
	netlink_free(watch->netlink);
	free(watch);
	return NULL;
}

int watch_fd(const struct watch *watch)
{
	return netlink_fd(watch->netlink);
}

static void report_generation(const struct nlmsghdr *message, struct watch_report *report)
{
	struct nlattr *attribute;

	report->unnamed = false;
	mnl_attr_for_each (attribute, message, sizeof(struct nfgenmsg)) {
		uint16_t type = mnl_attr_get_type(attribute);

		if (type == NFTA_GEN_PROC_PID && mnl_attr_validate(attribute, MNL_TYPE_U32) == 0)
			report->pid = ntohl(mnl_attr_get_u32(attribute));
		else if (type == NFTA_GEN_PROC_NAME &&
			mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) == 0)
			snprintf(report->process, sizeof(report->process), "%s",
				mnl_attr_get_str(attribute));
	}
}

static bool message_is_of_gate(const struct nlmsghdr *message)
{
	const struct nfgenmsg *head = mnl_nlmsg_get_payload(message);
	struct nlattr *attribute;

	if (head->nfgen_family != NFPROTO_INET)
		return false;
	mnl_attr_for_each (attribute, message, sizeof(*head)) {
		if (mnl_attr_get_type(attribute) == ATTRIBUTE_TABLE &&
			mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) == 0)
			return strcmp(mnl_attr_get_str(attribute), GATE_TABLE) == 0;
	}
	return false;
}

static int on_event(const struct nlmsghdr *message, void *userdata)
{
	struct watch_report *report = userdata;
	uint16_t type = NFNL_MSG_TYPE(message->nlmsg_type);

	if (mnl_nlmsg_get_payload_len(message) < sizeof(struct nfgenmsg))
		return MNL_CB_OK;
	if (type == NFT_MSG_NEWGEN && report->unnamed)
		report_generation(message, report);
	else if (message_is_of_gate(message))
		report->gate = report->unnamed = true;
	else if (type == NFT_MSG_NEWCHAIN || type == NFT_MSG_DELCHAIN || type == NFT_MSG_DELTABLE)
		report->chains = true;
	return MNL_CB_OK;
}

/* Reads what the kernel sent at once: events of one transaction. Returns 1; 0 where there is
 * nothing more; -errno. */
static int read_some(struct watch *watch, struct watch_report *report)
{
	char buffer[NETLINK_BUFFER_BYTES];
	ssize_t n = mnl_socket_recvfrom(watch->netlink->socket, buffer, sizeof(buffer));

	if (n >= 0)
		(void)mnl_cb_run(buffer, n, 0, 0, on_event, report);
	else if (errno == EAGAIN || errno == EWOULDBLOCK)
		return 0;
	else if (errno == ENOBUFS || errno == ENOSPC)
		report->overrun = true;
	else if (errno != EINTR)
		return -errno;
	return 1;
}

int watch_read(struct watch *watch, struct watch_report *ret)
{
	int r;

	memset(ret, 0, sizeof(*ret));
	do
		r = read_some(watch, ret);
	while (r > 0);
	return r;
}

int watch_read_name(struct watch *watch, struct watch_report *report)
{
	int r = 1;

	while (report->unnamed && r > 0)
		r = read_some(watch, report);
	return r < 0 ? r : 0;
}
