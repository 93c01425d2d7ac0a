/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/object.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include "nft/gate.h"

/* Others may change the table between our reading and our writing; this often is no coincidence. */
#define INSTALL_TRIES 5

/* Two timeouts are the same when they end within this of each other: reading takes its time. */
#define TIMEOUT_TOLERANCE_MS 100

/* Ranges that rules name one by one until their sets are there, this many: with more, who comes in
 * that moment may have to send again. */
#define INTERIM_RANGES_MAX 1000

struct gate {
	struct netlink *netlink;
	bool can_own;
	bool owns; /* the kernel has let it */
	/* Whether the rules look for grants of prefixes: they do from the first such grant on. */
	bool judges_ranges4;
	bool judges_ranges6;
};

int gate_open(struct gate **ret)
{
	_cleanup_(gate_freep) struct gate *gate = calloc(1, sizeof(*gate));
	int status;

	if (!gate)
		return -ENOMEM;
	gate->can_own = true;
	status = netlink_open(NETLINK_NETFILTER, 0, &gate->netlink);
	if (status < 0)
		return status;
	*ret = TAKE_PTR(gate);
	return 0;
}

struct gate *gate_free(struct gate *gate)
{
	if (!gate)
		return NULL;
	netlink_free(gate->netlink);
	free(gate);
	return NULL;
}

uint32_t gate_port(const struct gate *gate)
{
	return netlink_port(gate->netlink);
}

/* Order of elements: by set, source, protocol, port. */
static int element_compare(const struct element *a, const struct element *b)
{
	enum gate_set x = element_grant_set(a), y = element_grant_set(b);
	int order;

	if (x != y)
		return x < y ? -1 : 1;
	order = address_compare(&a->sources.first, &b->sources.first);
	if (order == 0)
		order = address_compare(&a->sources.last, &b->sources.last);
	if (order == 0)
		order = (int)a->l4proto - (int)b->l4proto;
	if (order == 0)
		order = (int)a->ports.first - (int)b->ports.first;
	if (order == 0)
		order = (int)a->ports.last - (int)b->ports.last;
	return order;
}

static int compare_element_pointers(const void *a, const void *b)
{
	return element_compare(
		*(const struct element *const *)a, *(const struct element *const *)b);
}

static bool element_lasts_alike(const struct element *a, const struct element *b)
{
	uint64_t longer = a->timeout_ms > b->timeout_ms ? a->timeout_ms : b->timeout_ms;
	uint64_t shorter = a->timeout_ms > b->timeout_ms ? b->timeout_ms : a->timeout_ms;

	return longer - shorter <= TIMEOUT_TOLERANCE_MS &&
		(a->timeout_ms == 0) == (b->timeout_ms == 0);
}

struct pointers {
	const struct element **items;
	size_t n;
};

static void pointers_done(struct pointers *pointers)
{
	free(pointers->items);
}

static int pointers_init(
	struct pointers *pointers, const struct element *elements, size_t n, bool filled)
{
	pointers->n = filled ? n : 0;
	pointers->items = calloc(n + 1, sizeof(*pointers->items));
	if (!pointers->items)
		return -ENOMEM;
	for (size_t i = 0; i < n && filled; i++)
		pointers->items[i] = &elements[i];
	return 0;
}

static void pointers_sort(struct pointers *pointers)
{
	qsort(pointers->items, pointers->n, sizeof(*pointers->items), compare_element_pointers);
}

/* Adds the changes of each set of grants to the transaction; the pointers are sorted, so by set. */
static int change_grants(
	struct transaction *transaction, uint16_t type, const struct pointers *pointers)
{
	for (size_t first = 0, end; first < pointers->n; first = end) {
		enum gate_set set = element_grant_set(pointers->items[first]);
		int status;

		for (end = first + 1; end < pointers->n; end++)
			if (element_grant_set(pointers->items[end]) != set)
				break;
		status = elements_change(
			transaction, type, set, pointers->items + first, end - first);
		if (status < 0)
			return status;
	}
	return 0;
}

/* Deletes what is not wanted or lasts otherwise; adds what is missing. */
static int mend_grants(struct transaction *transaction, const struct element_list *there,
	const struct element_list *wanted)
{
	_cleanup_(pointers_done) struct pointers have = {}, want = {}, remove = {}, add = {};
	size_t i = 0, k = 0;
	int status;

	if (pointers_init(&have, there->elements, there->n, true) < 0 ||
		pointers_init(&want, wanted->elements, wanted->n, true) < 0 ||
		pointers_init(&remove, there->elements, there->n, false) < 0 ||
		pointers_init(&add, wanted->elements, wanted->n, false) < 0)
		return -ENOMEM;
	pointers_sort(&have);
	pointers_sort(&want);
	while (i < have.n || k < want.n) {
		int order = i == have.n ? 1
			: k == want.n   ? -1
					: element_compare(have.items[i], want.items[k]);

		if (order < 0) {
			remove.items[remove.n++] = have.items[i++];
		} else if (order > 0) {
			add.items[add.n++] = want.items[k++];
		} else {
			if (!element_lasts_alike(have.items[i], want.items[k]) ||
				strcmp(have.items[i]->comment, want.items[k]->comment) != 0) {
				remove.items[remove.n++] = have.items[i];
				add.items[add.n++] = want.items[k];
			}
			i++;
			k++;
		}
	}
	status = change_grants(transaction, NFT_MSG_DELSETELEM, &remove);
	return status < 0 ? status : change_grants(transaction, NFT_MSG_NEWSETELEM, &add);
}

static int read_grant_sets(struct gate *gate, struct element_list *list)
{
	static const enum gate_set sets[] = { SET_GRANTS4, SET_GRANTS6, SET_GRANT_RANGES4,
		SET_GRANT_RANGES6 };
	int status = 0;

	for (size_t i = 0; i < N_ELEMENTS(sets) && status == 0; i++)
		status = elements_read(gate->netlink, sets[i], list);
	return status;
}

static int install_ports(struct gate *gate, struct transaction *transaction, enum gate_set set,
	const struct port_range *ports, size_t n, bool there)
{
	_cleanup_(port_range_list_done) struct port_range_list list = {};
	int status;

	if (there) {
		status = elements_read_ports(gate->netlink, set, &list);
		if (status < 0)
			return status;
		if (list.n == n && (n == 0 || memcmp(list.ranges, ports, n * sizeof(*ports)) == 0))
			return 0;
		status = elements_flush(transaction, set);
		if (status < 0)
			return status;
	}
	return elements_change_ports(transaction, NFT_MSG_NEWSETELEM, set, ports, n);
}

static int install_always_allow(struct gate *gate, struct transaction *transaction,
	struct ruleset *ruleset, uint8_t family, bool there)
{
	enum gate_set set = family == AF_INET ? SET_ALWAYS_ALLOW4 : SET_ALWAYS_ALLOW6;
	_cleanup_(element_list_done) struct element_list list = {};
	_cleanup_(pointers_done) struct pointers have = {}, want = {};
	bool same;
	int status;

	if (there) {
		status = elements_read(gate->netlink, set, &list);
		if (status < 0)
			return status;
	}
	if (pointers_init(&have, list.elements, list.n, true) < 0 ||
		pointers_init(&want, ruleset->always_allow, ruleset->n_always_allow, false) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < ruleset->n_always_allow; i++)
		if (ruleset->always_allow[i].sources.family == family)
			want.items[want.n++] = &ruleset->always_allow[i];
	pointers_sort(&have);
	pointers_sort(&want);
	same = have.n == want.n;
	for (size_t i = 0; i < have.n && same; i++)
		same = element_compare(have.items[i], want.items[i]) == 0 &&
			have.items[i]->timeout_ms == 0;
	if (same)
		return 0;
	ruleset->interim |= want.n > 0;
	if (have.n > 0) {
		status = elements_flush(transaction, set);
		if (status < 0)
			return status;
	}
	return elements_change(transaction, NFT_MSG_NEWSETELEM, set, want.items, want.n);
}

static bool has_ranges(const struct element *elements, size_t n, enum gate_set ranges)
{
	for (size_t i = 0; i < n; i++)
		if (element_grant_set(&elements[i]) == ranges)
			return true;
	return false;
}

static int install_grants(struct transaction *transaction, struct ruleset *ruleset,
	const struct element_list *there, const struct ruleset_state *state, bool keep)
{
	const struct element_list none = {};
	const struct element_list *wanted = ruleset->grants;

	if (!(keep && state->sets[SET_GRANT_RANGES4]))
		ruleset->interim |= has_ranges(wanted->elements, wanted->n, SET_GRANT_RANGES4);
	if (!(keep && state->sets[SET_GRANT_RANGES6]))
		ruleset->interim |= has_ranges(wanted->elements, wanted->n, SET_GRANT_RANGES6);
	return mend_grants(transaction, keep ? there : &none, wanted);
}

/* Sessions and flows of a table that can't be mended move to the one that replaces it. */
static int carry_sessions(struct gate *gate, struct transaction *transaction)
{
	static const enum gate_set sets[] = { SET_SESSIONS4, SET_SESSIONS6, SET_FLOWS4,
		SET_FLOWS6 };

	for (size_t i = 0; i < N_ELEMENTS(sets); i++) {
		_cleanup_(flow_list_done) struct flow_list flows = {};
		int status = elements_read_flows(gate->netlink, sets[i], &flows);

		if (status == -ENOENT)
			continue;
		if (status == 0)
			status = elements_change_flows(
				transaction, NFT_MSG_NEWSETELEM, sets[i], flows.flows, flows.n);
		if (status < 0)
			return status;
	}
	return 0;
}

static size_t count_ranges(const struct ruleset *ruleset)
{
	size_t n = ruleset->n_always_allow;

	for (size_t i = 0; i < ruleset->grants->n; i++)
		n += !address_range_is_single(&ruleset->grants->elements[i].sources);
	return n;
}

/* there: the grants' elements in the kernel. Rules come last: they depend on which sets are new. */
static int build_install(struct gate *gate, struct transaction *transaction,
	struct ruleset *ruleset, const struct element_list *there,
	const struct ruleset_state *state)
{
	bool keep = ruleset_can_keep(state, ruleset);
	int status;

	status = ruleset_build(transaction, ruleset, state);
	if (status == 0)
		status = install_ports(gate, transaction, SET_MANAGED_TCP, ruleset->tcp,
			ruleset->n_tcp, keep && state->sets[SET_MANAGED_TCP]);
	if (status == 0)
		status = install_ports(gate, transaction, SET_MANAGED_UDP, ruleset->udp,
			ruleset->n_udp, keep && state->sets[SET_MANAGED_UDP]);
	if (status == 0)
		status = install_always_allow(gate, transaction, ruleset, AF_INET,
			keep && state->sets[SET_ALWAYS_ALLOW4]);
	if (status == 0)
		status = install_always_allow(gate, transaction, ruleset, AF_INET6,
			keep && state->sets[SET_ALWAYS_ALLOW6]);
	if (status == 0)
		status = install_grants(transaction, ruleset, there, state, keep);
	if (status == 0 && state->present && !keep)
		status = carry_sessions(gate, transaction);
	if (count_ranges(ruleset) > INTERIM_RANGES_MAX)
		ruleset->interim = false;
	return status < 0 ? status : ruleset_build_rules(transaction, ruleset);
}

/* The sets are there: rules need not name what is in them any longer. */
static int end_interim(struct gate *gate, struct ruleset *ruleset, const char **ret_what)
{
	_cleanup_(transaction_freep) struct transaction *transaction = NULL;
	int status;

	ruleset->interim = false;
	status = transaction_new(&transaction);
	if (status == 0)
		status = ruleset_rewrite_rules(transaction, ruleset);
	return status < 0 ? status : transaction_commit(transaction, gate->netlink, ret_what);
}

static int install_once(struct gate *gate, struct ruleset ruleset,
	const struct element_list *grants, enum gate_install *ret_found, const char **ret_what)
{
	_cleanup_(transaction_freep) struct transaction *transaction = NULL;
	_cleanup_(element_list_done) struct element_list there = {};
	struct ruleset_state state;
	int status;

	*ret_what = "reading the rules in force";
	status = ruleset_read(gate->netlink, &state);
	if (status == 0 && state.present)
		status = read_grant_sets(gate, &there);
	if (status == -ENOENT) /* a set that is missing is made, empty, in this transaction */
		status = 0;
	if (status < 0)
		return status;
	ruleset.grants = grants ? grants : &there;
	status = transaction_new(&transaction);
	if (status < 0)
		return status;
	status = build_install(gate, transaction, &ruleset, &there, &state);
	if (status < 0)
		return status;
	*ret_found = !state.present                  ? GATE_WAS_ABSENT
		: ruleset_can_keep(&state, &ruleset) ? GATE_WAS_PRESENT
						     : GATE_WAS_REPLACED;
	status = transaction_commit(transaction, gate->netlink, ret_what);
	return status == 0 && ruleset.interim ? end_interim(gate, &ruleset, ret_what) : status;
}

int gate_install(struct gate *gate, const struct ruleset *ruleset,
	const struct element_list *grants, enum gate_install *ret_found, bool *ret_owned,
	const char **ret_what)
{
	struct ruleset wanted = *ruleset;
	bool ranges4 = !grants || gate->judges_ranges4 ||
		has_ranges(grants->elements, grants->n, SET_GRANT_RANGES4);
	bool ranges6 = !grants || gate->judges_ranges6 ||
		has_ranges(grants->elements, grants->n, SET_GRANT_RANGES6);
	int status = -EAGAIN;

	wanted.without_ranges4 = !ranges4;
	wanted.without_ranges6 = !ranges6;

	for (int i = 0; i < INSTALL_TRIES; i++) {
		wanted.owned = ruleset->owned && gate->can_own;
		status = install_once(gate, wanted, grants, ret_found, ret_what);
		if (wanted.owned && !gate->owns && (status == -EOPNOTSUPP || status == -EINVAL))
			gate->can_own = false; /* a kernel before 6.9 */
		else if (status != -ENOENT && status != -EEXIST && status != -EBUSY &&
			status != -EINTR)
			break;
	}
	if (status < 0)
		return status;
	gate->judges_ranges4 = grants && ranges4;
	gate->judges_ranges6 = grants && ranges6;
	gate->owns = wanted.owned;
	*ret_owned = wanted.owned;
	return 0;
}

int gate_change(struct gate *gate, const struct element *remove, size_t n_remove,
	const struct element *add, size_t n_add, const char **ret_what)
{
	_cleanup_(transaction_freep) struct transaction *transaction = NULL;
	_cleanup_(pointers_done) struct pointers going = {}, coming = {};
	int status;

	*ret_what = "rules that look for prefixes";
	if ((!gate->judges_ranges4 && has_ranges(add, n_add, SET_GRANT_RANGES4)) ||
		(!gate->judges_ranges6 && has_ranges(add, n_add, SET_GRANT_RANGES6)))
		return -ENOENT;
	*ret_what = "building the transaction";
	if (pointers_init(&going, remove, n_remove, true) < 0 ||
		pointers_init(&coming, add, n_add, true) < 0)
		return -ENOMEM;
	pointers_sort(&going);
	pointers_sort(&coming);
	status = transaction_new(&transaction);
	if (status == 0)
		status = change_grants(transaction, NFT_MSG_DELSETELEM, &going);
	if (status == 0)
		status = change_grants(transaction, NFT_MSG_NEWSETELEM, &coming);
	if (status == 0)
		status = transaction_commit(transaction, gate->netlink, ret_what);
	return status;
}

int gate_remove(struct gate *gate)
{
	_cleanup_(transaction_freep) struct transaction *transaction = NULL;
	int status;

	status = transaction_new(&transaction);
	if (status == 0)
		status = ruleset_remove(transaction);
	if (status == 0)
		status = transaction_commit(transaction, gate->netlink, NULL);
	return status == -ENOENT ? 0 : status;
}

static int on_refused_counter(const struct nlmsghdr *message, void *userdata)
{
	struct nftnl_obj *counter = nftnl_obj_alloc();

	if (!counter)
		return MNL_CB_ERROR;
	if (nftnl_obj_nlmsg_parse(message, counter) == 0)
		*(uint64_t *)userdata = nftnl_obj_get_u64(counter, NFTNL_OBJ_CTR_PKTS);
	nftnl_obj_free(counter);
	return MNL_CB_OK;
}

static int read_refused(struct gate *gate, uint64_t *ret)
{
	struct nftnl_obj *counter = nftnl_obj_alloc();
	char buffer[512];
	struct nlmsghdr *request;

	if (!counter)
		return -ENOMEM;
	request = nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETOBJ, NFPROTO_INET, NLM_F_ACK, 0);
	nftnl_obj_set_str(counter, NFTNL_OBJ_TABLE, GATE_TABLE);
	nftnl_obj_set_str(counter, NFTNL_OBJ_NAME, GATE_COUNTER_REFUSED);
	nftnl_obj_set_u32(counter, NFTNL_OBJ_TYPE, NFT_OBJECT_COUNTER);
	nftnl_obj_nlmsg_build_payload(request, counter);
	nftnl_obj_free(counter);
	return netlink_request(gate->netlink, request, on_refused_counter, ret);
}

int gate_status(struct gate *gate, bool *ret_installed, uint64_t *ret_refused)
{
	struct ruleset_state state;
	int status;

	status = ruleset_read(gate->netlink, &state);
	if (status < 0)
		return status;
	*ret_installed = state.present && !state.foreign && state.chains[CHAIN_PREROUTING];
	*ret_refused = 0;
	if (!state.counter)
		return 0;
	return read_refused(gate, ret_refused);
}

static int on_nat_chain(const struct nlmsghdr *message, void *userdata)
{
	struct nftnl_chain *chain = nftnl_chain_alloc();

	if (!chain)
		return MNL_CB_ERROR;
	if (nftnl_chain_nlmsg_parse(message, chain) == 0 &&
		nftnl_chain_is_set(chain, NFTNL_CHAIN_HOOKNUM) &&
		nftnl_chain_get_u32(chain, NFTNL_CHAIN_HOOKNUM) == NF_INET_PRE_ROUTING &&
		nftnl_chain_is_set(chain, NFTNL_CHAIN_TYPE) &&
		strcmp(nftnl_chain_get_str(chain, NFTNL_CHAIN_TYPE), "nat") == 0)
		*(bool *)userdata = true;
	nftnl_chain_free(chain);
	return MNL_CB_OK;
}

/* iptables-legacy is not part of nf_tables: the kernel names its tables in a file. */
static bool legacy_table_exists(const char *path)
{
	_cleanup_(fclosep) FILE *file = fopen(path, "re");
	char name[64];

	while (file && fgets(name, sizeof(name), file))
		if (strcmp(name, "nat\n") == 0)
			return true;
	return false;
}

int gate_find_destination_nat(struct gate *gate, bool *ret)
{
	char buffer[256];
	bool found = false;
	int status = -EINTR;

	/* A chain that is seen is there, though the dump be interrupted after it. */
	for (int i = 0; i < NETLINK_TRIES && status == -EINTR && !found; i++) {
		struct nlmsghdr *request = nftnl_nlmsg_build_hdr(
			buffer, NFT_MSG_GETCHAIN, NFPROTO_UNSPEC, NLM_F_DUMP, 0);

		status = netlink_request(gate->netlink, request, on_nat_chain, &found);
	}
	if (status < 0 && !found)
		return status;
	*ret = found || legacy_table_exists("/proc/net/ip_tables_names") ||
		legacy_table_exists("/proc/net/ip6_tables_names");
	return 0;
}

int gate_read_ports(struct gate *gate, struct port_range_list *tcp, struct port_range_list *udp)
{
	struct ruleset_state state;
	int status = ruleset_read(gate->netlink, &state);

	if (status == 0 && state.sets[SET_MANAGED_TCP])
		status = elements_read_ports(gate->netlink, SET_MANAGED_TCP, tcp);
	if (status == 0 && state.sets[SET_MANAGED_UDP])
		status = elements_read_ports(gate->netlink, SET_MANAGED_UDP, udp);
	return status;
}

int gate_read_grants(struct gate *gate, struct element_list *list)
{
	return read_grant_sets(gate, list);
}

int gate_read_denied(struct gate *gate, struct element_list *list)
{
	int status = elements_read(gate->netlink, SET_DENIED4, list);

	return status < 0 ? status : elements_read(gate->netlink, SET_DENIED6, list);
}

int gate_read_sessions(struct gate *gate, struct flow_list *list)
{
	static const enum gate_set sets[] = { SET_SESSIONS4, SET_SESSIONS6, SET_FLOWS4,
		SET_FLOWS6 };
	int status = 0;

	for (size_t i = 0; i < N_ELEMENTS(sets) && status == 0; i++)
		status = elements_read_flows(gate->netlink, sets[i], list);
	return status;
}

static enum gate_set flow_set(const struct flow *flow)
{
	if (flow->l4proto == IPPROTO_TCP)
		return flow->family == AF_INET ? SET_SESSIONS4 : SET_SESSIONS6;
	return flow->family == AF_INET ? SET_FLOWS4 : SET_FLOWS6;
}

int gate_add_flows(struct gate *gate, const struct flow_list *flows)
{
	_cleanup_(transaction_freep) struct transaction *transaction = NULL;
	int status = transaction_new(&transaction);

	for (size_t i = 0; i < flows->n && status == 0; i++)
		status = elements_change_flows(transaction, NFT_MSG_NEWSETELEM,
			flow_set(&flows->flows[i]), &flows->flows[i], 1);
	return status < 0 ? status : transaction_commit(transaction, gate->netlink, NULL);
}

/*
 * One by one: what is gone already must not keep the others. And asked first: to undo a transaction
 * that fails, the kernel waits for all processors to pass (synchronize_rcu), some 10 ms, in which
 * nothing is repaired.
 */
int gate_forget_sessions(struct gate *gate, const struct flow *flows, size_t n)
{
	int error = 0;

	for (size_t i = 0; i < n; i++) {
		_cleanup_(transaction_freep) struct transaction *transaction = NULL;
		int status = elements_find_flow(gate->netlink, flow_set(&flows[i]), &flows[i]);

		if (status == 0)
			status = transaction_new(&transaction);
		if (status == 0)
			status = elements_change_flows(
				transaction, NFT_MSG_DELSETELEM, flow_set(&flows[i]), &flows[i], 1);
		if (status == 0)
			status = transaction_commit(transaction, gate->netlink, NULL);
		if (status < 0 && status != -ENOENT && error == 0)
			error = status;
	}
	return error;
}
