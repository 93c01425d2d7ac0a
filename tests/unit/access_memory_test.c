/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * The access map where memory runs out: it is built in here with allocators that fail when told, at
 * each allocation of each change in turn.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "agent/daemon/access.h"

static size_t n_until_failure;

static bool allocation_fails(void)
{
	return n_until_failure > 0 && --n_until_failure == 0;
}

static void *failing_malloc(size_t size)
{
	return allocation_fails() ? NULL : malloc(size);
}

static void *failing_reallocarray(void *pointer, size_t n, size_t size)
{
	return allocation_fails() ? NULL : reallocarray(pointer, n, size);
}

static void *failing_calloc(size_t n, size_t size)
{
	return allocation_fails() ? NULL : calloc(n, size);
}

#define malloc failing_malloc
#define calloc failing_calloc
#define reallocarray failing_reallocarray
#include "agent/daemon/access.c"
#include "agent/daemon/access_range.c"
#include "agent/daemon/access_set.c"
#include "agent/daemon/access_sweep.c"
#undef malloc
#undef calloc
#undef reallocarray

#define COVERS_MAX 1024
#define CHANGE_MAX 200

struct snapshot {
	struct access items[4 * COVERS_MAX];
	size_t n_items;
};

static unsigned random_state = 1;

static unsigned random_below(unsigned n)
{
	random_state = random_state * 1664525 + 1013904223;
	return (random_state >> 8) % n;
}

static struct access random_cover(void)
{
	struct access cover = {
		.service = { AF_INET, IPPROTO_TCP, 22 },
		.deadline_usec = 1 + random_below(4),
		.tag = random_below(3),
	};

	cover.first.bytes[0] = 10;
	cover.first.bytes[2] = (uint8_t)random_below(4);
	cover.first.bytes[3] = (uint8_t)random_below(256);
	address_widen(AF_INET, &cover.first, 32 - random_below(6), &cover.first, &cover.last);

	return cover;
}

static void snapshot_take(const struct access_set *set, struct snapshot *ret)
{
	struct access_cursor cursor = { .set = set };
	const struct access *item;

	ret->n_items = 0;
	for (; (item = access_cursor_item(&cursor)); access_cursor_next(&cursor))
		ret->items[ret->n_items++] = *item;
	assert_int_equal(ret->n_items, set->n_items);
}

static void assert_unchanged(const struct access_set *set, const struct snapshot *before)
{
	static struct snapshot after;

	snapshot_take(set, &after);
	assert_int_equal(after.n_items, before->n_items);
	for (size_t i = 0; i < after.n_items; i++)
		assert_int_equal(access_compare(after.items + i, before->items + i), 0);
}

/* Lets each allocation of a change fail in turn, until none did. Returns how many failed. */
static size_t change_with_failures(struct access_map *map, const struct access *add, size_t n_add,
	const struct access *remove, size_t n_remove)
{
	static struct snapshot covers, entries;
	struct access_delta delta;

	snapshot_take(&map->covers.set, &covers);
	snapshot_take(&map->entries, &entries);
	for (size_t n_failures = 0;; n_failures++) {
		int r;

		n_until_failure = n_failures + 1;
		r = access_map_change(map, add, n_add, remove, n_remove, &delta);
		if (r == 0) {
			assert_true(n_until_failure > 0);
			n_until_failure = 0;
			access_delta_done(&delta);
			return n_failures;
		}
		assert_int_equal(r, -ENOMEM);
		assert_int_equal(n_until_failure, 0);
		assert_unchanged(&map->covers.set, &covers);
		assert_unchanged(&map->entries, &entries);
	}
}

static void test_no_memory_changes_nothing(void **state)
{
	_cleanup_(access_map_freep) struct access_map *map = NULL;
	static struct access covers[COVERS_MAX + CHANGE_MAX];
	size_t n_covers = 0, n_failures = 0;

	(void)state;
	assert_int_equal(access_map_new(&map), 0);
	for (size_t i = 0; i < 200; i++) {
		struct access remove[CHANGE_MAX];
		size_t n_change = random_below(i % 2 ? CHANGE_MAX : 3);
		size_t n_add = random_below(n_change + 1), n_remove = 0;

		if (n_covers + n_add > COVERS_MAX)
			n_add = 0;
		while (n_remove < n_change && n_covers > 0) {
			size_t j = random_below(n_covers);

			remove[n_remove++] = covers[j];
			covers[j] = covers[--n_covers];
			if (n_covers < COVERS_MAX / 2 && random_below(3))
				break;
		}
		for (size_t j = 0; j < n_add; j++)
			covers[n_covers + j] = random_cover();
		n_failures += change_with_failures(map, covers + n_covers, n_add, remove, n_remove);
		n_covers += n_add;
		assert_int_equal(map->covers.set.n_items, n_covers);
	}
	assert_true(n_failures > 200);
}

static void test_no_memory_for_a_map(void **state)
{
	struct access_map *map = NULL;

	(void)state;
	n_until_failure = 1;
	assert_int_equal(access_map_new(&map), -ENOMEM);
	assert_null(map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_memory_changes_nothing),
		cmocka_unit_test(test_no_memory_for_a_map),
	};

	return cmocka_run_group_tests_name("access memory", tests, NULL, NULL);
}
