/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "agent/common/prefix.h"
#include "cleanup.h"

static struct prefix prefix(const char *text)
{
	struct prefix value;

	if (prefix_parse(text, &value) < 0)
		fail_msg("\"%s\" does not parse", text);
	return value;
}

static void assert_formats(const char *text, const char *expected)
{
	struct prefix value = prefix(text);
	char buffer[PREFIX_STRING_MAX];

	assert_string_equal(prefix_format(&value, buffer), expected);
}

static void a_prefix_reads_and_prints_the_same(void **state)
{
	(void)state;
	assert_formats("*", "*");
	assert_formats("192.0.2.7", "192.0.2.7");
	assert_formats("192.0.2.7/32", "192.0.2.7");
	assert_formats("192.0.2.0/24", "192.0.2.0/24");
	assert_formats("128.0.0.0/1", "128.0.0.0/1");
	assert_formats("0.0.0.0/0", "0.0.0.0/0");
	assert_formats("::/0", "::/0");
	assert_formats("2001:DB8::/32", "2001:db8::/32");
	assert_formats("2001:db8:0:0::1", "2001:db8::1");
	assert_formats("2001:db8::1/128", "2001:db8::1");
	assert_formats("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127",
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127");
	assert_formats("0000:0000:0000:0000:0000:0000:192.168.100.200/128", "::192.168.100.200");
}

static void what_is_no_prefix_opens_nothing(void **state)
{
	static const char *const texts[] = { "", " ", "/", "/0", "**", "* ", " *", "any",
		"Internet", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/032", "10.0.0.0/08",
		"10.0.0.0/+8", "10.0.0.0/-8", "10.0.0.0/ 8", "10.0.0.0/8 ", " 10.0.0.0/8",
		"10.0.0.0/8/8", "10.0.0.0/4294967304", "10.0.0.0/264", "10.0.0.0/8x", "10.0.0/8",
		"10/8", "10.0.0", "010.0.0.0/8", "0x0a.0.0.0/8", "256.0.0.0/8", "1.2.3.4.5",
		"1.2.3.4,5.6.7.8", "10.0.0.0-10.0.0.9", "::/129", "::/0128", "2001:db8::%eth0",
		"fe80::1%1/128", "[::1]", "2001:db8::/32\n", "1::2::3", "10.0.0.0/0xff",
		"1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111/128" };
	struct prefix value;

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(texts); i++)
		if (prefix_parse(texts[i], &value) == 0)
			fail_msg("\"%s\" parses", texts[i]);
}

static void host_bits_refuse_instead_of_being_guessed_at(void **state)
{
	struct prefix value;

	(void)state;
	assert_string_equal(
		prefix_parse_reason("10.0.0.1/8", &value), "has host bits set beyond its length");
	assert_non_null(prefix_parse_reason("192.0.2.1/31", &value));
	assert_non_null(prefix_parse_reason("128.0.0.0/0", &value));
	assert_non_null(prefix_parse_reason("2001:db8::1/127", &value));
	assert_non_null(prefix_parse_reason("2001:db8:8000::/32", &value));
	assert_null(prefix_parse_reason("192.0.2.2/31", &value));
}

static void a_mapped_address_is_not_taken_for_a_source(void **state)
{
	struct prefix value;

	(void)state;
	assert_int_equal(prefix_parse("::ffff:192.0.2.1", &value), -EINVAL);
	assert_int_equal(prefix_parse("::ffff:0:0/96", &value), -EINVAL);
	assert_int_equal(prefix_parse("::ffff:c000:0200/120", &value), -EINVAL);
	assert_int_equal(prefix_parse("::fffe:0:0/96", &value), 0);
}

static void assert_contains(const char *outer, const char *inner, bool expected)
{
	struct prefix out = prefix(outer), in = prefix(inner);

	if (prefix_contains(&out, &in) != expected)
		fail_msg("%s %s %s", outer, expected ? "does not contain" : "contains", inner);
}

static void a_source_outside_the_allowed_ones_is_outside(void **state)
{
	(void)state;
	assert_contains("*", "*", true);
	assert_contains("*", "192.0.2.0/24", true);
	assert_contains("*", "::/0", true);
	assert_contains("0.0.0.0/0", "*", false);
	assert_contains("::/0", "*", false);
	assert_contains("0.0.0.0/0", "::/0", false);
	assert_contains("0.0.0.0/0", "203.0.113.1", true);
	assert_contains("10.0.0.0/8", "10.0.0.0/8", true);
	assert_contains("10.0.0.0/8", "10.255.255.255", true);
	assert_contains("10.0.0.0/8", "11.0.0.0", false);
	assert_contains("10.0.0.0/8", "10.0.0.0/7", false);
	assert_contains("10.0.0.0/8", "0.0.0.0/0", false);
	assert_contains("192.0.2.128/25", "192.0.2.127", false);
	assert_contains("192.0.2.128/25", "192.0.2.128/26", true);
	assert_contains("10.0.0.0/8", "a00::/16", false);
	assert_contains("2001:db8::/33", "2001:db8:8000::", false);
	assert_contains("2001:db8::/33", "2001:db8:7fff::/48", true);
}

static void assert_range(const char *text, uint8_t family, const char *first, const char *last)
{
	struct prefix value = prefix(text);
	char buffer[PREFIX_STRING_MAX];
	struct address_range range;

	assert_true(prefix_range(&value, family, &range));
	assert_int_equal(range.family, family);
	assert_string_equal(address_format(family, &range.first, buffer), first);
	assert_string_equal(address_format(family, &range.last, buffer), last);
}

static void a_prefix_covers_its_addresses_and_no_other(void **state)
{
	struct prefix four = prefix("10.0.0.0/8"), six = prefix("::1");
	struct address_range range;

	(void)state;
	assert_range("10.0.0.0/8", AF_INET, "10.0.0.0", "10.255.255.255");
	assert_range("192.0.2.8/30", AF_INET, "192.0.2.8", "192.0.2.11");
	assert_range("192.0.2.8/29", AF_INET, "192.0.2.8", "192.0.2.15");
	assert_range("192.0.2.8", AF_INET, "192.0.2.8", "192.0.2.8");
	assert_range("*", AF_INET, "0.0.0.0", "255.255.255.255");
	assert_range("*", AF_INET6, "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
	assert_range(
		"2001:db8::/47", AF_INET6, "2001:db8::", "2001:db8:1:ffff:ffff:ffff:ffff:ffff");
	assert_false(prefix_range(&four, AF_INET6, &range));
	assert_false(prefix_range(&six, AF_INET, &range));
	assert_true(prefix_range(&four, AF_INET, &range));
	/* Of an IPv4 address, only four bytes count: the others stay zero. */
	for (size_t i = 4; i < ADDRESS_BYTES_MAX; i++)
		assert_int_equal(range.last.bytes[i], 0);
}

static void a_connection_is_matched_by_its_source(void **state)
{
	struct prefix allowed = prefix("192.0.2.0/31"), any = prefix("*");
	struct prefix inside = prefix("192.0.2.1"), outside = prefix("192.0.2.2");
	struct prefix six = prefix("c000:201::");

	(void)state;
	assert_true(prefix_contains_address(&allowed, AF_INET, &inside.address));
	assert_false(prefix_contains_address(&allowed, AF_INET, &outside.address));
	assert_false(prefix_contains_address(&allowed, AF_INET6, &six.address));
	assert_true(prefix_contains_address(&any, AF_INET6, &six.address));
}

static void a_protocol_is_one_of_azures(void **state)
{
	unsigned protocols;

	(void)state;
	assert_int_equal(protocol_parse("TCP", &protocols), 0);
	assert_int_equal(protocols, PROTOCOL_TCP);
	assert_int_equal(protocol_parse("Udp", &protocols), 0);
	assert_int_equal(protocols, PROTOCOL_UDP);
	assert_int_equal(protocol_parse("*", &protocols), 0);
	assert_int_equal(protocols, PROTOCOL_ANY);
	assert_string_equal(protocol_format(protocols), "*");
	assert_string_equal(protocol_format(PROTOCOL_TCP), "TCP");
	assert_string_equal(protocol_format(PROTOCOL_UDP), "UDP");
	assert_int_equal(protocol_parse("", &protocols), -EINVAL);
	assert_int_equal(protocol_parse("TCP ", &protocols), -EINVAL);
	assert_int_equal(protocol_parse("ICMP", &protocols), -EINVAL);
}

static void a_port_range_is_what_is_written(void **state)
{
	static const char *const bad[] = { "", "0", "65536", "022", "+22", "-22", " 22", "22 ",
		"22-", "-", "0-10", "10-9", "5000-65536", "5000--5001", "5000-5001-5002",
		"5000 - 5001", "2a", "4294967318" };
	struct port_range range;

	(void)state;
	assert_int_equal(port_range_parse("22", &range), 0);
	assert_int_equal(range.first, 22);
	assert_int_equal(range.last, 22);
	assert_int_equal(port_range_parse("1-65535", &range), 0);
	assert_int_equal(range.first, 1);
	assert_int_equal(range.last, 65535);
	for (size_t i = 0; i < N_ELEMENTS(bad); i++)
		if (port_range_parse(bad[i], &range) == 0)
			fail_msg("\"%s\" parses", bad[i]);
}

static void a_port_on_the_command_line_is_what_is_written(void **state)
{
	static const char *const bad[] = { "", "/", "/tcp", "22/", "22/sctp", "22/tcp/udp",
		"22 /tcp", "22-23/tcp", "0/tcp", "ssh" };
	unsigned protocols;
	uint16_t port;

	(void)state;
	assert_int_equal(port_protocol_parse("22/tcp", &port, &protocols), 0);
	assert_int_equal(port, 22);
	assert_int_equal(protocols, PROTOCOL_TCP);
	assert_int_equal(port_protocol_parse("53/udp", &port, &protocols), 0);
	assert_int_equal(protocols, PROTOCOL_UDP);
	assert_int_equal(port_protocol_parse("443/*", &port, &protocols), 0);
	assert_int_equal(protocols, PROTOCOL_ANY);
	assert_int_equal(port_protocol_parse("443", &port, &protocols), 0);
	assert_int_equal(protocols, PROTOCOL_TCP);
	for (size_t i = 0; i < N_ELEMENTS(bad); i++)
		if (port_protocol_parse(bad[i], &port, &protocols) == 0)
			fail_msg("\"%s\" parses", bad[i]);
}

static void a_keys_port_needs_its_protocol(void **state)
{
	struct port_range range;
	unsigned protocols;

	(void)state;
	assert_int_equal(port_range_protocol_parse("5000-5010/udp", &range, &protocols), 0);
	assert_int_equal(range.first, 5000);
	assert_int_equal(range.last, 5010);
	assert_int_equal(protocols, PROTOCOL_UDP);
	assert_int_equal(port_range_protocol_parse("22", &range, &protocols), -EINVAL);
	assert_int_equal(port_range_protocol_parse("*/tcp", &range, &protocols), -EINVAL);
	assert_int_equal(port_range_protocol_parse("22/", &range, &protocols), -EINVAL);
	assert_int_equal(port_range_protocol_parse("/tcp", &range, &protocols), -EINVAL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_prefix_reads_and_prints_the_same),
		cmocka_unit_test(what_is_no_prefix_opens_nothing),
		cmocka_unit_test(host_bits_refuse_instead_of_being_guessed_at),
		cmocka_unit_test(a_mapped_address_is_not_taken_for_a_source),
		cmocka_unit_test(a_source_outside_the_allowed_ones_is_outside),
		cmocka_unit_test(a_prefix_covers_its_addresses_and_no_other),
		cmocka_unit_test(a_connection_is_matched_by_its_source),
		cmocka_unit_test(a_protocol_is_one_of_azures),
		cmocka_unit_test(a_port_range_is_what_is_written),
		cmocka_unit_test(a_port_on_the_command_line_is_what_is_written),
		cmocka_unit_test(a_keys_port_needs_its_protocol),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
