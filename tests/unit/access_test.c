/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The access map against the model, change by change. JITGATE_TEST_SEED repeats a run. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "tests/unit/access_model.h"

struct world {
	struct access_map *map;
	struct access covers[COVERS_MAX];
	size_t n_covers;
	struct entries mirror; /* what the deltas made */
	struct entries wanted;
	struct entries found;
	uint64_t now_usec;
	bool is_wide; /* any prefix of the family, rather than those of a few addresses */
};

static uint64_t random_state;

static uint64_t random_below(uint64_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;

	return (random_state >> 11) % n;
}

static const struct service services[] = {
	{ AF_INET, IPPROTO_TCP, 22 },
	{ AF_INET, IPPROTO_UDP, 22 },
	{ AF_INET6, IPPROTO_TCP, 22 },
	{ AF_INET, IPPROTO_TCP, 23 },
	{ AF_INET6, IPPROTO_UDP, 65535 },
};

static struct access random_cover(const struct world *world)
{
	struct service service = services[random_below(N_ELEMENTS(services))];
	unsigned n_bits_max = family_bits(service.family), n_bits;
	number value = random_below(256);

	/* Three places: both ends of the space and one between. */
	switch (random_below(3)) {
	case 0:
		value = family_max(service.family) - value;
		break;
	case 1:
		value |= (number)0x0a << (n_bits_max - 8);
		break;
	}
	n_bits = n_bits_max - (unsigned)random_below(10);
	if (world->is_wide || random_below(16) == 0)
		n_bits = (unsigned)random_below(n_bits_max + 1);
	if (world->is_wide)
		value ^= (number)random_below(UINT32_MAX) << random_below(97);

	return make_cover(service, value & family_max(service.family), n_bits,
		world->now_usec + 1 + random_below(8), (uint32_t)random_below(4));
}

static int entries_collect(const struct access *entry, void *userdata)
{
	struct entries *entries = userdata;

	assert_true(entries->n_items < ENTRIES_MAX);
	entries->items[entries->n_items++] = *entry;
	return 0;
}

static void map_entries(const struct access_map *map, struct entries *ret)
{
	ret->n_items = 0;
	assert_int_equal(access_map_foreach(map, entries_collect, ret), 0);
	assert_int_equal(access_map_count(map), ret->n_items);
}

/* Applies a delta to the mirror, and sees to it that nothing is told in vain. */
static void mirror_apply(struct entries *mirror, const struct access_delta *delta)
{
	for (size_t i = 0; i < delta->n_removed; i++) {
		size_t j = 0;

		while (j < mirror->n_items && !entry_equal(mirror->items + j, delta->removed + i))
			j++;
		assert_true(j < mirror->n_items);
		mirror->items[j] = mirror->items[--mirror->n_items];
		for (j = 0; j < delta->n_added; j++)
			assert_false(entry_equal(delta->added + j, delta->removed + i));
	}
	for (size_t i = 0; i < delta->n_added; i++)
		entries_collect(delta->added + i, mirror);
	entries_sort(mirror);
}

static void assert_winners(const struct world *world)
{
	for (size_t i = 0; i < N_ELEMENTS(services); i++) {
		for (unsigned j = 0; j < 3 * 256; j++) {
			uint8_t family = services[i].family;
			number value = j % 256;
			struct address address;
			const struct access *entry, *winner;

			if (j / 256 == 1)
				value = family_max(family) - value;
			if (j / 256 == 2)
				value |= (number)0x0a << (family_bits(family) - 8);
			address = from_number(family, value);
			entry = access_map_find(world->map, services + i, &address);
			winner = model_winner(world->covers, world->n_covers, services + i, value);
			assert_int_equal(!entry, !winner);
			if (!winner)
				continue;
			assert_true(same_service(&entry->service, services + i));
			assert_true(address_compare(&entry->first, &address) <= 0);
			assert_true(address_compare(&address, &entry->last) <= 0);
			assert_int_equal(entry->deadline_usec, winner->deadline_usec);
			assert_int_equal(entry->tag, winner->tag);
		}
	}
}

static void assert_world(struct world *world)
{
	world->wanted.n_items = 0;
	for (size_t i = 0; i < N_ELEMENTS(services); i++)
		model_entries_of(world->covers, world->n_covers, services + i, &world->wanted);
	entries_sort(&world->wanted);

	map_entries(world->map, &world->found);
	assert_entries_equal(&world->found, &world->wanted);
	assert_entries_equal(&world->mirror, &world->wanted);
}

/* What is done to a world */

static void world_change(struct world *world, const struct access *add, size_t n_add,
	const size_t *remove, size_t n_remove)
{
	struct access removed[COVERS_MAX];
	struct access_delta delta = {};

	/* The indices descend, so that each is good when its turn comes. */
	for (size_t i = 0; i < n_remove; i++) {
		removed[i] = world->covers[remove[i]];
		world->covers[remove[i]] = world->covers[--world->n_covers];
	}
	assert_true(world->n_covers + n_add <= COVERS_MAX);
	for (size_t i = 0; i < n_add; i++)
		world->covers[world->n_covers++] = add[i];

	assert_int_equal(access_map_change(world->map, add, n_add, removed, n_remove, &delta), 0);
	mirror_apply(&world->mirror, &delta);
	access_delta_done(&delta);
}

static void world_add(struct world *world, size_t n_add)
{
	struct access add[64];

	for (size_t i = 0; i < n_add; i++) {
		add[i] = random_cover(world);
		/* The same prefix again, and the same cover. */
		if (world->n_covers > 0 && random_below(4) == 0) {
			struct access like = world->covers[random_below(world->n_covers)];

			if (random_below(2))
				like.deadline_usec = add[i].deadline_usec;
			add[i] = like;
		}
	}
	world_change(world, add, n_add, NULL, 0);
}

/* Some covers go; where they are renewed, the same come with other ends. */
static void world_remove(struct world *world, size_t n_remove, bool renew)
{
	size_t remove[64], n = 0, n_add = 0;
	struct access add[64];

	for (size_t i = world->n_covers; i-- > 0 && n < n_remove;)
		if (random_below(world->n_covers) < 2 * n_remove)
			remove[n++] = i;
	for (size_t i = 0; renew && i < n; i++) {
		add[n_add] = world->covers[remove[i]];
		add[n_add++].deadline_usec = world->now_usec + 1 + random_below(8);
	}
	world_change(world, add, n_add, remove, n);
}

static void world_expire(struct world *world)
{
	size_t n_kept = 0, n_before = world->mirror.n_items;

	world->now_usec++;
	for (size_t i = 0; i < world->n_covers; i++)
		if (world->covers[i].deadline_usec > world->now_usec)
			world->covers[n_kept++] = world->covers[i];
	world->n_covers = n_kept;

	n_kept = 0;
	for (size_t i = 0; i < n_before; i++)
		if (world->mirror.items[i].deadline_usec > world->now_usec)
			world->mirror.items[n_kept++] = world->mirror.items[i];
	world->mirror.n_items = n_kept;

	assert_int_equal(access_map_expire(world->map, world->now_usec), n_before - n_kept);
}

/* A change that can't be, between covers that could: nothing of it may stay. */
static void world_refuse(struct world *world)
{
	struct access_delta delta;
	struct access add[] = { random_cover(world), random_cover(world) };
	struct access remove[] = { random_cover(world), random_cover(world) };
	size_t n_existing = 0;

	if (world->n_covers > 0) {
		remove[0] = world->covers[random_below(world->n_covers)];
		n_existing = 1;
	}
	remove[n_existing].tag = 77;
	assert_int_equal(
		access_map_change(world->map, add, 2, remove, n_existing + 1, &delta), -ENOENT);
	add[1].deadline_usec = 0;
	assert_int_equal(
		access_map_change(world->map, add, 2, remove, n_existing, &delta), -EINVAL);
}

static void world_step(struct world *world)
{
	uint64_t dice = random_below(20);

	if (world->n_covers > COVERS_MAX - 64)
		world_remove(world, 64, false);
	else if (dice < 8)
		world_add(world, 1 + random_below(3));
	else if (dice < 9)
		world_add(world, random_below(40));
	else if (dice < 14)
		world_remove(world, 1 + random_below(3), random_below(2));
	else if (dice < 15)
		world_remove(world, random_below(40), random_below(2));
	else if (dice < 17)
		world_refuse(world);
	else
		world_expire(world);
}

/* Whatever the order in which they come, the same covers give the same entries. */
static void assert_order_does_not_show(struct world *world)
{
	_cleanup_(access_map_freep) struct access_map *map = NULL;
	struct access_delta delta;
	size_t n_bulk = random_below(world->n_covers + 1);

	for (size_t i = world->n_covers; i > 1; i--) {
		size_t j = random_below(i);
		struct access cover = world->covers[j];

		world->covers[j] = world->covers[i - 1];
		world->covers[i - 1] = cover;
	}

	assert_int_equal(access_map_new(&map), 0);
	for (size_t i = n_bulk; i < world->n_covers; i++) {
		assert_int_equal(access_map_change(map, world->covers + i, 1, NULL, 0, &delta), 0);
		access_delta_done(&delta);
	}
	assert_int_equal(access_map_change(map, world->covers, n_bulk, NULL, 0, &delta), 0);
	access_delta_done(&delta);
	map_entries(map, &world->found);
	assert_entries_equal(&world->found, &world->wanted);
}

static void run_worlds(size_t n_worlds, size_t n_steps, bool is_wide)
{
	_cleanup_(freep) struct world *world = malloc(sizeof(*world));

	assert_non_null(world);
	for (size_t i = 0; i < n_worlds; i++) {
		world->n_covers = world->mirror.n_items = 0;
		world->now_usec = 1000;
		world->is_wide = is_wide;
		assert_int_equal(access_map_new(&world->map), 0);
		for (size_t j = 0; j < n_steps; j++) {
			world_step(world);
			assert_world(world);
			if (j % 16 == 0)
				assert_winners(world);
		}
		assert_order_does_not_show(world);
		access_map_free(world->map);
	}
}

static void test_each_address_has_who_lasts_longest(void **state)
{
	(void)state;
	run_worlds(150, 80, false);
}

static void test_so_it_is_with_prefixes_of_any_length(void **state)
{
	(void)state;
	run_worlds(150, 80, true);
}

/* Changes one cover, and gives how many entries went and came. */
static void change_one(struct access_map *map, const struct access *add,
	const struct access *remove, size_t n_removed, size_t n_added)
{
	struct access_delta delta;

	assert_int_equal(
		access_map_change(map, add, add ? 1 : 0, remove, remove ? 1 : 0, &delta), 0);
	assert_int_equal(delta.n_removed, n_removed);
	assert_int_equal(delta.n_added, n_added);
	access_delta_done(&delta);
}

static void test_whole_space_and_its_last_addresses(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		_cleanup_(access_map_freep) struct access_map *map = NULL;
		struct service service = { i ? AF_INET6 : AF_INET, IPPROTO_TCP, 22 };
		number max = family_max(service.family);
		unsigned n_bits = family_bits(service.family);
		struct access all = make_cover(service, 0, 0, 10, 1);
		struct access lowest = make_cover(service, 0, n_bits, 20, 2);
		struct access highest = make_cover(service, max, n_bits, 20, 2);

		assert_int_equal(access_map_new(&map), 0);
		change_one(map, &highest, NULL, 0, 1);
		change_one(map, &lowest, NULL, 0, 1);
		change_one(map, &all, NULL, 0, 1);
		assert_int_equal(access_map_count(map), 3);
		change_one(map, NULL, &highest, 2, 1);
		change_one(map, NULL, &lowest, 2, 1);
		change_one(map, NULL, &all, 1, 0);
		assert_int_equal(access_map_count(map), 0);
	}
}

static void test_renewal_moves_the_end_once(void **state)
{
	_cleanup_(access_map_freep) struct access_map *map = NULL;
	struct access grant = make_cover(services[0], 0xc0000200, 24, 10, 1), renewed = grant;

	(void)state;
	renewed.deadline_usec = 20;
	assert_int_equal(access_map_new(&map), 0);
	change_one(map, &grant, NULL, 0, 1);
	change_one(map, &renewed, &grant, 1, 1);
	change_one(map, &grant, NULL, 0, 0);
	change_one(map, NULL, &grant, 0, 0);
	change_one(map, &renewed, &renewed, 0, 0);
	change_one(map, NULL, &renewed, 1, 0);
}

static void test_neighbours_become_one_and_part_again(void **state)
{
	_cleanup_(access_map_freep) struct access_map *map = NULL;
	struct access left = make_cover(services[0], 0x0a000000, 25, 10, 1);
	struct access right = make_cover(services[0], 0x0a000080, 25, 10, 1);
	struct access other = make_cover(services[1], 0x0a000080, 25, 10, 1);

	(void)state;
	assert_int_equal(access_map_new(&map), 0);
	change_one(map, &left, NULL, 0, 1);
	change_one(map, &other, NULL, 0, 1);
	change_one(map, &right, NULL, 1, 1);
	assert_int_equal(access_map_count(map), 2);
	change_one(map, NULL, &left, 1, 1);
	change_one(map, NULL, &right, 1, 0);
}

static void test_range_that_is_no_prefix_is_refused(void **state)
{
	_cleanup_(access_map_freep) struct access_map *map = NULL;
	struct access good = make_cover(services[0], 0x0a000000, 24, 10, 1);
	struct access bad[6] = { good, good, good, good, good, good };
	struct access_delta delta;

	(void)state;
	bad[0].last.bytes[3] = 0xfe; /* an odd length */
	bad[1].first.bytes[3] = 0x80, bad[1].last.bytes[2] = 1; /* not aligned */
	bad[2].last.bytes[2] = 0, bad[2].first.bytes[2] = 1; /* ends before it begins */
	bad[3].last.bytes[4] = 0xff; /* more than an IPv4 address */
	bad[4].service.family = AF_UNSPEC;
	bad[5].first.bytes[15] = bad[5].last.bytes[15] = 1; /* so at both ends */
	assert_int_equal(access_map_new(&map), 0);
	for (size_t i = 0; i < N_ELEMENTS(bad); i++)
		assert_int_equal(access_map_change(map, bad + i, 1, NULL, 0, &delta), -EINVAL);
	assert_int_equal(access_map_change(map, NULL, 0, &good, 1, &delta), -ENOENT);
	assert_int_equal(access_map_count(map), 0);
	change_one(map, NULL, NULL, 0, 0);
}

static void test_one_end_after_another(void **state)
{
	_cleanup_(access_map_freep) struct access_map *map = NULL;
	_cleanup_(freep) struct entries *found = malloc(sizeof(*found));

	(void)state;
	assert_non_null(found);
	assert_int_equal(access_map_new(&map), 0);
	/* Ten regions of a hundred addresses, none beside another, each with an end of its own. */
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 1000; i++) {
			struct access cover = make_cover(services[0], 0x0a000000 + 2 * i, 32,
				1 + 10 * round + i / 100 * 7 % 10, 1);

			change_one(map, &cover, NULL, 0, 1);
		}
		for (unsigned i = 1; i <= 10; i++) {
			struct access last = { .service = services[0] };

			assert_int_equal(access_map_expire(map, 10 * round + i), 100);
			map_entries(map, found);
			assert_int_equal(found->n_items, 1000 - 100 * i);
			for (size_t j = 0; j < found->n_items; j++) {
				assert_true(found->items[j].deadline_usec > 10 * round + i);
				assert_true(entry_compare(&last, found->items + j) < 0);
				last = found->items[j];
			}
		}
	}
}

#define N_MANY 10000

static void test_restart_with_ten_thousand_grants(void **state)
{
	_cleanup_(access_map_freep) struct access_map *bulk = NULL, *single = NULL;
	_cleanup_(freep) struct access *covers = calloc(N_MANY, sizeof(*covers));
	struct access_delta delta;

	(void)state;
	assert_non_null(covers);
	for (size_t i = 0; i < N_MANY; i++)
		covers[i] = make_cover(services[0], random_below(UINT32_MAX),
			32 - (unsigned)random_below(16), 1 + random_below(N_MANY), (uint32_t)i);
	assert_int_equal(access_map_new(&bulk), 0);
	assert_int_equal(access_map_new(&single), 0);
	assert_int_equal(access_map_change(bulk, covers, N_MANY, NULL, 0, &delta), 0);
	assert_int_equal(delta.n_added, access_map_count(bulk));
	access_delta_done(&delta);
	for (size_t i = N_MANY; i-- > 0;) {
		assert_int_equal(access_map_change(single, covers + i, 1, NULL, 0, &delta), 0);
		access_delta_done(&delta);
	}

	for (uint64_t now_usec = 0; now_usec < N_MANY; now_usec += N_MANY / 4) {
		assert_int_equal(
			access_map_expire(bulk, now_usec), access_map_expire(single, now_usec));
		assert_int_equal(access_map_count(bulk), access_map_count(single));
		for (size_t i = 0; i < 100; i++) {
			struct address address = covers[random_below(N_MANY)].first;
			const struct access *a = access_map_find(bulk, services, &address);
			const struct access *b = access_map_find(single, services, &address);
			const struct access *winner = model_winner(
				covers, N_MANY, services, to_number(AF_INET, &address));

			if (winner->deadline_usec <= now_usec) {
				assert_null(a);
				assert_null(b);
			} else {
				assert_true(entry_equal(a, b));
				assert_int_equal(a->tag, winner->tag);
			}
		}
	}
	assert_true(access_map_expire(bulk, N_MANY) > 0);
	assert_int_equal(access_map_count(bulk), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_address_has_who_lasts_longest),
		cmocka_unit_test(test_so_it_is_with_prefixes_of_any_length),
		cmocka_unit_test(test_whole_space_and_its_last_addresses),
		cmocka_unit_test(test_renewal_moves_the_end_once),
		cmocka_unit_test(test_neighbours_become_one_and_part_again),
		cmocka_unit_test(test_range_that_is_no_prefix_is_refused),
		cmocka_unit_test(test_one_end_after_another),
		cmocka_unit_test(test_restart_with_ten_thousand_grants),
	};
	const char *seed = getenv("JITGATE_TEST_SEED");

	random_state = seed ? strtoull(seed, NULL, 0) : 20;
	printf("JITGATE_TEST_SEED=%" PRIu64 "\n", random_state);
	random_state = random_state * 0x9e3779b97f4a7c15 + 1;

	return cmocka_run_group_tests_name("access", tests, NULL, NULL);
}
