/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Elements on their way into the kernel and out of it: what ends never becomes what is for good. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <endian.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <libnftnl/common.h>
#include <libnftnl/set.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include "nft/elements.h"

#define LONGEST_JIFFY_MS 10 /* HZ=100 */

static char sent[8192], answer[8192];
static size_t n_sent, n_answer;

/* In the place of the C library's and of libmnl's: nothing gets to the kernel. */
ssize_t sendto(int fd, const void *bytes, size_t n, int flags, const struct sockaddr *address,
	socklen_t n_address)
{
	(void)fd, (void)flags, (void)address, (void)n_address;
	assert_true(n <= sizeof(sent));
	memcpy(sent, bytes, n);
	n_sent = n;
	return (ssize_t)n;
}

ssize_t mnl_socket_recvfrom(const struct mnl_socket *socket, void *bytes, size_t n)
{
	struct nlmsghdr *message = (void *)answer;

	assert_true(n_answer > 0 && n_answer <= n);
	for (int left = (int)n_answer; mnl_nlmsg_ok(message, left);
		message = mnl_nlmsg_next(message, &left)) {
		message->nlmsg_seq = ((const struct nlmsghdr *)(const void *)sent)->nlmsg_seq;
		message->nlmsg_pid = mnl_socket_get_portid(socket);
	}
	memcpy(bytes, answer, n_answer);
	return (ssize_t)n_answer;
}

static struct netlink *new_netlink(void)
{
	struct netlink *netlink;

	assert_int_equal(netlink_open(NETLINK_ROUTE, 0, &netlink), 0);
	return netlink;
}

struct timeouts {
	uint64_t ms[4]; /* 0: without */
	size_t n;
};

static void take_timeout(struct nlattr *element, struct timeouts *timeouts)
{
	struct nlattr *field;

	assert_true(timeouts->n < N_ELEMENTS(timeouts->ms));
	mnl_attr_for_each_nested (field, element)
		if (mnl_attr_get_type(field) == NFTA_SET_ELEM_TIMEOUT)
			timeouts->ms[timeouts->n] = be64toh(mnl_attr_get_u64(field));
	timeouts->n++;
}

static void take_timeouts(const struct nlmsghdr *message, struct timeouts *timeouts)
{
	struct nlattr *list, *element;

	if (message->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM))
		return;
	mnl_attr_for_each (list, message, sizeof(struct nfgenmsg))
		if (mnl_attr_get_type(list) == NFTA_SET_ELEM_LIST_ELEMENTS)
			mnl_attr_for_each_nested (element, list)
				take_timeout(element, timeouts);
}

/* Those of the elements in the batch that is sent. */
static struct timeouts send_timeouts(struct transaction *transaction)
{
	_cleanup_(netlink_freep) struct netlink *netlink = new_netlink();
	const struct nlmsghdr *message = (const struct nlmsghdr *)(const void *)sent;
	struct timeouts timeouts = {};
	int left;

	n_sent = 0;
	(void)transaction_commit(transaction, netlink, NULL); /* which nobody answers */
	left = (int)n_sent;
	for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left))
		take_timeouts(message, &timeouts);
	return timeouts;
}

static struct element grant_for(uint64_t timeout_ms)
{
	return (struct element){
		.sources = { AF_INET, { { 192, 0, 2, 7 } }, { { 192, 0, 2, 7 } } },
		.l4proto = IPPROTO_TCP,
		.ports = { 22, 22 },
		.timeout_ms = timeout_ms,
	};
}

static void a_grant_that_is_about_to_end_ends(void **state)
{
	static const struct {
		uint64_t asked_ms, sent_ms;
	} cases[] = {
		{ 1, LONGEST_JIFFY_MS }, { LONGEST_JIFFY_MS - 1, LONGEST_JIFFY_MS },
		{ LONGEST_JIFFY_MS, LONGEST_JIFFY_MS },
		{ LONGEST_JIFFY_MS + 1, LONGEST_JIFFY_MS + 1 }, { 60000, 60000 },
		{ 0, 0 }, /* permanent, as always_allow is */
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		_cleanup_(transaction_freep) struct transaction *transaction = NULL;
		const struct element element = grant_for(cases[i].asked_ms), *pointer = &element;
		struct timeouts timeouts;

		assert_int_equal(transaction_new(&transaction), 0);
		assert_int_equal(
			elements_change(transaction, NFT_MSG_NEWSETELEM, SET_GRANTS4, &pointer, 1),
			0);
		timeouts = send_timeouts(transaction);
		assert_int_equal(timeouts.n, 1);
		assert_int_equal(timeouts.ms[0], cases[i].sent_ms);
	}
}

static void a_trial_that_is_about_to_end_ends(void **state)
{
	_cleanup_(transaction_freep) struct transaction *transaction = NULL;
	struct timeouts timeouts;

	(void)state;
	assert_int_equal(transaction_new(&transaction), 0);
	assert_int_equal(elements_add_trial(transaction, 1), 0);
	timeouts = send_timeouts(transaction);
	assert_int_equal(timeouts.n, 2);
	for (size_t i = 0; i < timeouts.n; i++)
		assert_int_equal(timeouts.ms[i], LONGEST_JIFFY_MS);
}

/* The kernel says that grants4 has one element, for that long still. */
static void answer_with(bool ends, uint64_t expiration_ms)
{
	static const uint8_t key[] = { 192, 0, 2, 7, IPPROTO_TCP, 0, 0, 0, 0, 22, 0, 0 };
	struct nftnl_set *set = gate_set_reference(SET_GRANTS4);
	struct nftnl_set_elem *element = nftnl_set_elem_alloc();
	struct nlmsghdr *message;

	assert_true(set && element);
	nftnl_set_elem_set(element, NFTNL_SET_ELEM_KEY, key, sizeof(key));
	if (ends)
		nftnl_set_elem_set_u64(element, NFTNL_SET_ELEM_EXPIRATION, expiration_ms);
	nftnl_set_elem_add(set, element);
	message = nftnl_nlmsg_build_hdr(answer, NFT_MSG_NEWSETELEM, NFPROTO_INET, NLM_F_MULTI, 0);
	nftnl_set_elems_nlmsg_build_payload(message, set);
	nftnl_set_free(set);
	n_answer = NLMSG_ALIGN(message->nlmsg_len);
	message = mnl_nlmsg_put_header(answer + n_answer);
	message->nlmsg_type = NLMSG_DONE;
	message->nlmsg_flags = NLM_F_MULTI;
	*(int *)mnl_nlmsg_put_extra_header(message, sizeof(int)) = 0;
	n_answer += NLMSG_ALIGN(message->nlmsg_len);
}

static void what_has_just_ended_is_not_read_as_for_good(void **state)
{
	static const struct {
		bool ends;
		uint64_t expiration_ms, read_ms;
	} cases[] = { { true, 0, 1 }, { true, 1, 1 }, { true, 60000, 60000 }, { false, 0, 0 } };

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		_cleanup_(netlink_freep) struct netlink *netlink = new_netlink();
		_cleanup_(element_list_done) struct element_list list = {};

		answer_with(cases[i].ends, cases[i].expiration_ms);
		assert_int_equal(elements_read(netlink, SET_GRANTS4, &list), 0);
		assert_int_equal(list.n, 1);
		assert_int_equal(list.elements[0].timeout_ms, cases[i].read_ms);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_grant_that_is_about_to_end_ends),
		cmocka_unit_test(a_trial_that_is_about_to_end_ends),
		cmocka_unit_test(what_has_just_ended_is_not_read_as_for_good),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
