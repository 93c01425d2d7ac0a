/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * A mutator for inputs that are a byte and netlink messages: it changes, removes or doubles an
 * attribute at any depth and makes the lengths around it fit, so that messages stay whole often
 * enough to be read to their end. Every other time libFuzzer changes bytes as it likes.
 *
 *   byte | message: header | family header | attribute | attribute: nested | attribute … | message
 */

#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>

#include "tests/fuzz/fuzz.h"

#define PLACES_MAX 512
#define DEPTH_MAX 6

/* Of the header in front of the attributes. */
static inline size_t family_bytes(uint16_t type)
{
	switch (type) {
	case RTM_NEWLINK:
		return sizeof(struct ifinfomsg);
	case RTM_NEWROUTE:
		return sizeof(struct rtmsg);
	case SOCK_DIAG_BY_FAMILY:
		return sizeof(struct inet_diag_msg);
	default:
		return sizeof(struct nfgenmsg);
	}
}

/* A message or an attribute; within says where the length is that holds it. */
struct place {
	size_t at;
	size_t n_bytes;
	int within; /* -1: a message */
};

struct places {
	struct place items[PLACES_MAX];
	int n;
};

static inline int place_add(struct places *places, size_t at, size_t n_bytes, int within)
{
	if (places->n == PLACES_MAX)
		return -1;
	places->items[places->n] = (struct place){ at, n_bytes, within };
	return places->n++;
}

static inline bool are_attributes(const uint8_t *bytes, size_t n_bytes)
{
	size_t at = 0;

	while (at + MNL_ATTR_HDRLEN <= n_bytes) {
		struct nlattr attribute;

		memcpy(&attribute, bytes + at, sizeof(attribute));
		if (attribute.nla_len < MNL_ATTR_HDRLEN || attribute.nla_len > n_bytes - at)
			return false;
		at += MNL_ALIGN(attribute.nla_len);
	}
	return n_bytes > 0 && at >= n_bytes;
}

static inline void find_attributes(
	const uint8_t *data, size_t from, size_t end, int within, int depth, struct places *places)
{
	while (from < end && end - from >= MNL_ATTR_HDRLEN) {
		struct nlattr attribute;
		int place;

		memcpy(&attribute, data + from, sizeof(attribute));
		if (attribute.nla_len < MNL_ATTR_HDRLEN || attribute.nla_len > end - from)
			return;
		place = place_add(places, from, attribute.nla_len, within);
		if (place >= 0 && depth < DEPTH_MAX &&
			are_attributes(
				data + from + MNL_ATTR_HDRLEN, attribute.nla_len - MNL_ATTR_HDRLEN))
			find_attributes(data, from + MNL_ATTR_HDRLEN, from + attribute.nla_len,
				place, depth + 1, places);
		from += MNL_ALIGN(attribute.nla_len);
	}
}

static inline void find_places(const uint8_t *data, size_t size, struct places *places)
{
	size_t at = 1;

	while (at < size && size - at >= sizeof(struct nlmsghdr)) {
		struct nlmsghdr head;
		int place;

		memcpy(&head, data + at, sizeof(head));
		if (head.nlmsg_len < sizeof(head) || head.nlmsg_len > size - at)
			return;
		place = place_add(places, at, head.nlmsg_len, -1);
		find_attributes(data, at + sizeof(head) + family_bytes(head.nlmsg_type),
			at + head.nlmsg_len, place, 0, places);
		at += MNL_ALIGN(head.nlmsg_len);
	}
}

/* Adds to the length of a place, and of all it lies in. */
static inline void lengthen(uint8_t *data, const struct places *places, int i, ptrdiff_t n)
{
	for (; i >= 0; i = places->items[i].within) {
		uint8_t *at = data + places->items[i].at;

		if (places->items[i].within < 0) {
			struct nlmsghdr head;

			memcpy(&head, at, sizeof(head));
			head.nlmsg_len = (uint32_t)(head.nlmsg_len + n);
			memcpy(at, &head, sizeof(head));
		} else {
			struct nlattr attribute;

			memcpy(&attribute, at, sizeof(attribute));
			attribute.nla_len = (uint16_t)(attribute.nla_len + n);
			memcpy(at, &attribute, sizeof(attribute));
		}
	}
}

/* Makes n_new bytes of n_old, at a place of the data. Returns the new size. */
static inline size_t bytes_replace(
	uint8_t *data, size_t size, size_t at, size_t n_old, const uint8_t *bytes, size_t n_new)
{
	memmove(data + at + n_new, data + at + n_old, size - at - n_old);
	memcpy(data + at, bytes, n_new);
	return size - n_old + n_new;
}

/* The bytes of a place with other contents, padded. Returns how many there are. */
static inline size_t place_mutate(
	const uint8_t *data, const struct place *place, uint8_t *bytes, size_t n_max)
{
	const size_t n_head = place->within < 0 ? sizeof(struct nlmsghdr) : MNL_ATTR_HDRLEN;
	size_t n = place->n_bytes - n_head;

	memcpy(bytes, data + place->at, place->n_bytes);
	n = LLVMFuzzerMutate(bytes + n_head, n, n_max - n_head) + n_head;
	memset(bytes + n, 0, MNL_ALIGN(n) - n);
	if (place->within < 0) {
		const uint32_t n_bytes = (uint32_t)n;

		memcpy(bytes, &n_bytes, sizeof(n_bytes));
	} else {
		const uint16_t n_bytes = (uint16_t)n;

		memcpy(bytes, &n_bytes, sizeof(n_bytes));
	}
	return MNL_ALIGN(n);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	static struct places places;
	static uint8_t bytes[65536];
	const struct place *place;
	size_t n_old, n_new;
	int chosen;

	places.n = 0;
	find_places(data, size, &places);
	if (places.n == 0 || seed % 2)
		return LLVMFuzzerMutate(data, size, max_size);
	seed /= 2;
	chosen = (int)(seed / 8 % (unsigned)places.n);
	place = &places.items[chosen];
	n_old = MNL_ALIGN(place->n_bytes);
	if (place->at + n_old > size || n_old > 4096)
		return LLVMFuzzerMutate(data, size, max_size);
	switch (seed % 8) {
	case 0: /* away */
		n_new = 0;
		break;
	case 1: /* twice */
		n_new = 2 * n_old;
		memcpy(bytes, data + place->at, n_old);
		memcpy(bytes + n_old, data + place->at, n_old);
		break;
	default:
		n_new = place_mutate(data, place, bytes, n_old + 256);
	}
	if (size - n_old + n_new > max_size)
		return LLVMFuzzerMutate(data, size, max_size);
	size = bytes_replace(data, size, place->at, n_old, bytes, n_new);
	lengthen(data, &places, place->within, (ptrdiff_t)n_new - (ptrdiff_t)n_old);
	return size;
}
