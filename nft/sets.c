/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include <libnftnl/expr.h>
#include <libnftnl/set.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include "address.h"
#include "nft/sets.h"

/* The type numbers by which nft(8) prints an element; a concatenation takes six bits for each
 * field. */
#define TYPE_NFPROTO 2u
#define TYPE_IPADDR 7u
#define TYPE_IP6ADDR 8u
#define TYPE_INET_PROTOCOL 12u
#define TYPE_INET_SERVICE 13u
#define TYPE_BITS 6

/* How often the kernel looks for what has run out, to free its memory: what has run out is found by
 * no packet all the same. Its own choice is each second: with 10,000 elements 0.7 ms of work. */
#define GC_INTERVAL_MS 10000

/* Of the set's user data: keys are in network byte order (nft's BYTEORDER_BIG_ENDIAN). */
#define BYTEORDER_BIG_ENDIAN 2

static const struct gate_set_definition definitions[SET_COUNT] = {
	[SET_MANAGED_TCP] = { "managed_tcp", KEY_PORTS, AF_UNSPEC, NFT_SET_INTERVAL, 0, 0, false,
		"ports that are shut unless granted" },
	[SET_MANAGED_UDP] = { "managed_udp", KEY_PORTS, AF_UNSPEC, NFT_SET_INTERVAL, 0, 0, false,
		NULL },
	[SET_ALWAYS_ALLOW4] = { "always_allow4", KEY_SERVICES, AF_INET,
		NFT_SET_INTERVAL | NFT_SET_CONCAT, 0, 0, false,
		"always_allow of the configuration" },
	[SET_ALWAYS_ALLOW6] = { "always_allow6", KEY_SERVICES, AF_INET6,
		NFT_SET_INTERVAL | NFT_SET_CONCAT, 0, 0, false, NULL },
	[SET_GRANTS4] = { "grants4", KEY_SERVICES, AF_INET, NFT_SET_TIMEOUT, 0, 0, true,
		"grants of single addresses: each ends by itself" },
	[SET_GRANTS6] = { "grants6", KEY_SERVICES, AF_INET6, NFT_SET_TIMEOUT, 0, 0, true, NULL },
	[SET_GRANT_RANGES4] = { "grant_ranges4", KEY_SERVICES, AF_INET,
		NFT_SET_INTERVAL | NFT_SET_CONCAT | NFT_SET_TIMEOUT, 0, 0, true,
		"grants of prefixes" },
	[SET_GRANT_RANGES6] = { "grant_ranges6", KEY_SERVICES, AF_INET6,
		NFT_SET_INTERVAL | NFT_SET_CONCAT | NFT_SET_TIMEOUT, 0, 0, true, NULL },
	[SET_SESSIONS4] = { "sessions4", KEY_FLOWS, AF_INET, NFT_SET_EVAL, 0, 65536, false,
		"TCP connections that a grant let in" },
	[SET_SESSIONS6] = { "sessions6", KEY_FLOWS, AF_INET6, NFT_SET_EVAL, 0, 65536, false, NULL },
	[SET_FLOWS4] = { "flows4", KEY_FLOWS, AF_INET, NFT_SET_EVAL | NFT_SET_TIMEOUT,
		FLOW_TIMEOUT_MS, 65536, false,
		"UDP flows: let in by a grant or begun by this host" },
	[SET_FLOWS6] = { "flows6", KEY_FLOWS, AF_INET6, NFT_SET_EVAL | NFT_SET_TIMEOUT,
		FLOW_TIMEOUT_MS, 65536, false, NULL },
	[SET_DENIED4] = { "denied4", KEY_SERVICES, AF_INET, NFT_SET_EVAL | NFT_SET_TIMEOUT,
		3600 * 1000, 4096, true, "who was refused, within the last hour" },
	[SET_DENIED6] = { "denied6", KEY_SERVICES, AF_INET6, NFT_SET_EVAL | NFT_SET_TIMEOUT,
		3600 * 1000, 4096, true, NULL },
	[SET_TRIAL] = { "trial", KEY_FAMILY, AF_UNSPEC, NFT_SET_TIMEOUT, 0, 0, false,
		"refuses while these last: enforced on trial" },
};

const struct gate_set_definition *gate_set_definition(enum gate_set set)
{
	return &definitions[set];
}

enum gate_set gate_set_find(const char *name)
{
	enum gate_set set = 0;

	while (set < SET_COUNT && (!name || strcmp(definitions[set].name, name) != 0))
		set++;
	return set;
}

static uint32_t definition_key_type(const struct gate_set_definition *definition)
{
	uint32_t address = definition->family == AF_INET ? TYPE_IPADDR : TYPE_IP6ADDR;

	switch (definition->key) {
	case KEY_PORTS:
		return TYPE_INET_SERVICE;
	case KEY_SERVICES:
		return (address << TYPE_BITS | TYPE_INET_PROTOCOL) << TYPE_BITS | TYPE_INET_SERVICE;
	case KEY_FLOWS:
		return ((address << TYPE_BITS | TYPE_INET_SERVICE) << TYPE_BITS | address)
			<< TYPE_BITS |
			TYPE_INET_SERVICE;
	case KEY_FAMILY:
		return TYPE_NFPROTO;
	}
	return 0;
}

static size_t definition_key_bytes(const struct gate_set_definition *definition)
{
	return gate_key_bytes(definition->key, address_bytes(definition->family));
}

static int set_add_userdata(struct nftnl_set *set, const char *comment)
{
	struct nftnl_udata_buf *userdata = nftnl_udata_buf_alloc(NFT_USERDATA_MAXLEN);
	bool fits;

	if (!userdata)
		return -1;
	fits = nftnl_udata_put_u32(userdata, NFTNL_UDATA_SET_KEYBYTEORDER, BYTEORDER_BIG_ENDIAN) &&
		(!comment || nftnl_udata_put_strz(userdata, NFTNL_UDATA_SET_COMMENT, comment));
	if (fits &&
		nftnl_set_set_data(set, NFTNL_SET_USERDATA, nftnl_udata_buf_data(userdata),
			nftnl_udata_buf_len(userdata)) < 0)
		fits = false;
	nftnl_udata_buf_free(userdata);
	return fits ? 0 : -1;
}

/* The lengths of a concatenation's fields: the kernel needs them where the fields are intervals. */
static int set_add_fields(struct nftnl_set *set, const struct gate_set_definition *definition)
{
	uint8_t address = address_bytes(definition->family);
	const uint8_t service[] = { address, 1, 2 };

	if (!(definition->flags & NFT_SET_CONCAT))
		return 0;
	return nftnl_set_set_data(set, NFTNL_SET_DESC_CONCAT, service, sizeof(service));
}

static int set_add_counter(struct nftnl_set *set)
{
	struct nftnl_expr *counter = nftnl_expr_alloc("counter");

	if (!counter)
		return -1;
	nftnl_set_add_expr(set, counter); /* consumed */
	return 0;
}

struct nftnl_set *gate_set_new(enum gate_set id)
{
	const struct gate_set_definition *definition = &definitions[id];
	struct nftnl_set *set = gate_set_reference(id);

	if (!set)
		return NULL;
	nftnl_set_set_u32(set, NFTNL_SET_FAMILY, NFPROTO_INET);
	nftnl_set_set_u32(set, NFTNL_SET_ID, id + 1);
	nftnl_set_set_u32(set, NFTNL_SET_FLAGS, definition->flags);
	nftnl_set_set_u32(set, NFTNL_SET_KEY_TYPE, definition_key_type(definition));
	nftnl_set_set_u32(set, NFTNL_SET_KEY_LEN, definition_key_bytes(definition));
	if (definition->timeout_ms)
		nftnl_set_set_u64(set, NFTNL_SET_TIMEOUT, definition->timeout_ms);
	if (definition->flags & NFT_SET_TIMEOUT)
		nftnl_set_set_u32(set, NFTNL_SET_GC_INTERVAL, GC_INTERVAL_MS);
	if (definition->size)
		nftnl_set_set_u32(set, NFTNL_SET_DESC_SIZE, definition->size);
	if (set_add_fields(set, definition) < 0 || set_add_userdata(set, definition->comment) < 0 ||
		(definition->counter && set_add_counter(set) < 0)) {
		nftnl_set_free(set);
		return NULL;
	}
	return set;
}

struct nftnl_set *gate_set_reference(enum gate_set id)
{
	struct nftnl_set *set = nftnl_set_alloc();

	if (!set)
		return NULL;
	if (nftnl_set_set_str(set, NFTNL_SET_TABLE, GATE_TABLE) < 0 ||
		nftnl_set_set_str(set, NFTNL_SET_NAME, definitions[id].name) < 0) {
		nftnl_set_free(set);
		return NULL;
	}
	return set;
}

bool gate_set_has_keys(enum gate_set id, const struct nftnl_set *kernel)
{
	const struct gate_set_definition *definition = &definitions[id];

	return nftnl_set_get_u32(kernel, NFTNL_SET_KEY_TYPE) == definition_key_type(definition) &&
		nftnl_set_get_u32(kernel, NFTNL_SET_KEY_LEN) == definition_key_bytes(definition);
}

bool gate_set_matches(enum gate_set id, const struct nftnl_set *kernel)
{
	const struct gate_set_definition *definition = &definitions[id];

	return gate_set_has_keys(id, kernel) &&
		nftnl_set_get_u32(kernel, NFTNL_SET_FLAGS) == definition->flags &&
		nftnl_set_get_u64(kernel, NFTNL_SET_TIMEOUT) == definition->timeout_ms &&
		nftnl_set_get_u32(kernel, NFTNL_SET_DESC_SIZE) == definition->size &&
		nftnl_set_is_set(kernel, NFTNL_SET_EXPR) == definition->counter;
}
