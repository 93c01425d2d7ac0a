/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/object.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include "nft/gate.h"
#include "nft/install.h"

/* Others may change the table between our reading and our writing; this often is no coincidence. */
#define INSTALL_TRIES 5

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

/* Those that are readable. */
static int read_grant_sets(
	struct gate *gate, const struct ruleset_state *state, struct element_list *list)
{
	static const enum gate_set sets[] = { SET_GRANTS4, SET_GRANTS6, SET_GRANT_RANGES4,
		SET_GRANT_RANGES6 };
	int status = 0;

	for (size_t i = 0; i < N_ELEMENTS(sets) && status == 0; i++)
		if (state->readable[sets[i]])
			status = elements_read(gate->netlink, sets[i], list);
	return status;
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
	*ret_found = GATE_WAS_ABSENT;
	status = ruleset_read(gate->netlink, &state);
	if (status == 0)
		status = read_grant_sets(gate, &state, &there);
	if (status < 0)
		return status;
	if (there.foreign) /* and can't be taken out by the keys that we know */
		state.foreign = true;
	ruleset.grants = grants ? grants : &there;
	status = transaction_new(&transaction);
	if (status < 0)
		return status;
	status = install_build(gate->netlink, transaction, &ruleset, &there, &state);
	if (status < 0)
		return status;
	*ret_found = !state.present                  ? GATE_WAS_ABSENT
		: ruleset_can_keep(&state, &ruleset) ? GATE_WAS_PRESENT
						     : GATE_WAS_REPLACED;
	status = transaction_commit(transaction, gate->netlink, ret_what);
	return status == 0 && ruleset.interim ? end_interim(gate, &ruleset, ret_what) : status;
}

/* A table whose owner has ended takes no base chain in the transaction that makes it another's. */
static int adopt(struct gate *gate, const char **ret_what)
{
	_cleanup_(transaction_freep) struct transaction *transaction = NULL;
	int status;

	status = transaction_new(&transaction);
	if (status == 0)
		status = ruleset_adopt(transaction);
	return status < 0 ? status : transaction_commit(transaction, gate->netlink, ret_what);
}

int gate_install(struct gate *gate, const struct ruleset *ruleset,
	const struct element_list *grants, enum gate_install *ret_found, bool *ret_owned,
	const char **ret_what)
{
	struct ruleset wanted = *ruleset;
	bool ranges4 = !grants || gate->judges_ranges4 ||
		elements_include(grants->elements, grants->n, SET_GRANT_RANGES4);
	bool ranges6 = !grants || gate->judges_ranges6 ||
		elements_include(grants->elements, grants->n, SET_GRANT_RANGES6);
	int status = -EAGAIN;

	wanted.without_ranges4 = !ranges4;
	wanted.without_ranges6 = !ranges6;

	for (int i = 0; i < INSTALL_TRIES; i++) {
		wanted.owned = ruleset->owned && gate->can_own;
		status = install_once(gate, wanted, grants, ret_found, ret_what);
		if (wanted.owned && !gate->owns && status == -EINVAL &&
			*ret_found == GATE_WAS_PRESENT && adopt(gate, ret_what) == 0)
			gate->owns = true;
		else if (wanted.owned && !gate->owns &&
			(status == -EOPNOTSUPP || status == -EINVAL))
			gate->can_own = false; /* a kernel before 6.9 */
		else if (status != -ENOENT && status != -EEXIST && status != -EBUSY &&
			status != -EINTR && status != -EBADMSG)
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
	int status;

	*ret_what = "rules that look for prefixes";
	if ((!gate->judges_ranges4 && elements_include(add, n_add, SET_GRANT_RANGES4)) ||
		(!gate->judges_ranges6 && elements_include(add, n_add, SET_GRANT_RANGES6)))
		return -ENOENT;
	*ret_what = "building the transaction";
	status = transaction_new(&transaction);
	if (status == 0)
		status = install_change_grants(transaction, remove, n_remove, add, n_add);
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
	return status;
}

static int on_refused_counter(const struct nlmsghdr *message, void *userdata)
{
	struct nftnl_obj *counter = nftnl_obj_alloc();
	int status;

	if (!counter)
		return MNL_CB_ERROR;
	status = nftnl_obj_nlmsg_parse(message, counter);
	if (status == 0)
		*(uint64_t *)userdata = nftnl_obj_get_u64(counter, NFTNL_OBJ_CTR_PKTS);
	nftnl_obj_free(counter);
	return status < 0 ? MNL_CB_ERROR : MNL_CB_OK;
}

static int read_refused(struct gate *gate, uint64_t *ret)
{
	struct nftnl_obj *counter = gate_counter_new();
	char buffer[512];
	struct nlmsghdr *request;

	if (!counter)
		return -ENOMEM;
	request = nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETOBJ, NFPROTO_INET, NLM_F_ACK, 0);
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
	int status;

	if (!chain)
		return MNL_CB_ERROR;
	status = nftnl_chain_nlmsg_parse(message, chain);
	if (status == 0 && nftnl_chain_is_set(chain, NFTNL_CHAIN_HOOKNUM) &&
		nftnl_chain_get_u32(chain, NFTNL_CHAIN_HOOKNUM) == NF_INET_PRE_ROUTING &&
		nftnl_chain_is_set(chain, NFTNL_CHAIN_TYPE) &&
		strcmp(nftnl_chain_get_str(chain, NFTNL_CHAIN_TYPE), "nat") == 0)
		*(bool *)userdata = true;
	nftnl_chain_free(chain);
	return status < 0 ? MNL_CB_ERROR : MNL_CB_OK;
}

/* Who may not read which tables there are sees whether the table's module is there, in this
 * namespace or in another; of what is built into the kernel not even that. */
static bool legacy_module_exists(const char *module)
{
	return access(module, F_OK) == 0 || access("/sys/module/x_tables", F_OK) < 0;
}

/* iptables-legacy is not part of nf_tables: the kernel names its tables in a file, which is root's.
 * One that can't be read now may name it: chains for NAT that is not there do no harm. */
static bool legacy_table_exists(const char *path, const char *module)
{
	_cleanup_(fclosep) FILE *file = fopen(path, "re");
	char name[64];

	if (!file)
		return errno == EACCES ? legacy_module_exists(module) : errno != ENOENT;
	while (fgets(name, sizeof(name), file))
		if (strcmp(name, "nat\n") == 0)
			return true;
	return ferror(file);
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
	*ret = found ||
		legacy_table_exists("/proc/net/ip_tables_names", "/sys/module/iptable_nat") ||
		legacy_table_exists("/proc/net/ip6_tables_names", "/sys/module/ip6table_nat");
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
	struct ruleset_state state;
	int status = ruleset_read(gate->netlink, &state);

	return status < 0 ? status : read_grant_sets(gate, &state, list);
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
