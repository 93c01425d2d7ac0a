/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What to change so that the kernel has what is wanted: the difference, in a transaction. */

#include "nft/ruleset.h"

/*
 * Adds what makes the table as wanted: rules, ports, always_allow, and ruleset->grants where there
 * (the grants' elements in the kernel) differ from them. Sets ruleset->interim where sets of ranges
 * are new: once it is committed, the rules are to be written again without. Returns 0 or -errno.
 */
int install_build(struct netlink *netlink, struct transaction *transaction, struct ruleset *ruleset,
	const struct element_list *there, const struct ruleset_state *state);

/* Adds removals, then additions, of grants' elements. Returns 0 or -ENOMEM. */
int install_change_grants(struct transaction *transaction, const struct element *remove,
	size_t n_remove, const struct element *add, size_t n_add);
