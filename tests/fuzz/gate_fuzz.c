/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * What the kernel says of tables, chains, sets and objects, and what the gate does on it: a byte
 * for the wish and the question, then netlink messages. A table of which anything is not ours is
 * made anew, never kept.
 */

#include <errno.h>

#include "nft/gate.h"
#include "tests/fuzz/netlink.h"
#include "tests/fuzz/outside.h"

enum {
	CATCH_ALL = 0x08,
	NO_NAT = 0x10,
	OWNED = 0x20,
	AUDIT = 0x40,
	NO_GRANTS = 0x80,
};

static const struct port_range tcp[] = { { 22, 22 }, { 5000, 5010 } };
static const struct port_range udp[] = { { 53, 53 } };
static const struct element grant = {
	.sources = { .family = AF_INET,
		.first = { { 192, 0, 2, 7 } },
		.last = { { 192, 0, 2, 7 } } },
	.l4proto = IPPROTO_TCP,
	.ports = { 22, 22 },
	.timeout_ms = 60000,
	.comment = "g-1",
};

static bool has_catch_all;

/* What is asked for one by one the kernel of outside.c always has. */
int elements_find_catch_all(struct netlink *netlink, enum gate_set set)
{
	(void)netlink;
	return has_catch_all && set == SET_GRANTS4 ? 0 : -ENOENT;
}

static void read_state(const struct ruleset *ruleset)
{
	_cleanup_(netlink_freep) struct netlink *netlink = NULL;
	_cleanup_(transaction_freep) struct transaction *transaction = NULL;
	struct ruleset_state state;

	CHECK(netlink_open(NETLINK_NETFILTER, 0, &netlink) == 0);
	CHECK(transaction_new(&transaction) == 0);
	if (ruleset_read(netlink, &state) < 0)
		return;
	CHECK(!(state.foreign && ruleset_can_keep(&state, ruleset)));
	CHECK(ruleset_build(transaction, ruleset, &state) == 0);
}

static void install(struct gate *gate, const struct ruleset *ruleset, bool with_grants)
{
	struct element element = grant;
	const struct element_list grants = { .elements = &element, .n = 1 };
	enum gate_install found;
	const char *what = NULL;
	bool owned;
	int r = gate_install(gate, ruleset, with_grants ? &grants : NULL, &found, &owned, &what);

	CHECK(r <= 0);
	if (r == 0)
		(void)gate_change(gate, &element, 1, &element, 1, &what);
}

static void read_lists(struct gate *gate)
{
	_cleanup_(element_list_done) struct element_list elements = {};
	_cleanup_(flow_list_done) struct flow_list flows = {};
	_cleanup_(port_range_list_done) struct port_range_list tcp_there = {}, udp_there = {};

	(void)gate_read_grants(gate, &elements);
	(void)gate_read_denied(gate, &elements);
	if (gate_read_sessions(gate, &flows) == 0)
		(void)gate_forget_sessions(gate, flows.flows, flows.n);
	(void)gate_add_flows(gate, &flows);
	(void)gate_read_ports(gate, &tcp_there, &udp_there);
}

static void try_answers(const uint8_t *data, size_t size)
{
	unsigned how = take_byte(&data, &size);
	const struct ruleset ruleset = {
		.tcp = tcp,
		.n_tcp = N_ELEMENTS(tcp),
		.udp = udp,
		.n_udp = N_ELEMENTS(udp),
		.audit = how & AUDIT,
		.destination_nat = !(how & NO_NAT),
		.owned = how & OWNED,
	};
	_cleanup_(gate_freep) struct gate *gate = NULL;
	uint64_t refused = 0;
	bool answer;

	has_catch_all = how & CATCH_ALL;
	CHECK(gate_open(&gate) == 0);
	kernel_answer_with(data, size);
	switch (how % 8) {
	case 0:
		read_state(&ruleset);
		break;
	case 1:
		(void)gate_status(gate, &answer, &refused);
		break;
	case 2:
		(void)gate_find_destination_nat(gate, &answer);
		break;
	case 3:
		read_lists(gate);
		break;
	default:
		install(gate, &ruleset, !(how & NO_GRANTS));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_answers(data, size);
	kernel_forget();
	return 0;
}
