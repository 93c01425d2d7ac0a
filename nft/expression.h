/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * The words that rules are written in: each adds what nft(8) would compile the same words to, so
 * that `nft list table inet jitgate` reads them back. Memory that runs out is kept as
 * builder->error and makes the rest do nothing: check it once, at the end.
 */

#include <stdbool.h>
#include <stdint.h>

#include "address.h"
#include "nft/elements.h"
#include "nft/sets.h"
#include "nft/transaction.h"

struct nftnl_rule;

struct rule_builder {
	struct transaction *transaction;
	struct nftnl_rule *rule;
	const char *chain;
	int error;
};

/* A rule of a chain begins; and ends, with a comment (or NULL), going into the transaction. */
void rule_begin(struct rule_builder *builder, const char *chain);
void rule_end(struct rule_builder *builder, const char *comment);

/* Matches. */
void match_interface(struct rule_builder *builder, uint32_t index); /* iif eth0 */
void match_loopback(struct rule_builder *builder); /* iif lo */
void match_family(struct rule_builder *builder, uint8_t family); /* meta nfproto */
void match_protocol(struct rule_builder *builder, uint8_t l4proto); /* meta l4proto */
void match_bridged(struct rule_builder *builder); /* meta iifkind "bridge" */
void match_vrf(struct rule_builder *builder); /* meta iifkind "vrf" */
void match_not_local(struct rule_builder *builder); /* fib daddr type unicast */
/* The same, or nowhere: fib daddr type != local-multicast (broadcast and anycast are in between).
 */
void match_elsewhere(struct rule_builder *builder);
void match_port(
	struct rule_builder *builder, uint8_t l4proto, enum gate_set set); /* tcp dport @set */
void match_port_range(struct rule_builder *builder, uint8_t l4proto,
	const struct port_range *range); /* tcp dport 5000-5010 */
void match_port_outside(struct rule_builder *builder, const struct port_range *ranges,
	size_t n); /* th dport != 22 th dport != 5000-5010 … */
void match_source_port(struct rule_builder *builder, uint8_t l4proto, enum gate_set set);
void match_has_ports(struct rule_builder *builder); /* th dport 0-65535 */
void match_first_fragment(struct rule_builder *builder); /* frag frag-off 0, IPv6 */
void match_syn(
	struct rule_builder *builder, bool equal); /* tcp flags ==|!= syn / fin,syn,rst,ack */
void match_session(struct rule_builder *builder); /* socket wildcard 0 */
void match_tracked_established(struct rule_builder *builder); /* ct state established */
void match_translated(struct rule_builder *builder); /* ct status dnat */
void match_original_port(struct rule_builder *builder, uint8_t l4proto, enum gate_set set);
/* The source's service, or the packet's connection, is in the set. */
void match_service(struct rule_builder *builder, enum gate_set set);
void match_flow(struct rule_builder *builder, enum gate_set set, uint8_t l4proto);
void match_trial(struct rule_builder *builder); /* meta nfproto @trial */
/* What an element says, without its set: ip saddr 192.0.2.0-192.0.2.255 tcp dport 22 */
void match_element(struct rule_builder *builder, const struct element *element);

/* Statements. */
void update_service(struct rule_builder *builder, enum gate_set set);
void add_flow(struct rule_builder *builder, enum gate_set set, uint8_t l4proto);
void update_flow(struct rule_builder *builder, enum gate_set set, uint8_t l4proto);
/* The same, once a match has said family and protocol; reversed: of a packet that leaves this host.
 */
void renew_flow(struct rule_builder *builder, enum gate_set set);
void renew_flow_reversed(struct rule_builder *builder, enum gate_set set);
void limit_per_second(struct rule_builder *builder, uint64_t rate, uint32_t burst);
void log_to_group(struct rule_builder *builder, uint16_t group, uint32_t n_bytes);
void count(struct rule_builder *builder, const char *counter);

/* Verdicts. */
void accept_packet(struct rule_builder *builder);
void drop_packet(struct rule_builder *builder);
void goto_chain(struct rule_builder *builder, const char *chain);
