/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * Registers of which each bit may be unknown. They are named as in linux/netfilter/nf_tables.h
 * (NFT_REG_1, NFT_REG32_00, …); what lies outside of them is not known, and loading it does
 * nothing.
 */

#include "nft/probe.h"

#define REGISTERS_BYTES 64

struct registers {
	uint8_t value[REGISTERS_BYTES];
	uint8_t known[REGISTERS_BYTES]; /* a bit for each of value's */
	/* At the first byte of the name, or the index, of an interface that is not known, but is
	 * not the loopback interface. */
	uint8_t interface[REGISTERS_BYTES];
};

/* Nothing is known. */
void registers_init(struct registers *registers);
void registers_forget(struct registers *registers, uint32_t to, uint32_t n);

/* What does not fill its last 32 bits is followed by zeros. */
void registers_load(struct registers *registers, uint32_t to, const void *data, uint32_t n);
void registers_load_interface(struct registers *registers, uint32_t to, bool by_name);

/* From the packet's headers: base is NFT_PAYLOAD_NETWORK_HEADER or NFT_PAYLOAD_TRANSPORT_HEADER;
 * others' are not known. */
void registers_load_packet(struct registers *registers, uint32_t to, const struct probe *probe,
	uint32_t base, uint32_t offset, uint32_t n);

void registers_mask(struct registers *registers, uint32_t to, uint32_t from, const uint8_t *mask,
	const uint8_t * xor, uint32_t n);
/* Changes the byte order of each of the values of n_value bytes in n bytes. */
void registers_swap(
	struct registers *registers, uint32_t to, uint32_t from, uint32_t n, uint32_t n_value);

/* op is NFT_CMP_…; data NULL is not known. */
enum truth registers_compare(const struct registers *registers, uint32_t from, uint32_t op,
	const void *data, uint32_t n);

/* The port in a register; 0 where it is not known. */
uint16_t registers_port(const struct registers *registers, uint32_t from);

/* The n bytes of a register; NULL where they are not all known. */
const uint8_t *registers_known(const struct registers *registers, uint32_t from, uint32_t n);
