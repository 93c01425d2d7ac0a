/* SPDX-License-Identifier: GPL-3.0-or-later */

#include "agent/daemon/access_range.h"
#include "agent/daemon/access_set.h"

bool address_next(uint8_t family, const struct address *address, struct address *ret)
{
	struct address next = *address;

	for (size_t i = address_bytes(family); i-- > 0;) {
		if (++next.bytes[i] != 0) {
			*ret = next;
			return true;
		}
	}

	return false;
}

bool address_previous(uint8_t family, const struct address *address, struct address *ret)
{
	struct address previous = *address;

	for (size_t i = address_bytes(family); i-- > 0;) {
		if (previous.bytes[i]-- != 0) {
			*ret = previous;
			return true;
		}
	}

	return false;
}

unsigned address_common_bits(uint8_t family, const struct address *a, const struct address *b)
{
	size_t n_bytes = address_bytes(family);

	for (size_t i = 0; i < n_bytes; i++) {
		unsigned difference = a->bytes[i] ^ b->bytes[i];

		if (difference)
			return 8 * i + (unsigned)__builtin_clz(difference << 24);
	}

	return 8 * n_bytes;
}

void address_widen(uint8_t family, const struct address *address, unsigned n_bits,
	struct address *ret_first, struct address *ret_last)
{
	struct address first = *address, last = *address;

	for (size_t i = n_bits / 8; i < address_bytes(family); i++) {
		uint8_t host = i == n_bits / 8 ? 0xff >> n_bits % 8 : 0xff;

		first.bytes[i] &= ~host;
		last.bytes[i] |= host;
	}

	*ret_first = first;
	*ret_last = last;
}

bool access_is_prefix(const struct access *cover)
{
	uint8_t family = cover->service.family;
	struct address first, last;

	if (family != AF_INET && family != AF_INET6)
		return false;

	/* Bytes behind an IPv4 address stay as they are in what is compared: they must be zero. */
	for (size_t i = address_bytes(family); i < ADDRESS_BYTES_MAX; i++)
		if (cover->first.bytes[i] != 0 || cover->last.bytes[i] != 0)
			return false;

	address_widen(family, &cover->first,
		address_common_bits(family, &cover->first, &cover->last), &first, &last);

	return address_compare(&first, &cover->first) == 0 &&
		address_compare(&last, &cover->last) == 0;
}

bool access_same_service(const struct access *a, const struct access *b)
{
	return service_rank(&a->service) == service_rank(&b->service);
}

bool access_same_range(const struct access *a, const struct access *b)
{
	return access_same_service(a, b) && address_compare(&a->first, &b->first) == 0 &&
		address_compare(&a->last, &b->last) == 0;
}

bool access_contains(const struct access *outer, const struct access *inner)
{
	return access_same_service(outer, inner) &&
		address_compare(&outer->first, &inner->first) <= 0 &&
		address_compare(&inner->last, &outer->last) <= 0;
}

bool access_is_before(const struct access *a, const struct access *b)
{
	if (!access_same_service(a, b))
		return service_rank(&a->service) < service_rank(&b->service);

	return address_compare(&a->last, &b->first) < 0;
}

bool access_adjoins(const struct access *a, const struct access *b)
{
	struct address next;

	return access_same_service(a, b) && address_next(a->service.family, &a->last, &next) &&
		address_compare(&next, &b->first) == 0;
}
