/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <jansson.h>
#include <link.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/common/memory.h"

void (*memory_on_end)(void);

static size_t n_failed;

static void *note(void *allocated, size_t n_bytes)
{
	if (!allocated && n_bytes > 0)
		n_failed++;
	return allocated;
}

/* jansson's reader does not look whether there was room for a token: it writes past a string's end,
 * or aborts (load.c, lex_save()). So it is never told that there is none. */
static void *json_allocate(size_t n_bytes)
{
	static const char message[] = ": out of memory\n";
	void *allocated = malloc(n_bytes);

	if (!allocated && n_bytes > 0) {
		(void)fflush(stdout);
		if (memory_on_end)
			memory_on_end();
		(void)!write(STDERR_FILENO, program_invocation_short_name,
			strlen(program_invocation_short_name));
		(void)!write(STDERR_FILENO, message, sizeof(message) - 1);
		_exit(EXIT_FAILURE);
	}
	return allocated;
}

static void *crypto_allocate(size_t n_bytes, const char *file, int line)
{
	(void)file, (void)line;
	return note(malloc(n_bytes), n_bytes);
}

static void *crypto_reallocate(void *old, size_t n_bytes, const char *file, int line)
{
	(void)file, (void)line;
	return note(realloc(old, n_bytes), n_bytes);
}

static void crypto_free(void *old, const char *file, int line)
{
	(void)file, (void)line;
	free(old);
}

static void watch(void)
{
	json_set_alloc_funcs(json_allocate, free);
	(void)CRYPTO_set_mem_functions(crypto_allocate, crypto_reallocate, crypto_free);
}

/* Libraries' constructors allocate already (libjose's make OpenSSL do so), and from then on OpenSSL
 * takes no other functions: this comes before them. */
__attribute__((section(".preinit_array"), used)) static void (*const watch_first)(void) = watch;

size_t memory_n_failed(void)
{
	return n_failed;
}

bool memory_is_gone(void)
{
	/* volatile: a compiler may leave out what is freed unused. */
	void *volatile probe = malloc(4096);
	bool gone = !probe;

	free(probe);
	return gone;
}

static int release_segments(struct dl_phdr_info *info, size_t n, void *userdata)
{
	const uintptr_t page = sysconf(_SC_PAGESIZE);

	(void)n, (void)userdata;
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		uintptr_t from = (info->dlpi_addr + segment->p_vaddr) & ~(page - 1);
		uintptr_t to = info->dlpi_addr + segment->p_vaddr + segment->p_memsz;

		if (segment->p_type == PT_LOAD && !(segment->p_flags & PF_W))
			(void)madvise((void *)from, to - from, MADV_DONTNEED);
	}
	return 0;
}

void memory_release(void)
{
	(void)malloc_trim(0);
	(void)dl_iterate_phdr(release_segments, NULL);
}
