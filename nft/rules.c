/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <netinet/in.h>

#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>

#include "nft/expression.h"
#include "nft/rules.h"

/* New connections that a grant lets in are told one by one up to this rate: a granted source that
 * floods costs the daemon no more. Those not told are in the set all the same. */
#define LOG_RATE 200
#define LOG_BURST 400

/* Ranges of managed ports up to this number are compared one by one with a packet's, which costs
 * less than looking it up. */
#define COMPARED_RANGES_MAX 8

#define FIRST_TRACKED_CHAIN CHAIN_TRACKED

/*
 * The last rules of a chain. mode = audit: counted, not refused. On trial a packet is refused while
 * its family is in the set, whose elements the kernel ends by itself: an administrator who is
 * locked out gets back in though the daemon be dead.
 */
static void refuse_rest(struct rule_builder *builder, const struct ruleset *ruleset,
	const char *chain, const char *comment)
{
	bool trial = !ruleset->audit && ruleset->trial_ms > 0;

	rule_begin(builder, chain);
	count(builder, GATE_COUNTER_REFUSED);
	if (trial)
		match_trial(builder);
	if (ruleset->audit)
		accept_packet(builder);
	else
		drop_packet(builder);
	rule_end(builder, ruleset->audit ? "mode = audit: counted, not refused" : comment);
	if (!trial)
		return;
	rule_begin(builder, chain);
	accept_packet(builder);
	rule_end(builder, "the trial is over: as with mode = audit");
}

static void refuse_rules(struct rule_builder *builder, const struct ruleset *ruleset)
{
	rule_begin(builder, "refuse");
	update_service(builder, SET_DENIED4);
	rule_end(builder, NULL);

	rule_begin(builder, "refuse");
	update_service(builder, SET_DENIED6);
	rule_end(builder, NULL);

	refuse_rest(builder, ruleset, "refuse", NULL);
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

static bool has_vrfs(const struct ruleset *ruleset)
{
	return ruleset->vrfs && ruleset->vrfs->exist;
}

static bool has_always_allow(const struct ruleset *ruleset, uint8_t family)
{
	for (size_t i = 0; i < ruleset->n_always_allow; i++)
		if (ruleset->always_allow[i].sources.family == family)
			return true;
	return false;
}

/* One rule for each always_allow element of the family, or for each grant of a prefix. */
static void interim_rules(struct rule_builder *builder, const struct ruleset *ruleset,
	const char *chain, uint8_t family, bool grants, const char *granted)
{
	const struct element *elements = grants ? ruleset->grants->elements : ruleset->always_allow;
	size_t n = grants ? ruleset->grants->n : ruleset->n_always_allow;

	for (size_t i = 0; ruleset->interim && i < n; i++) {
		if (elements[i].sources.family != family ||
			(grants && address_range_is_single(&elements[i].sources)))
			continue;
		rule_begin(builder, chain);
		match_element(builder, &elements[i]);
		if (granted)
			goto_chain(builder, granted);
		else
			accept_packet(builder);
		rule_end(builder, "until its set is there");
	}
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
	interim_rules(builder, ruleset, chain, family, false, NULL);

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
	interim_rules(builder, ruleset, chain, family, true, "granted");

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
	interim_rules(builder, ruleset, "established", family, false, NULL);
	interim_rules(builder, ruleset, "established", family, true, NULL);
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

	/* Also where it is no member any longer: whatever passes here begins nothing. */
	for (size_t i = 0; has_vrfs(ruleset) && i < ruleset->vrfs->n_members; i++) {
		rule_begin(builder, "established");
		match_interface(builder, ruleset->vrfs->members[i]);
		accept_packet(builder);
		rule_end(builder, "by a VRF: its socket may be found there only");
	}

	refuse_rest(builder, ruleset, "established",
		"belongs to no session, and is no attempt to begin one");
}

/*
 * Only what is for this host is judged, its broadcast and multicast included. A host that does not
 * forward gets nothing else, but for what a bridge hands to other hosts (br_netfilter shows it to
 * these rules too). With VRFs a host's own address may seem another's, and to have no route at all.
 */
static void accept_others(
	struct rule_builder *builder, const char *chain, const struct ruleset *ruleset)
{
	rule_begin(builder, chain);
	if (!ruleset->forwarding && !has_vrfs(ruleset))
		match_bridged(builder);
	if (has_vrfs(ruleset))
		match_elsewhere(builder);
	else
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

	if (has_vrfs(ruleset)) {
		rule_begin(builder, chain);
		match_vrf(builder);
		accept_packet(builder);
		rule_end(builder, "judged when it is delivered");
	}

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

static void delivered_rules(struct rule_builder *builder, const struct ruleset *ruleset)
{
	/* A link-local session's socket is bound to the member, not to the VRF: it is found no
	 * more. */
	rule_begin(builder, "delivered");
	match_syn(builder, false);
	accept_packet(builder);
	rule_end(builder, "a session, or nothing that begins one");

	if (ruleset->destination_nat) {
		rule_begin(builder, "delivered");
		match_tracked_established(builder);
		accept_packet(builder);
		rule_end(builder, NULL);
	}

	goto_new(builder, "delivered");
}

static void delivered_fragment_rules(struct rule_builder *builder, const struct ruleset *ruleset)
{
	(void)ruleset;

	rule_begin(builder, "delivered_fragment");
	match_has_ports(builder);
	accept_packet(builder);
	rule_end(builder, NULL);

	rule_begin(builder, "delivered_fragment");
	goto_chain(builder, "refuse");
	rule_end(builder, NULL);
}

static void input_port_rules(
	struct rule_builder *builder, const struct ruleset *ruleset, uint8_t l4proto)
{
	enum gate_set managed = l4proto == IPPROTO_TCP ? SET_MANAGED_TCP : SET_MANAGED_UDP;

	if (ruleset->destination_nat) {
		rule_begin(builder, "input");
		match_port(builder, l4proto, managed);
		match_translated(builder);
		goto_chain(builder, "redirected");
		rule_end(builder, NULL);
	}

	if (has_vrfs(ruleset)) {
		rule_begin(builder, "input");
		match_vrf(builder);
		match_port(builder, l4proto, managed);
		goto_chain(builder, "delivered");
		rule_end(builder, NULL);
	}
}

static void input_rules(struct rule_builder *builder, const struct ruleset *ruleset)
{
	input_port_rules(builder, ruleset, IPPROTO_TCP);
	input_port_rules(builder, ruleset, IPPROTO_UDP);

	if (has_vrfs(ruleset)) {
		rule_begin(builder, "input");
		match_vrf(builder);
		match_first_fragment(builder);
		goto_chain(builder, "delivered_fragment");
		rule_end(builder, NULL);
	}
}

static const struct gate_chain_definition chains[CHAIN_COUNT] = {
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
	[CHAIN_DELIVERED] = { "delivered", -1, 0, delivered_rules },
	[CHAIN_DELIVERED_FRAGMENT] = { "delivered_fragment", -1, 0, delivered_fragment_rules },
	[CHAIN_TRACKED] = { "tracked", -1, 0, tracked_rules },
	[CHAIN_PREROUTING_TRACKED] = { "prerouting_tracked", NF_INET_PRE_ROUTING, NF_IP_PRI_MANGLE,
		prerouting_tracked_rules },
	[CHAIN_REDIRECTED] = { "redirected", -1, 0, redirected_rules },
	[CHAIN_INPUT] = { "input", NF_INET_LOCAL_IN, NF_IP_PRI_RAW, input_rules },
};

const struct gate_chain_definition *gate_chain_definition(enum gate_chain chain)
{
	return &chains[chain];
}

bool gate_chain_is_wanted(enum gate_chain chain, const struct ruleset *ruleset)
{
	/* Without managed UDP ports what this host sends is none of our business. */
	if (chain == CHAIN_OUTPUT || chain == CHAIN_ANSWER)
		return ruleset->n_udp > 0;
	if (chain == CHAIN_DELIVERED || chain == CHAIN_DELIVERED_FRAGMENT)
		return has_vrfs(ruleset);
	if (chain == CHAIN_INPUT && has_vrfs(ruleset))
		return true;
	return chain < FIRST_TRACKED_CHAIN || ruleset->destination_nat;
}
