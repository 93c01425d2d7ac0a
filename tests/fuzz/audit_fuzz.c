/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The audit file that a daemon finds and goes on with: whatever it ends with, what is written
 * follows it as `jitgate audit verify` checks it. */

#include "agent/cli/chain.h"
#include "agent/common/file.h"
#include "agent/daemon/audit.h"
#include "tests/fuzz/fuzz.h"

#define RECORDS 2
#define LOG_BYTES_MAX (64 * 1024 * 1024)

static void on_record(json_t *record, void *userdata)
{
	CHECK(json_is_integer(json_object_get(record, "sequence")));
	++*(unsigned *)userdata;
}

/* The last lines of the text, which were written now. */
static const char *written_lines(const char *text, size_t n_bytes)
{
	const char *line = text + n_bytes;

	for (int n = 0; line > text; line--)
		if (line[-1] == '\n' && n++ == RECORDS)
			return line;
	return line;
}

static void check_written(const char *path)
{
	_cleanup_(freep) char *text = NULL;
	struct chain chain = {};
	const char *line;
	size_t n_bytes;

	CHECK(file_read(path, 1024 * 1024, &text, &n_bytes) == 0);
	line = written_lines(text, n_bytes);
	for (unsigned i = 0; i < RECORDS; i++) {
		size_t n = strcspn(line, "\n");

		CHECK(chain_add(&chain, line, n) == 0);
		line += n + 1;
	}
	CHECK(line == text + n_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *path = scratch_file("audit.jsonl", data, size);
	_cleanup_(freep) char *directory = strdup(scratch_directory());
	const struct config config = {
		.log_directory = directory,
		.state_directory = directory,
		.runtime_directory = directory,
		.log_bytes_max = LOG_BYTES_MAX,
	};
	_cleanup_(audit_freep) struct audit *audit = NULL;
	unsigned n_records = 0;
	int error;

	CHECK(directory);
	CHECK(audit_open(&config, on_record, &n_records, &audit, &error) == 0);
	CHECK(error == 0);
	for (unsigned i = 0; i < RECORDS; i++)
		audit_write(audit,
			&(struct audit_record){ .type = AUDIT_AGENT_STARTED, .message = "m" });
	CHECK(n_records == RECORDS);
	check_written(path);
	return 0;
}
