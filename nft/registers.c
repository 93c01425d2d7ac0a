/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <linux/netfilter/nf_tables.h>
#include <netinet/tcp.h>

#include "cleanup.h"
#include "nft/registers.h"

#define INTERFACE_NAME 1
#define INTERFACE_INDEX 2
#define LOOPBACK_INDEX 1
#define INTERFACE_NAME_BYTES 16

#define HEADER_BYTES 40

/* Headers, with a bit that is known for each of theirs. */
struct headers {
	uint8_t network[HEADER_BYTES];
	uint8_t network_known[HEADER_BYTES];
	uint8_t transport[HEADER_BYTES];
	uint8_t transport_known[HEADER_BYTES];
};

/* Where a register begins; -1 where there is none with n bytes. */
static int register_at(uint32_t name, uint32_t n)
{
	uint32_t at = REGISTERS_BYTES;

	if (name >= NFT_REG_1 && name <= NFT_REG_4)
		at = (name - NFT_REG_1) * NFT_REG_SIZE;
	else if (name >= NFT_REG32_00 && name <= NFT_REG32_15)
		at = (name - NFT_REG32_00) * NFT_REG32_SIZE;
	return n > 0 && at < REGISTERS_BYTES && n <= REGISTERS_BYTES - at ? (int)at : -1;
}

void registers_init(struct registers *registers)
{
	*registers = (struct registers){};
}

void registers_forget(struct registers *registers, uint32_t to, uint32_t n)
{
	int at = register_at(to, n);

	if (at < 0)
		return;
	memset(registers->known + at, 0, n);
	memset(registers->interface + at, 0, n);
}

static void load_bits(struct registers *registers, uint32_t to, const uint8_t *data,
	const uint8_t *known, uint32_t n)
{
	uint32_t n_filled = (n + 3) / 4 * 4;
	int at = register_at(to, n_filled);

	if (at < 0 || n > n_filled)
		return;
	memset(registers->value + at, 0, n_filled);
	memset(registers->known + at, 0xff, n_filled);
	memset(registers->interface + at, 0, n_filled);
	memcpy(registers->value + at, data, n);
	if (known)
		memcpy(registers->known + at, known, n);
}

void registers_load(struct registers *registers, uint32_t to, const void *data, uint32_t n)
{
	if (data)
		load_bits(registers, to, data, NULL, n);
	else
		registers_forget(registers, to, n);
}

void registers_load_interface(struct registers *registers, uint32_t to, bool by_name)
{
	uint32_t n = by_name ? INTERFACE_NAME_BYTES : sizeof(uint32_t);
	int at = register_at(to, n);

	registers_forget(registers, to, n);
	if (at >= 0)
		registers->interface[at] = by_name ? INTERFACE_NAME : INTERFACE_INDEX;
}

static void put(uint8_t *header, uint8_t *known, size_t at, const void *data, size_t n)
{
	if (!data)
		return;
	memcpy(header + at, data, n);
	memset(known + at, 0xff, n);
}

/* Whole packets: no fragments, no IPv6 extension headers. RFC 791, 8200, 9293. */
static void headers_make(struct headers *headers, const struct probe *probe)
{
	const uint8_t flags = probe->is_answer ? 0x12 : 0x02; /* SYN, ACK */
	const struct address *from = probe->is_answer ? probe->destination : probe->source;
	const struct address *to = probe->is_answer ? probe->source : probe->destination;
	bool ipv4 = probe->family == AF_INET;
	size_t n = address_bytes(probe->family);
	const uint8_t port[2] = { probe->port >> 8, probe->port & 0xff };
	const uint8_t client[2] = { PROBE_CLIENT_PORT >> 8, PROBE_CLIENT_PORT & 0xff };

	*headers = (struct headers){};
	headers->network[0] = ipv4 ? 0x45 : 0x60;
	headers->network_known[0] = ipv4 ? 0xff : 0xf0;
	if (ipv4) { /* but for "don't fragment" */
		headers->network_known[6] = 0xbf;
		headers->network_known[7] = 0xff;
	}
	put(headers->network, headers->network_known, ipv4 ? 9 : 6, &probe->l4proto, 1);
	put(headers->network, headers->network_known, ipv4 ? 12 : 8, from ? from->bytes : NULL, n);
	put(headers->network, headers->network_known, ipv4 ? 16 : 24, to ? to->bytes : NULL, n);
	if (probe->port != 0)
		put(headers->transport, headers->transport_known, probe->is_answer ? 0 : 2, port,
			sizeof(port));
	if (probe->is_answer)
		put(headers->transport, headers->transport_known, 2, client, sizeof(client));
	if (probe->l4proto == IPPROTO_TCP)
		put(headers->transport, headers->transport_known, 13, &flags, 1);
}

void registers_load_packet(struct registers *registers, uint32_t to, const struct probe *probe,
	uint32_t base, uint32_t offset, uint32_t n)
{
	struct headers headers;

	headers_make(&headers, probe);
	if (offset >= HEADER_BYTES || n > HEADER_BYTES - offset)
		registers_forget(registers, to, n);
	else if (base == NFT_PAYLOAD_NETWORK_HEADER)
		load_bits(
			registers, to, headers.network + offset, headers.network_known + offset, n);
	else if (base == NFT_PAYLOAD_TRANSPORT_HEADER)
		load_bits(registers, to, headers.transport + offset,
			headers.transport_known + offset, n);
	else
		registers_forget(registers, to, n);
}

/* A bit that the mask takes away is known to be xor's. */
void registers_mask(struct registers *registers, uint32_t to, uint32_t from, const uint8_t *mask,
	const uint8_t * xor, uint32_t n)
{
	struct registers before = *registers;
	int source = register_at(from, n), target = register_at(to, n);

	if (source < 0 || target < 0) {
		registers_forget(registers, to, n);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		registers->value[target + i] = (before.value[source + i] & mask[i]) ^ xor[i];
		registers->known[target + i] = before.known[source + i] | (uint8_t)~mask[i];
		registers->interface[target + i] = 0;
	}
}

void registers_swap(
	struct registers *registers, uint32_t to, uint32_t from, uint32_t n, uint32_t n_value)
{
	struct registers before = *registers;
	int source = register_at(from, n), target = register_at(to, n);

	if (source < 0 || target < 0 || n_value == 0 || n % n_value != 0) {
		registers_forget(registers, to, n);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		uint32_t mirrored = i / n_value * n_value + (n_value - 1 - i % n_value);

		registers->value[target + i] = before.value[source + mirrored];
		registers->known[target + i] = before.known[source + mirrored];
		registers->interface[target + i] = 0;
	}
}

static bool is_loopback(uint8_t interface, const uint8_t *data, uint32_t n)
{
	const uint32_t index = LOOPBACK_INDEX;

	if (interface == INTERFACE_NAME)
		return n >= sizeof("lo") && memcmp(data, "lo", sizeof("lo")) == 0;
	return interface == INTERFACE_INDEX && n == sizeof(index) && memcmp(data, &index, n) == 0;
}

static enum truth compare_equal(
	const struct registers *registers, int at, const uint8_t *data, uint32_t n)
{
	enum truth equal = TRUTH_YES;

	for (uint32_t i = 0; i < n; i++) {
		if ((registers->value[at + i] ^ data[i]) & registers->known[at + i])
			return TRUTH_NO;
		if (is_loopback(registers->interface[at + i], data + i, n - i))
			return TRUTH_NO;
		if (registers->known[at + i] != 0xff)
			equal = TRUTH_MAYBE;
	}
	return equal;
}

const uint8_t *registers_known(const struct registers *registers, uint32_t from, uint32_t n)
{
	int at = register_at(from, n);

	for (uint32_t i = 0; at >= 0 && i < n; i++)
		if (registers->known[at + i] != 0xff)
			return NULL;
	return at < 0 ? NULL : registers->value + at;
}

enum truth registers_compare(
	const struct registers *registers, uint32_t from, uint32_t op, const void *data, uint32_t n)
{
	int at = register_at(from, n), order;
	const uint8_t *value;

	if (!data || at < 0)
		return TRUTH_MAYBE;
	if (op == NFT_CMP_EQ)
		return compare_equal(registers, at, data, n);
	if (op == NFT_CMP_NEQ)
		return truth_not(compare_equal(registers, at, data, n));
	value = registers_known(registers, from, n);
	if (!value)
		return TRUTH_MAYBE;
	order = memcmp(value, data, n);
	switch (op) {
	case NFT_CMP_LT:
		return truth_of(order < 0);
	case NFT_CMP_LTE:
		return truth_of(order <= 0);
	case NFT_CMP_GT:
		return truth_of(order > 0);
	case NFT_CMP_GTE:
		return truth_of(order >= 0);
	}
	return TRUTH_MAYBE;
}

uint16_t registers_port(const struct registers *registers, uint32_t from)
{
	const uint8_t *value = registers_known(registers, from, 2);

	return value ? (uint16_t)(value[0] << 8 | value[1]) : 0;
}
