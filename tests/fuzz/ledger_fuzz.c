/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The ledger's file: what is read of it is the same when it is read again, appended to, rewritten.
 */

#include <errno.h>

#include "agent/daemon/ledger.h"
#include "tests/fuzz/fuzz.h"

static int collect(json_t *record, void *userdata)
{
	CHECK(json_is_object(record));
	return json_array_append(userdata, record);
}

/* New reference to the records. */
static json_t *read_all(struct ledger *ledger, struct ledger_damage *damage)
{
	json_t *records = json_array();

	CHECK(ledger_read(ledger, collect, records, damage) == 0);
	CHECK(ledger_count(ledger) == json_array_size(records) + damage->bad_lines);
	return records;
}

static void check_append(const char *path, json_t *records)
{
	_cleanup_(ledger_freep) struct ledger *ledger = NULL;
	json_auto_t *record = json_pack("{s:i}", "clock", 1), *now = NULL;
	struct ledger_damage damage;

	CHECK(ledger_open(path, &ledger) == 0);
	json_decref(read_all(ledger, &damage));
	CHECK(ledger_append(ledger, record) == 0);
	json_array_append(records, record);
	now = read_all(ledger, &damage);
	CHECK(damage.torn_bytes == 0 && json_equal(now, records));
}

static void check_rewrite(struct ledger *ledger, const json_t *records)
{
	json_auto_t *now = NULL;
	struct ledger_damage damage;
	int r = ledger_rewrite(ledger, records);

	/* A record that was read can take more room as we write it. */
	if (r == -E2BIG)
		return;
	CHECK(r == 0);
	now = read_all(ledger, &damage);
	CHECK(damage.torn_bytes == 0 && damage.bad_lines == 0 && json_equal(now, records));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *path = scratch_file("ledger", data, size);
	_cleanup_(ledger_freep) struct ledger *ledger = NULL;
	json_auto_t *records = NULL, *again = NULL;
	struct ledger_damage damage, damage_again;

	CHECK(ledger_open(path, &ledger) == 0);
	records = read_all(ledger, &damage);
	CHECK(damage.torn_bytes <= size);
	again = read_all(ledger, &damage_again);
	/* A bad line in front of a torn one is the last now, and torn itself. */
	CHECK(json_equal(records, again));
	CHECK(damage_again.bad_lines <= damage.bad_lines);
	/* Each costs as much as all before. */
	if (size % 3 == 1)
		check_rewrite(ledger, records);
	ledger = ledger_free(ledger);
	if (size % 3 == 2)
		check_append(path, records);
	return 0;
}
