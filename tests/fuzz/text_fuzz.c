/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Prefixes, protocols, ports, durations, points in time, base64url, text for a terminal, sshd's
 * SSH_CONNECTION in the environment of another's process. */

#include "agent/cli/origin.h"
#include "agent/common/base64url.h"
#include "agent/common/prefix.h"
#include "agent/common/times.h"
#include "tests/fuzz/fuzz.h"

static void try_prefix(const char *text)
{
	char formatted[PREFIX_STRING_MAX], again[PREFIX_STRING_MAX];
	struct prefix prefix, same;
	const char *reason = prefix_parse_reason(text, &prefix);
	struct address_range range;

	CHECK((reason == NULL) == (prefix_parse(text, &same) == 0));
	if (reason) {
		check_message(reason);
		return;
	}
	prefix_format(&prefix, formatted);
	check_message(formatted);
	CHECK(prefix_parse(formatted, &same) == 0);
	CHECK(strcmp(prefix_format(&same, again), formatted) == 0);
	CHECK(prefix_contains(&prefix, &same) && prefix_contains(&same, &prefix));
	if (prefix.family == AF_UNSPEC)
		return;
	CHECK(prefix.length <= 8 * address_bytes(prefix.family));
	CHECK(prefix_range(&prefix, prefix.family, &range));
	CHECK(address_compare(&range.first, &prefix.address) == 0);
	CHECK(address_compare(&range.first, &range.last) <= 0);
	CHECK(prefix_contains_address(&prefix, prefix.family, &range.last));
}

static void try_ports(const char *text)
{
	char again[64];
	struct port_range range, same;
	unsigned protocols, same_protocols;
	uint16_t port;

	if (protocol_parse(text, &protocols) == 0) {
		CHECK(protocol_parse(protocol_format(protocols), &same_protocols) == 0);
		CHECK(protocols == same_protocols);
	}
	if (port_range_parse(text, &range) == 0)
		CHECK(range.first >= 1 && range.first <= range.last);
	if (port_protocol_parse(text, &port, &protocols) == 0) {
		CHECK(port >= 1);
		snprintf(again, sizeof(again), "%u/%s", port, protocol_format(protocols));
		CHECK(port_range_protocol_parse(again, &same, &same_protocols) == 0);
		CHECK(same.first == port && same.last == port && same_protocols == protocols);
	}
	if (port_range_protocol_parse(text, &range, &protocols) == 0) {
		CHECK(range.first >= 1 && range.first <= range.last);
		snprintf(again, sizeof(again), "%u-%u/%s", range.first, range.last,
			protocol_format(protocols));
		CHECK(port_range_protocol_parse(again, &same, &same_protocols) == 0);
		CHECK(memcmp(&same, &range, sizeof(same)) == 0 && same_protocols == protocols);
	}
}

static void try_times(const char *text)
{
	char formatted[TIME_STRING_MAX];
	int64_t seconds, again;

	if (duration_parse(text, &seconds) == 0) {
		CHECK(seconds >= 1 && seconds <= DURATION_SECONDS_MAX);
		CHECK(duration_parse(duration_format(seconds, formatted), &again) == 0);
		CHECK(again == seconds);
		check_message(duration_describe(seconds, formatted));
	}
	if (time_parse_utc(text, &seconds) == 0) {
		CHECK(time_parse_utc(time_format_utc(seconds, formatted), &again) == 0);
		CHECK(again == seconds);
		check_message(time_format_local(seconds, 0, formatted));
	}
}

/* Of each kind that text.h names one. */
static const char *const unprintable[] = { "\x1b", "\x7f", "\xc2\x9b", "\xe2\x80\xa8",
	"\xe2\x80\xae", "\xe2\x81\xa6", "\xff" };

static void try_printable(const char *text)
{
	_cleanup_(freep) char *copy = strdup(text);
	bool printable = text_is_printable(text);

	CHECK(copy);
	text_make_printable(copy);
	CHECK(text_is_printable(copy));
	CHECK(strlen(copy) <= strlen(text));
	CHECK(!printable || strcmp(copy, text) == 0);
	for (size_t i = 0; i < N_ELEMENTS(unprintable); i++)
		CHECK(!strstr(copy, unprintable[i]));
}

static void try_origin(const char *text)
{
	struct origin origin;
	struct prefix prefix = { 0 }, same;
	char formatted[PREFIX_STRING_MAX];

	if (origin_parse(text, &origin) < 0)
		return;
	CHECK(origin.family == AF_INET || origin.family == AF_INET6);
	CHECK(origin.port >= 1);
	prefix.family = origin.family;
	prefix.address = origin.source;
	prefix.length = (uint8_t)(8 * address_bytes(origin.family));
	CHECK(prefix_parse(prefix_format(&prefix, formatted), &same) == 0);
	CHECK(same.family == origin.family && address_compare(&same.address, &origin.source) == 0);
}

static void try_base64url(const uint8_t *data, size_t size)
{
	char *bytes;
	size_t n_bytes;

	if (base64url_decode((const char *)data, size, &bytes, &n_bytes) < 0)
		return;
	CHECK(n_bytes == size * 3 / 4);
	CHECK(bytes[n_bytes] == '\0');
	free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *text = take_text(data, size);

	try_prefix(text);
	try_ports(text);
	try_times(text);
	try_printable(text);
	try_origin(text);
	try_base64url(data, size);
	return 0;
}
