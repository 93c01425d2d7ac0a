/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>

#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <linux/if_ether.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/rtnetlink.h>

#include "nft/lookup.h"
#include "nft/machine.h"
#include "nft/registers.h"

#define OBJECT_SYNPROXY 10 /* NFT_OBJECT_SYNPROXY: Linux 5.4 */

struct machine {
	const struct firewall *firewall;
	const struct firewall_chain *chain;
	const struct probe *probe;
	struct registers registers;
	struct rule_result *result;
};

typedef enum truth run_expression(struct machine *machine, const struct nftnl_expr *e);

static uint32_t get(const struct nftnl_expr *e, uint16_t attribute)
{
	return nftnl_expr_is_set(e, attribute) ? nftnl_expr_get_u32(e, attribute) : 0;
}

static void add_action(struct machine *machine, struct action action)
{
	struct rule_result *result = machine->result;

	/* One more than there is room for: anything. */
	if (result->n_actions == RULE_ACTIONS_MAX)
		result->actions[RULE_ACTIONS_MAX - 1] = (struct action){ .kind = ACTION_ASK };
	else
		result->actions[result->n_actions++] = action;
}

static struct action verdict_action(int32_t verdict, const char *chain)
{
	switch (verdict) {
	case NF_ACCEPT:
		return (struct action){ .kind = ACTION_ACCEPT };
	case NF_DROP:
		return (struct action){ .kind = ACTION_DROP };
	case NFT_RETURN:
		return (struct action){ .kind = ACTION_RETURN };
	case NFT_CONTINUE:
		return (struct action){ .kind = ACTION_CONTINUE };
	case NFT_JUMP:
		return (struct action){ .kind = ACTION_JUMP, .chain = chain };
	case NFT_GOTO:
		return (struct action){ .kind = ACTION_GOTO, .chain = chain };
	}
	return (struct action){ .kind = ACTION_ASK };
}

/* Ports are a transport header's first four bytes; the destination's address has its place. */
static bool is_destination(const struct probe *probe, uint32_t base, uint32_t from, uint32_t n)
{
	if (base == NFT_PAYLOAD_TRANSPORT_HEADER)
		return from < 4;
	return base == NFT_PAYLOAD_NETWORK_HEADER &&
		(probe->family == AF_INET ? from < 20 && from + n > 16
					  : from < 40 && from + n > 24);
}

static enum truth run_payload(struct machine *machine, const struct nftnl_expr *e)
{
	if (nftnl_expr_is_set(e, NFTNL_EXPR_PAYLOAD_SREG)) {
		machine->result->readdresses |=
			is_destination(machine->probe, get(e, NFTNL_EXPR_PAYLOAD_BASE),
				get(e, NFTNL_EXPR_PAYLOAD_OFFSET), get(e, NFTNL_EXPR_PAYLOAD_LEN));
		return TRUTH_YES;
	}
	registers_load_packet(&machine->registers, get(e, NFTNL_EXPR_PAYLOAD_DREG), machine->probe,
		get(e, NFTNL_EXPR_PAYLOAD_BASE), get(e, NFTNL_EXPR_PAYLOAD_OFFSET),
		get(e, NFTNL_EXPR_PAYLOAD_LEN));
	return TRUTH_YES;
}

static void load_u8(struct machine *machine, uint32_t to, uint8_t value)
{
	registers_load(&machine->registers, to, &value, sizeof(value));
}

static void load_u32(struct machine *machine, uint32_t to, uint32_t value)
{
	registers_load(&machine->registers, to, &value, sizeof(value));
}

static void load_interface(struct machine *machine, uint32_t to, bool by_name)
{
	const struct probe *probe = machine->probe;
	char name[IFNAMSIZ] = "";

	if (!probe->interface) {
		registers_load_interface(&machine->registers, to, by_name);
		return;
	}
	snprintf(name, sizeof(name), "%s", probe->interface);
	if (by_name)
		registers_load(&machine->registers, to, name, sizeof(name));
	else
		load_u32(machine, to, probe->interface_index);
}

static enum truth run_meta(struct machine *machine, const struct nftnl_expr *e)
{
	const struct probe *probe = machine->probe;
	uint32_t key = get(e, NFTNL_EXPR_META_KEY), to = get(e, NFTNL_EXPR_META_DREG);
	uint16_t protocol = htons(probe->family == AF_INET ? ETH_P_IP : ETH_P_IPV6);

	if (nftnl_expr_is_set(e, NFTNL_EXPR_META_SREG)) {
		machine->result->marks |= key == NFT_META_MARK;
		return TRUTH_YES;
	}
	registers_forget(&machine->registers, to, IFNAMSIZ);
	switch (key) {
	case NFT_META_NFPROTO:
		load_u8(machine, to, probe->family == AF_INET ? NFPROTO_IPV4 : NFPROTO_IPV6);
		break;
	case NFT_META_L4PROTO:
		load_u8(machine, to, probe->l4proto);
		break;
	case NFT_META_PROTOCOL:
		registers_load(&machine->registers, to, &protocol, sizeof(protocol));
		break;
	case NFT_META_MARK:
		if (!probe->is_marked)
			load_u32(machine, to, 0);
		break;
	case NFT_META_PKTTYPE:
		load_u8(machine, to, 0); /* PACKET_HOST */
		break;
	case NFT_META_IIF:
	case NFT_META_IIFNAME:
		if (!probe->is_answer)
			load_interface(machine, to, key == NFT_META_IIFNAME);
		break;
	case NFT_META_OIF:
	case NFT_META_OIFNAME:
		if (probe->is_answer)
			load_interface(machine, to, key == NFT_META_OIFNAME);
		break;
	default:
		break;
	}
	return TRUTH_YES;
}

static enum truth run_ct(struct machine *machine, const struct nftnl_expr *e)
{
	const struct probe *probe = machine->probe;
	uint32_t key = get(e, NFTNL_EXPR_CT_KEY), to = get(e, NFTNL_EXPR_CT_DREG);

	if (nftnl_expr_is_set(e, NFTNL_EXPR_CT_SREG)) {
		machine->result->marks |= key == NFT_CT_MARK;
		return TRUTH_YES;
	}
	registers_forget(&machine->registers, to, 16);
	if (probe->tracking == TRACKING_UNKNOWN)
		return key == NFT_CT_STATE ? TRUTH_YES : TRUTH_MAYBE;
	if (probe->tracking == TRACKING_NOT_YET) {
		if (key != NFT_CT_STATE)
			return TRUTH_NO; /* there is nothing to ask: the rule ends here */
		load_u32(machine, to, NF_CT_STATE_INVALID_BIT);
		return TRUTH_YES;
	}
	switch (key) {
	case NFT_CT_STATE:
		load_u32(machine, to,
			NF_CT_STATE_BIT(probe->is_answer ? IP_CT_ESTABLISHED : IP_CT_NEW));
		break;
	case NFT_CT_STATUS:
		if (!probe->is_answer)
			load_u32(machine, to, probe->is_translated ? IPS_DST_NAT : 0);
		break;
	case NFT_CT_DIRECTION:
		load_u8(machine, to, probe->is_answer ? IP_CT_DIR_REPLY : IP_CT_DIR_ORIGINAL);
		break;
	case NFT_CT_MARK:
		if (!probe->is_marked)
			load_u32(machine, to, 0);
		break;
	case NFT_CT_PROTOCOL:
		load_u8(machine, to, probe->l4proto);
		break;
	default:
		break;
	}
	return TRUTH_YES;
}

/* Where the packet comes from is where answers go: who asks has a route. */
static enum truth run_fib(struct machine *machine, const struct nftnl_expr *e)
{
	uint32_t flags = get(e, NFTNL_EXPR_FIB_FLAGS), to = get(e, NFTNL_EXPR_FIB_DREG);

	registers_forget(&machine->registers, to, IFNAMSIZ);
	if (get(e, NFTNL_EXPR_FIB_RESULT) == NFT_FIB_RESULT_ADDRTYPE)
		load_u32(machine, to,
			!(flags & NFTA_FIB_F_DADDR) == machine->probe->is_answer ? RTN_LOCAL
										 : RTN_UNICAST);
	else if (machine->probe->is_answer)
		return TRUTH_YES;
	else if ((flags & NFTA_FIB_F_PRESENT) && (flags & NFTA_FIB_F_SADDR))
		load_u8(machine, to, 1);
	else if (flags & NFTA_FIB_F_SADDR)
		registers_load_interface(&machine->registers, to,
			get(e, NFTNL_EXPR_FIB_RESULT) == NFT_FIB_RESULT_OIFNAME);
	return TRUTH_YES;
}

/* It has no IPv6 extension header and no IPv4 option; what options of TCP it has is not known. */
static enum truth run_exthdr(struct machine *machine, const struct nftnl_expr *e)
{
	uint32_t op = get(e, NFTNL_EXPR_EXTHDR_OP), to = get(e, NFTNL_EXPR_EXTHDR_DREG);

	if (nftnl_expr_is_set(e, NFTNL_EXPR_EXTHDR_SREG))
		return TRUTH_YES;
	registers_forget(&machine->registers, to, IFNAMSIZ);
	if (op != NFT_EXTHDR_OP_IPV6 && op != NFT_EXTHDR_OP_IPV4)
		return TRUTH_MAYBE;
	if (!(get(e, NFTNL_EXPR_EXTHDR_FLAGS) & NFT_EXTHDR_F_PRESENT))
		return TRUTH_NO;
	load_u8(machine, to, 0);
	return TRUTH_YES;
}

static enum truth run_cmp(struct machine *machine, const struct nftnl_expr *e)
{
	uint32_t n = 0;
	const void *data = nftnl_expr_get(e, NFTNL_EXPR_CMP_DATA, &n);

	return registers_compare(&machine->registers, get(e, NFTNL_EXPR_CMP_SREG),
		get(e, NFTNL_EXPR_CMP_OP), data, n);
}

static enum truth run_range(struct machine *machine, const struct nftnl_expr *e)
{
	uint32_t from = get(e, NFTNL_EXPR_RANGE_SREG), n = 0, n_last = 0;
	const void *first = nftnl_expr_get(e, NFTNL_EXPR_RANGE_FROM_DATA, &n);
	const void *last = nftnl_expr_get(e, NFTNL_EXPR_RANGE_TO_DATA, &n_last);
	enum truth above = registers_compare(&machine->registers, from, NFT_CMP_GTE, first, n);
	enum truth below = registers_compare(&machine->registers, from, NFT_CMP_LTE, last, n_last);
	enum truth within = above < below ? above : below;

	return get(e, NFTNL_EXPR_RANGE_OP) == NFT_RANGE_NEQ ? truth_not(within) : within;
}

static enum truth run_bitwise(struct machine *machine, const struct nftnl_expr *e)
{
	uint32_t n = get(e, NFTNL_EXPR_BITWISE_LEN), n_mask = 0, n_xor = 0;
	const void *mask = nftnl_expr_get(e, NFTNL_EXPR_BITWISE_MASK, &n_mask);
	const void * xor = nftnl_expr_get(e, NFTNL_EXPR_BITWISE_XOR, &n_xor);

	if (get(e, NFTNL_EXPR_BITWISE_OP) != NFT_BITWISE_BOOL || !mask || !xor || n_mask < n ||
		n_xor < n)
		registers_forget(&machine->registers, get(e, NFTNL_EXPR_BITWISE_DREG), n);
	else
		registers_mask(&machine->registers, get(e, NFTNL_EXPR_BITWISE_DREG),
			get(e, NFTNL_EXPR_BITWISE_SREG), mask, xor, n);
	return TRUTH_YES;
}

static enum truth run_byteorder(struct machine *machine, const struct nftnl_expr *e)
{
	registers_swap(&machine->registers, get(e, NFTNL_EXPR_BYTEORDER_DREG),
		get(e, NFTNL_EXPR_BYTEORDER_SREG), get(e, NFTNL_EXPR_BYTEORDER_LEN),
		get(e, NFTNL_EXPR_BYTEORDER_SIZE));
	return TRUTH_YES;
}

static enum truth run_immediate(struct machine *machine, const struct nftnl_expr *e)
{
	uint32_t n = 0;
	const void *data;

	if (nftnl_expr_is_set(e, NFTNL_EXPR_IMM_VERDICT)) {
		add_action(machine,
			verdict_action((int32_t)nftnl_expr_get_u32(e, NFTNL_EXPR_IMM_VERDICT),
				nftnl_expr_is_set(e, NFTNL_EXPR_IMM_CHAIN)
					? nftnl_expr_get_str(e, NFTNL_EXPR_IMM_CHAIN)
					: NULL));
		return TRUTH_YES;
	}
	data = nftnl_expr_get(e, NFTNL_EXPR_IMM_DATA, &n);
	registers_load(&machine->registers, get(e, NFTNL_EXPR_IMM_DREG), data, n);
	return TRUTH_YES;
}

static void on_lookup_verdict(int32_t verdict, const char *chain, void *userdata)
{
	add_action(userdata, verdict_action(verdict, chain));
}

static enum truth run_lookup(struct machine *machine, const struct nftnl_expr *e)
{
	const struct nftnl_set *set = firewall_find_set(machine->firewall, machine->chain->family,
		machine->chain->table, nftnl_expr_get_str(e, NFTNL_EXPR_LOOKUP_SET));
	bool is_map = nftnl_expr_is_set(e, NFTNL_EXPR_LOOKUP_DREG);
	bool is_verdict = is_map && get(e, NFTNL_EXPR_LOOKUP_DREG) == NFT_REG_VERDICT;
	enum truth found = TRUTH_MAYBE;

	if (is_map && !is_verdict)
		registers_forget(&machine->registers, get(e, NFTNL_EXPR_LOOKUP_DREG), 16);
	if (set)
		found = lookup(set, machine->firewall->is_cut, &machine->registers,
			get(e, NFTNL_EXPR_LOOKUP_SREG), is_verdict ? on_lookup_verdict : NULL,
			machine);
	else if (is_verdict)
		add_action(machine, (struct action){ .kind = ACTION_ASK });
	return get(e, NFTNL_EXPR_LOOKUP_FLAGS) & NFT_LOOKUP_F_INV ? truth_not(found) : found;
}

static enum truth run_limit(struct machine *machine, const struct nftnl_expr *e)
{
	(void)machine;
	return truth_of(!(get(e, NFTNL_EXPR_LIMIT_FLAGS) & NFT_LIMIT_F_INV));
}

/* The first connection is one already. */
static enum truth run_connlimit(struct machine *machine, const struct nftnl_expr *e)
{
	bool is_over = get(e, NFTNL_EXPR_CONNLIMIT_COUNT) == 0;

	(void)machine;
	return truth_of(is_over == !!(get(e, NFTNL_EXPR_CONNLIMIT_FLAGS) & NFT_CONNLIMIT_F_INV));
}

/* A meter: what is in it decides. */
static enum truth run_dynset(struct machine *machine, const struct nftnl_expr *e)
{
	const struct nftnl_expr *inner = nftnl_expr_is_set(e, NFTNL_EXPR_DYNSET_EXPR)
		? nftnl_expr_get(e, NFTNL_EXPR_DYNSET_EXPR, &(uint32_t){ 0 })
		: NULL;
	const char *name = inner ? nftnl_expr_get_str(inner, NFTNL_EXPR_NAME) : "";

	if (strcmp(name, "limit") == 0)
		return run_limit(machine, inner);
	if (strcmp(name, "connlimit") == 0)
		return run_connlimit(machine, inner);
	return TRUTH_YES;
}

static enum truth run_reject(struct machine *machine, const struct nftnl_expr *e)
{
	(void)e;
	add_action(machine, (struct action){ .kind = ACTION_DROP });
	return TRUTH_YES;
}

static enum truth run_ask(struct machine *machine, const struct nftnl_expr *e)
{
	(void)e;
	add_action(machine, (struct action){ .kind = ACTION_ASK });
	return TRUTH_YES;
}

static enum truth run_redirect(struct machine *machine, const struct nftnl_expr *e)
{
	struct action action = { .kind = ACTION_TRANSLATE, .stays = true };

	if (nftnl_expr_is_set(e, NFTNL_EXPR_REDIR_REG_PROTO_MIN))
		action.port =
			registers_port(&machine->registers, get(e, NFTNL_EXPR_REDIR_REG_PROTO_MIN));
	add_action(machine, action);
	return TRUTH_YES;
}

static enum truth run_nat(struct machine *machine, const struct nftnl_expr *e)
{
	struct action action = { .kind = ACTION_TRANSLATE };

	if (get(e, NFTNL_EXPR_NAT_TYPE) != NFT_NAT_DNAT)
		return TRUTH_YES;
	if (nftnl_expr_is_set(e, NFTNL_EXPR_NAT_REG_PROTO_MIN))
		action.port =
			registers_port(&machine->registers, get(e, NFTNL_EXPR_NAT_REG_PROTO_MIN));
	action.stays = !nftnl_expr_is_set(e, NFTNL_EXPR_NAT_REG_ADDR_MIN);
	add_action(machine, action);
	return TRUTH_YES;
}

static enum truth run_notrack(struct machine *machine, const struct nftnl_expr *e)
{
	(void)e;
	machine->result->exempts = true;
	return TRUTH_YES;
}

static enum truth run_match(struct machine *machine, const struct nftnl_expr *e)
{
	uint32_t n = 0;
	const void *info = nftnl_expr_get(e, NFTNL_EXPR_MT_INFO, &n);

	return compat_match(machine->probe, nftnl_expr_get_str(e, NFTNL_EXPR_MT_NAME),
		get(e, NFTNL_EXPR_MT_REV), info, info ? n : 0);
}

static enum truth run_target(struct machine *machine, const struct nftnl_expr *e)
{
	uint32_t n = 0;
	const void *info = nftnl_expr_get(e, NFTNL_EXPR_TG_INFO, &n);

	if (machine->result->n_actions < RULE_ACTIONS_MAX)
		compat_target(nftnl_expr_get_str(e, NFTNL_EXPR_TG_NAME), get(e, NFTNL_EXPR_TG_REV),
			info, info ? n : 0, machine->result);
	return TRUTH_YES;
}

/* What an object holds is not read; one that is found by a map may not be found. */
static enum truth run_object(struct machine *machine, const struct nftnl_expr *e)
{
	if (!nftnl_expr_is_set(e, NFTNL_EXPR_OBJREF_IMM_TYPE))
		return TRUTH_MAYBE;
	switch (nftnl_expr_get_u32(e, NFTNL_EXPR_OBJREF_IMM_TYPE)) {
	case NFT_OBJECT_QUOTA:
	case NFT_OBJECT_LIMIT:
	case NFT_OBJECT_CONNLIMIT:
		return TRUTH_MAYBE;
	case OBJECT_SYNPROXY:
		return run_ask(machine, e);
	}
	return TRUTH_YES;
}

static enum truth run_nothing(struct machine *machine, const struct nftnl_expr *e)
{
	(void)machine, (void)e;
	return TRUTH_YES;
}

/* What is not here may match or not, and load anything. */
static const struct {
	const char *name;
	run_expression *run;
} expressions[] = {
	{ "payload", run_payload },
	{ "meta", run_meta },
	{ "ct", run_ct },
	{ "fib", run_fib },
	{ "exthdr", run_exthdr },
	{ "cmp", run_cmp },
	{ "range", run_range },
	{ "bitwise", run_bitwise },
	{ "byteorder", run_byteorder },
	{ "immediate", run_immediate },
	{ "lookup", run_lookup },
	{ "limit", run_limit },
	{ "connlimit", run_connlimit },
	{ "dynset", run_dynset },
	{ "reject", run_reject },
	{ "queue", run_ask },
	{ "tproxy", run_ask },
	{ "synproxy", run_ask },
	{ "fwd", run_ask },
	{ "redir", run_redirect },
	{ "nat", run_nat },
	{ "notrack", run_notrack },
	{ "match", run_match },
	{ "target", run_target },
	{ "counter", run_nothing },
	{ "log", run_nothing },
	{ "dup", run_nothing },
	{ "last", run_nothing },
	{ "objref", run_object },
	{ "masq", run_nothing },
	{ "flow_offload", run_nothing },
};

static enum truth run(struct machine *machine, const struct nftnl_expr *e)
{
	const char *name = nftnl_expr_get_str(e, NFTNL_EXPR_NAME);

	for (size_t i = 0; name && i < N_ELEMENTS(expressions); i++)
		if (strcmp(expressions[i].name, name) == 0)
			return expressions[i].run(machine, e);
	registers_init(&machine->registers);
	return TRUTH_MAYBE;
}

void rule_run(const struct firewall *firewall, const struct firewall_chain *chain,
	const struct nftnl_rule *rule, const struct probe *probe, struct rule_result *ret)
{
	struct machine machine = {
		.firewall = firewall,
		.chain = chain,
		.probe = probe,
		.result = ret,
	};
	struct nftnl_expr_iter *iterator = nftnl_expr_iter_create(rule);
	const struct nftnl_expr *e;

	*ret = (struct rule_result){ .matches = TRUTH_YES };
	registers_init(&machine.registers);
	if (!iterator) { /* no memory: nothing is known */
		ret->matches = TRUTH_MAYBE;
		add_action(&machine, (struct action){ .kind = ACTION_ASK });
		return;
	}
	while (ret->matches != TRUTH_NO && (e = nftnl_expr_iter_next(iterator))) {
		enum truth truth = run(&machine, e);

		if (truth < ret->matches)
			ret->matches = truth;
	}
	nftnl_expr_iter_destroy(iterator);
}
