/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * The access map: from all covers (a grant's prefixes at its ports), disjoint address ranges for
 * each service, each with the deadline and the tag of the cover that lasts longest.
 *
 *   covers    /24 until 10:00, tag 1   |-----------------------|
 *             one address until 11:00, tag 2     |
 *   entries                              |-------||------------|
 *                                          10:00 11:00  10:00
 *
 * Entries are a pure function of the covers: whatever the order in which covers came and went, the
 * same covers give the same entries. Where two covers end at the same time, the lower tag counts.
 * Adjacent ranges of the same deadline and tag are one entry. Knows no kernel, no clock, no grant.
 */

#include <stddef.h>
#include <stdint.h>

#include "address.h"
#include "cleanup.h"

/* A cover or an entry. deadline_usec is on CLOCK_BOOTTIME and above 0. */
struct access {
	struct service service;
	struct address first;
	struct address last;
	uint64_t deadline_usec;
	uint32_t tag;
};

/* What a change made of the entries: those that went and those that came. */
struct access_delta {
	struct access *removed;
	size_t n_removed;
	struct access *added;
	size_t n_added;
};

struct access_map;

int access_map_new(struct access_map **ret);
struct access_map *access_map_free(struct access_map *map);
DEFINE_CLEANUP(struct access_map *, access_map_free)

/*
 * Adds and removes covers as one change, and tells what became of the entries (owned by the caller,
 * access_delta_done()); an entry that goes and comes back the same is not told. A cover is an
 * address prefix as a range, so two covers of a service nest or are disjoint. Covers are a
 * multiset: the same one added twice is removed twice. Returns 0, or with nothing changed: -ENOMEM;
 * -ENOENT where a cover to remove is not there (nor among those to add); -EINVAL where a range is
 * not a prefix or a deadline is 0.
 *
 * Cost: for each cover a few binary searches, plus the covers and entries within its range.
 */
int access_map_change(struct access_map *map, const struct access *add, size_t n_add,
	const struct access *remove, size_t n_remove, struct access_delta *ret);

/* Drops every cover and entry whose deadline is at or before now_usec. (The kernel drops its own
 * elements then: there is no delta, since an entry outlasts whatever it hides.) Returns how many
 * entries went. */
size_t access_map_expire(struct access_map *map, uint64_t now_usec);

/* All entries, by service and address, valid until the next change. A negative return of the
 * callback ends it and is returned. */
size_t access_map_count(const struct access_map *map);
int access_map_foreach(const struct access_map *map,
	int (*callback)(const struct access *entry, void *userdata), void *userdata);

/* The entry that holds an address, or NULL. */
const struct access *access_map_find(
	const struct access_map *map, const struct service *service, const struct address *address);

void access_delta_done(struct access_delta *delta);
