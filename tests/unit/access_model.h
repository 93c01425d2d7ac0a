/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * A model of the access map that is plain enough to be believed: covers in an array, an address's
 * winner by looking at all of them, entries from the winners between all the points where a cover
 * begins or ends.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "agent/daemon/access.h"

#define COVERS_MAX 512
#define ENTRIES_MAX (4 * COVERS_MAX)

typedef unsigned __int128 number;

struct entries {
	struct access items[ENTRIES_MAX];
	size_t n_items;
};

/* Addresses as numbers, apart from the arithmetic that is tested. */

static unsigned family_bits(uint8_t family)
{
	return family == AF_INET ? 32 : 128;
}

static number family_max(uint8_t family)
{
	return family == AF_INET ? 0xffffffff : ~(number)0;
}

static number to_number(uint8_t family, const struct address *address)
{
	number value = 0;

	for (unsigned i = 0; i < family_bits(family) / 8; i++)
		value = value << 8 | address->bytes[i];

	return value;
}

static struct address from_number(uint8_t family, number value)
{
	struct address address = {};

	for (unsigned i = family_bits(family) / 8; i-- > 0; value >>= 8)
		address.bytes[i] = (uint8_t)value;

	return address;
}

static struct access make_cover(
	struct service service, number value, unsigned n_bits, uint64_t deadline_usec, uint32_t tag)
{
	unsigned n_host = family_bits(service.family) - n_bits;
	number host = n_host == 128 ? ~(number)0 : ((number)1 << n_host) - 1;

	return (struct access){
		.service = service,
		.first = from_number(service.family, value & ~host),
		.last = from_number(service.family, value | host),
		.deadline_usec = deadline_usec,
		.tag = tag,
	};
}

static bool same_service(const struct service *a, const struct service *b)
{
	return a->family == b->family && a->l4proto == b->l4proto && a->port == b->port;
}

static const struct access *model_winner(
	const struct access *covers, size_t n_covers, const struct service *service, number value)
{
	const struct access *winner = NULL;

	for (size_t i = 0; i < n_covers; i++) {
		const struct access *cover = covers + i;

		if (!same_service(&cover->service, service) ||
			value < to_number(service->family, &cover->first) ||
			value > to_number(service->family, &cover->last))
			continue;
		if (!winner || cover->deadline_usec > winner->deadline_usec ||
			(cover->deadline_usec == winner->deadline_usec && cover->tag < winner->tag))
			winner = cover;
	}

	return winner;
}

static int number_compare(const void *a, const void *b)
{
	number x = *(const number *)a, y = *(const number *)b;

	return (x > y) - (x < y);
}

/* Appends the entries of a service. */
static void model_entries_of(const struct access *covers, size_t n_covers,
	const struct service *service, struct entries *ret)
{
	number points[2 * COVERS_MAX];
	size_t n_points = 0, n_before = ret->n_items;

	for (size_t i = 0; i < n_covers; i++) {
		if (!same_service(&covers[i].service, service))
			continue;
		points[n_points++] = to_number(service->family, &covers[i].first);
		points[n_points] = to_number(service->family, &covers[i].last);
		if (points[n_points] != family_max(service->family))
			points[n_points++]++;
	}
	qsort(points, n_points, sizeof(*points), number_compare);

	for (size_t i = 0; i < n_points; i++) {
		bool is_final = i + 1 == n_points;
		number last = is_final ? family_max(service->family) : points[i + 1] - 1;
		const struct access *winner;
		struct access *before = NULL;

		if (!is_final && points[i] == points[i + 1])
			continue;
		winner = model_winner(covers, n_covers, service, points[i]);
		if (!winner)
			continue;
		if (ret->n_items > n_before)
			before = ret->items + ret->n_items - 1;
		if (before && before->deadline_usec == winner->deadline_usec &&
			before->tag == winner->tag &&
			to_number(service->family, &before->last) + 1 == points[i]) {
			before->last = from_number(service->family, last);
			continue;
		}
		ret->items[ret->n_items] = *winner;
		ret->items[ret->n_items].first = from_number(service->family, points[i]);
		ret->items[ret->n_items++].last = from_number(service->family, last);
	}
}

/* By service and address, as documented. */
static int entry_compare(const void *a, const void *b)
{
	const struct access *x = a, *y = b;
	int order = x->service.family - y->service.family;

	if (order == 0)
		order = x->service.l4proto - y->service.l4proto;
	if (order == 0)
		order = x->service.port - y->service.port;

	return order ? order : address_compare(&x->first, &y->first);
}

static bool entry_equal(const struct access *a, const struct access *b)
{
	return entry_compare(a, b) == 0 && address_compare(&a->last, &b->last) == 0 &&
		a->deadline_usec == b->deadline_usec && a->tag == b->tag;
}

static void entries_sort(struct entries *entries)
{
	qsort(entries->items, entries->n_items, sizeof(*entries->items), entry_compare);
}

static void assert_entries_equal(const struct entries *a, const struct entries *b)
{
	assert_int_equal(a->n_items, b->n_items);
	for (size_t i = 0; i < a->n_items; i++)
		assert_true(entry_equal(a->items + i, b->items + i));
}
