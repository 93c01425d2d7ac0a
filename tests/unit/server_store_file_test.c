/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What a store makes of the file that it finds, and of a disk that fails. */

#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>

#include "tests/unit/server_store.h"

/* Opens what must not open: says why, in a sentence that has the words. */
static void assert_not_opened(
	const struct fixture *fixture, const char *path, int error, const char *words)
{
	struct store *store = NULL;
	_cleanup_(freep) char *sentence = NULL;
	int r = store_open(fixture->event, path, &store, &sentence);

	assert_null(store);
	assert_non_null(sentence);
	if (!strstr(sentence, words) || r != error)
		fail_msg("%d (%s) in place of %d (%s)", r, sentence, error, words);
	assert_null(strchr(sentence, '\n'));
}

static void test_new_file_is_for_its_owner_alone(void **state)
{
	struct fixture *fixture = *state;
	struct stat status;
	char path[128];

	put(fixture, "a", "1");
	for (const char *const *suffix = (const char *const[]){ "", "-wal", "-shm", NULL }; *suffix;
		suffix++) {
		sprintf(path, "%s%s", fixture->path, *suffix);
		assert_int_equal(stat(path, &status), 0);
		assert_int_equal(status.st_mode & 07777, 0600);
	}
}

static void test_identity_is_of_the_data(void **state)
{
	struct fixture *fixture = *state;
	char identity[64], other[128];
	struct store *store;
	char *error;

	assert_int_equal(strlen(store_identity(fixture->store)), 32);
	strcpy(identity, store_identity(fixture->store));
	fixture_reopen(fixture);
	assert_string_equal(store_identity(fixture->store), identity);
	sprintf(other, "%s/other", fixture->directory);
	assert_int_equal(store_open(fixture->event, other, &store, &error), 0);
	assert_string_not_equal(store_identity(store), identity);
	store_free(store);
	assert_int_equal(unlink(other), 0);
}

static void test_what_is_no_file_is_refused(void **state)
{
	struct fixture *fixture = *state;
	char path[128], below[160];

	assert_not_opened(fixture, "", -EINVAL, "empty");
	assert_not_opened(fixture, "etcd://127.0.0.1", -EPROTONOSUPPORT, "etcd");
	assert_not_opened(fixture, fixture->directory, -EISDIR, "is a directory");
	assert_not_opened(fixture, "/", -EISDIR, "is a directory");
	assert_not_opened(fixture, "/dev/null", -EINVAL, "is not a file");
	sprintf(path, "%s/none/store", fixture->directory);
	assert_not_opened(fixture, path, -ENOENT, "its directory");
	sprintf(path, "%s/link", fixture->directory);
	assert_int_equal(symlink(fixture->path, path), 0);
	assert_not_opened(fixture, path, -ELOOP, "symbolic link");
	assert_int_equal(unlink(path), 0);
	/* A link on the way is as good as a directory. */
	assert_int_equal(symlink(fixture->directory, path), 0);
	sprintf(below, "%s/store.db", path);
	put(fixture, "a", "1");
	fixture->store = store_free(fixture->store);
	strcpy(fixture->path + strlen(fixture->directory), "/link/store.db");
	fixture_open(fixture);
	assert_range(fixture, "a", NULL, "a=1@1 ");
	strcpy(fixture->path + strlen(fixture->directory), "/store.db");
	assert_int_equal(unlink(path), 0);
}

static void execute(const char *path, const char *sql)
{
	sqlite3 *connection = NULL;
	char *error = NULL;

	assert_int_equal(sqlite3_open(path, &connection), SQLITE_OK);
	if (sqlite3_exec(connection, sql, NULL, NULL, &error) != SQLITE_OK)
		fail_msg("%s", error);
	sqlite3_close(connection);
}

static size_t read_file(const char *path, char *bytes, size_t n_max)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, bytes, n_max);

	assert_true(n >= 0);
	return (size_t)n;
}

static void write_file(const char *path, const char *bytes, size_t n_bytes)
{
	_cleanup_(closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_int_equal(write(fd, bytes, n_bytes), n_bytes);
}

/* The other file is refused, and stays as it is. */
static void check_other(const struct fixture *fixture, const char *sql, const char *words)
{
	static char before[65536], after[65536];
	char path[128];
	size_t n_bytes;

	sprintf(path, "%s/other", fixture->directory);
	execute(path, sql);
	n_bytes = read_file(path, before, sizeof(before));
	assert_not_opened(fixture, path, -EINVAL, words);
	assert_int_equal(read_file(path, after, sizeof(after)), n_bytes);
	assert_memory_equal(before, after, n_bytes);
	assert_int_equal(unlink(path), 0);
}

static void test_other_database_is_refused_and_left_alone(void **state)
{
	struct fixture *fixture = *state;

	check_other(fixture, "CREATE TABLE t (a)", "another program's");
	check_other(fixture, "PRAGMA application_id = 7", "another program's");
	check_other(fixture, "PRAGMA user_version = 1", "another program's");
	check_other(fixture, "PRAGMA application_id = 0x6a697467; PRAGMA user_version = 99",
		"version 99");
}

static void test_empty_file_becomes_a_store(void **state)
{
	struct fixture *fixture = *state;

	fixture->store = store_free(fixture->store);
	write_file(fixture->path, "", 0);
	fixture_open(fixture);
	assert_int_equal(put(fixture, "a", "1"), 1);
	/* Killed when it had made the file, but nothing in it. */
	fixture->store = store_free(fixture->store);
	assert_int_equal(unlink(fixture->path), 0);
	execute(fixture->path, "PRAGMA journal_mode = WAL");
	fixture_open(fixture);
	assert_int_equal(put(fixture, "a", "1"), 1);
}

#define FILE_BYTES_MAX (4 * 1024 * 1024)

static void test_damaged_file_is_an_error_and_no_crash(void **state)
{
	struct fixture *fixture = *state;
	static char whole[FILE_BYTES_MAX], bytes[FILE_BYTES_MAX];
	char key[16], value[512];
	size_t n_bytes, n_refused = 0;

	write_file(fixture->path, "", 0);
	fixture->store = store_free(fixture->store);
	assert_int_equal(unlink(fixture->path), 0);
	memset(bytes, 'x', sizeof(bytes));
	write_file(fixture->path, bytes, 100);
	assert_not_opened(fixture, fixture->path, -EBADMSG, "is damaged, or not a store");
	write_file(fixture->path, bytes, 100000);
	assert_not_opened(fixture, fixture->path, -EBADMSG, "is damaged, or not a store");
	assert_int_equal(unlink(fixture->path), 0);

	fixture_open(fixture);
	memset(value, 'v', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	for (int i = 0; i < 300; i++) {
		sprintf(key, "%d", i);
		put(fixture, key, value);
	}
	fixture->store = store_free(fixture->store);
	n_bytes = read_file(fixture->path, whole, sizeof(whole));
	assert_in_range(n_bytes, 100000, sizeof(whole) - 1);
	write_file(fixture->path, whole, n_bytes / 2);
	assert_not_opened(fixture, fixture->path, -EBADMSG, "is damaged, or not a store");

	/* Any page, damaged: it opens and tells what it can, or it does not. */
	srand(1);
	for (size_t page = 0; page < n_bytes / 4096; page++) {
		struct store *store = NULL;
		struct transcript told = { 0 };
		char *error = NULL;
		int r;

		memcpy(bytes, whole, n_bytes);
		for (size_t i = 0; i < 64; i++)
			bytes[page * 4096 + (size_t)rand() % 4096] = (char)rand();
		write_file(fixture->path, bytes, n_bytes);
		r = store_open(fixture->event, fixture->path, &store, &error);
		if (r < 0) {
			assert_non_null(error);
			free(error);
			n_refused++;
			continue;
		}
		assert_int_equal(store_range(store, &(struct store_range){ .from = "", .to = "z" },
					 on_range, &told),
			0);
		await(fixture->event, told.is_there);
		store_free(store);
	}
	assert_true(n_refused > n_bytes / 4096 / 2);
	assert_int_equal(unlink(fixture->path), 0);
	fixture_open(fixture);
}

/* A log of years would keep the server from starting in time. */
static void test_large_file_is_not_looked_through(void **state)
{
	struct fixture *fixture = *state;
	static char value[STORE_VALUE_BYTES_MAX + 1], noise[1024 * 1024];
	char key[16];
	int fd;

	memset(value, 'v', sizeof(value) - 1);
	for (int i = 0; i < 70; i++) {
		sprintf(key, "%d", i);
		put(fixture, key, value);
	}
	fixture->store = store_free(fixture->store);
	memset(noise, 0xa5, sizeof(noise));
	fd = open(fixture->path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, noise, sizeof(noise), 60 * 1024 * 1024), sizeof(noise));
	close(fd);
	fixture_open(fixture);
	put(fixture, "a", "b");
}

static void test_torn_wal_loses_only_what_was_torn(void **state)
{
	struct fixture *fixture = *state;
	static char bytes[FILE_BYTES_MAX], wal[FILE_BYTES_MAX];
	char copy[160], wal_copy[192];
	size_t n_bytes, n_wal;
	int64_t last = 20;

	for (int i = 0; i < 20; i++)
		put(fixture, i % 2 ? "a" : "b", "1");
	n_bytes = read_file(fixture->path, bytes, sizeof(bytes));
	sprintf(copy, "%s-wal", fixture->path);
	n_wal = read_file(copy, wal, sizeof(wal));
	sprintf(copy, "%s/copy", fixture->directory);
	sprintf(wal_copy, "%s-wal", copy);
	for (size_t n_kept = n_wal; n_kept > 0; n_kept -= n_kept > 997 ? 997 : n_kept) {
		int64_t revision;
		struct fixture other = { .event = fixture->event };
		char *error = NULL;
		int r;

		write_file(copy, bytes, n_bytes);
		write_file(wal_copy, wal, n_kept);
		r = store_open(fixture->event, copy, &other.store, &error);
		assert_int_equal(r, 0);
		revision = store_revision(other.store);
		if (n_kept == n_wal)
			assert_int_equal(revision, 20);
		assert_in_range(revision, 0, last);
		last = revision;
		assert_int_equal(put(&other, "c", "1"), revision + 1);
		store_free(other.store);
		unlink(copy);
	}
}

static void limit_file_bytes(rlim_t n_bytes)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = n_bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_full_disk_refuses_what_does_not_fit_alone(void **state)
{
	struct fixture *fixture = *state;
	_cleanup_(freep) char *value = malloc(512 * 1024 + 1);
	struct store_operation large = { STORE_PUT, "large", value, 512 * 1024, 0 };
	const struct store_operation small = put_of("small", "1", 0);
	const struct store_transaction put_large = { NULL, 0, &large, 1 },
				       put_small = { NULL, 0, &small, 1 };
	struct outcome outcomes[3] = { 0 };

	memset(value, 'v', 512 * 1024);
	signal(SIGXFSZ, SIG_IGN);
	put(fixture, "a", "1");
	limit_file_bytes(256 * 1024);
	assert_int_equal(store_commit(fixture->store, &put_small, on_outcome, &outcomes[0]), 0);
	assert_int_equal(store_commit(fixture->store, &put_large, on_outcome, &outcomes[1]), 0);
	assert_int_equal(store_commit(fixture->store, &put_small, on_outcome, &outcomes[2]), 0);
	await(fixture->event, outcomes[2].is_there);
	assert_int_equal(outcomes[0].error, 0);
	assert_int_equal(outcomes[0].result, 2);
	assert_int_equal(outcomes[1].error, -ENOSPC);
	assert_int_equal(outcomes[2].error, 0);
	assert_int_equal(outcomes[2].result, 3);
	assert_range(fixture, "", "z", "a=1@1 small=1@3 ");
	assert_int_equal(commit(fixture, NULL, 0, &large, 1).error, -ENOSPC);
	limit_file_bytes(RLIM_INFINITY);
	assert_int_equal(commit(fixture, NULL, 0, &large, 1).result, 4);
	fixture_reopen(fixture);
	assert_range(fixture, "", "b", "a=1@1 ");
	assert_range(fixture, "small", NULL, "small=1@3 ");
}

/* Behind the store's back, as if the file had last been written so long ago. */
static void write_times(const struct fixture *fixture, const char *statement)
{
	sqlite3 *file;

	assert_int_equal(sqlite3_open(fixture->path, &file), SQLITE_OK);
	assert_int_equal(sqlite3_exec(file, statement, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(file);
}

/* All leases seem to have ended: that they have is believed only when it goes on. */
static void test_a_clock_that_leaps_ends_no_lease_at_once(void **state)
{
	struct fixture *fixture = *state;

	put_leased(fixture, "a", "1", grant(fixture, 3600));
	write_times(fixture,
		"UPDATE state SET lease_usec = lease_usec - 90000000000;"
		"UPDATE leases SET end_usec = end_usec - 4000000000");
	fixture_reopen(fixture);
	put(fixture, "b", "1");
	put(fixture, "c", "1");
	assert_range(fixture, "a", NULL, "a=1@1 ");
	/* The clock is set right: the lease goes on. */
	write_times(fixture,
		"UPDATE state SET lease_usec = lease_usec + 90000000000;"
		"UPDATE leases SET end_usec = end_usec + 4000000000");
	fixture_reopen(fixture);
	put(fixture, "b", "2");
	assert_range(fixture, "a", NULL, "a=1@1 ");
	/* It was right, and has gone on for an hour. */
	write_times(fixture,
		"UPDATE leases SET end_usec = end_usec - 4000000000;"
		"UPDATE state SET lease_usec = lease_usec - 90000000000,"
		" leap_usec = lease_usec - 3601000000");
	fixture_reopen(fixture);
	put(fixture, "c", "2");
	assert_range(fixture, "a", NULL, "");
}

static void test_lease_ends_once_the_disk_has_room(void **state)
{
	struct fixture *fixture = *state;
	struct transcript result;
	uint64_t until_usec;

	signal(SIGXFSZ, SIG_IGN);
	put_leased(fixture, "a", "1", grant(fixture, 2));
	limit_file_bytes(4096);
	until_usec = now_usec() + 2500000;
	while (now_usec() < until_usec)
		sd_event_run(fixture->event, 100000);
	range(fixture, &(struct store_range){ .from = "a" }, &result);
	assert_int_equal(result.n_entries, 1);
	limit_file_bytes(RLIM_INFINITY);
	do
		range(fixture, &(struct store_range){ .from = "a" }, &result);
	while (result.n_entries == 1 && now_usec() < until_usec + WAIT_USEC);
	assert_int_equal(result.n_entries, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_new_file_is_for_its_owner_alone),
		TEST(test_identity_is_of_the_data),
		TEST(test_what_is_no_file_is_refused),
		TEST(test_other_database_is_refused_and_left_alone),
		TEST(test_empty_file_becomes_a_store),
		TEST(test_damaged_file_is_an_error_and_no_crash),
		TEST(test_large_file_is_not_looked_through),
		TEST(test_torn_wal_loses_only_what_was_torn),
		TEST(test_full_disk_refuses_what_does_not_fit_alone),
		TEST(test_a_clock_that_leaps_ends_no_lease_at_once),
		TEST(test_lease_ends_once_the_disk_has_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
