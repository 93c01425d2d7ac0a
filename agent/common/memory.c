/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <link.h>
#include <malloc.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/common/memory.h"

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
