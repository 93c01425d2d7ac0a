/* SPDX-License-Identifier: GPL-3.0-or-later */

#include "agent/daemon/registry.h"
#include "tests/unit/documents.h"

#define STEPS 20000
#define LIVE_MAX 300

static int setup(void **state)
{
	return registry_new((struct registry **)state);
}

static int teardown(void **state)
{
	registry_free(*state);
	return 0;
}

static struct registry_entry *entry_get(struct registry *registry, const char *id)
{
	struct registry_entry *entry = NULL;

	assert_int_equal(registry_get(registry, id, &entry), 0);
	assert_string_equal(entry->id, id);
	assert_ptr_equal(registry_find(registry, id), entry);
	return entry;
}

static struct grant *grant_add(struct registry *registry, const char *id, int64_t expires)
{
	struct registry_entry *entry = entry_get(registry, id);
	struct grant *grant = NULL;

	assert_int_equal(grant_new(grant_make(id, expires), GRANT_SIGNED, &grant), 0);
	grant->state = GRANT_ACTIVE;
	assert_int_equal(registry_add_grant(registry, entry, grant), 0);
	entry->has_document = true;
	return grant;
}

static void grant_end(struct registry *registry, struct grant *grant, int64_t now)
{
	grant->state = GRANT_EXPIRED;
	registry_grant_ended(registry, grant, now);
}

static const char *id_format(unsigned n, char text[static 16])
{
	snprintf(text, 16, "g-%u", n);
	return text;
}

/* A tag that two live grants shared would name the wrong one in the kernel and in the audit log. */
static void test_tags_are_unique_among_the_live(void **state)
{
	struct registry *registry = *state;
	struct grant *live[LIVE_MAX];
	unsigned n_live = 0, serial = 0;
	uint32_t highest = 0;
	char id[16];

	chance_seed(1);
	for (unsigned step = 0; step < STEPS; step++) {
		if (n_live < LIVE_MAX && (n_live == 0 || chance(100) < 52)) {
			struct grant *grant =
				grant_add(registry, id_format(serial++, id), NOW + 10);

			for (unsigned i = 0; i < n_live; i++)
				assert_int_not_equal(live[i]->tag, grant->tag);
			if (grant->tag > highest)
				highest = grant->tag;
			live[n_live++] = grant;
		} else {
			unsigned i = chance(n_live);
			uint32_t tag = live[i]->tag;

			if (chance(2))
				grant_end(registry, live[i], NOW + 10);
			else
				registry_drop(
					registry, registry_find(registry, live[i]->document->id));
			live[i] = live[--n_live];
			assert_null(registry_grant_by_tag(registry, tag));
		}
		assert_int_equal(registry_count_live(registry), n_live);
		for (unsigned i = 0; i < n_live; i += 7)
			assert_ptr_equal(registry_grant_by_tag(registry, live[i]->tag), live[i]);
	}
	/* Tags are used again: their number is bounded by the live. */
	assert_true(highest < LIVE_MAX);
	assert_null(registry_grant_by_tag(registry, LIVE_MAX));
	assert_null(registry_grant_by_tag(registry, UINT32_MAX));
}

/* One that is forgotten too early could be submitted again, and open again. */
static void test_an_ended_grant_is_known_until_its_time_is_over(void **state)
{
	struct registry *registry = *state;
	char id[16];

	/* The oldest was revoked long before its end. */
	grant_end(registry, grant_add(registry, "revoked", NOW + 1000), NOW);
	for (unsigned i = 0; i < 3 * REGISTRY_ENDED_MAX; i++)
		grant_end(registry, grant_add(registry, id_format(i, id), NOW + 10), NOW + 10);
	assert_non_null(registry_find(registry, "revoked"));
	assert_int_equal(registry_count(registry), 1 + 3 * REGISTRY_ENDED_MAX);

	grant_end(registry, grant_add(registry, "last-but-one", NOW + 999), NOW + 999);
	assert_non_null(registry_find(registry, "revoked"));

	grant_end(registry, grant_add(registry, "last", NOW + 1000), NOW + 1000);
	assert_null(registry_find(registry, "revoked"));
	assert_non_null(registry_find(registry, "last"));
	assert_int_equal(registry_count(registry), REGISTRY_ENDED_MAX);
	assert_int_equal(registry_count_live(registry), 0);
}

/* More than there is room for: none of them may be forgotten. */
static void test_room_for_the_ended_may_run_out(void **state)
{
	struct registry *registry = *state;
	const unsigned n = 17 * REGISTRY_ENDED_MAX;
	char id[16];

	for (unsigned i = 0; i < n; i++)
		grant_end(registry, grant_add(registry, id_format(i, id), NOW + 1000), NOW);
	for (unsigned i = 0; i < n; i++)
		assert_non_null(registry_find(registry, id_format(i, id)));
}

static void test_revoked_ids_are_counted_once(void **state)
{
	struct registry *registry = *state;
	struct registry_entry *entry = entry_get(registry, "never-came");
	struct grant *grant;

	registry_mark_revoked(registry, entry);
	registry_mark_revoked(registry, entry);
	assert_true(entry->revoked);
	assert_int_equal(registry_count_revoked(registry), 1);

	/* Only those whose grant never came count: the others are bounded by their grants. */
	grant = grant_add(registry, "came", NOW + 10);
	registry_mark_revoked(registry, registry_find(registry, "came"));
	assert_int_equal(registry_count_revoked(registry), 1);
	assert_true(registry_find(registry, "came")->revoked);
	grant_end(registry, grant, NOW);
	assert_non_null(registry_find(registry, "came"));

	registry_drop(registry, registry_find(registry, "came"));
	assert_int_equal(registry_count_revoked(registry), 1);
	registry_drop(registry, entry);
	assert_int_equal(registry_count_revoked(registry), 0);
}

static void test_an_entry_is_dropped_with_its_grant(void **state)
{
	struct registry *registry = *state;
	struct registry_entry *entry = entry_get(registry, "begun");

	registry_drop(registry, entry);
	assert_null(registry_find(registry, "begun"));
	(void)grant_add(registry, "g", NOW + 10);
	registry_drop(registry, registry_find(registry, "g"));
	assert_null(registry_find(registry, "g"));
	assert_int_equal(registry_count(registry), 0);
	assert_int_equal(registry_count_live(registry), 0);
}

static int count_until(struct registry_entry *entry, void *userdata)
{
	unsigned *n_left = userdata;

	(void)entry;
	return --*n_left == 0 ? -42 : 0;
}

static void test_each_entry_is_told_once(void **state)
{
	struct registry *registry = *state;
	unsigned n_left = 1000;
	char id[16];

	for (unsigned i = 0; i < 300; i++)
		(void)entry_get(registry, id_format(i, id));
	assert_int_equal(registry_foreach(registry, count_until, &n_left), 0);
	assert_int_equal(n_left, 700);
	n_left = 10;
	assert_int_equal(registry_foreach(registry, count_until, &n_left), -42);
	assert_int_equal(n_left, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_tags_are_unique_among_the_live),
		TEST(test_an_ended_grant_is_known_until_its_time_is_over),
		TEST(test_room_for_the_ended_may_run_out),
		TEST(test_revoked_ids_are_counted_once),
		TEST(test_an_entry_is_dropped_with_its_grant),
		TEST(test_each_entry_is_told_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
