/* SPDX-License-Identifier: GPL-3.0-or-later */

/* packet_flow() reads what strangers send: each packet is tried at every length, in memory of just
 * that length. */

#include <errno.h>

#include "nft/nflog.h"
#include "tests/unit/documents.h"

#define PACKET_MAX 512

struct packet {
	uint8_t bytes[PACKET_MAX];
	size_t n;
	size_t ports_at; /* where source and destination port stand, or 0: there are none */
	uint8_t l4proto;
};

/* Reads a copy that ends with the allocation: reading past it is an error that valgrind and ASan
 * see. */
static int read_flow(const struct packet *packet, size_t n, struct flow *ret)
{
	_cleanup_(freep) uint8_t *copy = malloc(n ? n : 1);

	memcpy(copy, packet->bytes, n);
	return packet_flow(copy, n, ret);
}

static void check_packet(const struct packet *packet)
{
	bool v6 = packet->bytes[0] >> 4 == 6;
	size_t address_at = v6 ? 8 : 12, n_address = v6 ? 16 : 4;

	for (size_t n = 0; n <= packet->n; n++) {
		struct flow flow, untouched;
		int status;

		memset(&flow, 0x5a, sizeof(flow));
		untouched = flow;
		status = read_flow(packet, n, &flow);
		if (!packet->ports_at || n < packet->ports_at + 4) {
			if (status != -EBADMSG)
				fail_msg("%zu of %zu bytes: %d", n, packet->n, status);
			assert_memory_equal(&flow, &untouched, sizeof(flow));
			continue;
		}
		if (status != 0)
			fail_msg("%zu of %zu bytes: %d", n, packet->n, status);
		assert_int_equal(flow.family, v6 ? AF_INET6 : AF_INET);
		assert_int_equal(flow.l4proto, packet->l4proto);
		assert_memory_equal(flow.remote.bytes, packet->bytes + address_at, n_address);
		assert_memory_equal(
			flow.local.bytes, packet->bytes + address_at + n_address, n_address);
		assert_int_equal(flow.remote_port, 0x1234);
		assert_int_equal(flow.local_port, 22);
		/* Flows are compared by their bytes. */
		for (size_t i = n_address; i < ADDRESS_BYTES_MAX; i++)
			assert_int_equal(flow.remote.bytes[i] | flow.local.bytes[i], 0);
	}
}

static void add_ports(struct packet *packet, uint8_t l4proto)
{
	static const uint8_t ports[] = { 0x12, 0x34, 0, 22 };

	packet->l4proto = l4proto;
	packet->ports_at = packet->n;
	memcpy(packet->bytes + packet->n, ports, sizeof(ports));
	packet->n += 20;
}

static struct packet ipv4_make(unsigned n_words, uint8_t l4proto)
{
	struct packet packet = { .n = 4 * n_words };

	packet.bytes[0] = (uint8_t)(0x40 | n_words);
	packet.bytes[9] = l4proto;
	for (size_t i = 12; i < 20; i++)
		packet.bytes[i] = (uint8_t)(0xa0 + i);
	return packet;
}

static void test_ipv4_with_options(void **state)
{
	(void)state;
	for (unsigned n_words = 5; n_words <= 15; n_words++) {
		struct packet tcp = ipv4_make(n_words, IPPROTO_TCP);
		struct packet udp = ipv4_make(n_words, IPPROTO_UDP);

		/* Options are no ports. */
		memset(tcp.bytes + 20, 0xee, tcp.n - 20);
		add_ports(&tcp, IPPROTO_TCP);
		add_ports(&udp, IPPROTO_UDP);
		check_packet(&tcp);
		check_packet(&udp);
	}
}

static void test_ipv4_that_makes_no_sense(void **state)
{
	(void)state;
	for (unsigned n_words = 0; n_words < 5; n_words++) {
		struct packet packet = ipv4_make(n_words, IPPROTO_TCP);

		packet.n = 60;
		check_packet(&packet);
	}
	for (unsigned l4proto = 0; l4proto < 256; l4proto++) {
		struct packet packet = ipv4_make(5, (uint8_t)l4proto);

		if (l4proto == IPPROTO_TCP || l4proto == IPPROTO_UDP)
			continue;
		packet.n = 60;
		check_packet(&packet);
	}
	for (unsigned version = 0; version < 16; version++) {
		struct packet packet = ipv4_make(5, IPPROTO_TCP);

		if (version == 4 || version == 6)
			continue;
		packet.bytes[0] = (uint8_t)(version << 4 | 5);
		packet.n = 60;
		check_packet(&packet);
	}
}

static struct packet ipv6_make(uint8_t next)
{
	struct packet packet = { .n = 40 };

	packet.bytes[0] = 0x60;
	packet.bytes[6] = next;
	for (size_t i = 8; i < 40; i++)
		packet.bytes[i] = (uint8_t)(0xa0 + i);
	return packet;
}

/* An extension header of the kind that the one before it has announced. */
static void add_extension(struct packet *packet, uint8_t kind, uint8_t next, uint8_t length)
{
	size_t n = kind == IPPROTO_FRAGMENT ? 8
		: kind == IPPROTO_AH        ? 4 * (length + 2u)
					    : 8 * (length + 1u);

	assert_true(packet->n + n + 20 <= PACKET_MAX);
	memset(packet->bytes + packet->n, 0xee, n);
	packet->bytes[packet->n] = next;
	packet->bytes[packet->n + 1] = length;
	packet->n += n;
}

static void test_ipv6_with_extension_headers(void **state)
{
	static const uint8_t kinds[] = { IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_DSTOPTS,
		IPPROTO_FRAGMENT, IPPROTO_AH };

	(void)state;
	chance_seed(1);
	for (unsigned run = 0; run < 3000; run++) {
		uint8_t l4proto = chance(2) ? IPPROTO_TCP : IPPROTO_UDP;
		unsigned n = chance(8);
		uint8_t chain[9];
		struct packet packet;

		for (unsigned i = 0; i < n; i++)
			chain[i] = kinds[chance(N_ELEMENTS(kinds))];
		chain[n] = l4proto;
		packet = ipv6_make(chain[0]);
		for (unsigned i = 0; i < n; i++)
			add_extension(&packet, chain[i], chain[i + 1], (uint8_t)chance(5));
		add_ports(&packet, l4proto);
		check_packet(&packet);
	}
}

static void test_ipv6_that_makes_no_sense(void **state)
{
	struct packet packet;

	(void)state;
	packet = ipv6_make(IPPROTO_ICMPV6);
	packet.n = 80;
	check_packet(&packet);
	packet = ipv6_make(IPPROTO_NONE);
	check_packet(&packet);
	/* An extension header that reaches behind the packet. */
	packet = ipv6_make(IPPROTO_DSTOPTS);
	packet.bytes[40] = IPPROTO_TCP;
	packet.bytes[41] = 255;
	packet.n = 400;
	check_packet(&packet);
	/* A chain without an end. */
	packet = ipv6_make(IPPROTO_HOPOPTS);
	packet.n = PACKET_MAX;
	check_packet(&packet);
}

static void test_any_bytes(void **state)
{
	(void)state;
	chance_seed(2);
	for (unsigned run = 0; run < 20000; run++) {
		struct packet packet = { .n = chance(120) };
		struct flow flow;

		for (size_t i = 0; i < packet.n; i++)
			packet.bytes[i] = (uint8_t)chance(256);
		packet.bytes[0] = (uint8_t)((chance(2) ? 0x40 : 0x60) | (packet.bytes[0] & 15));
		if (read_flow(&packet, packet.n, &flow) == 0)
			assert_true(flow.l4proto == IPPROTO_TCP || flow.l4proto == IPPROTO_UDP);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ipv4_with_options),
		cmocka_unit_test(test_ipv4_that_makes_no_sense),
		cmocka_unit_test(test_ipv6_with_extension_headers),
		cmocka_unit_test(test_ipv6_that_makes_no_sense),
		cmocka_unit_test(test_any_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
