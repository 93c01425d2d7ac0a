/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * What an agent takes in from the ledgers at start: lines of records, of the state directory and,
 * behind a line "---", of the runtime directory. Whoever edits the first opens nothing with it that
 * is not signed; and an agent that starts again, from what the first has left, has the same grants.
 * "this" as a boot's id is this boot's.
 */

#include <systemd/sd-id128.h>

#include "agent/common/strictjson.h"
#include "tests/fuzz/agents.h"

#define TURNS_MAX 256

static void set_boot(json_t *record)
{
	const char *boot = json_string_value(json_object_get(record, "boot"));
	char text[SD_ID128_STRING_MAX];
	sd_id128_t id;

	if (!boot || strcmp(boot, "this") != 0)
		return;
	CHECK(sd_id128_get_boot(&id) == 0);
	json_object_set_new(record, "boot", json_string(sd_id128_to_string(id, text)));
}

/* Writes a line, its document signed where it has one to be signed. */
static void write_record(FILE *file, const char *line, size_t n_bytes)
{
	json_auto_t *record = NULL;
	_cleanup_(freep) char *text = NULL;
	char error[256];

	if (json_parse_object(line, n_bytes, &record, error, sizeof(error)) == 0) {
		sign_document(record);
		set_boot(record);
		text = json_dumps(record, JSON_COMPACT);
		fputs(text, file);
	} else
		fwrite(line, 1, n_bytes, file);
	fputc('\n', file);
}

/* Up to the line "---" or the end. Returns what follows. */
static const char *write_ledger(const char *name, const char *text)
{
	_cleanup_(freep) char *bytes = NULL, *path = NULL;
	size_t n_bytes;
	FILE *file = open_memstream(&bytes, &n_bytes);

	while (*text && strncmp(text, "---\n", 4) != 0) {
		size_t n = strcspn(text, "\n");

		write_record(file, text, n);
		text += text[n] ? n + 1 : n;
	}
	fclose(file);
	path = scratch_file(name, bytes, n_bytes);
	return *text ? text + 4 : text;
}

static int check_entry(struct registry_entry *entry, void *userdata)
{
	const bool *only_signed = userdata;
	const struct grant *grant = entry->grant;

	CHECK(document_id_is_valid(entry->id));
	if (!grant || !grant_is_live(grant))
		return 0;
	CHECK(!entry->revoked);
	CHECK(grant->origin == GRANT_SIGNED || !*only_signed);
	CHECK(grant->origin != GRANT_SIGNED || grant->kid);
	CHECK(grant->deadline_usec > 0);
	return 0;
}

/* Starts it. Returns how many grants it has. */
static size_t start(struct agent *agent, bool only_signed)
{
	size_t n_live;
	int n = 0;

	agents_start(agent);
	CHECK(registry_foreach(agent->registry, check_entry, &only_signed) == 0);
	n_live = registry_count_live(agent->registry);
	while (sd_event_run(agent->event, 0) > 0)
		CHECK(++n < TURNS_MAX);
	return n_live;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *text = take_text(data, size);
	struct agent *agent = agents_get();
	const char *rest;
	bool only_signed;
	size_t n_live;

	rest = write_ledger("state/ledger", text);
	only_signed = *rest == '\0';
	(void)write_ledger("run/ledger", rest);
	n_live = start(agent, only_signed);
	agents_stop(agent);
	CHECK(start(agent, only_signed) == n_live);
	agents_forget(agent);
	return 0;
}
