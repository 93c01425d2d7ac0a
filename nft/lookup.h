/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Is what a register holds in a set? */

#include "nft/registers.h"

struct nftnl_set;

/*
 * Of a map of verdicts, calls back with the verdict of each element that may be the one. is_cut:
 * the set may have more elements than are there.
 */
enum truth lookup(const struct nftnl_set *set, bool is_cut, const struct registers *registers,
	uint32_t from, void (*on_verdict)(int32_t verdict, const char *chain, void *userdata),
	void *userdata);
