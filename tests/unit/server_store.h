/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A store in a directory of its own, and calls that wait for their handlers. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cleanup.h"
#include "contrib/control-plane/store/store.h"

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

#define WAIT_USEC (20 * 1000000)

struct fixture {
	char directory[64];
	char path[96];
	sd_event *event;
	struct store *store;
};

static inline void fixture_open(struct fixture *fixture)
{
	char *error = NULL;
	int r = store_open(fixture->event, fixture->path, &fixture->store, &error);

	if (r < 0)
		fail_msg("store_open: %s", error ? error : strerror(-r));
}

static inline void fixture_reopen(struct fixture *fixture)
{
	fixture->store = store_free(fixture->store);
	fixture_open(fixture);
}

static inline int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	assert_non_null(fixture);
	strcpy(fixture->directory, "/tmp/store.XXXXXX");
	assert_non_null(mkdtemp(fixture->directory));
	sprintf(fixture->path, "%s/store.db", fixture->directory);
	assert_int_equal(sd_event_new(&fixture->event), 0);
	fixture_open(fixture);
	*state = fixture;

	return 0;
}

static inline int tear_down(void **state)
{
	struct fixture *fixture = *state;
	char path[128];

	store_free(fixture->store);
	sd_event_unref(fixture->event);
	for (const char *const *suffix = (const char *const[]){ "", "-wal", "-shm", NULL }; *suffix;
		suffix++) {
		sprintf(path, "%s%s", fixture->path, *suffix);
		unlink(path);
	}
	if (rmdir(fixture->directory) < 0)
		print_message("%s: %s\n", fixture->directory, strerror(errno));
	free(fixture);

	return 0;
}

static inline uint64_t now_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* Runs the loop until the condition holds. */
#define await(event, condition) \
	do { \
		const uint64_t until_ = now_usec() + WAIT_USEC; \
		while (!(condition)) { \
			assert_true(now_usec() < until_); \
			assert_true(sd_event_run(event, 100000) >= 0); \
		} \
	} while (0)

/* Runs what is ready; for what must not come. */
static inline void settle(sd_event *event)
{
	while (sd_event_run(event, 0) > 0)
		;
}

struct outcome {
	bool is_there;
	int error;
	int64_t result;
};

static inline void on_outcome(int error, int64_t result, void *userdata)
{
	struct outcome *outcome = userdata;

	assert_false(outcome->is_there);
	*outcome = (struct outcome){ .is_there = true, .error = error, .result = result };
}

static inline void on_counted(int error, int64_t result, void *userdata)
{
	(void)result;
	assert_int_equal(error, 0);
	++*(size_t *)userdata;
}

static inline struct store_operation put_of(const char *key, const char *value, int64_t lease)
{
	return (struct store_operation){ .type = STORE_PUT,
		.key = key,
		.value = value,
		.n_value = strlen(value),
		.lease = lease };
}

static inline struct store_operation delete_of(const char *key)
{
	return (struct store_operation){ .type = STORE_DELETE, .key = key };
}

static inline struct outcome commit(struct fixture *fixture, const struct store_compare *compares,
	size_t n_compares, const struct store_operation *operations, size_t n_operations)
{
	const struct store_transaction transaction = { compares, n_compares, operations,
		n_operations };
	struct outcome outcome = { 0 };

	assert_int_equal(store_commit(fixture->store, &transaction, on_outcome, &outcome), 0);
	assert_false(outcome.is_there);
	await(fixture->event, outcome.is_there);

	return outcome;
}

/* Returns the revision. */
static inline int64_t put_leased(
	struct fixture *fixture, const char *key, const char *value, int64_t lease)
{
	const struct store_operation operation = put_of(key, value, lease);
	struct outcome outcome = commit(fixture, NULL, 0, &operation, 1);

	assert_int_equal(outcome.error, 0);
	return outcome.result;
}

static inline int64_t put(struct fixture *fixture, const char *key, const char *value)
{
	return put_leased(fixture, key, value, 0);
}

static inline int64_t delete (struct fixture *fixture, const char *key)
{
	const struct store_operation operation = delete_of(key);
	struct outcome outcome = commit(fixture, NULL, 0, &operation, 1);

	assert_int_equal(outcome.error, 0);
	return outcome.result;
}

static inline struct outcome lease_call(struct fixture *fixture,
	int (*call)(struct store *, int64_t, store_on_lease *, void *), int64_t argument)
{
	struct outcome outcome = { 0 };

	assert_int_equal(call(fixture->store, argument, on_outcome, &outcome), 0);
	await(fixture->event, outcome.is_there);

	return outcome;
}

static inline int64_t grant(struct fixture *fixture, int64_t ttl_seconds)
{
	struct outcome outcome = lease_call(fixture, store_lease_grant, ttl_seconds);

	assert_int_equal(outcome.error, 0);
	assert_true(outcome.result > 0);
	return outcome.result;
}

/* What ranges and watches gave, as text: "key=value@mod_revision " or "key!@mod_revision ". */
struct transcript {
	bool is_there;
	int error;
	size_t n_calls;
	size_t n_entries;
	bool more;
	int64_t revision;
	char text[8192];
};

static inline void transcribe(
	struct transcript *transcript, const struct store_entry *entry, bool deleted)
{
	size_t n_text = strlen(transcript->text);

	assert_non_null(entry->key);
	assert_int_equal(strlen(entry->value) <= entry->n_value, 1);
	assert_int_equal(entry->value[entry->n_value], 0);
	transcript->n_entries++;
	if (deleted)
		snprintf(transcript->text + n_text, sizeof(transcript->text) - n_text, "%s!@%lld ",
			entry->key, (long long)entry->mod_revision);
	else
		snprintf(transcript->text + n_text, sizeof(transcript->text) - n_text,
			"%s=%s@%lld ", entry->key, entry->value, (long long)entry->mod_revision);
}

static inline void on_range(int error, const struct store_range_result *result, void *userdata)
{
	struct transcript *transcript = userdata;

	transcript->is_there = true;
	transcript->error = error;
	if (error) {
		assert_null(result);
		return;
	}
	transcript->more = result->more;
	transcript->revision = result->revision;
	for (size_t i = 0; i < result->n_entries; i++)
		transcribe(transcript, &result->entries[i], false);
}

static inline void range(
	struct fixture *fixture, const struct store_range *wanted, struct transcript *ret)
{
	*ret = (struct transcript){ 0 };
	assert_int_equal(store_range(fixture->store, wanted, on_range, ret), 0);
	assert_false(ret->is_there);
	await(fixture->event, ret->is_there);
}

static inline void assert_range(
	struct fixture *fixture, const char *from, const char *to, const char *text)
{
	struct transcript transcript;

	range(fixture, &(struct store_range){ .from = from, .to = to }, &transcript);
	assert_int_equal(transcript.error, 0);
	assert_false(transcript.more);
	assert_string_equal(transcript.text, text);
}

/* A call's end is a '|'. */
static inline void on_events(int error, int64_t revision, const struct store_event *events,
	size_t n_events, void *userdata)
{
	struct transcript *transcript = userdata;

	transcript->is_there = true;
	transcript->error = error;
	transcript->n_calls++;
	if (error) {
		assert_int_equal(n_events, 0);
		return;
	}
	assert_true(n_events > 0);
	assert_true(revision > transcript->revision);
	transcript->revision = revision;
	for (size_t i = 0; i < n_events; i++) {
		assert_true(events[i].entry.mod_revision <= revision);
		transcribe(transcript, &events[i].entry, events[i].deleted);
	}
	if (strlen(transcript->text) < sizeof(transcript->text) - 2)
		strcat(transcript->text, "|");
}
