/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * Preloaded into jitgated by tests: the files that name iptables-legacy's tables can't be opened,
 * for the reason whose number is $JITGATE_ERRNO.
 */

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

FILE *fopen(const char *path, const char *mode)
{
	FILE *(*real)(const char *, const char *);
	const char *number = getenv("JITGATE_ERRNO");

	if (number && strstr(path, "_tables_names")) {
		errno = atoi(number);
		return NULL;
	}
	*(void **)&real = dlsym(RTLD_NEXT, "fopen");
	return real(path, mode);
}
