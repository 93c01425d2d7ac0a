/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Arithmetic on addresses, and on the ranges of covers and entries; no address wraps around. */

#include "agent/daemon/access.h"

/* The address behind or in front, of the family; false where there is none. */
bool address_next(uint8_t family, const struct address *address, struct address *ret);
bool address_previous(uint8_t family, const struct address *address, struct address *ret);

/* How many leading bits two addresses share: the length of the longest prefix that holds both. */
unsigned address_common_bits(uint8_t family, const struct address *a, const struct address *b);

/* The prefix of so many bits that holds an address. */
void address_widen(uint8_t family, const struct address *address, unsigned n_bits,
	struct address *ret_first, struct address *ret_last);

/* Whether the range of a cover is a prefix, of a family that there is. */
bool access_is_prefix(const struct access *cover);

bool access_same_service(const struct access *a, const struct access *b);
bool access_same_range(const struct access *a, const struct access *b);
bool access_contains(const struct access *outer, const struct access *inner);

/* Whether all of a lies before all of b, in the order of services and addresses. */
bool access_is_before(const struct access *a, const struct access *b);

/* Whether b begins right behind a. */
bool access_adjoins(const struct access *a, const struct access *b);
