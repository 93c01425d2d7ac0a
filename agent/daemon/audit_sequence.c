/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <inttypes.h>

#include "agent/common/file.h"
#include "agent/daemon/audit_sequence.h"
#include "cleanup.h"

#define NAME "audit.sequence"
#define BLOCK 1024
#define FILE_BYTES_MAX 64

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void note_read(struct audit_sequence *sequence, const char *path)
{
	_cleanup_(freep) char *text = NULL;
	uint64_t reserved, unlogged;
	size_t n_bytes;

	if (file_read(path, FILE_BYTES_MAX, &text, &n_bytes) < 0 ||
		sscanf(text, "%" SCNu64 " %" SCNu64, &reserved, &unlogged) != 2 ||
		reserved > INT64_MAX / 2 || unlogged > INT64_MAX / 2)
		return;
	sequence->reserved = larger(sequence->reserved, reserved);
	sequence->unlogged = larger(sequence->unlogged, unlogged);
}

/* Where neither can be written, the log's own numbers are all there is. */
static void note_write(const struct audit_sequence *sequence)
{
	char text[FILE_BYTES_MAX];
	int n = snprintf(text, sizeof(text), "%" PRIu64 " %" PRIu64 "\n", sequence->reserved,
		sequence->unlogged);

	if (file_write(sequence->path, 0600, text, (size_t)n) == 0)
		(void)unlink(sequence->runtime_path);
	else
		(void)file_write(sequence->runtime_path, 0600, text, (size_t)n);
}

int audit_sequence_open(struct audit_sequence *sequence, const char *state_directory,
	const char *runtime_directory, uint64_t last, bool log_is_gone, uint64_t *ret)
{
	*sequence = (struct audit_sequence){};
	if (asprintf(&sequence->path, "%s/" NAME, state_directory) < 0) {
		sequence->path = NULL;
		return -ENOMEM;
	}
	if (asprintf(&sequence->runtime_path, "%s/" NAME, runtime_directory) < 0) {
		sequence->runtime_path = NULL;
		return -ENOMEM;
	}
	note_read(sequence, sequence->path);
	note_read(sequence, sequence->runtime_path);
	*ret = larger(last, last == 0 || log_is_gone ? sequence->reserved : sequence->unlogged);
	return 0;
}

void audit_sequence_done(struct audit_sequence *sequence)
{
	free(TAKE_PTR(sequence->path));
	free(TAKE_PTR(sequence->runtime_path));
}

void audit_sequence_reserve(struct audit_sequence *sequence, uint64_t number)
{
	if (number <= sequence->reserved)
		return;
	sequence->reserved = number + BLOCK;
	note_write(sequence);
}

void audit_sequence_logged(struct audit_sequence *sequence, uint64_t number, bool logged)
{
	if (logged ? sequence->unlogged == 0 : number <= sequence->unlogged)
		return;
	sequence->unlogged = logged ? 0 : number + BLOCK;
	note_write(sequence);
}
