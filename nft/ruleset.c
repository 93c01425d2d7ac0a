/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include <libnftnl/chain.h>
#include <libnftnl/object.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter_ipv4.h>

#include "nft/expression.h"
#include "nft/ruleset.h"

/* New connections that a grant lets in are told one by one up to this rate: a granted source that
 * floods costs the daemon no more. Those not told are in the set all the same. */
#define LOG_RATE 200
#define LOG_BURST 400

/* Ranges of managed ports up to this number are compared one by one with a packet's, which costs
 * less than looking it up. */
#define COMPARED_RANGES_MAX 8

#define FIRST_TRACKED_CHAIN CHAIN_TRACKED

struct chain_definition {
	const char *name;
	int hook; /* -1: none */
	int priority;
	void (*rules)(struct rule_builder *builder, const struct ruleset *ruleset);
};

/* mode = audit: counted, not refused */
static void verdict_refused(struct rule_builder *builder, const struct ruleset *ruleset)
{
	count(builder, GATE_COUNTER_REFUSED);
	if (ruleset->audit)
		accept_packet(builder);
	else
		drop_packet(builder);
}

static void refuse_rules(struct rule_builder *builder, const struct ruleset *ruleset)
{
	rule_begin(builder, "refuse");
	update_service(builder, SET_DENIED4);
	rule_end(builder, NULL);

	rule_begin(builder, "refuse");
	update_service(builder, SET_DENIED6);
	rule_end(builder, NULL);

	rule_begin(builder, "refuse");
	verdict_refused(builder, ruleset);
	rule_end(builder, ruleset->audit ? "mode = audit: counted, not refused" : NULL);
}

static void granted_rules(struct rule_builder *builder, const struct ruleset *ruleset)
{
	(void)ruleset;

	rule_begin(builder, "granted");
	match_syn(builder, false);
	accept_packet(builder);
	rule_end(builder, "not a new connection: nothing to record");

	rule_begin(builder, "granted");
	add_flow(builder, SET_SESSIONS4, IPPROTO_TCP);
	rule_end(builder, NULL);

	rule_begin(builder, "granted");
	add_flow(builder, SET_SESSIONS6, IPPROTO_TCP);
	rule_end(builder, NULL);

	rule_begin(builder, "granted");
	update_flow(builder, SET_FLOWS4, IPPROTO_UDP);
	rule_end(builder, NULL);

	rule_begin(builder, "granted");
	update_flow(builder, SET_FLOWS6, IPPROTO_UDP);
	rule_end(builder, NULL);

	rule_begin(builder, "granted");
	limit_per_second(builder, LOG_RATE, LOG_BURST);
	log_to_group(builder, GATE_LOG_GROUP, GATE_LOG_BYTES);
	rule_end(builder, "tells jitgated of the session");

	rule_begin(builder, "granted");
	accept_packet(builder);
	rule_end(builder, NULL);
}

static bool has_always_allow(const struct ruleset *ruleset, uint8_t family)
{
	for (size_t i = 0; i < ruleset->n_always_allow; i++)
		if (ruleset->always_allow[i].sources.family == family)
			return true;
	return false;
}

static void new_rules(struct rule_builder *builder, const struct ruleset *ruleset,
	const char *chain, enum gate_set always_allow, enum gate_set flows, enum gate_set grants,
	enum gate_set ranges)
{
	uint8_t family = gate_set_definition(grants)->family;

	if (has_always_allow(ruleset, family)) {
		rule_begin(builder, chain);
		match_service(builder, always_allow);
		accept_packet(builder);
		rule_end(builder, NULL);
	}

	if (ruleset->n_udp > 0) {
		rule_begin(builder, chain);
		match_flow(builder, flows, IPPROTO_UDP);
		renew_flow(builder, flows);
		accept_packet(builder);
		rule_end(builder, "a flow goes on, also when its grant has ended");
	}

	rule_begin(builder, chain);
	match_service(builder, grants);
	goto_chain(builder, "granted");
	rule_end(builder, NULL);

	if (!(family == AF_INET ? ruleset->without_ranges4 : ruleset->without_ranges6)) {
		rule_begin(builder, chain);
		match_service(builder, ranges);
		goto_chain(builder, "granted");
		rule_end(builder, NULL);
	}

	rule_begin(builder, chain);
	goto_chain(builder, "refuse");
	rule_end(builder, NULL);
}

static void new4_rules(struct rule_builder *builder, const struct ruleset *ruleset)
{
	new_rules(builder, ruleset, "new4", SET_ALWAYS_ALLOW4, SET_FLOWS4, SET_GRANTS4,
		SET_GRANT_RANGES4);
}

static void new6_rules(struct rule_builder *builder, const struct ruleset *ruleset)
{
	new_rules(builder, ruleset, "new6", SET_ALWAYS_ALLOW6, SET_FLOWS6, SET_GRANTS6,
		SET_GRANT_RANGES6);
}

static void goto_new(struct rule_builder *builder, const char *chain)
{
	rule_begin(builder, chain);
	match_family(builder, AF_INET);
	goto_chain(builder, "new4");
	rule_end(builder, NULL);

	rule_begin(builder, chain);
	goto_chain(builder, "new6");
	rule_end(builder, NULL);
}

static void accept_service(struct rule_builder *builder, enum gate_set set)
{
	rule_begin(builder, "established");
	match_service(builder, set);
	accept_packet(builder);
	rule_end(builder, NULL);
}

static void accept_services(
	struct rule_builder *builder, const struct ruleset *ruleset, uint8_t family)
{
	bool ipv4 = family == AF_INET;

	if (has_always_allow(ruleset, family))
		accept_service(builder, ipv4 ? SET_ALWAYS_ALLOW4 : SET_ALWAYS_ALLOW6);
	accept_service(builder, ipv4 ? SET_GRANTS4 : SET_GRANTS6);
	if (!(ipv4 ? ruleset->without_ranges4 : ruleset->without_ranges6))
		accept_service(builder, ipv4 ? SET_GRANT_RANGES4 : SET_GRANT_RANGES6);
}

static void established_rules(struct rule_builder *builder, const struct ruleset *ruleset)
{
	rule_begin(builder, "established");
	match_session(builder);
	accept_packet(builder);
	rule_end(builder, "the kernel has a socket for it: a session, however old");

	if (ruleset->destination_nat) {
		rule_begin(builder, "established");
		match_tracked_established(builder);
		accept_packet(builder);
		rule_end(builder, "a session that NAT hands on");
	}

	/* The handshake's last packet and the close's come when the kernel has no full socket. */
	rule_begin(builder, "established");
	match_flow(builder, SET_SESSIONS4, IPPROTO_TCP);
	accept_packet(builder);
	rule_end(builder, "begins or closes: its SYN was let in");

	rule_begin(builder, "established");
	match_flow(builder, SET_SESSIONS6, IPPROTO_TCP);
	accept_packet(builder);
	rule_end(builder, NULL);

	/* sessions4 and sessions6 may be full: a granted source's handshake must end all the same.
	 */
	accept_services(builder, ruleset, AF_INET);
	accept_services(builder, ruleset, AF_INET6);

	rule_begin(builder, "established");
	verdict_refused(builder, ruleset);
	rule_end(builder, "belongs to no session, and is no attempt to begin one");
}

/*
 * Only what is for this host is judged, its broadcast and multicast included. A host that does not
 * forward gets nothing else, but for what a bridge hands to other hosts (br_netfilter shows it to
 * these rules too).
 */
static void accept_others(
	struct rule_builder *builder, const char *chain, const struct ruleset *ruleset)
{
	rule_begin(builder, chain);
	if (!ruleset->forwarding)
		match_bridged(builder);
	match_not_local(builder);
	accept_packet(builder);
	rule_end(builder, "to another host");
}

static void accept_loopback_and_others(
	struct rule_builder *builder, const char *chain, const struct ruleset *ruleset)
{
	rule_begin(builder, chain);
	match_loopback(builder);
	accept_packet(builder);
	rule_end(builder, NULL);

	accept_others(builder, chain, ruleset);
}

static void gate_rules(struct rule_builder *builder, const struct ruleset *ruleset)
{
	accept_loopback_and_others(builder, "gate", ruleset);

	/* A SYN never gets to the question whether there is a socket: a listener that is bound to
	 * one address would answer it as a session does. */
	rule_begin(builder, "gate");
	match_syn(builder, false);
	if (ruleset->destination_nat)
		accept_packet(builder);
	else
		goto_chain(builder, "established");
	rule_end(builder,
		ruleset->destination_nat ? "judged after connection tracking"
					 : "TCP, and no bare SYN");

	if (ruleset->destination_nat) {
		rule_begin(builder, "gate");
		match_protocol(builder, IPPROTO_UDP);
		accept_packet(builder);
		rule_end(builder, "too: it may be the answer to what NAT has sent from here");
	}

	goto_new(builder, "gate");
}

static void first_fragment_rules(struct rule_builder *builder, const struct ruleset *ruleset)
{
	rule_begin(builder, "first_fragment");
	match_has_ports(builder);
	accept_packet(builder);
	rule_end(builder, NULL);

	accept_others(builder, "first_fragment", ruleset);

	rule_begin(builder, "first_fragment");
	goto_chain(builder, "refuse");
	rule_end(builder, "its ports are in a later fragment, where none would judge them");
}

static bool ranges_contain(
	const struct port_range *ranges, size_t n, const struct port_range *range)
{
	for (size_t i = 0; i < n; i++)
		if (ranges[i].first <= range->first && range->last <= ranges[i].last)
			return true;
	return false;
}

/* Most packets are to ports that are not managed: they pay for one rule. */
static void unmanaged_rule(struct rule_builder *builder, const struct ruleset *ruleset)
{
	struct port_range ranges[COMPARED_RANGES_MAX];
	size_t n = ruleset->n_tcp;

	if (ruleset->n_tcp + ruleset->n_udp > COMPARED_RANGES_MAX)
		return;
	for (size_t i = 0; i < n; i++)
		ranges[i] = ruleset->tcp[i];
	for (size_t i = 0; i < ruleset->n_udp; i++)
		if (!ranges_contain(ruleset->tcp, ruleset->n_tcp, &ruleset->udp[i]))
			ranges[n++] = ruleset->udp[i];
	rule_begin(builder, "prerouting");
	match_port_outside(builder, ranges, n);
	accept_packet(builder);
	rule_end(builder, "not a managed port, whatever the protocol");
}

static void managed_rule(struct rule_builder *builder, uint8_t l4proto,
	const struct port_range *ranges, size_t n, enum gate_set set)
{
	if (n == 0)
		return;
	rule_begin(builder, "prerouting");
	if (n == 1)
		match_port_range(builder, l4proto, ranges);
	else
		match_port(builder, l4proto, set);
	goto_chain(builder, "gate");
	rule_end(builder, NULL);
}

static void prerouting_rules(struct rule_builder *builder, const struct ruleset *ruleset)
{
	unmanaged_rule(builder, ruleset);
	managed_rule(builder, IPPROTO_TCP, ruleset->tcp, ruleset->n_tcp, SET_MANAGED_TCP);
	managed_rule(builder, IPPROTO_UDP, ruleset->udp, ruleset->n_udp, SET_MANAGED_UDP);

	rule_begin(builder, "prerouting");
	match_first_fragment(builder);
	goto_chain(builder, "first_fragment");
	rule_end(builder, NULL);
}

static void answer_rules(struct rule_builder *builder, const struct ruleset *ruleset)
{
	static const enum gate_set flows[] = { SET_FLOWS4, SET_FLOWS6 };

	(void)ruleset;
	for (size_t i = 0; i < N_ELEMENTS(flows); i++) {
		rule_begin(builder, "answer");
		match_protocol(builder, IPPROTO_UDP);
		match_family(builder, gate_set_definition(flows[i])->family);
		renew_flow_reversed(builder, flows[i]);
		rule_end(builder, i == 0 ? "what this host sends first gets its answers" : NULL);
	}
}

static void output_rules(struct rule_builder *builder, const struct ruleset *ruleset)
{
	(void)ruleset;
	rule_begin(builder, "output");
	match_source_port(builder, IPPROTO_UDP, SET_MANAGED_UDP);
	goto_chain(builder, "answer");
	rule_end(builder, NULL);
}

static void tracked_rules(struct rule_builder *builder, const struct ruleset *ruleset)
{
	accept_loopback_and_others(builder, "tracked", ruleset);

	rule_begin(builder, "tracked");
	match_protocol(builder, IPPROTO_TCP);
	goto_chain(builder, "established");
	rule_end(builder, NULL);

	rule_begin(builder, "tracked");
	match_tracked_established(builder);
	accept_packet(builder);
	rule_end(builder, "an answer, or a flow that NAT hands on");

	goto_new(builder, "tracked");
}

static void prerouting_tracked_rules(struct rule_builder *builder, const struct ruleset *ruleset)
{
	(void)ruleset;

	rule_begin(builder, "prerouting_tracked");
	match_port(builder, IPPROTO_TCP, SET_MANAGED_TCP);
	match_syn(builder, false);
	goto_chain(builder, "tracked");
	rule_end(builder, NULL);

	rule_begin(builder, "prerouting_tracked");
	match_port(builder, IPPROTO_UDP, SET_MANAGED_UDP);
	goto_chain(builder, "tracked");
	rule_end(builder, NULL);
}

static void redirected_rules(struct rule_builder *builder, const struct ruleset *ruleset)
{
	(void)ruleset;

	rule_begin(builder, "redirected");
	match_loopback(builder);
	accept_packet(builder);
	rule_end(builder, NULL);

	rule_begin(builder, "redirected");
	match_tracked_established(builder);
	accept_packet(builder);
	rule_end(builder, NULL);

	rule_begin(builder, "redirected");
	match_original_port(builder, IPPROTO_TCP, SET_MANAGED_TCP);
	accept_packet(builder);
	rule_end(builder, "judged by the port that the sender used");

	rule_begin(builder, "redirected");
	match_original_port(builder, IPPROTO_UDP, SET_MANAGED_UDP);
	accept_packet(builder);
	rule_end(builder, NULL);

	goto_new(builder, "redirected");
}

static void input_rules(struct rule_builder *builder, const struct ruleset *ruleset)
{
	(void)ruleset;

	rule_begin(builder, "input");
	match_port(builder, IPPROTO_TCP, SET_MANAGED_TCP);
	match_translated(builder);
	goto_chain(builder, "redirected");
	rule_end(builder, NULL);

	rule_begin(builder, "input");
	match_port(builder, IPPROTO_UDP, SET_MANAGED_UDP);
	match_translated(builder);
	goto_chain(builder, "redirected");
	rule_end(builder, NULL);
}

static const struct chain_definition chains[CHAIN_COUNT] = {
	[CHAIN_REFUSE] = { "refuse", -1, 0, refuse_rules },
	[CHAIN_GRANTED] = { "granted", -1, 0, granted_rules },
	[CHAIN_NEW4] = { "new4", -1, 0, new4_rules },
	[CHAIN_NEW6] = { "new6", -1, 0, new6_rules },
	[CHAIN_ESTABLISHED] = { "established", -1, 0, established_rules },
	[CHAIN_GATE] = { "gate", -1, 0, gate_rules },
	[CHAIN_FIRST_FRAGMENT] = { "first_fragment", -1, 0, first_fragment_rules },
	[CHAIN_PREROUTING] = { "prerouting", NF_INET_PRE_ROUTING, NF_IP_PRI_RAW, prerouting_rules },
	[CHAIN_ANSWER] = { "answer", -1, 0, answer_rules },
	[CHAIN_OUTPUT] = { "output", NF_INET_LOCAL_OUT, NF_IP_PRI_RAW, output_rules },
	[CHAIN_TRACKED] = { "tracked", -1, 0, tracked_rules },
	[CHAIN_PREROUTING_TRACKED] = { "prerouting_tracked", NF_INET_PRE_ROUTING, NF_IP_PRI_MANGLE,
		prerouting_tracked_rules },
	[CHAIN_REDIRECTED] = { "redirected", -1, 0, redirected_rules },
	[CHAIN_INPUT] = { "input", NF_INET_LOCAL_IN, NF_IP_PRI_RAW, input_rules },
};

static bool chain_is_wanted(enum gate_chain chain, const struct ruleset *ruleset)
{
	/* Without managed UDP ports what this host sends is none of our business. */
	if (chain == CHAIN_OUTPUT || chain == CHAIN_ANSWER)
		return ruleset->n_udp > 0;
	return chain < FIRST_TRACKED_CHAIN || ruleset->destination_nat;
}

static int build_table(struct transaction *transaction, uint16_t type, uint32_t flags)
{
	struct nftnl_table *table = nftnl_table_alloc();
	struct nftnl_udata_buf *userdata = nftnl_udata_buf_alloc(NFT_USERDATA_MAXLEN);
	int status = -ENOMEM;

	if (!table || !userdata || nftnl_table_set_str(table, NFTNL_TABLE_NAME, GATE_TABLE) < 0)
		goto finish;
	if (type == NFT_MSG_NEWTABLE) {
		nftnl_table_set_u32(table, NFTNL_TABLE_FLAGS, flags);
		if (!nftnl_udata_put_strz(userdata, NFTNL_UDATA_TABLE_COMMENT,
			    "made by jitgated: change it with jitgate") ||
			nftnl_table_set_data(table, NFTNL_TABLE_USERDATA,
				nftnl_udata_buf_data(userdata), nftnl_udata_buf_len(userdata)) < 0)
			goto finish;
	}
	status = transaction_add_table(transaction, type, table, "table inet jitgate");
finish:
	if (table)
		nftnl_table_free(table);
	if (userdata)
		nftnl_udata_buf_free(userdata);
	return status;
}

static int build_chain(struct transaction *transaction, uint16_t type, enum gate_chain id)
{
	const struct chain_definition *definition = &chains[id];
	struct nftnl_chain *chain = nftnl_chain_alloc();
	int status = -ENOMEM;

	if (!chain)
		return -ENOMEM;
	if (nftnl_chain_set_str(chain, NFTNL_CHAIN_TABLE, GATE_TABLE) < 0 ||
		nftnl_chain_set_str(chain, NFTNL_CHAIN_NAME, definition->name) < 0)
		goto finish;
	if (type == NFT_MSG_NEWCHAIN && definition->hook >= 0) {
		nftnl_chain_set_u32(chain, NFTNL_CHAIN_HOOKNUM, definition->hook);
		nftnl_chain_set_s32(chain, NFTNL_CHAIN_PRIO, definition->priority);
		nftnl_chain_set_u32(chain, NFTNL_CHAIN_POLICY, NF_ACCEPT);
		if (nftnl_chain_set_str(chain, NFTNL_CHAIN_TYPE, "filter") < 0)
			goto finish;
	}
	status = transaction_add_chain(transaction, type, chain, definition->name);
finish:
	nftnl_chain_free(chain);
	return status;
}

static int build_set(struct transaction *transaction, enum gate_set id)
{
	struct nftnl_set *set = gate_set_new(id);
	int status;

	if (!set)
		return -ENOMEM;
	status = transaction_add_set(
		transaction, NFT_MSG_NEWSET, set, gate_set_definition(id)->name);
	nftnl_set_free(set);
	return status;
}

static int build_counter(struct transaction *transaction)
{
	struct nftnl_obj *counter = nftnl_obj_alloc();
	int status;

	if (!counter)
		return -ENOMEM;
	nftnl_obj_set_str(counter, NFTNL_OBJ_TABLE, GATE_TABLE);
	nftnl_obj_set_str(counter, NFTNL_OBJ_NAME, GATE_COUNTER_REFUSED);
	nftnl_obj_set_u32(counter, NFTNL_OBJ_TYPE, NFT_OBJECT_COUNTER);
	nftnl_obj_set_u64(counter, NFTNL_OBJ_CTR_PKTS, 0);
	nftnl_obj_set_u64(counter, NFTNL_OBJ_CTR_BYTES, 0);
	status = transaction_add_object(
		transaction, NFT_MSG_NEWOBJ, counter, "counter " GATE_COUNTER_REFUSED);
	nftnl_obj_free(counter);
	return status;
}

static int build_rules(struct transaction *transaction, const struct ruleset *ruleset)
{
	struct rule_builder builder = { .transaction = transaction };

	for (enum gate_chain chain = 0; chain < CHAIN_COUNT; chain++)
		if (chain_is_wanted(chain, ruleset))
			chains[chain].rules(&builder, ruleset);
	return builder.error;
}

static int flush_rules(struct transaction *transaction)
{
	struct nftnl_rule *rule = nftnl_rule_alloc();
	int status = -ENOMEM;

	if (!rule)
		return -ENOMEM;
	if (nftnl_rule_set_str(rule, NFTNL_RULE_TABLE, GATE_TABLE) == 0)
		status = transaction_add_rule(transaction, NFT_MSG_DELRULE, rule, "the old rules");
	nftnl_rule_free(rule);
	return status;
}

bool ruleset_can_keep(const struct ruleset_state *state, const struct ruleset *ruleset)
{
	return state->present && !state->foreign && state->owned == ruleset->owned;
}

/* Rules are always written anew: they hold no state, and so none can be left that someone changed.
 */
static int build_chains(struct transaction *transaction, const struct ruleset *ruleset,
	const struct ruleset_state *state, bool keep)
{
	int status;

	if (keep) {
		status = flush_rules(transaction);
		if (status < 0)
			return status;
	}
	for (enum gate_chain chain = 0; chain < CHAIN_COUNT; chain++) {
		if (chain_is_wanted(chain, ruleset))
			status = build_chain(transaction, NFT_MSG_NEWCHAIN, chain);
		else if (keep && state->chains[chain])
			status = build_chain(transaction, NFT_MSG_DELCHAIN, chain);
		else
			continue;
		if (status < 0)
			return status;
	}
	return build_rules(transaction, ruleset);
}

int ruleset_build(struct transaction *transaction, const struct ruleset *ruleset,
	const struct ruleset_state *state)
{
	bool keep = ruleset_can_keep(state, ruleset);
	int status = 0;

	if (state->present && !keep)
		status = build_table(transaction, NFT_MSG_DELTABLE, 0);
	if (status == 0)
		status = build_table(transaction, NFT_MSG_NEWTABLE,
			ruleset->owned ? NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST : 0);
	if (status == 0 && !(keep && state->counter))
		status = build_counter(transaction);
	for (enum gate_set set = 0; set < SET_COUNT && status == 0; set++)
		if (!(keep && state->sets[set]))
			status = build_set(transaction, set);
	if (status == 0)
		status = build_chains(transaction, ruleset, state, keep);
	return status;
}

int ruleset_remove(struct transaction *transaction)
{
	return build_table(transaction, NFT_MSG_DELTABLE, 0);
}

static int on_table(const struct nlmsghdr *message, void *userdata)
{
	struct ruleset_state *state = userdata;
	struct nftnl_table *table = nftnl_table_alloc();

	if (!table)
		return MNL_CB_ERROR;
	if (nftnl_table_nlmsg_parse(message, table) == 0 &&
		strcmp(nftnl_table_get_str(table, NFTNL_TABLE_NAME), GATE_TABLE) == 0) {
		uint32_t flags = nftnl_table_get_u32(table, NFTNL_TABLE_FLAGS);

		state->present = true;
		state->owned = flags & NFT_TABLE_F_PERSIST;
		/* A dormant table judges nothing: someone has put it to sleep. */
		if (flags & NFT_TABLE_F_DORMANT)
			state->foreign = true;
	}
	nftnl_table_free(table);
	return MNL_CB_OK;
}

/* A base chain that hangs elsewhere, or with another policy, is not ours whatever its name. */
static bool chain_matches(const struct nftnl_chain *chain, const struct chain_definition *wanted)
{
	bool is_base = nftnl_chain_is_set(chain, NFTNL_CHAIN_HOOKNUM);

	if (is_base != (wanted->hook >= 0))
		return false;
	return !is_base ||
		(nftnl_chain_get_u32(chain, NFTNL_CHAIN_HOOKNUM) == (uint32_t)wanted->hook &&
			nftnl_chain_get_s32(chain, NFTNL_CHAIN_PRIO) == wanted->priority &&
			nftnl_chain_get_u32(chain, NFTNL_CHAIN_POLICY) == NF_ACCEPT &&
			strcmp(nftnl_chain_get_str(chain, NFTNL_CHAIN_TYPE), "filter") == 0);
}

static int on_chain(const struct nlmsghdr *message, void *userdata)
{
	struct ruleset_state *state = userdata;
	struct nftnl_chain *chain = nftnl_chain_alloc();
	enum gate_chain i = 0;

	if (!chain)
		return MNL_CB_ERROR;
	if (nftnl_chain_nlmsg_parse(message, chain) == 0 &&
		strcmp(nftnl_chain_get_str(chain, NFTNL_CHAIN_TABLE), GATE_TABLE) == 0) {
		const char *name = nftnl_chain_get_str(chain, NFTNL_CHAIN_NAME);

		while (i < CHAIN_COUNT && strcmp(chains[i].name, name) != 0)
			i++;
		if (i < CHAIN_COUNT && chain_matches(chain, &chains[i]))
			state->chains[i] = true;
		else
			state->foreign = true;
	}
	nftnl_chain_free(chain);
	return MNL_CB_OK;
}

static int on_set(const struct nlmsghdr *message, void *userdata)
{
	struct ruleset_state *state = userdata;
	struct nftnl_set *set = nftnl_set_alloc();

	if (!set)
		return MNL_CB_ERROR;
	if (nftnl_set_nlmsg_parse(message, set) == 0 &&
		strcmp(nftnl_set_get_str(set, NFTNL_SET_TABLE), GATE_TABLE) == 0) {
		enum gate_set id = gate_set_find(nftnl_set_get_str(set, NFTNL_SET_NAME));

		if (id < SET_COUNT && gate_set_matches(id, set))
			state->sets[id] = true;
		else if (id < SET_COUNT ||
			!(nftnl_set_get_u32(set, NFTNL_SET_FLAGS) & NFT_SET_ANONYMOUS))
			state->foreign = true;
	}
	nftnl_set_free(set);
	return MNL_CB_OK;
}

static int on_object(const struct nlmsghdr *message, void *userdata)
{
	struct ruleset_state *state = userdata;
	struct nftnl_obj *object = nftnl_obj_alloc();

	if (!object)
		return MNL_CB_ERROR;
	if (nftnl_obj_nlmsg_parse(message, object) == 0 &&
		strcmp(nftnl_obj_get_str(object, NFTNL_OBJ_TABLE), GATE_TABLE) == 0) {
		if (nftnl_obj_get_u32(object, NFTNL_OBJ_TYPE) == NFT_OBJECT_COUNTER &&
			strcmp(nftnl_obj_get_str(object, NFTNL_OBJ_NAME), GATE_COUNTER_REFUSED) ==
				0)
			state->counter = true;
		else
			state->foreign = true;
	}
	nftnl_obj_free(object);
	return MNL_CB_OK;
}

static int ruleset_dump(
	struct netlink *netlink, uint16_t type, mnl_cb_t callback, struct ruleset_state *state)
{
	char buffer[256];
	struct nlmsghdr *request = nftnl_nlmsg_build_hdr(buffer, type, NFPROTO_INET, NLM_F_DUMP, 0);

	return netlink_request(netlink, request, callback, state);
}

int ruleset_read(struct netlink *netlink, struct ruleset_state *ret)
{
	int status = -EINTR;

	/* A dump that a change interrupts is taken again: changes come in bursts, and these end. */
	for (int i = 0; i < NETLINK_TRIES && status == -EINTR; i++) {
		memset(ret, 0, sizeof(*ret));
		status = ruleset_dump(netlink, NFT_MSG_GETTABLE, on_table, ret);
		if (status == 0)
			status = ruleset_dump(netlink, NFT_MSG_GETCHAIN, on_chain, ret);
		if (status == 0)
			status = ruleset_dump(netlink, NFT_MSG_GETSET, on_set, ret);
		if (status == 0)
			status = ruleset_dump(netlink, NFT_MSG_GETOBJ, on_object, ret);
	}
	return status;
}
