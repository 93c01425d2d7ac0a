/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/rtnetlink.h>

#include "address.h"
#include "nft/expression.h"

#define LOOPBACK_INDEX 1 /* in every network namespace */

#define TCP_FLAGS_OFFSET 13
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* Of the IPv6 fragment header (RFC 8200, section 4.5): the offset is the upper 13 of these 16 bits.
 */
#define FRAGMENT_OFFSET_AT 2
#define FRAGMENT_OFFSET_MASK htons(0xfff8)

#define SOURCE_PORT_AT 0
#define DESTINATION_PORT_AT 2

/* Fields of a concatenation lie one after another in the registers, from the first. */
static uint32_t register_at(size_t offset)
{
	return offset == 0 ? NFT_REG_1 : NFT_REG32_00 + offset / 4;
}

static struct nftnl_expr *add(struct rule_builder *builder, const char *name)
{
	struct nftnl_expr *expression;

	if (builder->error)
		return NULL;
	expression = nftnl_expr_alloc(name);
	if (!expression) {
		builder->error = -ENOMEM;
		return NULL;
	}
	nftnl_rule_add_expr(builder->rule, expression); /* consumed */
	return expression;
}

static void set_string(struct rule_builder *builder, struct nftnl_expr *expression,
	uint16_t attribute, const char *string)
{
	if (nftnl_expr_set_str(expression, attribute, string) < 0)
		builder->error = -ENOMEM;
}

void rule_begin(struct rule_builder *builder, const char *chain)
{
	if (builder->error)
		return;
	builder->chain = chain;
	builder->rule = nftnl_rule_alloc();
	if (!builder->rule || nftnl_rule_set_str(builder->rule, NFTNL_RULE_TABLE, GATE_TABLE) < 0 ||
		nftnl_rule_set_str(builder->rule, NFTNL_RULE_CHAIN, chain) < 0) {
		builder->error = -ENOMEM;
		return;
	}
	nftnl_rule_set_u32(builder->rule, NFTNL_RULE_FAMILY, NFPROTO_INET);
}

static int rule_add_comment(struct nftnl_rule *rule, const char *comment)
{
	struct nftnl_udata_buf *userdata = nftnl_udata_buf_alloc(NFT_USERDATA_MAXLEN);
	int status = -ENOMEM;

	if (!userdata)
		return -ENOMEM;
	if (nftnl_udata_put_strz(userdata, NFTNL_UDATA_RULE_COMMENT, comment) &&
		nftnl_rule_set_data(rule, NFTNL_RULE_USERDATA, nftnl_udata_buf_data(userdata),
			nftnl_udata_buf_len(userdata)) == 0)
		status = 0;
	nftnl_udata_buf_free(userdata);
	return status;
}

void rule_end(struct rule_builder *builder, const char *comment)
{
	if (!builder->error && comment)
		builder->error = rule_add_comment(builder->rule, comment);
	if (!builder->error)
		builder->error = transaction_add_rule(
			builder->transaction, NFT_MSG_NEWRULE, builder->rule, builder->chain);
	if (builder->rule)
		nftnl_rule_free(builder->rule);
	builder->rule = NULL;
}

static void load_meta(struct rule_builder *builder, enum nft_meta_keys key, size_t offset)
{
	struct nftnl_expr *meta = add(builder, "meta");

	if (!meta)
		return;
	nftnl_expr_set_u32(meta, NFTNL_EXPR_META_KEY, key);
	nftnl_expr_set_u32(meta, NFTNL_EXPR_META_DREG, register_at(offset));
}

static void load_payload(struct rule_builder *builder, enum nft_payload_bases base, uint32_t at,
	uint32_t n_bytes, size_t offset)
{
	struct nftnl_expr *payload = add(builder, "payload");

	if (!payload)
		return;
	nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_BASE, base);
	nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_OFFSET, at);
	nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_LEN, n_bytes);
	nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_DREG, register_at(offset));
}

static void load_tracking(struct rule_builder *builder, enum nft_ct_keys key)
{
	struct nftnl_expr *tracking = add(builder, "ct");

	if (!tracking)
		return;
	nftnl_expr_set_u32(tracking, NFTNL_EXPR_CT_KEY, key);
	nftnl_expr_set_u32(tracking, NFTNL_EXPR_CT_DREG, NFT_REG_1);
	if (key == NFT_CT_PROTO_DST)
		nftnl_expr_set_u8(tracking, NFTNL_EXPR_CT_DIR, IP_CT_DIR_ORIGINAL);
}

static void mask(struct rule_builder *builder, const void *bits, size_t n_bytes)
{
	static const uint8_t zero[4];
	struct nftnl_expr *bitwise = add(builder, "bitwise");

	if (!bitwise)
		return;
	nftnl_expr_set_u32(bitwise, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
	nftnl_expr_set_u32(bitwise, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
	nftnl_expr_set_u32(bitwise, NFTNL_EXPR_BITWISE_OP, NFT_BITWISE_BOOL);
	nftnl_expr_set_u32(bitwise, NFTNL_EXPR_BITWISE_LEN, n_bytes);
	if (nftnl_expr_set(bitwise, NFTNL_EXPR_BITWISE_MASK, bits, n_bytes) < 0 ||
		nftnl_expr_set(bitwise, NFTNL_EXPR_BITWISE_XOR, zero, n_bytes) < 0)
		builder->error = -ENOMEM;
}

static void compare(
	struct rule_builder *builder, enum nft_cmp_ops operation, const void *data, size_t n_bytes)
{
	struct nftnl_expr *cmp = add(builder, "cmp");

	if (!cmp)
		return;
	nftnl_expr_set_u32(cmp, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
	nftnl_expr_set_u32(cmp, NFTNL_EXPR_CMP_OP, operation);
	if (nftnl_expr_set(cmp, NFTNL_EXPR_CMP_DATA, data, n_bytes) < 0)
		builder->error = -ENOMEM;
}

static void lookup(struct rule_builder *builder, enum gate_set set)
{
	struct nftnl_expr *expression = add(builder, "lookup");

	if (!expression)
		return;
	nftnl_expr_set_u32(expression, NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1);
	nftnl_expr_set_u32(expression, NFTNL_EXPR_LOOKUP_SET_ID, set + 1);
	set_string(builder, expression, NFTNL_EXPR_LOOKUP_SET, gate_set_definition(set)->name);
}

/* Kernels before 5.11 don't take it from the set. */
static void count_elements(struct rule_builder *builder, struct nftnl_expr *dynset)
{
	struct nftnl_expr *counter = nftnl_expr_alloc("counter");

	if (!counter)
		builder->error = -ENOMEM;
	else if (nftnl_expr_set(dynset, NFTNL_EXPR_DYNSET_EXPR, counter, 0) < 0) /* consumed */
		builder->error = -ENOMEM;
}

static void change_set(
	struct rule_builder *builder, enum gate_set set, enum nft_dynset_ops operation)
{
	struct nftnl_expr *dynset = add(builder, "dynset");

	if (!dynset)
		return;
	nftnl_expr_set_u32(dynset, NFTNL_EXPR_DYNSET_SREG_KEY, NFT_REG_1);
	nftnl_expr_set_u32(dynset, NFTNL_EXPR_DYNSET_OP, operation);
	nftnl_expr_set_u32(dynset, NFTNL_EXPR_DYNSET_SET_ID, set + 1);
	set_string(builder, dynset, NFTNL_EXPR_DYNSET_SET_NAME, gate_set_definition(set)->name);
	if (gate_set_definition(set)->counter)
		count_elements(builder, dynset);
}

static void compare_range(struct rule_builder *builder, enum nft_range_ops operation,
	const void *first, const void *last, size_t n_bytes)
{
	struct nftnl_expr *range;

	if (memcmp(first, last, n_bytes) == 0) {
		compare(builder, operation == NFT_RANGE_EQ ? NFT_CMP_EQ : NFT_CMP_NEQ, first,
			n_bytes);
		return;
	}
	range = add(builder, "range");
	if (!range)
		return;
	nftnl_expr_set_u32(range, NFTNL_EXPR_RANGE_SREG, NFT_REG_1);
	nftnl_expr_set_u32(range, NFTNL_EXPR_RANGE_OP, operation);
	if (nftnl_expr_set(range, NFTNL_EXPR_RANGE_FROM_DATA, first, n_bytes) < 0 ||
		nftnl_expr_set(range, NFTNL_EXPR_RANGE_TO_DATA, last, n_bytes) < 0)
		builder->error = -ENOMEM;
}

static void compare_ports(
	struct rule_builder *builder, enum nft_range_ops operation, const struct port_range *ports)
{
	const uint16_t first_be = htons(ports->first), last_be = htons(ports->last);

	compare_range(builder, operation, &first_be, &last_be, sizeof(first_be));
}

void match_interface(struct rule_builder *builder, uint32_t index)
{
	load_meta(builder, NFT_META_IIF, 0);
	compare(builder, NFT_CMP_EQ, &index, sizeof(index));
}

void match_loopback(struct rule_builder *builder)
{
	match_interface(builder, LOOPBACK_INDEX);
}

void match_family(struct rule_builder *builder, uint8_t family)
{
	const uint8_t nfproto = family == AF_INET ? NFPROTO_IPV4 : NFPROTO_IPV6;

	load_meta(builder, NFT_META_NFPROTO, 0);
	compare(builder, NFT_CMP_EQ, &nfproto, sizeof(nfproto));
}

void match_protocol(struct rule_builder *builder, uint8_t l4proto)
{
	load_meta(builder, NFT_META_L4PROTO, 0);
	compare(builder, NFT_CMP_EQ, &l4proto, sizeof(l4proto));
}

static void match_kind(struct rule_builder *builder, const char kind[static IFNAMSIZ])
{
	load_meta(builder, NFT_META_IIFKIND, 0);
	compare(builder, NFT_CMP_EQ, kind, IFNAMSIZ);
}

void match_bridged(struct rule_builder *builder)
{
	static const char kind[IFNAMSIZ] = "bridge";

	match_kind(builder, kind);
}

void match_vrf(struct rule_builder *builder)
{
	static const char kind[IFNAMSIZ] = "vrf";

	match_kind(builder, kind);
}

static void load_destination_type(struct rule_builder *builder)
{
	struct nftnl_expr *fib = add(builder, "fib");

	if (!fib)
		return;
	nftnl_expr_set_u32(fib, NFTNL_EXPR_FIB_FLAGS, NFTA_FIB_F_DADDR);
	nftnl_expr_set_u32(fib, NFTNL_EXPR_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
	nftnl_expr_set_u32(fib, NFTNL_EXPR_FIB_DREG, NFT_REG_1);
}

void match_not_local(struct rule_builder *builder)
{
	const uint32_t unicast = RTN_UNICAST;

	load_destination_type(builder);
	compare(builder, NFT_CMP_EQ, &unicast, sizeof(unicast));
}

void match_elsewhere(struct rule_builder *builder)
{
	/* The kernel compares bytes: numbers below 256 keep their order in either byte order. */
	const uint32_t first = RTN_LOCAL, last = RTN_MULTICAST;

	load_destination_type(builder);
	compare_range(builder, NFT_RANGE_NEQ, &first, &last, sizeof(first));
}

void match_port(struct rule_builder *builder, uint8_t l4proto, enum gate_set set)
{
	match_protocol(builder, l4proto);
	load_payload(builder, NFT_PAYLOAD_TRANSPORT_HEADER, DESTINATION_PORT_AT, 2, 0);
	lookup(builder, set);
}

void match_port_range(struct rule_builder *builder, uint8_t l4proto, const struct port_range *range)
{
	match_protocol(builder, l4proto);
	load_payload(builder, NFT_PAYLOAD_TRANSPORT_HEADER, DESTINATION_PORT_AT, 2, 0);
	compare_ports(builder, NFT_RANGE_EQ, range);
}

void match_port_outside(struct rule_builder *builder, const struct port_range *ranges, size_t n)
{
	load_payload(builder, NFT_PAYLOAD_TRANSPORT_HEADER, DESTINATION_PORT_AT, 2, 0);
	for (size_t i = 0; i < n; i++)
		compare_ports(builder, NFT_RANGE_NEQ, &ranges[i]);
}

void match_source_port(struct rule_builder *builder, uint8_t l4proto, enum gate_set set)
{
	match_protocol(builder, l4proto);
	load_payload(builder, NFT_PAYLOAD_TRANSPORT_HEADER, SOURCE_PORT_AT, 2, 0);
	lookup(builder, set);
}

void match_has_ports(struct rule_builder *builder)
{
	const uint16_t first = 0, last = UINT16_MAX;

	load_payload(builder, NFT_PAYLOAD_TRANSPORT_HEADER, DESTINATION_PORT_AT, 2, 0);
	compare(builder, NFT_CMP_GTE, &first, sizeof(first));
	compare(builder, NFT_CMP_LTE, &last, sizeof(last));
}

void match_first_fragment(struct rule_builder *builder)
{
	const uint16_t offset = FRAGMENT_OFFSET_MASK, zero = 0;
	struct nftnl_expr *exthdr;

	match_family(builder, AF_INET6);
	exthdr = add(builder, "exthdr");
	if (!exthdr)
		return;
	nftnl_expr_set_u32(exthdr, NFTNL_EXPR_EXTHDR_OP, NFT_EXTHDR_OP_IPV6);
	nftnl_expr_set_u8(exthdr, NFTNL_EXPR_EXTHDR_TYPE, IPPROTO_FRAGMENT);
	nftnl_expr_set_u32(exthdr, NFTNL_EXPR_EXTHDR_OFFSET, FRAGMENT_OFFSET_AT);
	nftnl_expr_set_u32(exthdr, NFTNL_EXPR_EXTHDR_LEN, sizeof(offset));
	nftnl_expr_set_u32(exthdr, NFTNL_EXPR_EXTHDR_DREG, NFT_REG_1);
	mask(builder, &offset, sizeof(offset));
	compare(builder, NFT_CMP_EQ, &zero, sizeof(zero));
}

void match_syn(struct rule_builder *builder, bool equal)
{
	const uint8_t flags = TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK, syn = TCP_SYN;

	match_protocol(builder, IPPROTO_TCP);
	load_payload(builder, NFT_PAYLOAD_TRANSPORT_HEADER, TCP_FLAGS_OFFSET, 1, 0);
	mask(builder, &flags, sizeof(flags));
	compare(builder, equal ? NFT_CMP_EQ : NFT_CMP_NEQ, &syn, sizeof(syn));
}

void match_session(struct rule_builder *builder)
{
	const uint8_t no = 0;
	struct nftnl_expr *socket = add(builder, "socket");

	if (!socket)
		return;
	nftnl_expr_set_u32(socket, NFTNL_EXPR_SOCKET_KEY, NFT_SOCKET_WILDCARD);
	nftnl_expr_set_u32(socket, NFTNL_EXPR_SOCKET_DREG, NFT_REG_1);
	compare(builder, NFT_CMP_EQ, &no, sizeof(no));
}

void match_tracked_established(struct rule_builder *builder)
{
	const uint32_t established = 1u << 1, zero = 0; /* NF_CT_STATE_BIT(IP_CT_ESTABLISHED) */

	load_tracking(builder, NFT_CT_STATE);
	mask(builder, &established, sizeof(established));
	compare(builder, NFT_CMP_NEQ, &zero, sizeof(zero));
}

void match_translated(struct rule_builder *builder)
{
	const uint32_t translated = IPS_DST_NAT, zero = 0;

	load_tracking(builder, NFT_CT_STATUS);
	mask(builder, &translated, sizeof(translated));
	compare(builder, NFT_CMP_NEQ, &zero, sizeof(zero));
}

void match_original_port(struct rule_builder *builder, uint8_t l4proto, enum gate_set set)
{
	match_protocol(builder, l4proto);
	load_tracking(builder, NFT_CT_PROTO_DST);
	lookup(builder, set);
}

/* Where the addresses are: RFC 791 and RFC 8200, section 3. */
static uint32_t source_address_at(uint8_t family)
{
	return family == AF_INET ? 12 : 8;
}

static uint32_t destination_address_at(uint8_t family)
{
	return family == AF_INET ? 16 : 24;
}

static void load_service(struct rule_builder *builder, uint8_t family)
{
	size_t n = address_bytes(family);

	match_family(builder, family);
	load_payload(builder, NFT_PAYLOAD_NETWORK_HEADER, source_address_at(family), n, 0);
	load_meta(builder, NFT_META_L4PROTO, n);
	load_payload(builder, NFT_PAYLOAD_TRANSPORT_HEADER, DESTINATION_PORT_AT, 2, n + 4);
}

static void load_flow(struct rule_builder *builder, uint8_t family, bool reversed)
{
	uint32_t source = source_address_at(family), destination = destination_address_at(family);
	size_t n = address_bytes(family);

	load_payload(builder, NFT_PAYLOAD_NETWORK_HEADER, reversed ? destination : source, n, 0);
	load_payload(builder, NFT_PAYLOAD_TRANSPORT_HEADER,
		reversed ? DESTINATION_PORT_AT : SOURCE_PORT_AT, 2, n);
	load_payload(
		builder, NFT_PAYLOAD_NETWORK_HEADER, reversed ? source : destination, n, n + 4);
	load_payload(builder, NFT_PAYLOAD_TRANSPORT_HEADER,
		reversed ? SOURCE_PORT_AT : DESTINATION_PORT_AT, 2, 2 * n + 4);
}

void match_service(struct rule_builder *builder, enum gate_set set)
{
	load_service(builder, gate_set_definition(set)->family);
	lookup(builder, set);
}

void match_element(struct rule_builder *builder, const struct element *element)
{
	const struct address_range *sources = &element->sources;
	size_t n = address_bytes(sources->family);

	match_family(builder, sources->family);
	load_payload(builder, NFT_PAYLOAD_NETWORK_HEADER, source_address_at(sources->family), n, 0);
	compare_range(builder, NFT_RANGE_EQ, &sources->first, &sources->last, n);
	match_port_range(builder, element->l4proto, &element->ports);
}

static void match_flow_kind(struct rule_builder *builder, enum gate_set set, uint8_t l4proto)
{
	match_family(builder, gate_set_definition(set)->family);
	match_protocol(builder, l4proto);
}

void match_flow(struct rule_builder *builder, enum gate_set set, uint8_t l4proto)
{
	match_flow_kind(builder, set, l4proto);
	load_flow(builder, gate_set_definition(set)->family, false);
	lookup(builder, set);
}

void match_trial(struct rule_builder *builder)
{
	load_meta(builder, NFT_META_NFPROTO, 0);
	lookup(builder, SET_TRIAL);
}

void update_service(struct rule_builder *builder, enum gate_set set)
{
	load_service(builder, gate_set_definition(set)->family);
	change_set(builder, set, NFT_DYNSET_OP_UPDATE);
}

void add_flow(struct rule_builder *builder, enum gate_set set, uint8_t l4proto)
{
	match_flow_kind(builder, set, l4proto);
	load_flow(builder, gate_set_definition(set)->family, false);
	change_set(builder, set, NFT_DYNSET_OP_ADD);
}

void update_flow(struct rule_builder *builder, enum gate_set set, uint8_t l4proto)
{
	match_flow_kind(builder, set, l4proto);
	renew_flow(builder, set);
}

void renew_flow(struct rule_builder *builder, enum gate_set set)
{
	load_flow(builder, gate_set_definition(set)->family, false);
	change_set(builder, set, NFT_DYNSET_OP_UPDATE);
}

void renew_flow_reversed(struct rule_builder *builder, enum gate_set set)
{
	load_flow(builder, gate_set_definition(set)->family, true);
	change_set(builder, set, NFT_DYNSET_OP_UPDATE);
}

void limit_per_second(struct rule_builder *builder, uint64_t rate, uint32_t burst)
{
	struct nftnl_expr *limit = add(builder, "limit");

	if (!limit)
		return;
	nftnl_expr_set_u64(limit, NFTNL_EXPR_LIMIT_RATE, rate);
	nftnl_expr_set_u64(limit, NFTNL_EXPR_LIMIT_UNIT, 1);
	nftnl_expr_set_u32(limit, NFTNL_EXPR_LIMIT_BURST, burst);
	nftnl_expr_set_u32(limit, NFTNL_EXPR_LIMIT_TYPE, NFT_LIMIT_PKTS);
}

void log_to_group(struct rule_builder *builder, uint16_t group, uint32_t n_bytes)
{
	struct nftnl_expr *log = add(builder, "log");

	if (!log)
		return;
	nftnl_expr_set_u16(log, NFTNL_EXPR_LOG_GROUP, group);
	nftnl_expr_set_u32(log, NFTNL_EXPR_LOG_SNAPLEN, n_bytes);
}

void count(struct rule_builder *builder, const char *counter)
{
	struct nftnl_expr *reference = add(builder, "objref");

	if (!reference)
		return;
	nftnl_expr_set_u32(reference, NFTNL_EXPR_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER);
	set_string(builder, reference, NFTNL_EXPR_OBJREF_IMM_NAME, counter);
}

static void verdict(struct rule_builder *builder, int code, const char *chain)
{
	struct nftnl_expr *immediate = add(builder, "immediate");

	if (!immediate)
		return;
	nftnl_expr_set_u32(immediate, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
	nftnl_expr_set_u32(immediate, NFTNL_EXPR_IMM_VERDICT, code);
	if (chain)
		set_string(builder, immediate, NFTNL_EXPR_IMM_CHAIN, chain);
}

void accept_packet(struct rule_builder *builder)
{
	verdict(builder, NF_ACCEPT, NULL);
}

void drop_packet(struct rule_builder *builder)
{
	verdict(builder, NF_DROP, NULL);
}

void goto_chain(struct rule_builder *builder, const char *chain)
{
	verdict(builder, NFT_GOTO, chain);
}
