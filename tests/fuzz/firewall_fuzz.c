/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The rules that other programs have, as the kernel tells them, and what they would do with a
 * connection: a byte for the connection (its port, below 32, and bits), then netlink messages. */

#include "nft/judgement.h"
#include "tests/fuzz/netlink.h"
#include "tests/fuzz/outside.h"

enum {
	PORTS = 32,
	UDP = 0x20,
	IPV6 = 0x40,
	KNOWN = 0x80, /* where it comes from, and to which address */
};

static void check_place(const char *place)
{
	CHECK(strnlen(place, PLACE_MAX) < PLACE_MAX);
}

static void try_answers(const uint8_t *data, size_t size)
{
	static const struct address source = { .bytes = { 192, 0, 2, 7 } },
				    destination = { .bytes = { 198, 51, 100, 1 } };
	const unsigned how = take_byte(&data, &size);
	const struct probe probe = {
		.family = how & IPV6 ? AF_INET6 : AF_INET,
		.l4proto = how & UDP ? IPPROTO_UDP : IPPROTO_TCP,
		.port = how % PORTS,
		.source = how & KNOWN ? &source : NULL,
		.destination = how & KNOWN ? &destination : NULL,
		.interface = how & KNOWN ? "eth0" : NULL,
		.interface_index = how & KNOWN ? 2 : 0,
	};
	_cleanup_(firewall_freep) struct firewall *firewall = NULL;
	struct judgement judgement;
	char place[PLACE_MAX] = "";

	kernel_answer_with(data, size);
	if (firewall_read(&firewall) < 0)
		return;
	CHECK(firewall->n_chains <= FIREWALL_CHAINS_MAX && firewall->n_rules <= FIREWALL_RULES_MAX);
	firewall_judge(firewall, &probe, &judgement);
	CHECK(judgement.outcomes != 0);
	check_place(judgement.refused_by);
	check_place(judgement.translated_by);
	(void)firewall_find_alias(firewall, probe.l4proto, 22, place);
	check_place(place);
	(void)firewall_has_destination_nat(firewall);
	(void)firewall_has_forwarding_rules(firewall, probe.family);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_answers(data, size);
	kernel_forget();
	return 0;
}
