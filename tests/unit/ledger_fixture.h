/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A directory of its own for each test of the ledger, and records that have a number. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/daemon/ledger.h"

#define TEST(function) cmocka_unit_test_setup_teardown(function, fixture_setup, fixture_teardown)

struct fixture {
	char directory[64];
	char path[80];
	char new_path[96];
};

/* What reading gave: the records' numbers in order. */
struct numbers {
	json_int_t items[4096];
	size_t n_items;
};

static struct numbers numbers;
static int fixture_setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	assert_non_null(fixture);
	strcpy(fixture->directory, "/tmp/ledger-test-XXXXXX");
	assert_non_null(mkdtemp(fixture->directory));
	snprintf(fixture->path, sizeof(fixture->path), "%s/ledger", fixture->directory);
	snprintf(fixture->new_path, sizeof(fixture->new_path), "%s.new", fixture->path);
	*state = fixture;

	return 0;
}

static int fixture_teardown(void **state)
{
	struct fixture *fixture = *state;

	/* A test that failed may hold a file there. */
	(void)umount2(fixture->directory, MNT_DETACH);
	(void)chmod(fixture->directory, 0700);
	(void)unlink(fixture->path);
	(void)rmdir(fixture->path);
	(void)unlink(fixture->new_path);
	assert_int_equal(rmdir(fixture->directory), 0);
	free(fixture);

	return 0;
}

static void file_write(const char *path, const void *bytes, size_t n_bytes)
{
	_cleanup_(closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n_bytes), n_bytes);
}

static void file_write_text(const char *path, const char *text)
{
	file_write(path, text, strlen(text));
}

static json_t *make_record(json_int_t number, size_t n_padding)
{
	_cleanup_(freep) char *padding = calloc(1, n_padding + 1);
	json_t *record;

	assert_non_null(padding);
	memset(padding, 'x', n_padding);
	record = json_pack("{s:I, s:s}", "n", number, "padding", padding);
	assert_non_null(record);

	return record;
}

static int append(struct ledger *ledger, json_int_t number, size_t n_padding)
{
	json_auto_t *record = make_record(number, n_padding);

	return ledger_append(ledger, record);
}

static int collect(json_t *record, void *userdata)
{
	struct numbers *found = userdata;

	assert_true(found->n_items < N_ELEMENTS(found->items));
	found->items[found->n_items++] = json_integer_value(json_object_get(record, "n"));
	return 0;
}

static struct ledger *open_ledger(const char *path)
{
	struct ledger *ledger = NULL;

	assert_int_equal(ledger_open(path, &ledger), 0);
	return ledger;
}

static struct ledger_damage read_all(struct ledger *ledger)
{
	struct ledger_damage damage;

	numbers.n_items = 0;
	assert_int_equal(ledger_read(ledger, collect, &numbers, &damage), 0);
	return damage;
}

/* The file has the records first to first + n_records - 1, and no damage. */
static void assert_records(const char *path, json_int_t first, size_t n_records)
{
	_cleanup_(ledger_freep) struct ledger *ledger = open_ledger(path);
	struct ledger_damage damage = read_all(ledger);

	assert_int_equal(damage.torn_bytes, 0);
	assert_int_equal(damage.bad_lines, 0);
	assert_int_equal(numbers.n_items, n_records);
	assert_int_equal(ledger_count(ledger), n_records);
	for (size_t i = 0; i < n_records; i++)
		assert_int_equal(numbers.items[i], first + (json_int_t)i);
}
