/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What the kernel says of a set's elements: a byte for the set, then netlink messages. */

#include <errno.h>

#include "nft/elements.h"
#include "tests/fuzz/netlink.h"
#include "tests/fuzz/outside.h"

static bool is_padded(uint8_t family, const struct address *address)
{
	static const struct address zero;
	size_t n = address_bytes(family);

	return memcmp(address->bytes + n, zero.bytes, sizeof(zero.bytes) - n) == 0;
}

static int read_services(struct netlink *netlink, enum gate_set set)
{
	_cleanup_(element_list_done) struct element_list list = {};
	int r = elements_read(netlink, set, &list);

	for (size_t i = 0; r == 0 && i < list.n; i++) {
		const struct element *element = &list.elements[i];
		uint8_t family = element->sources.family;

		CHECK(family == gate_set_definition(set)->family);
		CHECK(is_padded(family, &element->sources.first));
		CHECK(is_padded(family, &element->sources.last));
		CHECK(strnlen(element->comment, ELEMENT_COMMENT_MAX) < ELEMENT_COMMENT_MAX);
	}
	return r;
}

static int read_ports(struct netlink *netlink, enum gate_set set)
{
	_cleanup_(port_range_list_done) struct port_range_list list = {};
	int r = elements_read_ports(netlink, set, &list);

	for (size_t i = 0; r == 0 && i < list.n; i++)
		CHECK(list.ranges[i].first <= list.ranges[i].last);
	return r;
}

static int read_flows(struct netlink *netlink, enum gate_set set)
{
	_cleanup_(flow_list_done) struct flow_list list = {};
	int r = elements_read_flows(netlink, set, &list);

	for (size_t i = 0; r == 0 && i < list.n; i++) {
		CHECK(list.flows[i].family == gate_set_definition(set)->family);
		CHECK(is_padded(list.flows[i].family, &list.flows[i].remote));
		CHECK(is_padded(list.flows[i].family, &list.flows[i].local));
	}
	return r;
}

static void try_answers(const uint8_t *data, size_t size)
{
	static int (*const readers[])(struct netlink * netlink, enum gate_set set) = {
		[KEY_PORTS] = read_ports,
		[KEY_SERVICES] = read_services,
		[KEY_FLOWS] = read_flows,
	};
	enum gate_set set = take_byte(&data, &size) % SET_TRIAL; /* which nobody reads */
	_cleanup_(netlink_freep) struct netlink *netlink = NULL;

	CHECK(netlink_open(NETLINK_NETFILTER, 0, &netlink) == 0);
	kernel_answer_with(data, size);
	CHECK(readers[gate_set_definition(set)->key](netlink, set) <= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_answers(data, size);
	kernel_forget();
	return 0;
}
