/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <netinet/in.h>

#include <libnftnl/chain.h>
#include <libnftnl/object.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include "nft/expression.h"
#include "nft/ruleset.h"

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
	const struct gate_chain_definition *definition = gate_chain_definition(id);
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

struct nftnl_obj *gate_counter_new(void)
{
	struct nftnl_obj *counter = nftnl_obj_alloc();

	if (!counter)
		return NULL;
	nftnl_obj_set_str(counter, NFTNL_OBJ_TABLE, GATE_TABLE);
	nftnl_obj_set_str(counter, NFTNL_OBJ_NAME, GATE_COUNTER_REFUSED);
	nftnl_obj_set_u32(counter, NFTNL_OBJ_TYPE, NFT_OBJECT_COUNTER);
	/* libnftnl does not tell that it had no memory for a string, and builds no message without.
	 */
	if (!nftnl_obj_get_str(counter, NFTNL_OBJ_TABLE) ||
		!nftnl_obj_get_str(counter, NFTNL_OBJ_NAME)) {
		nftnl_obj_free(counter);
		return NULL;
	}
	return counter;
}

static int build_counter(struct transaction *transaction)
{
	struct nftnl_obj *counter = gate_counter_new();
	int status;

	if (!counter)
		return -ENOMEM;
	nftnl_obj_set_u64(counter, NFTNL_OBJ_CTR_PKTS, 0);
	nftnl_obj_set_u64(counter, NFTNL_OBJ_CTR_BYTES, 0);
	status = transaction_add_object(
		transaction, NFT_MSG_NEWOBJ, counter, "counter " GATE_COUNTER_REFUSED);
	nftnl_obj_free(counter);
	return status;
}

int ruleset_build_rules(struct transaction *transaction, const struct ruleset *ruleset)
{
	struct rule_builder builder = { .transaction = transaction };

	for (enum gate_chain chain = 0; chain < CHAIN_COUNT; chain++)
		if (gate_chain_is_wanted(chain, ruleset))
			gate_chain_definition(chain)->rules(&builder, ruleset);
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
		if (gate_chain_is_wanted(chain, ruleset))
			status = build_chain(transaction, NFT_MSG_NEWCHAIN, chain);
		else if (keep && state->chains[chain])
			status = build_chain(transaction, NFT_MSG_DELCHAIN, chain);
		else
			continue;
		if (status < 0)
			return status;
	}
	return 0;
}

int ruleset_adopt(struct transaction *transaction)
{
	return build_table(transaction, NFT_MSG_NEWTABLE, NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST);
}

int ruleset_build(struct transaction *transaction, const struct ruleset *ruleset,
	const struct ruleset_state *state)
{
	bool keep = ruleset_can_keep(state, ruleset);
	int status = 0;

	if (state->present && !keep)
		status = build_table(transaction, NFT_MSG_DELTABLE, 0);
	if (status == 0)
		status = ruleset->owned ? ruleset_adopt(transaction)
					: build_table(transaction, NFT_MSG_NEWTABLE, 0);
	if (status == 0 && !(keep && state->counter))
		status = build_counter(transaction);
	for (enum gate_set set = 0; set < SET_COUNT && status == 0; set++)
		if (!(keep && state->sets[set]))
			status = build_set(transaction, set);
	if (status == 0)
		status = build_chains(transaction, ruleset, state, keep);
	return status;
}

int ruleset_rewrite_rules(struct transaction *transaction, const struct ruleset *ruleset)
{
	int status = flush_rules(transaction);

	return status < 0 ? status : ruleset_build_rules(transaction, ruleset);
}

int ruleset_remove(struct transaction *transaction)
{
	return build_table(transaction, NFT_MSG_DELTABLE, 0);
}
