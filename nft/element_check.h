/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <stdbool.h>

#include <linux/netlink.h>

/*
 * Whether libnftnl can take in what a message says of a set's elements. It copies values
 * (NFTA_DATA_VALUE) of any length into room for NFT_DATA_VALUE_MAXLEN bytes.
 */
bool elements_are_sound(const struct nlmsghdr *message);
