/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Addresses, address ranges, protocols and ports, as the parts exchange them.
 *
 * An address is in network byte order, so memcmp() orders addresses as numbers. An IPv4 address
 * takes the first four bytes; the others are zero.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#define ADDRESS_BYTES_MAX 16

struct address {
	uint8_t bytes[ADDRESS_BYTES_MAX];
};

/* Both ends belong to the range; family is AF_INET or AF_INET6. */
struct address_range {
	uint8_t family;
	struct address first;
	struct address last;
};

/* What a packet is judged by, besides its source: l4proto is IPPROTO_TCP or IPPROTO_UDP. */
struct service {
	uint8_t family;
	uint8_t l4proto;
	uint16_t port;
};

/* Both ends belong to the range. */
struct port_range {
	uint16_t first;
	uint16_t last;
};

/* A connection as the sender sees it: remote is the one who came, local is this host. */
struct flow {
	uint8_t family;
	uint8_t l4proto;
	struct address remote;
	struct address local;
	uint16_t remote_port;
	uint16_t local_port;
};

static inline size_t address_bytes(uint8_t family)
{
	return family == AF_INET ? 4 : 16;
}

static inline int address_compare(const struct address *a, const struct address *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

static inline bool address_is_loopback(uint8_t family, const struct address *address)
{
	static const struct address loopback6 = { .bytes = { [15] = 1 } };

	return family == AF_INET ? address->bytes[0] == 127
				 : address_compare(address, &loopback6) == 0;
}

static inline bool address_range_is_single(const struct address_range *range)
{
	return address_compare(&range->first, &range->last) == 0;
}

static inline bool address_range_contains(
	const struct address_range *range, const struct address *address)
{
	return address_compare(&range->first, address) <= 0 &&
		address_compare(address, &range->last) <= 0;
}
