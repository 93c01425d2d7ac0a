/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/*
 * What fuzz targets share. A target is a file NAME_fuzz.c with LLVMFuzzerTestOneInput(): the build
 * and tests/fuzz/run find it (server_NAME_fuzz.c is linked with the control plane's library,
 * poll_NAME_fuzz.c with jitgate-poll's). Seeds are the files of seeds/NAME/, words that the reader
 * knows stand in NAME.dict; both may be missing. What can't stand in the tree (keys, what a kernel
 * answers, with rules/ of other programs in it) make-seeds makes. A finding that was mended is kept
 * as a seed.
 *
 * A target says more than that nothing crashes: what is accepted keeps the reader's bounds and
 * reads the same when it is written and read again; what is refused says why, fit for a terminal.
 */

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/common/text.h"
#include "cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

/* A property that has to hold: else the input is a finding. */
#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

/* A sentence for people: there is one, and no terminal is upset by it. */
static inline void check_message(const char *text)
{
	CHECK(text);
	CHECK(*text);
	CHECK(text_is_printable(text));
}

static inline void check_same_text(const char *a, const char *b)
{
	CHECK((a == NULL) == (b == NULL));
	CHECK(!a || strcmp(a, b) == 0);
}

/* A byte of the input, taken off it; 0 where there is none left. */
static inline uint8_t take_byte(const uint8_t **data, size_t *size)
{
	if (*size == 0)
		return 0;
	(*size)--;
	return *(*data)++;
}

/* The bytes with a NUL behind them, in memory of exactly that size. */
static inline char *take_text(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	CHECK(text);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	return text;
}

/* A directory of this process, in TMPDIR, which whoever runs targets removes. */
static inline const char *scratch_directory(void)
{
	static char path[128];
	const char *parent = getenv("TMPDIR");

	if (*path)
		return path;
	snprintf(path, sizeof(path), "%s/jitgate-fuzz-XXXXXX", parent ? parent : "/tmp");
	CHECK(mkdtemp(path));
	return path;
}

/* Writes a file of that name in the directory. Returns its path (allocated). */
static inline char *scratch_file(const char *name, const void *bytes, size_t n_bytes)
{
	char *path;
	int fd;

	CHECK(asprintf(&path, "%s/%s", scratch_directory(), name) >= 0);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CHECK(fd >= 0);
	CHECK(write(fd, bytes, n_bytes) == (ssize_t)n_bytes);
	close(fd);
	return path;
}
