/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include <libnftnl/chain.h>
#include <libnftnl/object.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include "nft/ruleset_state.h"

static bool is_name(const char *text, const char *name)
{
	return text && strcmp(text, name) == 0;
}

/* What could not be read, also for want of memory, is not to be taken for something that is absent:
 * where it names no table, libnftnl had none for the name. */
static int was_read(int status, const char *table)
{
	return status < 0 || !table ? MNL_CB_ERROR : MNL_CB_OK;
}

static int on_table(const struct nlmsghdr *message, void *userdata)
{
	struct ruleset_state *state = userdata;
	struct nftnl_table *table = nftnl_table_alloc();
	int status;

	if (!table)
		return MNL_CB_ERROR;
	status = nftnl_table_nlmsg_parse(message, table);
	status = was_read(status, nftnl_table_get_str(table, NFTNL_TABLE_NAME));
	if (status == MNL_CB_OK &&
		is_name(nftnl_table_get_str(table, NFTNL_TABLE_NAME), GATE_TABLE)) {
		uint32_t flags = nftnl_table_get_u32(table, NFTNL_TABLE_FLAGS);

		state->present = true;
		state->owned = flags & NFT_TABLE_F_PERSIST;
		/* A dormant table judges nothing: someone has put it to sleep. */
		if (flags & NFT_TABLE_F_DORMANT)
			state->foreign = true;
	}
	nftnl_table_free(table);
	return status;
}

/* A base chain that hangs elsewhere, or with another policy, is not ours whatever its name. */
static bool chain_matches(
	const struct nftnl_chain *chain, const struct gate_chain_definition *wanted)
{
	bool is_base = nftnl_chain_is_set(chain, NFTNL_CHAIN_HOOKNUM);

	if (is_base != (wanted->hook >= 0))
		return false;
	return !is_base ||
		(nftnl_chain_get_u32(chain, NFTNL_CHAIN_HOOKNUM) == (uint32_t)wanted->hook &&
			nftnl_chain_get_s32(chain, NFTNL_CHAIN_PRIO) == wanted->priority &&
			nftnl_chain_get_u32(chain, NFTNL_CHAIN_POLICY) == NF_ACCEPT &&
			is_name(nftnl_chain_get_str(chain, NFTNL_CHAIN_TYPE), "filter"));
}

static int on_chain(const struct nlmsghdr *message, void *userdata)
{
	struct ruleset_state *state = userdata;
	struct nftnl_chain *chain = nftnl_chain_alloc();
	enum gate_chain i = 0;
	int status;

	if (!chain)
		return MNL_CB_ERROR;
	status = nftnl_chain_nlmsg_parse(message, chain);
	status = was_read(status, nftnl_chain_get_str(chain, NFTNL_CHAIN_TABLE));
	if (status == MNL_CB_OK &&
		is_name(nftnl_chain_get_str(chain, NFTNL_CHAIN_TABLE), GATE_TABLE)) {
		const char *name = nftnl_chain_get_str(chain, NFTNL_CHAIN_NAME);

		while (i < CHAIN_COUNT && !is_name(name, gate_chain_definition(i)->name))
			i++;
		if (i < CHAIN_COUNT && chain_matches(chain, gate_chain_definition(i)))
			state->chains[i] = true;
		else
			state->foreign = true;
	}
	nftnl_chain_free(chain);
	return status;
}

static int on_set(const struct nlmsghdr *message, void *userdata)
{
	struct ruleset_state *state = userdata;
	struct nftnl_set *set = nftnl_set_alloc();
	int status;

	if (!set)
		return MNL_CB_ERROR;
	status = nftnl_set_nlmsg_parse(message, set);
	status = was_read(status, nftnl_set_get_str(set, NFTNL_SET_TABLE));
	if (status == MNL_CB_OK && is_name(nftnl_set_get_str(set, NFTNL_SET_TABLE), GATE_TABLE)) {
		enum gate_set id = gate_set_find(nftnl_set_get_str(set, NFTNL_SET_NAME));

		if (id < SET_COUNT)
			state->readable[id] = gate_set_has_keys(id, set);
		if (id < SET_COUNT && gate_set_matches(id, set))
			state->sets[id] = true;
		else if (id < SET_COUNT ||
			!(nftnl_set_get_u32(set, NFTNL_SET_FLAGS) & NFT_SET_ANONYMOUS))
			state->foreign = true;
	}
	nftnl_set_free(set);
	return status;
}

static int on_object(const struct nlmsghdr *message, void *userdata)
{
	struct ruleset_state *state = userdata;
	struct nftnl_obj *object = nftnl_obj_alloc();
	int status;

	if (!object)
		return MNL_CB_ERROR;
	status = nftnl_obj_nlmsg_parse(message, object);
	status = was_read(status, nftnl_obj_get_str(object, NFTNL_OBJ_TABLE));
	if (status == MNL_CB_OK &&
		is_name(nftnl_obj_get_str(object, NFTNL_OBJ_TABLE), GATE_TABLE)) {
		if (nftnl_obj_get_u32(object, NFTNL_OBJ_TYPE) == NFT_OBJECT_COUNTER &&
			is_name(nftnl_obj_get_str(object, NFTNL_OBJ_NAME), GATE_COUNTER_REFUSED))
			state->counter = true;
		else
			state->foreign = true;
	}
	nftnl_obj_free(object);
	return status;
}

static int ruleset_dump(
	struct netlink *netlink, uint16_t type, mnl_cb_t callback, struct ruleset_state *state)
{
	char buffer[256];
	struct nlmsghdr *request = nftnl_nlmsg_build_hdr(buffer, type, NFPROTO_INET, NLM_F_DUMP, 0);

	return netlink_request(netlink, request, callback, state);
}

/* An element that stands for every key makes a set let everybody in, or nobody. It is asked for,
 * since sets of connections are too large to be read each time. */
static int look_for_catch_alls(struct netlink *netlink, struct ruleset_state *state)
{
	for (enum gate_set set = 0; set < SET_COUNT && !state->foreign; set++) {
		int status = state->sets[set] ? elements_find_catch_all(netlink, set) : -ENOENT;

		if (status == 0)
			state->foreign = true;
		else if (status != -ENOENT)
			return status;
	}
	return 0;
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
	return status < 0 ? status : look_for_catch_alls(netlink, ret);
}

bool ruleset_can_keep(const struct ruleset_state *state, const struct ruleset *ruleset)
{
	return state->present && !state->foreign && state->owned == ruleset->owned;
}
