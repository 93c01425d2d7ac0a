/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <grp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/common/confine.h"

#define N_CAPABILITIES 64

struct sets {
	struct __user_cap_header_struct header;
	struct __user_cap_data_struct words[_LINUX_CAPABILITY_U32S_3];
};

static int sets_read(struct sets *ret)
{
	*ret = (struct sets){ .header.version = _LINUX_CAPABILITY_VERSION_3 };
	return syscall(SYS_capget, &ret->header, ret->words) < 0 ? -errno : 0;
}

/* Returns whether there was more than that. */
static bool sets_reduce(struct sets *sets, uint64_t kept)
{
	bool more = false;

	for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		struct __user_cap_data_struct *word = &sets->words[i];
		uint32_t mask = (uint32_t)(kept >> (32 * i));

		more |= ((word->effective | word->permitted | word->inheritable) & ~mask) != 0;
		word->permitted &= mask;
		word->inheritable &= mask;
		word->effective = word->permitted;
	}
	return more;
}

int confine_process(void)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
#ifndef __SANITIZE_ADDRESS__ /* which looks for leaks from a thread that traces the others */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
#endif
	return 0;
}

/* The bound of what an executed file may have. Only who has CAP_SETPCAP can lower it; for others
 * no_new_privs has to do. */
static void bound(uint64_t kept)
{
	for (unsigned i = 0; i < N_CAPABILITIES; i++)
		if (!(kept & CAPABILITY(i)) && prctl(PR_CAPBSET_READ, i, 0, 0, 0) == 1)
			(void)prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
}

int confine_capabilities(uint64_t kept)
{
	struct sets sets;
	int r;

	bound(kept);
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return -errno;
	r = sets_read(&sets);
	/* Where there is nothing to give up, capset() is not called: units forbid it. */
	if (r < 0 || !sets_reduce(&sets, kept))
		return r;
	return syscall(SYS_capset, &sets.header, sets.words) < 0 ? -errno : 0;
}

int confine_to_owner(const char *path, uint64_t kept)
{
	struct sets sets;
	struct stat status;
	int r;

	if (geteuid() != 0 || stat(path, &status) < 0 || status.st_uid == 0)
		return 0;
	bound(kept);
	/* Becoming another clears what is effective, and without this what is permitted. */
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setgroups(0, NULL) < 0 ||
		setresgid(status.st_gid, status.st_gid, status.st_gid) < 0 ||
		setresuid(status.st_uid, status.st_uid, status.st_uid) < 0)
		return -errno;
	r = sets_read(&sets);
	if (r < 0)
		return r;
	(void)sets_reduce(&sets, kept);
	return syscall(SYS_capset, &sets.header, sets.words) < 0 ? -errno : 0;
}
