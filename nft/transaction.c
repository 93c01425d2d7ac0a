/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/object.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "nft/transaction.h"

/* Room for a table, a chain, a set or a rule; for an element; and for as many elements as one
 * attribute holds (64 KiB), with the one that libnftnl takes back again. */
#define MESSAGE_BYTES 8192
#define ELEMENT_BYTES 512
#define ELEMENTS_BYTES_MAX (65536 + MESSAGE_BYTES)

struct transaction {
	char *bytes;
	size_t n_bytes;
	size_t n_allocated;
	/* What each message is about, for errors. */
	const char **whats;
	size_t n_messages;
	size_t n_whats_allocated;
	size_t last_offset;
};

int transaction_new(struct transaction **ret)
{
	struct transaction *transaction = calloc(1, sizeof(*transaction));

	if (!transaction)
		return -ENOMEM;
	*ret = transaction;
	return 0;
}

struct transaction *transaction_free(struct transaction *transaction)
{
	if (!transaction)
		return NULL;
	free(transaction->bytes);
	free(transaction->whats);
	free(transaction);
	return NULL;
}

static int transaction_reserve(struct transaction *transaction, size_t n_bytes)
{
	size_t want = transaction->n_bytes + n_bytes;
	char *bytes;

	if (want <= transaction->n_allocated)
		return 0;
	if (want < 2 * transaction->n_allocated)
		want = 2 * transaction->n_allocated;
	bytes = realloc(transaction->bytes, want);
	if (!bytes)
		return -ENOMEM;
	transaction->bytes = bytes;
	transaction->n_allocated = want;
	return 0;
}

/* Makes room for a message and writes its header. NULL: no memory. */
static struct nlmsghdr *transaction_begin_message(
	struct transaction *transaction, uint16_t type, size_t n_bytes, const char *what)
{
	uint16_t flags = 0;

	if (type == NFT_MSG_NEWTABLE || type == NFT_MSG_NEWCHAIN || type == NFT_MSG_NEWSET ||
		type == NFT_MSG_NEWSETELEM || type == NFT_MSG_NEWOBJ)
		flags = NLM_F_CREATE;
	else if (type == NFT_MSG_NEWRULE)
		flags = NLM_F_CREATE | NLM_F_APPEND;

	if (transaction->n_messages == transaction->n_whats_allocated) {
		size_t n = transaction->n_whats_allocated ? 2 * transaction->n_whats_allocated : 64;
		const char **whats = realloc(transaction->whats, n * sizeof(*whats));

		if (!whats)
			return NULL;
		transaction->whats = whats;
		transaction->n_whats_allocated = n;
	}
	/* The batch's own head comes before the first message, its end after the last. */
	if (transaction->n_messages == 0) {
		if (transaction_reserve(transaction, MESSAGE_BYTES) < 0)
			return NULL;
		transaction->n_bytes = nftnl_batch_begin(transaction->bytes, 0)->nlmsg_len;
	}
	if (transaction_reserve(transaction, n_bytes + MESSAGE_BYTES) < 0)
		return NULL;
	transaction->last_offset = transaction->n_bytes;
	transaction->whats[transaction->n_messages++] = what;
	return nftnl_nlmsg_build_hdr(transaction->bytes + transaction->n_bytes, type, NFPROTO_INET,
		flags, transaction->n_messages);
}

static void transaction_end_message(struct transaction *transaction, const struct nlmsghdr *message)
{
	transaction->n_bytes += NLMSG_ALIGN(message->nlmsg_len);
}

int transaction_add_table(struct transaction *transaction, uint16_t type,
	const struct nftnl_table *table, const char *what)
{
	struct nlmsghdr *message =
		transaction_begin_message(transaction, type, MESSAGE_BYTES, what);

	if (!message)
		return -ENOMEM;
	nftnl_table_nlmsg_build_payload(message, table);
	transaction_end_message(transaction, message);
	return 0;
}

int transaction_add_chain(struct transaction *transaction, uint16_t type,
	const struct nftnl_chain *chain, const char *what)
{
	struct nlmsghdr *message =
		transaction_begin_message(transaction, type, MESSAGE_BYTES, what);

	if (!message)
		return -ENOMEM;
	nftnl_chain_nlmsg_build_payload(message, chain);
	transaction_end_message(transaction, message);
	return 0;
}

int transaction_add_rule(
	struct transaction *transaction, uint16_t type, struct nftnl_rule *rule, const char *what)
{
	struct nlmsghdr *message =
		transaction_begin_message(transaction, type, MESSAGE_BYTES, what);

	if (!message)
		return -ENOMEM;
	nftnl_rule_nlmsg_build_payload(message, rule);
	transaction_end_message(transaction, message);
	return 0;
}

int transaction_add_set(
	struct transaction *transaction, uint16_t type, struct nftnl_set *set, const char *what)
{
	struct nlmsghdr *message =
		transaction_begin_message(transaction, type, MESSAGE_BYTES, what);

	if (!message)
		return -ENOMEM;
	nftnl_set_nlmsg_build_payload(message, set);
	transaction_end_message(transaction, message);
	return 0;
}

int transaction_add_object(
	struct transaction *transaction, uint16_t type, struct nftnl_obj *object, const char *what)
{
	struct nlmsghdr *message =
		transaction_begin_message(transaction, type, MESSAGE_BYTES, what);

	if (!message)
		return -ENOMEM;
	nftnl_obj_nlmsg_build_payload(message, object);
	transaction_end_message(transaction, message);
	return 0;
}

int transaction_add_elements(struct transaction *transaction, uint16_t type, struct nftnl_set *set,
	size_t n_elements, const char *what)
{
	size_t n_bytes = MESSAGE_BYTES + ELEMENT_BYTES * n_elements;
	struct nftnl_set_elems_iter *iterator = nftnl_set_elems_iter_create(set);
	int more;

	if (!iterator)
		return -ENOMEM;
	do {
		struct nlmsghdr *message = transaction_begin_message(transaction, type,
			n_bytes < ELEMENTS_BYTES_MAX ? n_bytes : ELEMENTS_BYTES_MAX, what);

		if (!message) {
			nftnl_set_elems_iter_destroy(iterator);
			return -ENOMEM;
		}
		/* Fills a message up to libnftnl's bound and says whether elements are left. */
		more = nftnl_set_elems_nlmsg_build_payload_iter(message, iterator);
		transaction_end_message(transaction, message);
	} while (more > 0);
	nftnl_set_elems_iter_destroy(iterator);
	return 0;
}

/*
 * The kernel has processed the batch when send() returns, and its answers are queued. The last
 * message asks for an acknowledgement; errors come unasked, one for each message that failed, or
 * for the head of the batch where the commit itself failed.
 */
static int transaction_read_answers(
	struct transaction *transaction, struct netlink *netlink, const char **ret_what)
{
	char buffer[NETLINK_BUFFER_BYTES];
	bool acknowledged = false;
	int error = 0;

	for (;;) {
		ssize_t n = recv(netlink_fd(netlink), buffer, sizeof(buffer), MSG_DONTWAIT);
		const struct nlmsghdr *message = (const struct nlmsghdr *)buffer;
		int n_left = n;

		/* ENOBUFS: more errors than the queue holds. It comes before those that it does,
		 * and of these the first one matters. */
		if (n < 0 && (errno == EINTR || errno == ENOBUFS))
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (n < 0)
			return error < 0 ? error : -errno;
		for (; mnl_nlmsg_ok(message, n_left); message = mnl_nlmsg_next(message, &n_left)) {
			const struct nlmsgerr *answer = mnl_nlmsg_get_payload(message);
			size_t index = message->nlmsg_seq;

			if (message->nlmsg_type != NLMSG_ERROR ||
				message->nlmsg_len < MNL_NLMSG_HDRLEN + sizeof(*answer))
				continue;
			if (answer->error == 0) {
				acknowledged |= index == transaction->n_messages;
				continue;
			}
			if (error < 0)
				continue;
			error = answer->error;
			if (ret_what)
				*ret_what = index >= 1 && index <= transaction->n_messages
					? transaction->whats[index - 1]
					: "committing the transaction";
		}
	}
	if (error < 0)
		return error;
	return acknowledged ? 0 : -EPROTO;
}

/* One message to the kernel, so the send buffer must hold all of it. */
static void transaction_fit_buffer(const struct transaction *transaction, int fd)
{
	int n_bytes = 0;
	socklen_t n = sizeof(n_bytes);

	if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &n_bytes, &n) == 0 &&
		(size_t)n_bytes > 2 * transaction->n_bytes)
		return;
	n_bytes = transaction->n_bytes + MESSAGE_BYTES;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &n_bytes, sizeof(n_bytes)) < 0)
		/* Without privilege over the machine the kernel clips it: a send that is too
		 * long then says so. */
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &n_bytes, sizeof(n_bytes));
}

int transaction_commit(
	struct transaction *transaction, struct netlink *netlink, const char **ret_what)
{
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	struct nlmsghdr *last;

	if (ret_what)
		*ret_what = "sending the transaction";
	if (transaction->n_messages == 0)
		return 0;
	last = (struct nlmsghdr *)(void *)(transaction->bytes + transaction->last_offset);
	last->nlmsg_flags |= NLM_F_ACK;
	transaction->n_bytes += nftnl_batch_end(
		transaction->bytes + transaction->n_bytes, transaction->n_messages + 1)
					->nlmsg_len;
	transaction_fit_buffer(transaction, netlink_fd(netlink));
	netlink_drain(netlink);
	if (sendto(netlink_fd(netlink), transaction->bytes, transaction->n_bytes, 0,
		    (const struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		return -errno;
	return transaction_read_answers(transaction, netlink, ret_what);
}
