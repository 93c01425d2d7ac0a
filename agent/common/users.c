/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/common/users.h"

bool user_is_denied(const struct passwd *user, const char *path)
{
	pid_t child = fork();
	int status = 0;

	if (child == 0) {
		if (initgroups(user->pw_name, user->pw_gid) < 0 ||
			setresgid(user->pw_gid, user->pw_gid, user->pw_gid) < 0 ||
			setresuid(user->pw_uid, user->pw_uid, user->pw_uid) < 0)
			_exit(EXIT_SUCCESS);
		_exit(access(path, R_OK) < 0 && errno == EACCES ? EXIT_FAILURE : EXIT_SUCCESS);
	}
	if (child < 0)
		return false;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_FAILURE;
}
