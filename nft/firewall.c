/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <string.h>

#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include "nft/message_check.h"
#include "nft/firewall.h"
#include "nft/netlink.h"
#include "nft/sets.h"

/* Room for one more in an array, as it grows. */
static void *grow(void *items, size_t n, size_t *n_allocated, size_t n_item_bytes)
{
	size_t n_wanted = *n_allocated ? 2 * *n_allocated : 16;
	void *grown;

	if (n < *n_allocated)
		return items;
	grown = reallocarray(items, n_wanted, n_item_bytes);
	if (grown)
		*n_allocated = n_wanted;
	return grown;
}

static bool is_same(const char *a, const char *b)
{
	return a && b && strcmp(a, b) == 0;
}

int firewall_add_chain(struct firewall *firewall, struct nftnl_chain *chain)
{
	struct firewall_chain *chains =
		reallocarray(firewall->chains, firewall->n_chains + 1, sizeof(*firewall->chains));
	const char *type = nftnl_chain_get_str(chain, NFTNL_CHAIN_TYPE);

	if (!chains) {
		nftnl_chain_free(chain);
		return -ENOMEM;
	}
	firewall->chains = chains;
	chains[firewall->n_chains++] = (struct firewall_chain){
		.chain = chain,
		.family = nftnl_chain_get_u32(chain, NFTNL_CHAIN_FAMILY),
		.table = nftnl_chain_get_str(chain, NFTNL_CHAIN_TABLE),
		.name = nftnl_chain_get_str(chain, NFTNL_CHAIN_NAME),
		.is_base = nftnl_chain_is_set(chain, NFTNL_CHAIN_HOOKNUM),
		.is_nat = is_same(type, "nat"),
		.drops = nftnl_chain_is_set(chain, NFTNL_CHAIN_POLICY) &&
			nftnl_chain_get_u32(chain, NFTNL_CHAIN_POLICY) == NF_DROP,
		.hook = nftnl_chain_get_u32(chain, NFTNL_CHAIN_HOOKNUM),
		.priority = nftnl_chain_get_s32(chain, NFTNL_CHAIN_PRIO),
	};
	return 0;
}

static bool is_chain(
	const struct firewall_chain *chain, uint32_t family, const char *table, const char *name)
{
	return chain->family == family && is_same(chain->table, table) &&
		is_same(chain->name, name);
}

const struct firewall_chain *firewall_find_chain(
	const struct firewall *firewall, uint32_t family, const char *table, const char *name)
{
	for (size_t i = 0; i < firewall->n_chains; i++)
		if (is_chain(&firewall->chains[i], family, table, name))
			return &firewall->chains[i];
	return NULL;
}

int firewall_add_rule(struct firewall *firewall, struct nftnl_rule *rule)
{
	uint32_t family = nftnl_rule_get_u32(rule, NFTNL_RULE_FAMILY);
	const char *table = nftnl_rule_get_str(rule, NFTNL_RULE_TABLE);
	const char *name = nftnl_rule_get_str(rule, NFTNL_RULE_CHAIN);
	const struct firewall_chain *found = NULL;
	struct firewall_chain *chain;
	struct nftnl_rule **rules;

	if (firewall->last_chain < firewall->n_chains &&
		is_chain(&firewall->chains[firewall->last_chain], family, table, name))
		found = &firewall->chains[firewall->last_chain];
	else
		found = firewall_find_chain(firewall, family, table, name);
	if (!found) { /* ours, asleep, or beyond the bounds */
		nftnl_rule_free(rule);
		return 0;
	}
	firewall->last_chain = (size_t)(found - firewall->chains);
	chain = &firewall->chains[firewall->last_chain];
	rules = grow(chain->rules, chain->n_rules, &chain->n_allocated, sizeof(*rules));
	if (!rules) {
		nftnl_rule_free(rule);
		return -ENOMEM;
	}
	chain->rules = rules;
	rules[chain->n_rules++] = rule;
	firewall->n_rules++;
	return 0;
}

int firewall_add_set(struct firewall *firewall, struct nftnl_set *set)
{
	struct nftnl_set **sets =
		reallocarray(firewall->sets, firewall->n_sets + 1, sizeof(struct nftnl_set *));

	if (!sets) {
		nftnl_set_free(set);
		return -ENOMEM;
	}
	firewall->sets = sets;
	sets[firewall->n_sets++] = set;
	return 0;
}

const struct nftnl_set *firewall_find_set(
	const struct firewall *firewall, uint32_t family, const char *table, const char *name)
{
	for (size_t i = 0; i < firewall->n_sets; i++)
		if (nftnl_set_get_u32(firewall->sets[i], NFTNL_SET_FAMILY) == family &&
			is_same(nftnl_set_get_str(firewall->sets[i], NFTNL_SET_TABLE), table) &&
			is_same(nftnl_set_get_str(firewall->sets[i], NFTNL_SET_NAME), name))
			return firewall->sets[i];
	return NULL;
}

struct firewall *firewall_free(struct firewall *firewall)
{
	if (!firewall)
		return NULL;
	for (size_t i = 0; i < firewall->n_chains; i++) {
		for (size_t k = 0; k < firewall->chains[i].n_rules; k++)
			nftnl_rule_free(firewall->chains[i].rules[k]);
		free(firewall->chains[i].rules);
		nftnl_chain_free(firewall->chains[i].chain);
	}
	for (size_t i = 0; i < firewall->n_sets; i++)
		nftnl_set_free(firewall->sets[i]);
	free(firewall->chains);
	free(firewall->sets);
	free(firewall);
	return NULL;
}

#define TABLES_MAX 256

/* Tables to leave out: which are asleep, and ours. */
struct table_name {
	uint32_t family;
	char name[128];
};

struct reading {
	struct firewall *firewall;
	struct table_name skipped[TABLES_MAX];
	size_t n_skipped;
};

/* Also what has no name, which no kernel tells. */
static bool is_skipped(
	const struct reading *reading, uint32_t family, const char *table, const char *name)
{
	if (!table || !name)
		return true;
	if (family == NFPROTO_INET && is_same(table, GATE_TABLE))
		return true;
	for (size_t i = 0; i < reading->n_skipped; i++)
		if (reading->skipped[i].family == family &&
			is_same(reading->skipped[i].name, table))
			return true;
	return false;
}

static int on_table(const struct nlmsghdr *message, void *userdata)
{
	struct reading *reading = userdata;
	struct nftnl_table *table = nftnl_table_alloc();
	struct table_name *skipped = &reading->skipped[reading->n_skipped];

	if (!table)
		return MNL_CB_ERROR;
	if (nftnl_table_nlmsg_parse(message, table) == 0 && reading->n_skipped < TABLES_MAX &&
		(nftnl_table_get_u32(table, NFTNL_TABLE_FLAGS) & NFT_TABLE_F_DORMANT)) {
		skipped->family = nftnl_table_get_u32(table, NFTNL_TABLE_FAMILY);
		snprintf(skipped->name, sizeof(skipped->name), "%s",
			nftnl_table_get_str(table, NFTNL_TABLE_NAME));
		reading->n_skipped++;
	}
	nftnl_table_free(table);
	return MNL_CB_OK;
}

static int finish(int status)
{
	if (status == 0)
		return MNL_CB_OK;
	errno = -status;
	return MNL_CB_ERROR;
}

static int on_chain(const struct nlmsghdr *message, void *userdata)
{
	struct reading *reading = userdata;
	struct nftnl_chain *chain = nftnl_chain_alloc();

	if (!chain)
		return finish(-ENOMEM);
	if (reading->firewall->n_chains >= FIREWALL_CHAINS_MAX)
		reading->firewall->is_cut = true;
	else if (nftnl_chain_nlmsg_parse(message, chain) == 0 &&
		!is_skipped(reading, nftnl_chain_get_u32(chain, NFTNL_CHAIN_FAMILY),
			nftnl_chain_get_str(chain, NFTNL_CHAIN_TABLE),
			nftnl_chain_get_str(chain, NFTNL_CHAIN_NAME)))
		return finish(firewall_add_chain(reading->firewall, chain));
	nftnl_chain_free(chain);
	return MNL_CB_OK;
}

static int on_rule(const struct nlmsghdr *message, void *userdata)
{
	struct reading *reading = userdata;
	struct nftnl_rule *rule = nftnl_rule_alloc();

	if (!rule)
		return finish(-ENOMEM);
	if (reading->firewall->n_rules >= FIREWALL_RULES_MAX)
		reading->firewall->is_cut = true;
	else if (rule_is_sound(message) && nftnl_rule_nlmsg_parse(message, rule) == 0)
		return finish(firewall_add_rule(reading->firewall, rule));
	nftnl_rule_free(rule);
	return MNL_CB_OK;
}

static int on_set(const struct nlmsghdr *message, void *userdata)
{
	struct reading *reading = userdata;
	struct nftnl_set *set = nftnl_set_alloc();

	if (!set)
		return finish(-ENOMEM);
	if (reading->firewall->n_sets >= FIREWALL_SETS_MAX)
		reading->firewall->is_cut = true;
	else if (nftnl_set_nlmsg_parse(message, set) == 0 &&
		!is_skipped(reading, nftnl_set_get_u32(set, NFTNL_SET_FAMILY),
			nftnl_set_get_str(set, NFTNL_SET_TABLE),
			nftnl_set_get_str(set, NFTNL_SET_NAME)))
		return finish(firewall_add_set(reading->firewall, set));
	nftnl_set_free(set);
	return MNL_CB_OK;
}

struct element_reading {
	struct firewall *firewall;
	struct nftnl_set *set;
};

static int on_element(struct nftnl_set_elem *element, void *userdata)
{
	size_t *n = userdata;

	(void)element;
	(*n)++;
	return 0;
}

/* Parsing appends to the set. */
static int on_elements(const struct nlmsghdr *message, void *userdata)
{
	struct element_reading *reading = userdata;
	size_t n = 0;

	if (reading->firewall->n_elements >= FIREWALL_ELEMENTS_MAX) {
		reading->firewall->is_cut = true;
		return MNL_CB_OK;
	}
	if (!elements_are_sound(message) || nftnl_set_elems_nlmsg_parse(message, reading->set) < 0)
		return MNL_CB_ERROR;
	nftnl_set_elem_foreach(reading->set, on_element, &n);
	reading->firewall->n_elements += n;
	return MNL_CB_OK;
}

static int read_elements(struct netlink *netlink, struct firewall *firewall, struct nftnl_set *set)
{
	struct element_reading reading = { firewall, set };
	struct nftnl_set *wanted = nftnl_set_alloc();
	char buffer[1024];
	struct nlmsghdr *request;
	int status = -ENOMEM;

	if (!wanted)
		return -ENOMEM;
	request = nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETSETELEM,
		nftnl_set_get_u32(set, NFTNL_SET_FAMILY), NLM_F_DUMP, 0);
	if (nftnl_set_set_str(wanted, NFTNL_SET_TABLE, nftnl_set_get_str(set, NFTNL_SET_TABLE)) ==
			0 &&
		nftnl_set_set_str(wanted, NFTNL_SET_NAME, nftnl_set_get_str(set, NFTNL_SET_NAME)) ==
			0) {
		nftnl_set_elems_nlmsg_build_payload(request, wanted);
		status = netlink_request(netlink, request, on_elements, &reading);
	}
	nftnl_set_free(wanted);
	return status == -ENOENT ? -EINTR : status; /* it has gone since it was listed */
}

static int read_once(struct netlink *netlink, struct firewall *firewall)
{
	static const struct {
		uint16_t type;
		mnl_cb_t callback;
	} dumps[] = {
		{ NFT_MSG_GETTABLE, on_table },
		{ NFT_MSG_GETCHAIN, on_chain },
		{ NFT_MSG_GETRULE, on_rule },
		{ NFT_MSG_GETSET, on_set },
	};
	struct reading reading = { .firewall = firewall };
	char buffer[256];
	int status = 0;

	for (size_t i = 0; i < N_ELEMENTS(dumps) && status == 0; i++)
		status = netlink_request(netlink,
			nftnl_nlmsg_build_hdr(buffer, dumps[i].type, NFPROTO_UNSPEC, NLM_F_DUMP, 0),
			dumps[i].callback, &reading);
	for (size_t i = 0; i < firewall->n_sets && status == 0; i++)
		status = read_elements(netlink, firewall, firewall->sets[i]);
	return status;
}

int firewall_read(struct firewall **ret)
{
	_cleanup_(netlink_freep) struct netlink *netlink = NULL;
	int status = netlink_open(NETLINK_NETFILTER, 0, &netlink);

	if (status < 0)
		return status;
	status = -EINTR;
	for (int i = 0; i < NETLINK_TRIES && status == -EINTR; i++) {
		_cleanup_(firewall_freep) struct firewall *firewall = calloc(1, sizeof(*firewall));

		if (!firewall)
			return -ENOMEM;
		status = read_once(netlink, firewall);
		if (status == 0)
			*ret = TAKE_PTR(firewall);
	}
	return status;
}

static bool is_named(const char *path, const char *name)
{
	_cleanup_(fclosep) FILE *file = fopen(path, "re");
	char line[64];

	while (file && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		if (strcmp(line, name) == 0)
			return true;
	}
	return false;
}

bool firewall_has_legacy_table(const char *name)
{
	return is_named("/proc/net/ip_tables_names", name) ||
		is_named("/proc/net/ip6_tables_names", name);
}
