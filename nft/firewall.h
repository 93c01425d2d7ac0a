/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * The rules that other programs have in nf_tables (iptables-nft among them): chains, with their
 * rules, and sets, as libnftnl has them. The gate's own table is left out, and what sleeps.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cleanup.h"

#define FIREWALL_CHAINS_MAX 4096
#define FIREWALL_RULES_MAX 32768
#define FIREWALL_SETS_MAX 4096
#define FIREWALL_ELEMENTS_MAX 65536 /* of all sets */

struct nftnl_chain;
struct nftnl_rule;
struct nftnl_set;

struct firewall_chain {
	struct nftnl_chain *chain;
	uint32_t family; /* NFPROTO_… */
	const char *table;
	const char *name;
	bool is_base;
	bool is_nat;
	bool drops; /* its policy */
	uint32_t hook;
	int32_t priority;
	struct nftnl_rule **rules;
	size_t n_rules;
	size_t n_allocated;
};

struct firewall {
	struct firewall_chain *chains;
	size_t n_chains;
	struct nftnl_set **sets;
	size_t n_sets;
	size_t last_chain; /* that a rule was added to: the kernel tells them chain by chain */
	size_t n_rules;
	size_t n_elements;
	/* More than the bounds: what is missing is not known. */
	bool is_cut;
};

/* Reads all. Returns 0; -EPERM without CAP_NET_ADMIN; -errno. */
int firewall_read(struct firewall **ret);
struct firewall *firewall_free(struct firewall *firewall);
DEFINE_CLEANUP(struct firewall *, firewall_free)

/* Each takes over what it adds, also where it fails. A rule goes to the end of its chain. Return 0
 * or -ENOMEM. */
int firewall_add_chain(struct firewall *firewall, struct nftnl_chain *chain);
int firewall_add_rule(struct firewall *firewall, struct nftnl_rule *rule);
int firewall_add_set(struct firewall *firewall, struct nftnl_set *set);

/* NULL where there is none. */
const struct firewall_chain *firewall_find_chain(
	const struct firewall *firewall, uint32_t family, const char *table, const char *name);
const struct nftnl_set *firewall_find_set(
	const struct firewall *firewall, uint32_t family, const char *table, const char *name);

/*
 * iptables-legacy keeps its rules outside of nf_tables: here it is only told that there are some.
 * name is a table ("filter"). True where the table is in use in either family.
 */
bool firewall_has_legacy_table(const char *name);
