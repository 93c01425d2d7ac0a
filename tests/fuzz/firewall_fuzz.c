/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The rules that other programs have, as the kernel tells them, and what they would do with a
 * connection: a byte for the port, then netlink messages. */

#include "nft/judgement.h"
#include "tests/fuzz/netlink.h"
#include "tests/fuzz/outside.h"

static void check_place(const char *place)
{
	CHECK(strnlen(place, PLACE_MAX) < PLACE_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct probe probe = {
		.family = AF_INET,
		.l4proto = IPPROTO_TCP,
		.port = take_byte(&data, &size),
	};
	_cleanup_(firewall_freep) struct firewall *firewall = NULL;
	struct judgement judgement;
	char place[PLACE_MAX] = "";

	kernel_answer_with(data, size);
	if (firewall_read(&firewall) < 0)
		return 0;
	CHECK(firewall->n_chains <= FIREWALL_CHAINS_MAX && firewall->n_rules <= FIREWALL_RULES_MAX);
	firewall_judge(firewall, &probe, &judgement);
	CHECK(judgement.outcomes != 0);
	check_place(judgement.refused_by);
	check_place(judgement.translated_by);
	(void)firewall_find_alias(firewall, IPPROTO_TCP, 22, place);
	check_place(place);
	(void)firewall_has_destination_nat(firewall);
	return 0;
}
