/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * How a change is worked out. Only addresses within the ranges of the covers that come or go can
 * change hands: there the entries are swept anew, elsewhere they stay. What stays of an entry that
 * a range touches (or adjoins: they may become one) is put together with what was swept beside it.
 *
 *   touched   |------- a -------|       |---- b ----|      go
 *   range             [=============]
 *   pieces    |-- a --|- c -|-- d --|   |---- b ----|      come; what both lists hold is not told
 *             stays   swept             stays
 */

#include <errno.h>
#include <stdlib.h>

#include "agent/daemon/access.h"
#include "agent/daemon/access_range.h"
#include "agent/daemon/access_sweep.h"

struct access_map {
	struct access_covers covers;
	struct access_set entries;
	uint64_t earliest_usec; /* no deadline is before this */
};

struct access_list {
	struct access *items;
	size_t n_items;
	size_t n_allocated;
};

/* A change of the entries, on paper. */
struct draft {
	struct access_list ranges; /* of the covers that come or go, disjoint */
	struct access_list touched; /* entries that may go */
	struct access_list pieces; /* what is there instead */
};

static int access_compare_qsort(const void *a, const void *b)
{
	return access_compare(a, b);
}

static int list_append(struct access_list *list, const struct access *item)
{
	if (list->n_items == list->n_allocated) {
		size_t n_grown = list->n_allocated ? 2 * list->n_allocated : 8;
		struct access *grown = reallocarray(list->items, n_grown, sizeof(*list->items));

		if (!grown)
			return -ENOMEM;
		list->items = grown;
		list->n_allocated = n_grown;
	}

	list->items[list->n_items++] = *item;
	return 0;
}

static int list_append_callback(const struct access *item, void *userdata)
{
	return list_append(userdata, item);
}

static void list_sort(struct access_list *list)
{
	if (list->n_items > 1)
		qsort(list->items, list->n_items, sizeof(*list->items), access_compare_qsort);
}

static void draft_done(struct draft *draft)
{
	free(draft->ranges.items);
	free(draft->touched.items);
	free(draft->pieces.items);
}

/* The ranges of covers, without those that lie within another. */
static int draft_ranges(struct draft *draft, const struct access *add, size_t n_add,
	const struct access *remove, size_t n_remove)
{
	struct access_list *ranges = &draft->ranges;
	size_t n_outer = 0;
	int r;

	for (size_t i = 0; i < n_add + n_remove; i++) {
		r = list_append(ranges, i < n_add ? add + i : remove + (i - n_add));
		if (r < 0)
			return r;
	}
	list_sort(ranges);

	for (size_t i = 0; i < ranges->n_items; i++)
		if (n_outer == 0 ||
			!access_contains(ranges->items + n_outer - 1, ranges->items + i))
			ranges->items[n_outer++] = ranges->items[i];
	ranges->n_items = n_outer;

	return 0;
}

/* The last entry that begins at or before an address, else the place behind all. */
static struct access_cursor entries_seek_back(const struct access_set *entries,
	const struct service *service, const struct address *address)
{
	struct access key = {
		.service = *service,
		.first = *address,
		.tag = UINT32_MAX,
	};
	struct access_cursor cursor = access_set_seek(entries, &key);

	access_cursor_previous(&cursor);
	return cursor;
}

/* Appends the entries that a range touches or adjoins, but for those that ranges before it did. */
static int draft_touch(
	struct draft *draft, const struct access_set *entries, const struct access *range)
{
	struct access_list *touched = &draft->touched;
	struct address from = range->first;
	struct access_cursor cursor;
	const struct access *entry;
	int r;

	address_previous(range->service.family, &range->first, &from);
	cursor = entries_seek_back(entries, &range->service, &from);
	if (!access_cursor_item(&cursor))
		access_cursor_next(&cursor);

	for (; (entry = access_cursor_item(&cursor)); access_cursor_next(&cursor)) {
		if (access_is_before(range, entry) && !access_adjoins(range, entry))
			break;
		if (access_is_before(entry, range) && !access_adjoins(entry, range))
			continue;
		if (touched->n_items > 0 &&
			access_compare(touched->items + touched->n_items - 1, entry) >= 0)
			continue;
		r = list_append(touched, entry);
		if (r < 0)
			return r;
	}

	return 0;
}

/* Appends what of an entry no range holds. n_passed ranges are known to lie before it. */
static int draft_stay(struct draft *draft, const struct access *entry, size_t n_passed)
{
	struct access rest = *entry, part;
	int r;

	for (size_t i = n_passed; i < draft->ranges.n_items; i++) {
		const struct access *range = draft->ranges.items + i;

		if (access_is_before(&rest, range))
			break;
		if (address_compare(&rest.first, &range->first) < 0) {
			part = rest;
			address_previous(rest.service.family, &range->first, &part.last);
			r = list_append(&draft->pieces, &part);
			if (r < 0)
				return r;
		}
		if (address_compare(&rest.last, &range->last) <= 0)
			return 0;
		address_next(rest.service.family, &range->last, &rest.first);
	}

	return list_append(&draft->pieces, &rest);
}

/* Puts the pieces in order and makes one of those that adjoin and are alike. */
static void draft_join(struct draft *draft)
{
	struct access_list *pieces = &draft->pieces;
	size_t n_joined = 0;

	list_sort(pieces);
	for (size_t i = 0; i < pieces->n_items; i++) {
		const struct access *piece = pieces->items + i;
		struct access *before = n_joined > 0 ? pieces->items + n_joined - 1 : NULL;

		if (before && before->deadline_usec == piece->deadline_usec &&
			before->tag == piece->tag && access_adjoins(before, piece))
			before->last = piece->last;
		else
			pieces->items[n_joined++] = *piece;
	}
	pieces->n_items = n_joined;
}

/* Takes out of both lists what is in both. */
static void draft_cancel(struct draft *draft)
{
	struct access_list *a = &draft->touched, *b = &draft->pieces;
	size_t n_a = 0, n_b = 0, i = 0, j = 0;

	while (i < a->n_items || j < b->n_items) {
		int order;

		if (i == a->n_items || j == b->n_items)
			order = i == a->n_items ? 1 : -1;
		else
			order = access_compare(a->items + i, b->items + j);
		if (order < 0)
			a->items[n_a++] = a->items[i];
		if (order > 0)
			b->items[n_b++] = b->items[j];
		i += order <= 0;
		j += order >= 0;
	}

	a->n_items = n_a;
	b->n_items = n_b;
}

/* Works out what the change of the covers makes of the entries. */
static int draft_make(struct draft *draft, const struct access_map *map)
{
	const struct access_list *ranges = &draft->ranges, *touched = &draft->touched;
	size_t n_passed = 0;
	int r;

	for (size_t i = 0; i < ranges->n_items; i++) {
		r = draft_touch(draft, &map->entries, ranges->items + i);
		if (r < 0)
			return r;
		r = access_sweep(
			&map->covers, ranges->items + i, list_append_callback, &draft->pieces);
		if (r < 0)
			return r;
	}

	for (size_t i = 0; i < touched->n_items; i++) {
		while (n_passed < ranges->n_items &&
			access_is_before(ranges->items + n_passed, touched->items + i))
			n_passed++;
		r = draft_stay(draft, touched->items + i, n_passed);
		if (r < 0)
			return r;
	}

	draft_join(draft);
	draft_cancel(draft);
	return 0;
}

int access_map_new(struct access_map **ret)
{
	struct access_map *map = calloc(1, sizeof(*map));

	if (!map)
		return -ENOMEM;

	map->earliest_usec = UINT64_MAX;
	*ret = map;
	return 0;
}

struct access_map *access_map_free(struct access_map *map)
{
	if (map) {
		access_set_done(&map->covers.set);
		access_set_done(&map->entries);
		free(map);
	}

	return NULL;
}

/* Adds and removes covers where there is room for as many insertions again, so that it can be
 * undone. */
static int covers_change(struct access_covers *covers, const struct access *add, size_t n_add,
	const struct access *remove, size_t n_remove)
{
	for (size_t i = 0; i < n_add; i++) {
		access_covers_note_length(covers, add + i);
		access_set_insert(&covers->set, add + i);
	}

	for (size_t i = 0; i < n_remove; i++) {
		if (access_set_remove(&covers->set, remove + i))
			continue;
		while (i-- > 0)
			access_set_insert(&covers->set, remove + i);
		for (i = 0; i < n_add; i++)
			access_set_remove(&covers->set, add + i);
		return -ENOENT;
	}

	return 0;
}

static bool covers_are_valid(const struct access *covers, size_t n_covers)
{
	for (size_t i = 0; i < n_covers; i++)
		if (!access_is_prefix(covers + i) || covers[i].deadline_usec == 0)
			return false;

	return true;
}

static int map_prepare(struct access_map *map, struct draft *draft, const struct access *add,
	size_t n_add, const struct access *remove, size_t n_remove)
{
	int r;

	r = draft_ranges(draft, add, n_add, remove, n_remove);
	if (r < 0)
		return r;
	r = access_set_reserve(&map->covers.set, n_add + n_remove);
	if (r < 0)
		return r;
	r = covers_change(&map->covers, add, n_add, remove, n_remove);
	if (r < 0)
		return r;

	r = draft_make(draft, map);
	if (r >= 0)
		r = access_set_reserve(&map->entries, draft->pieces.n_items);
	if (r < 0)
		(void)covers_change(&map->covers, remove, n_remove, add, n_add);

	return r;
}

int access_map_change(struct access_map *map, const struct access *add, size_t n_add,
	const struct access *remove, size_t n_remove, struct access_delta *ret)
{
	_cleanup_(draft_done) struct draft draft = {};
	int r;

	if (!covers_are_valid(add, n_add) || !covers_are_valid(remove, n_remove))
		return -EINVAL;

	r = map_prepare(map, &draft, add, n_add, remove, n_remove);
	if (r >= 0) {
		for (size_t i = 0; i < draft.touched.n_items; i++)
			access_set_remove(&map->entries, draft.touched.items + i);
		for (size_t i = 0; i < draft.pieces.n_items; i++)
			access_set_insert(&map->entries, draft.pieces.items + i);
		for (size_t i = 0; i < n_add; i++)
			if (add[i].deadline_usec < map->earliest_usec)
				map->earliest_usec = add[i].deadline_usec;

		*ret = (struct access_delta){
			.n_removed = draft.touched.n_items,
			.n_added = draft.pieces.n_items,
			.removed = TAKE_PTR(draft.touched.items),
			.added = TAKE_PTR(draft.pieces.items),
		};
	}
	access_set_trim(&map->covers.set);
	access_set_trim(&map->entries);

	return r < 0 ? r : 0;
}

size_t access_map_expire(struct access_map *map, uint64_t now_usec)
{
	uint64_t earliest_usec;
	size_t n_expired;

	if (map->earliest_usec > now_usec)
		return 0;
	n_expired = access_set_expire(&map->entries, now_usec, &earliest_usec);
	access_set_expire(&map->covers.set, now_usec, &map->earliest_usec);

	return n_expired;
}

size_t access_map_count(const struct access_map *map)
{
	return map->entries.n_items;
}

int access_map_foreach(const struct access_map *map,
	int (*callback)(const struct access *entry, void *userdata), void *userdata)
{
	struct access_cursor cursor = { .set = &map->entries };
	const struct access *entry;
	int r;

	for (; (entry = access_cursor_item(&cursor)); access_cursor_next(&cursor)) {
		r = callback(entry, userdata);
		if (r < 0)
			return r;
	}

	return 0;
}

const struct access *access_map_find(
	const struct access_map *map, const struct service *service, const struct address *address)
{
	struct access_cursor cursor = entries_seek_back(&map->entries, service, address);
	const struct access *entry = access_cursor_item(&cursor);

	if (!entry || service_rank(&entry->service) != service_rank(service) ||
		address_compare(address, &entry->last) > 0)
		return NULL;

	return entry;
}

void access_delta_done(struct access_delta *delta)
{
	free(delta->removed);
	free(delta->added);
	*delta = (struct access_delta){};
}
