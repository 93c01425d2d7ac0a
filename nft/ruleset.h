/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What it takes to have table inet jitgate as wanted instead of what is there. */

#include "nft/ruleset_state.h"
#include "nft/transaction.h"

/*
 * Adds what makes the table as wanted, but for rules and elements: table, chains and missing sets;
 * elements are left alone. Old rules go: rules hold no state, and so none can be left that someone
 * changed. Where the table is there and can't be kept, it is deleted first, in the same
 * transaction. Returns 0 or -ENOMEM.
 */
int ruleset_build(struct transaction *transaction, const struct ruleset *ruleset,
	const struct ruleset_state *state);

/* Adds the rules; and the same instead of those that are there. Return 0 or -ENOMEM. */
int ruleset_build_rules(struct transaction *transaction, const struct ruleset *ruleset);
int ruleset_rewrite_rules(struct transaction *transaction, const struct ruleset *ruleset);

/* Adds the table as this program's own: made, or taken over from an owner that has ended. */
int ruleset_adopt(struct transaction *transaction);

/* The counter of refused packets, at nothing: owned by the caller. NULL: no memory. */
struct nftnl_obj *gate_counter_new(void);

/* Adds the table's deletion. */
int ruleset_remove(struct transaction *transaction);
