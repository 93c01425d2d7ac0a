/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * What one rule of nf_tables does with a probe: the kernel's register machine, in which each bit
 * of a register may be unknown.
 *
 *   value  0x0016     known 0xffff    a port that is known
 *   value  0x00..     known 0x00..    a source that is not: what compares it is true, maybe
 *
 * A limit counts as not reached: who asks is the first to come.
 */

#include "nft/firewall.h"
#include "nft/probe.h"

enum action_kind {
	ACTION_ACCEPT,
	ACTION_DROP,
	ACTION_RETURN,
	ACTION_CONTINUE,
	ACTION_JUMP,
	ACTION_GOTO,
	ACTION_TRANSLATE, /* destination NAT */
	ACTION_ASK, /* a program decides, or what can't be looked into */
};

struct action {
	enum action_kind kind;
	const char *chain; /* ACTION_JUMP, ACTION_GOTO */
	bool stays; /* ACTION_TRANSLATE: to another port of this host */
	uint16_t port; /* ACTION_TRANSLATE: the new one; 0: not known, or as it was */
};

#define RULE_ACTIONS_MAX 32

/* Without an action the next rule follows, also where it matches. Several: one of them happens. */
struct rule_result {
	enum truth matches;
	struct action actions[RULE_ACTIONS_MAX];
	size_t n_actions;
	bool marks; /* sets a mark */
	bool exempts; /* from connection tracking */
	bool readdresses; /* the packet, by its own bytes */
};

void rule_run(const struct firewall *firewall, const struct firewall_chain *chain,
	const struct nftnl_rule *rule, const struct probe *probe, struct rule_result *ret);

/* iptables' own matches and targets (xt), which nf_tables carries unread: nft/compat.c. info is
 * n_bytes long. */
enum truth compat_match(const struct probe *probe, const char *name, uint32_t revision,
	const void *info, uint32_t n_bytes);
void compat_target(const char *name, uint32_t revision, const void *info, uint32_t n_bytes,
	struct rule_result *result);
