/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <linux/inet_diag.h>
#include <linux/sock_diag.h>

#include "nft/listeners.h"
#include "nft/netlink.h"

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff }; /* RFC 4291, section 2.5.5.2 */

struct reading {
	struct listener_list *list;
	uint8_t l4proto;
};

static bool is_dual(const struct nlmsghdr *message, const struct listener *listener)
{
	static const struct address any;
	struct nlattr *attribute;

	if (listener->family != AF_INET6 || address_compare(&listener->address, &any) != 0)
		return false;
	mnl_attr_for_each (attribute, message, sizeof(struct inet_diag_msg))
		if (mnl_attr_get_type(attribute) == INET_DIAG_SKV6ONLY &&
			mnl_attr_get_payload_len(attribute) >= 1)
			return !mnl_attr_get_u8(attribute);
	return true;
}

static int add(struct listener_list *list, const struct listener *listener)
{
	if (list->n >= LISTENERS_MAX) {
		list->is_cut = true;
		return 0;
	}
	if (list->n == list->n_allocated) {
		size_t n = list->n_allocated ? 2 * list->n_allocated : 32;
		struct listener *grown = reallocarray(list->listeners, n, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		list->listeners = grown;
		list->n_allocated = n;
	}
	list->listeners[list->n++] = *listener;
	return 0;
}

static int on_socket(const struct nlmsghdr *message, void *userdata)
{
	const struct reading *reading = userdata;
	const struct inet_diag_msg *socket = mnl_nlmsg_get_payload(message);
	struct listener listener = { .l4proto = reading->l4proto };

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*socket) || socket->id.idiag_sport == 0 ||
		socket->id.idiag_dport != 0 ||
		(socket->idiag_family != AF_INET && socket->idiag_family != AF_INET6))
		return MNL_CB_OK;
	listener.family = socket->idiag_family;
	listener.port = ntohs(socket->id.idiag_sport);
	listener.inode = socket->idiag_inode;
	memcpy(listener.address.bytes, socket->id.idiag_src, address_bytes(listener.family));
	listener.is_dual = is_dual(message, &listener);
	if (listener.family == AF_INET6 &&
		memcmp(listener.address.bytes, mapped, sizeof(mapped)) == 0) {
		listener.family = AF_INET;
		memmove(listener.address.bytes, listener.address.bytes + sizeof(mapped), 4);
		memset(listener.address.bytes + 4, 0, sizeof(mapped));
	}
	if (add(reading->list, &listener) < 0) {
		errno = ENOMEM;
		return MNL_CB_ERROR;
	}
	return MNL_CB_OK;
}

int listeners_read(struct listener_list *list)
{
	static const struct {
		uint8_t family, l4proto;
		uint32_t state;
	} questions[] = {
		{ AF_INET, IPPROTO_TCP, TCP_LISTEN },
		{ AF_INET6, IPPROTO_TCP, TCP_LISTEN },
		{ AF_INET, IPPROTO_UDP, TCP_CLOSE },
		{ AF_INET6, IPPROTO_UDP, TCP_CLOSE },
	};
	_cleanup_(netlink_freep) struct netlink *netlink = NULL;
	int status = netlink_open(NETLINK_SOCK_DIAG, 0, &netlink);

	for (size_t i = 0; i < N_ELEMENTS(questions) && status == 0; i++) {
		struct reading reading = { list, questions[i].l4proto };
		char buffer[256];
		struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
		struct inet_diag_req_v2 *request;

		message->nlmsg_type = SOCK_DIAG_BY_FAMILY;
		message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
		request = mnl_nlmsg_put_extra_header(message, sizeof(*request));
		request->sdiag_family = questions[i].family;
		request->sdiag_protocol = questions[i].l4proto;
		request->idiag_states = 1u << questions[i].state;
		status = netlink_request(netlink, message, on_socket, &reading);
		if (status == -EINTR) /* sockets came and went: what was there is there */
			status = 0;
	}
	return status;
}

void listener_list_done(struct listener_list *list)
{
	free(list->listeners);
	*list = (struct listener_list){};
}

bool listener_is_loopback(const struct listener *listener)
{
	return address_is_loopback(listener->family, &listener->address);
}

bool listener_takes(const struct listener *listener, uint8_t family)
{
	return listener->family == family || (family == AF_INET && listener->is_dual);
}
