/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <stdbool.h>

#include <linux/netlink.h>

/*
 * Whether libnftnl can take in what a message says of a set's elements. It copies values
 * (NFTA_DATA_VALUE) of any length into room for NFT_DATA_VALUE_MAXLEN bytes, and notes some kinds
 * of attributes that it does not know (13, in 1.2.4) behind its table of those that it does.
 */
bool elements_are_sound(const struct nlmsghdr *message);
