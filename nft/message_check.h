/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <stdbool.h>

#include <linux/netlink.h>

/*
 * Whether libnftnl (1.2.4) can take in what a message says: of a set's elements, of a rule. It
 * copies values (NFTA_DATA_VALUE) of any length into room for NFT_DATA_VALUE_MAXLEN bytes; where
 * there is neither a value nor a verdict, it goes by what the memory had before; and some kinds of
 * attributes that it does not know (13) it notes behind its table of those that it does.
 */
bool elements_are_sound(const struct nlmsghdr *message);
bool rule_is_sound(const struct nlmsghdr *message);
