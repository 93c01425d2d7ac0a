/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cli/ownership.h"

/* Root, by the name that it has in this user namespace, is who owns "/". */
static bool is_ours(const struct stat *status, const struct stat *root)
{
	bool is_sticky = S_ISDIR(status->st_mode) && (status->st_mode & S_ISVTX);

	return (status->st_uid == 0 || status->st_uid == geteuid() ||
		       status->st_uid == root->st_uid) &&
		(!(status->st_mode & S_IWOTH) || is_sticky);
}

int ownership_check(const char *path, char ret_place[static PATH_MAX])
{
	char resolved[PATH_MAX];
	struct stat root, status;

	if (!realpath(path, resolved) || stat("/", &root) < 0)
		return -errno;
	/* From the top down: below what is ours, nobody else can change what comes next. */
	for (char *end = resolved; end; end = strchr(end + 1, '/')) {
		snprintf(ret_place, PATH_MAX, "%.*s", end == resolved ? 1 : (int)(end - resolved),
			resolved);
		if (lstat(ret_place, &status) < 0)
			return -errno;
		if (!is_ours(&status, &root))
			return OWNERSHIP_OTHERS;
	}
	snprintf(ret_place, PATH_MAX, "%s", resolved);
	if (lstat(ret_place, &status) < 0)
		return -errno;
	return is_ours(&status, &root) ? 0 : OWNERSHIP_OTHERS;
}
