/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/common/confine.h"
#include "agent/common/users.h"
#include "agent/poll/privilege.h"

_printf_(3, 4) static int wrong(
	char error[static PRIVILEGE_ERROR_MAX], int status, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(error, PRIVILEGE_ERROR_MAX, format, arguments);
	va_end(arguments);
	return status;
}

static int make_state_directory(const char *path, const struct passwd *user)
{
	if (mkdir(path, 0700) < 0)
		return errno == EEXIST ? 0 : -errno;
	return chown(path, user->pw_uid, user->pw_gid) < 0 ? -errno : 0;
}

static int become_user(const struct config *config, char error[static PRIVILEGE_ERROR_MAX])
{
	const struct passwd *user = getpwnam(POLL_USER);
	const struct group *readers;
	gid_t groups[2];
	size_t n_groups = 0;
	int r;

	if (!user || user->pw_uid == 0)
		return wrong(error, -EPERM,
			"it must not run as root, and there is no user " POLL_USER
			" to become: make one (systemd-sysusers does, from jitgate.conf), or start "
			"it as another user");
	r = make_state_directory(config->feed.state_directory, user);
	if (r < 0)
		return wrong(error, r, "can't make %.160s: %s", config->feed.state_directory,
			strerror(-r));
	readers = getgrnam(READERS_GROUP);
	groups[n_groups++] = user->pw_gid;
	if (readers)
		groups[n_groups++] = readers->gr_gid;
	if (setgroups(n_groups, groups) < 0 ||
		setresgid(user->pw_gid, user->pw_gid, user->pw_gid) < 0 ||
		setresuid(user->pw_uid, user->pw_uid, user->pw_uid) < 0)
		return wrong(
			error, -errno, "can't become the user " POLL_USER ": %s", strerror(errno));
	return 0;
}

int privilege_drop(const struct config *config, char error[static PRIVILEGE_ERROR_MAX])
{
	int r = 0;

	if (getuid() == 0 || geteuid() == 0)
		r = become_user(config, error);
	if (r < 0)
		return r;
	r = confine_capabilities(0);
	if (r < 0)
		return wrong(error, r, "can't give up capabilities: %s", strerror(-r));
	r = confine_process();
	if (r < 0)
		return wrong(
			error, r, "can't give up new privileges and core dumps: %s", strerror(-r));
	return 0;
}
