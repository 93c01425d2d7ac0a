/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the kernel has of table inet jitgate, as far as it matters for what is to be made of it. */

#include "nft/netlink.h"
#include "nft/rules.h"

/* linux/netfilter/nf_tables.h, kernels 5.12 and 6.9 */
#ifndef NFT_TABLE_F_OWNER
#define NFT_TABLE_F_OWNER 0x2
#endif
#ifndef NFT_TABLE_F_PERSIST
#define NFT_TABLE_F_PERSIST 0x4
#endif

/* What the kernel has: chains and sets by presence; foreign where there is anything that is not
 * ours. */
struct ruleset_state {
	bool present;
	bool owned;
	bool chains[CHAIN_COUNT];
	bool sets[SET_COUNT];
	bool readable[SET_COUNT]; /* sets of our keys, whatever else they are */
	bool counter;
	bool foreign;
};

/* Reads the state of the table. Returns 0 or -errno. */
int ruleset_read(struct netlink *netlink, struct ruleset_state *ret);

/* True where the table can be mended in place, with its sets' elements; otherwise it is made anew.
 */
bool ruleset_can_keep(const struct ruleset_state *state, const struct ruleset *ruleset);
