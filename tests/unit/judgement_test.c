/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What rules that were read do with a packet: never more certain than the rules are. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <libnftnl/chain.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include "nft/judgement.h"
#include "nft/registers.h"

static const struct address source = { .bytes = { 192, 0, 2, 7 } };
static const struct probe ssh = {
	.family = AF_INET,
	.l4proto = IPPROTO_TCP,
	.port = 22,
	.source = &source,
};

static struct firewall *new_firewall(void)
{
	struct firewall *firewall = calloc(1, sizeof(*firewall));

	assert_non_null(firewall);
	return firewall;
}

static void add_chain(
	struct firewall *firewall, const char *name, int hook, int priority, int policy)
{
	struct nftnl_chain *chain = nftnl_chain_alloc();

	nftnl_chain_set_u32(chain, NFTNL_CHAIN_FAMILY, NFPROTO_INET);
	nftnl_chain_set_str(chain, NFTNL_CHAIN_TABLE, "t");
	nftnl_chain_set_str(chain, NFTNL_CHAIN_NAME, name);
	if (hook >= 0) {
		nftnl_chain_set_u32(chain, NFTNL_CHAIN_HOOKNUM, (uint32_t)hook);
		nftnl_chain_set_s32(chain, NFTNL_CHAIN_PRIO, priority);
		nftnl_chain_set_u32(chain, NFTNL_CHAIN_POLICY, (uint32_t)policy);
		nftnl_chain_set_str(chain, NFTNL_CHAIN_TYPE, "filter");
	}
	assert_int_equal(firewall_add_chain(firewall, chain), 0);
}

static struct nftnl_rule *new_rule(const char *chain)
{
	struct nftnl_rule *rule = nftnl_rule_alloc();

	nftnl_rule_set_u32(rule, NFTNL_RULE_FAMILY, NFPROTO_INET);
	nftnl_rule_set_str(rule, NFTNL_RULE_TABLE, "t");
	nftnl_rule_set_str(rule, NFTNL_RULE_CHAIN, chain);
	nftnl_rule_set_u64(rule, NFTNL_RULE_HANDLE, 42);
	return rule;
}

static void add_load(
	struct nftnl_rule *rule, uint32_t base, uint32_t offset, uint32_t n, uint32_t to)
{
	struct nftnl_expr *e = nftnl_expr_alloc("payload");

	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_BASE, base);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_LEN, n);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_DREG, to);
	nftnl_rule_add_expr(rule, e);
}

static void add_compare(
	struct nftnl_rule *rule, uint32_t from, uint32_t op, const void *data, uint32_t n)
{
	struct nftnl_expr *e = nftnl_expr_alloc("cmp");

	nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_SREG, from);
	nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_OP, op);
	nftnl_expr_set(e, NFTNL_EXPR_CMP_DATA, data, n);
	nftnl_rule_add_expr(rule, e);
}

static void add_port(struct nftnl_rule *rule, uint16_t number)
{
	const uint16_t port = htons(number);

	add_load(rule, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, NFT_REG_1);
	add_compare(rule, NFT_REG_1, NFT_CMP_EQ, &port, sizeof(port));
}

static void add_named(struct nftnl_rule *rule, const char *name)
{
	nftnl_rule_add_expr(rule, nftnl_expr_alloc(name));
}

static void add_verdict(struct nftnl_rule *rule, int verdict, const char *chain)
{
	struct nftnl_expr *e = nftnl_expr_alloc("immediate");

	nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
	nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_VERDICT, (uint32_t)verdict);
	if (chain)
		nftnl_expr_set_str(e, NFTNL_EXPR_IMM_CHAIN, chain);
	nftnl_rule_add_expr(rule, e);
}

static unsigned outcomes(const struct firewall *firewall, const struct probe *probe)
{
	struct judgement judgement;

	firewall_judge(firewall, probe, &judgement);
	return judgement.outcomes;
}

static void no_rules_refuse_nothing(void **state)
{
	_cleanup_(firewall_freep) struct firewall *firewall = new_firewall();

	(void)state;
	assert_int_equal(outcomes(firewall, &ssh), JUDGED_PASSES);
}

static void a_refusal_names_its_rule(void **state)
{
	_cleanup_(firewall_freep) struct firewall *firewall = new_firewall();
	struct nftnl_rule *rule = new_rule("input");
	struct probe other = ssh;
	struct judgement judgement;

	(void)state;
	add_chain(firewall, "input", NF_INET_LOCAL_IN, 0, NF_ACCEPT);
	add_port(rule, 22);
	add_verdict(rule, NF_DROP, NULL);
	assert_int_equal(firewall_add_rule(firewall, rule), 0);
	firewall_judge(firewall, &ssh, &judgement);
	assert_int_equal(judgement.outcomes, JUDGED_REFUSED);
	assert_string_equal(judgement.refused_by, "table inet t, chain input, rule with handle 42");
	assert_false(judgement.is_early);
	other.port = 23;
	assert_int_equal(outcomes(firewall, &other), JUDGED_PASSES);
	other.port = 0;
	assert_int_equal(outcomes(firewall, &other), JUDGED_PASSES | JUDGED_REFUSED);
}

/* An accept in one chain does not save from the next; a drop in any does. */
static void every_chain_on_the_way_is_asked(void **state)
{
	_cleanup_(firewall_freep) struct firewall *firewall = new_firewall();
	struct nftnl_rule *rule = new_rule("first");
	struct judgement judgement;

	(void)state;
	add_chain(firewall, "second", NF_INET_LOCAL_IN, 10, NF_DROP);
	add_chain(firewall, "first", NF_INET_PRE_ROUTING, -400, NF_ACCEPT);
	add_chain(firewall, "elsewhere", NF_INET_FORWARD, 0, NF_DROP);
	add_verdict(rule, NF_ACCEPT, NULL);
	assert_int_equal(firewall_add_rule(firewall, rule), 0);
	firewall_judge(firewall, &ssh, &judgement);
	assert_int_equal(judgement.outcomes, JUDGED_REFUSED);
	assert_string_equal(judgement.refused_by, "table inet t, chain second (policy drop)");
}

static void what_is_not_known_is_both(void **state)
{
	static const char *const names[] = { "numgen", "osf", "socket", "match", "queue",
		"synproxy" };

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(names); i++) {
		_cleanup_(firewall_freep) struct firewall *firewall = new_firewall();
		struct nftnl_rule *rule = new_rule("input");

		add_chain(firewall, "input", NF_INET_LOCAL_IN, 0, NF_ACCEPT);
		add_named(rule, names[i]);
		add_verdict(rule, NF_DROP, NULL);
		assert_int_equal(firewall_add_rule(firewall, rule), 0);
		assert_int_equal(outcomes(firewall, &ssh), JUDGED_PASSES | JUDGED_REFUSED);
	}
}

static void an_unknown_source_is_both_and_a_known_one_is_not(void **state)
{
	_cleanup_(firewall_freep) struct firewall *firewall = new_firewall();
	struct nftnl_rule *rule = new_rule("input");
	struct probe any = ssh;

	(void)state;
	any.source = NULL;
	add_chain(firewall, "input", NF_INET_LOCAL_IN, 0, NF_ACCEPT);
	add_load(rule, NFT_PAYLOAD_NETWORK_HEADER, 12, 4, NFT_REG32_00);
	add_compare(rule, NFT_REG_1, NFT_CMP_NEQ, source.bytes, 4);
	add_verdict(rule, NF_DROP, NULL);
	assert_int_equal(firewall_add_rule(firewall, rule), 0);
	assert_int_equal(outcomes(firewall, &ssh), JUDGED_PASSES);
	assert_int_equal(outcomes(firewall, &any), JUDGED_PASSES | JUDGED_REFUSED);
}

/* A chain that leads to itself is none that the kernel takes; nor does it hang whoever reads it. */
static void a_circle_is_given_up(void **state)
{
	_cleanup_(firewall_freep) struct firewall *firewall = new_firewall();
	struct judgement judgement;

	(void)state;
	add_chain(firewall, "input", NF_INET_LOCAL_IN, 0, NF_ACCEPT);
	for (int i = 0; i < 4; i++) {
		struct nftnl_rule *rule = new_rule("input");

		add_verdict(rule, NFT_JUMP, "input");
		assert_int_equal(firewall_add_rule(firewall, rule), 0);
	}
	firewall_judge(firewall, &ssh, &judgement);
	assert_true(judgement.is_cut);
	assert_true(judgement.outcomes & JUDGED_REFUSED);
}

static void a_jump_into_nothing_is_not_known(void **state)
{
	_cleanup_(firewall_freep) struct firewall *firewall = new_firewall();
	struct nftnl_rule *rule = new_rule("input");
	struct judgement judgement;

	(void)state;
	add_chain(firewall, "input", NF_INET_LOCAL_IN, 0, NF_ACCEPT);
	add_verdict(rule, NFT_GOTO, "nowhere");
	assert_int_equal(firewall_add_rule(firewall, rule), 0);
	firewall_judge(firewall, &ssh, &judgement);
	assert_true(judgement.is_cut);
}

static void a_set_that_was_cut_may_have_more(void **state)
{
	_cleanup_(firewall_freep) struct firewall *firewall = new_firewall();
	struct nftnl_rule *rule = new_rule("input");
	struct nftnl_expr *e = nftnl_expr_alloc("lookup");
	struct nftnl_set *set = nftnl_set_alloc();

	(void)state;
	add_chain(firewall, "input", NF_INET_LOCAL_IN, 0, NF_ACCEPT);
	nftnl_set_set_u32(set, NFTNL_SET_FAMILY, NFPROTO_INET);
	nftnl_set_set_str(set, NFTNL_SET_TABLE, "t");
	nftnl_set_set_str(set, NFTNL_SET_NAME, "s");
	nftnl_set_set_u32(set, NFTNL_SET_KEY_LEN, 2);
	assert_int_equal(firewall_add_set(firewall, set), 0);
	add_load(rule, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, NFT_REG_1);
	nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1);
	nftnl_expr_set_str(e, NFTNL_EXPR_LOOKUP_SET, "s");
	nftnl_rule_add_expr(rule, e);
	add_verdict(rule, NF_DROP, NULL);
	assert_int_equal(firewall_add_rule(firewall, rule), 0);
	assert_int_equal(outcomes(firewall, &ssh), JUDGED_PASSES);
	firewall->is_cut = true;
	assert_int_equal(outcomes(firewall, &ssh), JUDGED_PASSES | JUDGED_REFUSED);
}

/* What lies outside of the registers, by a name or a length, is neither read nor written. */
static void registers_have_ends(void **state)
{
	static const uint32_t names[] = { 0, NFT_REG_1, NFT_REG_4, 5, NFT_REG32_00, NFT_REG32_15,
		NFT_REG32_15 + 1, UINT32_MAX };
	static const uint32_t lengths[] = { 0, 1, 4, 16, 17, 40, 64, 65, UINT32_MAX - 1,
		UINT32_MAX };
	const uint8_t bytes[128] = {};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(names); i++)
		for (size_t k = 0; k < N_ELEMENTS(lengths); k++) {
			uint32_t n = lengths[k], n_here = n > sizeof(bytes) ? sizeof(bytes) : n;
			struct {
				struct registers registers;
				uint8_t behind[64];
			} held = {};

			registers_load(&held.registers, names[i], bytes, n_here);
			registers_load_packet(
				&held.registers, names[i], &ssh, NFT_PAYLOAD_NETWORK_HEADER, n, n);
			registers_load_packet(&held.registers, names[i], &ssh,
				NFT_PAYLOAD_TRANSPORT_HEADER, 0, n);
			registers_mask(&held.registers, names[i], names[k % N_ELEMENTS(names)],
				bytes, bytes, n_here);
			registers_swap(
				&held.registers, names[i], names[k % N_ELEMENTS(names)], n, 4);
			registers_forget(&held.registers, names[i], n);
			registers_load_interface(&held.registers, names[i], true);
			(void)registers_compare(
				&held.registers, names[i], NFT_CMP_LT, bytes, n_here);
			(void)registers_known(&held.registers, names[i], n);
			for (size_t b = 0; b < sizeof(held.behind); b++)
				assert_int_equal(held.behind[b], 0);
		}
}

/* 192.0.2.7 & 255.255.255.0: what the mask takes away is known, whatever was not. */
static void a_mask_makes_known(void **state)
{
	static const uint8_t mask[4] = { 0, 0, 0, 0 }, none[4];
	struct registers registers;

	(void)state;
	registers_init(&registers);
	assert_null(registers_known(&registers, NFT_REG_1, 4));
	registers_mask(&registers, NFT_REG_1, NFT_REG_1, mask, none, 4);
	assert_non_null(registers_known(&registers, NFT_REG_1, 4));
	assert_int_equal(registers_compare(&registers, NFT_REG_1, NFT_CMP_EQ, none, 4), TRUTH_YES);
}

static void a_stranger_does_not_come_by_loopback(void **state)
{
	const uint32_t loopback = 1, other = 2;
	struct registers registers;

	(void)state;
	registers_init(&registers);
	registers_load_interface(&registers, NFT_REG_1, true);
	assert_int_equal(registers_compare(&registers, NFT_REG_1, NFT_CMP_EQ, "lo", 3), TRUTH_NO);
	assert_int_equal(
		registers_compare(&registers, NFT_REG_1, NFT_CMP_EQ, "eth0", 5), TRUTH_MAYBE);
	registers_load_interface(&registers, NFT_REG_1, false);
	assert_int_equal(
		registers_compare(&registers, NFT_REG_1, NFT_CMP_EQ, &loopback, 4), TRUTH_NO);
	assert_int_equal(
		registers_compare(&registers, NFT_REG_1, NFT_CMP_EQ, &other, 4), TRUTH_MAYBE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_rules_refuse_nothing),
		cmocka_unit_test(a_refusal_names_its_rule),
		cmocka_unit_test(every_chain_on_the_way_is_asked),
		cmocka_unit_test(what_is_not_known_is_both),
		cmocka_unit_test(an_unknown_source_is_both_and_a_known_one_is_not),
		cmocka_unit_test(a_circle_is_given_up),
		cmocka_unit_test(a_jump_into_nothing_is_not_known),
		cmocka_unit_test(a_set_that_was_cut_may_have_more),
		cmocka_unit_test(registers_have_ends),
		cmocka_unit_test(a_mask_makes_known),
		cmocka_unit_test(a_stranger_does_not_come_by_loopback),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
