/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "agent/common/users.h"
#include "agent/daemon/caller.h"

bool caller_may_change(const struct varlink_call *call)
{
	return varlink_call_uid(call) == 0 || varlink_call_uid(call) == geteuid();
}

/* Looked up when someone first asks who is not root: what NSS loads would be most of an idle
 * daemon's memory. */
bool caller_may_read(struct callers *callers, const struct varlink_call *call)
{
	const struct group *group;

	if (caller_may_change(call))
		return true;
	if (!callers->has_readers) {
		group = getgrnam(READERS_GROUP);
		callers->has_readers = group;
		callers->readers = group ? group->gr_gid : 0;
	}
	return callers->has_readers && varlink_call_in_group(call, callers->readers);
}

bool caller_may_report_feed(struct callers *callers, const struct varlink_call *call)
{
	const struct passwd *user;

	if (caller_may_change(call))
		return true;
	if (!callers->has_poll) {
		user = getpwnam(POLL_USER);
		callers->has_poll = user;
		callers->poll = user ? user->pw_uid : 0;
	}
	return callers->has_poll && varlink_call_uid(call) == callers->poll;
}

void caller_name(const struct varlink_call *call, char *name, size_t n)
{
	char path[64], buffer[4096];
	_cleanup_(fclosep) FILE *file = NULL;
	unsigned uid = UINT32_MAX;
	struct passwd entry, *found = NULL;

	snprintf(path, sizeof(path), "/proc/%d/loginuid", (int)varlink_call_pid(call));
	file = fopen(path, "re");
	if (!file || fscanf(file, "%u", &uid) != 1 || uid == UINT32_MAX)
		uid = varlink_call_uid(call);
	if (uid == 0) /* no need to ask, and glibc (2.36) crashes where it has no memory for NSS */
		snprintf(name, n, "root");
	else if (getpwuid_r(uid, &entry, buffer, sizeof(buffer), &found) == 0 && found)
		snprintf(name, n, "%s", found->pw_name);
	else
		snprintf(name, n, "uid %u", uid);
}
