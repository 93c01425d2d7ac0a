/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <strings.h>

#include "agent/common/prefix.h"

/* Reads a decimal number as it would be printed: digits only, no leading zero. */
static int number_parse(const char *text, size_t n_bytes, unsigned max, unsigned *ret)
{
	unsigned value = 0;

	if (n_bytes == 0 || n_bytes > 5 || (n_bytes > 1 && text[0] == '0'))
		return -EINVAL;
	for (size_t i = 0; i < n_bytes; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EINVAL;
		value = value * 10 + (unsigned)(text[i] - '0');
	}
	if (value > max)
		return -EINVAL;
	*ret = value;
	return 0;
}

static struct address address_last(const struct address *first, size_t n_bytes, unsigned length)
{
	struct address last = *first;

	for (size_t i = 0; i < n_bytes; i++) {
		unsigned before = (unsigned)i * 8;

		if (length <= before)
			last.bytes[i] = 0xff;
		else if (length < before + 8)
			last.bytes[i] |= (uint8_t)(0xff >> (length - before));
	}
	return last;
}

static bool has_host_bits(const struct prefix *prefix)
{
	for (unsigned bit = prefix->length; bit < address_bytes(prefix->family) * 8; bit++)
		if (prefix->address.bytes[bit / 8] & (0x80 >> bit % 8))
			return true;
	return false;
}

static bool is_mapped_ipv4(const struct prefix *prefix)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	return prefix->family == AF_INET6 && prefix->length >= 96 &&
		memcmp(prefix->address.bytes, mapped, sizeof(mapped)) == 0;
}

static const char not_a_prefix[] = "is not an IPv4 or IPv6 address, CIDR prefix or \"*\"";

const char *prefix_parse_reason(const char *text, struct prefix *ret)
{
	struct prefix prefix = { .family = AF_UNSPEC };
	char address[PREFIX_STRING_MAX];
	const char *slash = strchr(text, '/');
	size_t n_bytes = slash ? (size_t)(slash - text) : strlen(text);
	unsigned length, length_max;

	if (strcmp(text, "*") == 0) {
		*ret = prefix;
		return NULL;
	}
	if (n_bytes >= sizeof(address))
		return not_a_prefix;
	memcpy(address, text, n_bytes);
	address[n_bytes] = '\0';

	prefix.family = strchr(address, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(prefix.family, address, prefix.address.bytes) != 1)
		return not_a_prefix;
	length = length_max = (unsigned)address_bytes(prefix.family) * 8;
	if (slash && number_parse(slash + 1, strlen(slash + 1), length_max, &length) < 0)
		return prefix.family == AF_INET ? "has a length that is not 0 to 32"
						: "has a length that is not 0 to 128";
	prefix.length = (uint8_t)length;
	if (has_host_bits(&prefix))
		return "has host bits set beyond its length";
	if (is_mapped_ipv4(&prefix))
		return "is an IPv4-mapped IPv6 address: write it as IPv4";
	*ret = prefix;
	return NULL;
}

int prefix_parse(const char *text, struct prefix *ret)
{
	return prefix_parse_reason(text, ret) ? -EINVAL : 0;
}

const char *prefix_format(const struct prefix *prefix, char text[static PREFIX_STRING_MAX])
{
	size_t n;

	if (prefix->family == AF_UNSPEC)
		return strcpy(text, "*");
	address_format(prefix->family, &prefix->address, text);
	if (prefix->length < address_bytes(prefix->family) * 8) {
		n = strlen(text);
		snprintf(text + n, PREFIX_STRING_MAX - n, "/%u", prefix->length);
	}
	return text;
}

bool prefix_contains(const struct prefix *outer, const struct prefix *inner)
{
	if (outer->family == AF_UNSPEC)
		return true;
	return outer->length <= inner->length &&
		prefix_contains_address(outer, inner->family, &inner->address);
}

bool prefix_is_within(const struct prefix *inner, const struct prefix *prefixes, size_t n)
{
	static const struct prefix everything[] = {
		{ .family = AF_INET },
		{ .family = AF_INET6 },
	};

	if (inner->family == AF_UNSPEC)
		return prefix_is_within(&everything[0], prefixes, n) &&
			prefix_is_within(&everything[1], prefixes, n);
	for (size_t i = 0; i < n; i++)
		if (prefix_contains(&prefixes[i], inner))
			return true;
	return false;
}

bool prefix_contains_address(
	const struct prefix *prefix, uint8_t family, const struct address *address)
{
	struct address_range range;

	return prefix_range(prefix, family, &range) && address_range_contains(&range, address);
}

bool prefix_range(const struct prefix *prefix, uint8_t family, struct address_range *ret)
{
	if (family != AF_INET && family != AF_INET6)
		return false;
	if (prefix->family != AF_UNSPEC && prefix->family != family)
		return false;
	ret->family = family;
	ret->first = prefix->address;
	ret->last = address_last(&prefix->address, address_bytes(family), prefix->length);
	return true;
}

const char *address_format(
	uint8_t family, const struct address *address, char text[static PREFIX_STRING_MAX])
{
	if (!inet_ntop(family, address->bytes, text, PREFIX_STRING_MAX))
		strcpy(text, "?");
	return text;
}

int protocol_parse(const char *text, unsigned *ret_protocols)
{
	if (strcasecmp(text, "TCP") == 0)
		*ret_protocols = PROTOCOL_TCP;
	else if (strcasecmp(text, "UDP") == 0)
		*ret_protocols = PROTOCOL_UDP;
	else if (strcmp(text, "*") == 0)
		*ret_protocols = PROTOCOL_ANY;
	else
		return -EINVAL;
	return 0;
}

const char *protocol_format(unsigned protocols)
{
	switch (protocols) {
	case PROTOCOL_TCP:
		return "TCP";
	case PROTOCOL_UDP:
		return "UDP";
	case PROTOCOL_ANY:
		return "*";
	default:
		return "none";
	}
}

static int port_parse(const char *text, size_t n_bytes, uint16_t *ret)
{
	unsigned value;

	if (number_parse(text, n_bytes, UINT16_MAX, &value) < 0 || value == 0)
		return -EINVAL;
	*ret = (uint16_t)value;
	return 0;
}

static int port_range_parse_n(const char *text, size_t n_bytes, struct port_range *ret)
{
	const char *dash = memchr(text, '-', n_bytes);
	size_t n_first = dash ? (size_t)(dash - text) : n_bytes;
	struct port_range range;

	if (port_parse(text, n_first, &range.first) < 0)
		return -EINVAL;
	range.last = range.first;
	if (dash && port_parse(dash + 1, n_bytes - n_first - 1, &range.last) < 0)
		return -EINVAL;
	if (range.last < range.first)
		return -EINVAL;
	*ret = range;
	return 0;
}

int port_range_parse(const char *text, struct port_range *ret)
{
	return port_range_parse_n(text, strlen(text), ret);
}

int port_range_protocol_parse(const char *text, struct port_range *ret, unsigned *ret_protocols)
{
	const char *slash = strchr(text, '/');
	struct port_range range;
	unsigned protocols;

	if (!slash || port_range_parse_n(text, (size_t)(slash - text), &range) < 0 ||
		protocol_parse(slash + 1, &protocols) < 0)
		return -EINVAL;
	*ret = range;
	*ret_protocols = protocols;
	return 0;
}

int port_protocol_parse(const char *text, uint16_t *ret_port, unsigned *ret_protocols)
{
	const char *slash = strchr(text, '/');
	unsigned protocols = PROTOCOL_TCP;
	uint16_t port;

	if (port_parse(text, slash ? (size_t)(slash - text) : strlen(text), &port) < 0)
		return -EINVAL;
	if (slash && protocol_parse(slash + 1, &protocols) < 0)
		return -EINVAL;
	*ret_port = port;
	*ret_protocols = protocols;
	return 0;
}
