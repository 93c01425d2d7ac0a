/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * A transaction: changes to nf_tables that the kernel makes all at once or not at all (nfnetlink
 * batch, linux/netfilter/nfnetlink.h). Between two packets the rules are the old ones or the new
 * ones.
 *
 *   BATCH_BEGIN | message | message | … | last message (acknowledged) | BATCH_END
 */

#include <libmnl/libmnl.h>
#include <stdint.h>

#include "cleanup.h"
#include "nft/netlink.h"

struct nftnl_chain;
struct nftnl_obj;
struct nftnl_rule;
struct nftnl_set;
struct nftnl_table;

struct transaction;

int transaction_new(struct transaction **ret);
struct transaction *transaction_free(struct transaction *transaction);
DEFINE_CLEANUP(struct transaction *, transaction_free)

/*
 * Add one message each; the object is borrowed. type is NFT_MSG_NEW… or NFT_MSG_DEL…; flags are
 * NLM_F_CREATE, NLM_F_APPEND and the like; what names the change in an error, and must be a
 * literal. Return 0 or -ENOMEM.
 */
int transaction_add_table(struct transaction *transaction, uint16_t type,
	const struct nftnl_table *table, const char *what);
int transaction_add_chain(struct transaction *transaction, uint16_t type,
	const struct nftnl_chain *chain, const char *what);
int transaction_add_rule(
	struct transaction *transaction, uint16_t type, struct nftnl_rule *rule, const char *what);
int transaction_add_set(
	struct transaction *transaction, uint16_t type, struct nftnl_set *set, const char *what);
int transaction_add_object(
	struct transaction *transaction, uint16_t type, struct nftnl_obj *object, const char *what);

/* The n_elements of a set, in as many messages as they need. NFT_MSG_DELSETELEM without any empties
 * it. */
int transaction_add_elements(struct transaction *transaction, uint16_t type, struct nftnl_set *set,
	size_t n_elements, const char *what);

/*
 * Sends it and reads the acknowledgement. Returns 0: the kernel has made all changes; or the first
 * error, -errno: it has made none, and ret_what (may be NULL) says about which change.
 */
int transaction_commit(
	struct transaction *transaction, struct netlink *netlink, const char **ret_what);
