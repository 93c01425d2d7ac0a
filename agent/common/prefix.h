/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Source prefixes, protocols and ports as documents, agent.conf and people write them. */

#include "address.h"

/* "2001:db8:ffff:ffff:ffff:ffff:255.255.255.255/128" and its NUL fit. */
#define PREFIX_STRING_MAX 56

/* length counts bits; family AF_UNSPEC is "*", every address of both families. */
struct prefix {
	uint8_t family;
	uint8_t length;
	struct address address;
};

/* Protocols as a set: "*" is both. */
enum {
	PROTOCOL_TCP = 1 << 0,
	PROTOCOL_UDP = 1 << 1,
	PROTOCOL_ANY = PROTOCOL_TCP | PROTOCOL_UDP,
};

/*
 * Reads "192.0.2.0/24", "2001:db8::1" or "*". Host bits set beyond the length are an error, as is
 * an IPv4-mapped IPv6 address (a packet never carries one). Returns 0 or -EINVAL.
 */
int prefix_parse(const char *text, struct prefix *ret);

/* The same, saying why not: returns NULL where it parses, and otherwise what is wrong as the rest
 * of a sentence that begins with the text: "has host bits set beyond its length". */
const char *prefix_parse_reason(const char *text, struct prefix *ret);

/* Writes "192.0.2.0/24", or the bare address where the prefix is a single one. Returns text. */
const char *prefix_format(const struct prefix *prefix, char text[static PREFIX_STRING_MAX]);

/* True where every address of inner lies in outer. */
bool prefix_contains(const struct prefix *outer, const struct prefix *inner);

/* True where one of the prefixes contains inner; "*" must be contained in each family. */
bool prefix_is_within(const struct prefix *inner, const struct prefix *prefixes, size_t n);

/* True where the address (of a family) lies in the prefix. */
bool prefix_contains_address(
	const struct prefix *prefix, uint8_t family, const struct address *address);

/* The addresses of the prefix in one family; false where it has none there. */
bool prefix_range(const struct prefix *prefix, uint8_t family, struct address_range *ret);

/* Writes an address as text. Returns text. */
const char *address_format(
	uint8_t family, const struct address *address, char text[static PREFIX_STRING_MAX]);

/* "TCP", "UDP" or "*", without regard to case. Returns 0 or -EINVAL. */
int protocol_parse(const char *text, unsigned *ret_protocols);
const char *protocol_format(unsigned protocols);

/* "22" or "5000-5010", 1 to 65535 each. Returns 0 or -EINVAL. */
int port_range_parse(const char *text, struct port_range *ret);

/* "22/tcp", "53/udp", or "443/" and a star for both (and "443", which is TCP). Returns 0 or
 * -EINVAL. */
int port_protocol_parse(const char *text, uint16_t *ret_port, unsigned *ret_protocols);

/* The same for a number or a range ("5000-5010/udp"); the protocol is required. Returns 0 or
 * -EINVAL. */
int port_range_protocol_parse(const char *text, struct port_range *ret, unsigned *ret_protocols);
