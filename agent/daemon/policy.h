/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Policies: which ports are managed, and what a grant may ask for. The owner's are in agent.conf,
 * the control plane's in a signed policy. A grant must satisfy every rule that names its port, so
 * another rule can only tighten. Pure functions: no kernel, no clock.
 */

#include "agent/common/config.h"
#include "agent/common/document.h"
#include "nft/elements.h"

/* How far the signer's clock may be ahead of ours before a document counts as from the future. */
#define CLOCK_LEEWAY_SECONDS 60

struct policy_rule {
	const struct document_port *rule;
	const struct config_port *section; /* NULL: of the signed policy */
};

/* Borrows from the configuration and the policy documents it was made of. */
struct policies {
	struct policy_rule *rules;
	size_t n_rules;
};

/* The documents may be NULL: the control plane's policy; and what stands in where it is not known,
 * of policies_stand_in(). Returns 0 or -ENOMEM. */
int policies_init(struct policies *policies, const struct config *config,
	const struct document *signed_policy, const struct document *stand_in);
void policies_done(struct policies *policies);

/*
 * May the grant pass? Checks the key's narrowing (key may be NULL: local root), ports, sources and
 * durations. now is in seconds; 0 leaves out what depends on it, to judge again a grant that was
 * admitted before. Returns 0, or REFUSED with the refusal filled in.
 */
int policies_check(const struct policies *policies, const struct trust_key *key,
	const struct document *grant, int64_t now, struct refusal *refusal);

/* May the key speak of these ports at all (jit_ports)? Returns 0 or REFUSED. */
int key_check_ports(const struct trust_key *key, const struct document_port *ports, size_t n,
	struct refusal *refusal);

/* Are all its ports managed? What local root's grants must satisfy. */
int policies_check_ports(
	const struct policies *policies, const struct document *grant, struct refusal *refusal);

/* True where a rule names the port: protocol is PROTOCOL_TCP or PROTOCOL_UDP. */
bool policies_manage(const struct policies *policies, uint16_t port, unsigned protocol);

/* The managed ports of a protocol, sorted and disjoint. Returns 0 or -ENOMEM. */
int policies_ports(const struct policies *policies, unsigned protocol, struct port_range_list *ret);

/*
 * A policy that names those of the ports that no other one does, and lets no document grant them:
 * only local root can. Returns 0 or -ENOMEM.
 */
int policies_stand_in(const struct policies *policies, const struct port_range_list *tcp,
	const struct port_range_list *udp, struct document **ret);

/* Sorts ranges and merges those that overlap. Neighbours stay two: when one comes or goes, the
 * other is not touched. */
void port_ranges_merge(struct port_range_list *list);

/* always_allow as the kernel wants it: disjoint elements, without timeouts. Returns 0 or -ENOMEM.
 */
int policies_always_allow(const struct policies *policies, struct element_list *ret);

/* The section whose always_allow has the source at the port, or NULL. */
const struct config_port *policies_find_always_allow(const struct policies *policies,
	uint8_t family, const struct address *source, uint16_t port, unsigned protocol);

/* True where on_expiry = kill for the port. */
bool policies_kill_on_expiry(const struct policies *policies, uint16_t port, unsigned protocol);
