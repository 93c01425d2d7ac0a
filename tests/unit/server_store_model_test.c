/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * Random operations, many under way at once, against a model in memory. Only this process writes,
 * and calls take effect in their order, so the model knows when a call is made how it will end.
 */

#include "tests/unit/server_store.h"

#define N_KEYS 12
#define N_LEASES 6
#define N_WATCHES 6
#define N_REVISIONS_MAX 20000
#define N_ROUNDS 400
#define N_PER_ROUND_MAX 40

/* An entry of the model; version 0: there is none. */
struct item {
	int64_t create_revision, mod_revision, version, lease, value;
};

struct change {
	int64_t revision;
	unsigned key;
	struct item item;
};

static struct {
	struct item items[N_KEYS];
	int64_t revision;
	struct change changes[N_REVISIONS_MAX * 4];
	size_t n_changes;
} model;

struct expectation {
	struct fixture *fixture;
	int error;
	int64_t revision;
	struct item items[N_KEYS]; /* of a range */
	bool is_descending;
	size_t from, to;
};

struct replica {
	struct store_watch *watch;
	char prefix[8];
	size_t next; /* change, of all */
	bool is_fresh; /* the first call tells what there is */
	bool has_begun; /* with its first call */
	struct item items[N_KEYS];
};

static struct replica replicas[N_WATCHES];
static int64_t leases[N_LEASES]; /* 0: none */
static size_t n_pending;

static const char *key_name(unsigned key, char name[static 8])
{
	sprintf(name, "%c/%02u", key % 3 ? 'a' : 'b', key);
	return name;
}

static unsigned key_number(const char *name)
{
	return (unsigned)atoi(name + 2);
}

static void assert_item(const struct item *item, const struct store_entry *entry)
{
	assert_int_equal(item->create_revision, entry->create_revision);
	assert_int_equal(item->mod_revision, entry->mod_revision);
	assert_int_equal(item->version, entry->version);
	assert_int_equal(item->lease, entry->lease);
	assert_int_equal(item->value, atoi(entry->value));
}

static void model_change(unsigned key, const struct item *item)
{
	assert_true(model.n_changes < N_ELEMENTS(model.changes));
	model.changes[model.n_changes++] = (struct change){ model.revision + 1, key, *item };
	model.items[key] = *item;
}

static void model_put(unsigned key, unsigned value, int64_t lease)
{
	struct item item = model.items[key];

	if (item.version == 0)
		item.create_revision = model.revision + 1;
	item.mod_revision = model.revision + 1;
	item.version++;
	item.value = value;
	item.lease = lease;
	model_change(key, &item);
}

static void model_delete(unsigned key)
{
	if (model.items[key].version > 0)
		model_change(key, &(struct item){ 0 });
}

static void on_expected_commit(int error, int64_t revision, void *userdata)
{
	_cleanup_(freep) struct expectation *expected = userdata;

	n_pending--;
	assert_int_equal(error, expected->error);
	if (error >= 0)
		assert_int_equal(revision, expected->revision);
	/* Whoever watches all was told of it before. */
	assert_true(store_revision(expected->fixture->store) >= revision);
	for (size_t i = 0; i < N_WATCHES; i++)
		if (replicas[i].watch && replicas[i].has_begun && replicas[i].prefix[0] == '\0')
			assert_true(replicas[i].next == model.n_changes ||
				model.changes[replicas[i].next].revision > revision);
}

static void random_commit(struct fixture *fixture, unsigned value)
{
	struct expectation *expected = calloc(1, sizeof(*expected));
	struct store_operation operations[4];
	struct store_compare compares[2];
	char names[6][8], text[16];
	struct store_transaction transaction = { compares, (size_t)rand() % 3, operations,
		(size_t)rand() % 5 };
	const unsigned first = (unsigned)rand();

	*expected = (struct expectation){ .fixture = fixture };
	sprintf(text, "%u", value);
	for (size_t i = 0; i < transaction.n_compares; i++) {
		unsigned key = (unsigned)rand() % N_KEYS;
		int64_t revision = model.items[key].mod_revision;

		compares[i].key = key_name(key, names[i]);
		compares[i].mod_revision = rand() % 5 ? revision : rand() % 2;
		if (compares[i].mod_revision != revision)
			expected->error = STORE_CONFLICT;
	}
	for (size_t i = 0; i < transaction.n_operations; i++) {
		const unsigned key = (first + 5 * (unsigned)i) % N_KEYS;
		int64_t lease = rand() % 4 ? 0 : leases[rand() % N_LEASES];

		if (rand() % 200 == 0) {
			lease = 4711;
			if (expected->error == 0)
				expected->error = -ENOENT;
		}
		operations[i] = put_of(key_name(key, names[2 + i]), text, lease);
		if (lease != 4711 && rand() % 3 == 0)
			operations[i].type = STORE_DELETE;
	}
	if (expected->error == 0) {
		size_t n_changes = model.n_changes;

		for (size_t i = 0; i < transaction.n_operations; i++)
			if (operations[i].type == STORE_PUT)
				model_put((first + 5 * (unsigned)i) % N_KEYS, value,
					operations[i].lease);
			else
				model_delete((first + 5 * (unsigned)i) % N_KEYS);
		model.revision += model.n_changes > n_changes;
	}
	expected->revision = model.revision;
	n_pending++;
	assert_int_equal(
		store_commit(fixture->store, &transaction, on_expected_commit, expected), 0);
}

static void on_expected_range(int error, const struct store_range_result *result, void *userdata)
{
	_cleanup_(freep) struct expectation *expected = userdata;
	char names[N_KEYS][8];
	size_t n = 0, n_keys = 0;
	unsigned order[N_KEYS];

	n_pending--;
	assert_int_equal(error, 0);
	/* Later calls of the same turn may be done already: then it is of a later revision. */
	assert_true(result->revision >= expected->revision);
	for (int half = 0; half < 2; half++)
		for (unsigned key = 0; key < N_KEYS; key++)
			if ((key % 3 == 0) == (half == 1))
				order[n_keys++] = key;
	for (size_t i = 0; i < n_keys; i++)
		key_name(order[i], names[i]);
	for (size_t i = 1; i < result->n_entries; i++)
		assert_true((strcmp(result->entries[i - 1].key, result->entries[i].key) < 0) ==
			!expected->is_descending);
	/* The model's state at that revision. */
	for (size_t i = 0; i < model.n_changes; i++)
		if (model.changes[i].revision <= result->revision)
			expected->items[model.changes[i].key] = model.changes[i].item;
	for (size_t i = expected->from; i < expected->to; i++)
		n += expected->items[order[i]].version > 0;
	assert_int_equal(result->n_entries, n);
	for (size_t i = 0; i < n; i++)
		assert_item(
			&expected->items[key_number(result->entries[i].key)], &result->entries[i]);
}

static void random_range(struct fixture *fixture)
{
	struct expectation *expected = calloc(1, sizeof(*expected));
	const bool is_whole = rand() % 2;
	const struct store_range range = {
		.from = is_whole ? "" : "b/", .to = is_whole ? "z" : "b0", .descending = rand() % 2
	};

	*expected = (struct expectation){ .revision = store_revision(fixture->store),
		.is_descending = range.descending,
		.from = is_whole ? 0 : N_KEYS - (N_KEYS + 2) / 3,
		.to = N_KEYS };
	n_pending++;
	assert_int_equal(store_range(fixture->store, &range, on_expected_range, expected), 0);
}

static void on_granted(int error, int64_t lease, void *userdata)
{
	n_pending--;
	assert_int_equal(error, 0);
	*(int64_t *)userdata = lease;
}

static void on_revoked(int error, int64_t lease, void *userdata)
{
	(void)lease;
	(void)userdata;
	n_pending--;
	assert_int_equal(error, 0);
}

static void random_lease(struct fixture *fixture)
{
	const size_t i = (size_t)rand() % N_LEASES;
	size_t n_changes = model.n_changes;

	/* Its number is known only when it is there. */
	await(fixture->event, n_pending == 0);
	if (leases[i] == 0) {
		n_pending++;
		assert_int_equal(
			store_lease_grant(fixture->store, 1000, on_granted, &leases[i]), 0);
		return;
	}
	/* Its keys go in the order in which they were put. */
	for (size_t j = 0; j < n_changes; j++) {
		const struct change *change = &model.changes[j];

		if (model.items[change->key].lease == leases[i] &&
			model.items[change->key].mod_revision == change->revision &&
			change->item.version > 0)
			model_delete(change->key);
	}
	model.revision += model.n_changes > n_changes;
	n_pending++;
	assert_int_equal(store_lease_revoke(fixture->store, leases[i], on_revoked, NULL), 0);
	leases[i] = 0;
}

static bool change_has(const struct replica *replica, const struct change *change)
{
	char name[8];

	return strncmp(key_name(change->key, name), replica->prefix, strlen(replica->prefix)) == 0;
}

static void on_replica(int error, int64_t revision, const struct store_event *events,
	size_t n_events, void *userdata)
{
	struct replica *replica = userdata;

	assert_int_equal(error, 0);
	replica->has_begun = true;
	if (replica->is_fresh) {
		replica->is_fresh = false;
		for (size_t i = 0; i < n_events; i++) {
			const struct store_entry *entry = &events[i].entry;

			assert_false(events[i].deleted);
			replica->items[key_number(entry->key)] =
				(struct item){ entry->create_revision, entry->mod_revision,
					entry->version, entry->lease,
					(unsigned)atoi(entry->value) };
		}
		while (replica->next < model.n_changes &&
			model.changes[replica->next].revision <= revision)
			replica->next++;
		return;
	}
	/* Exactly the changes that come next, and all of the revision. */
	for (size_t i = 0; i < n_events; i++) {
		const struct change *change = &model.changes[replica->next];

		while (!change_has(replica, change))
			change++;
		assert_true(change < model.changes + model.n_changes);
		assert_int_equal(change->revision, revision);
		assert_int_equal(key_number(events[i].entry.key), change->key);
		assert_int_equal(events[i].deleted, change->item.version == 0);
		if (events[i].deleted)
			assert_int_equal(events[i].entry.mod_revision, revision);
		else
			assert_item(&change->item, &events[i].entry);
		replica->items[change->key] = change->item;
		replica->next = (size_t)(change + 1 - model.changes);
	}
	while (replica->next < model.n_changes &&
		model.changes[replica->next].revision <= revision) {
		assert_false(change_has(replica, &model.changes[replica->next]));
		replica->next++;
	}
}

/* Frees a watch, or makes one: of what there is, or from a revision that is past. */
static void random_watch(struct fixture *fixture)
{
	struct replica *replica = &replicas[rand() % N_WATCHES];
	int64_t from_revision = 0;

	if (replica->watch) {
		replica->watch = store_watch_free(replica->watch);
		return;
	}
	*replica = (struct replica){ .is_fresh = true };
	strcpy(replica->prefix, rand() % 2 ? "" : rand() % 2 ? "a/" : "b/");
	if (rand() % 2 && store_revision(fixture->store) > 0) {
		from_revision = 1 + rand() % store_revision(fixture->store);
		replica->is_fresh = false;
		for (; model.changes[replica->next].revision < from_revision; replica->next++)
			replica->items[model.changes[replica->next].key] =
				model.changes[replica->next].item;
	}
	assert_int_equal(store_watch(fixture->store, replica->prefix, from_revision, on_replica,
				 replica, &replica->watch),
		0);
}

static void assert_replicas(void)
{
	for (size_t i = 0; i < N_WATCHES; i++)
		for (unsigned key = 0; replicas[i].watch && key < N_KEYS; key++)
			if (change_has(&replicas[i], &(struct change){ .key = key }))
				assert_memory_equal(&replicas[i].items[key], &model.items[key],
					sizeof(struct item));
}

static void random_call(struct fixture *fixture, unsigned value)
{
	const int dice = rand() % 100;

	if (dice < 70)
		random_commit(fixture, value);
	else if (dice < 85)
		random_range(fixture);
	else if (dice < 92)
		random_lease(fixture);
	else
		random_watch(fixture);
}

static void free_watches(void)
{
	for (size_t i = 0; i < N_WATCHES; i++)
		replicas[i].watch = store_watch_free(replicas[i].watch);
}

static void test_store_does_as_the_model(void **state)
{
	struct fixture *fixture = *state;
	unsigned value = 0;
	const unsigned seed = (unsigned)getpid();

	print_message("seed %u\n", seed);
	srand(seed);
	for (int round = 0; round < N_ROUNDS; round++) {
		const int n_calls = 1 + rand() % N_PER_ROUND_MAX;

		for (int i = 0; i < n_calls; i++)
			random_call(fixture, ++value);
		await(fixture->event, n_pending == 0);
		settle(fixture->event);
		assert_int_equal(store_revision(fixture->store), model.revision);
		assert_replicas();
		if (rand() % 20 == 0) {
			free_watches();
			fixture_reopen(fixture);
			assert_int_equal(store_revision(fixture->store), model.revision);
		}
	}
	assert_true(model.revision > 1000);
	free_watches();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_store_does_as_the_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
