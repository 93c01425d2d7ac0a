/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/cli/processes.h"
#include "cleanup.h"

#define DESCRIPTORS_MAX 65536 /* of a process */

DEFINE_CLEANUP(DIR *, closedir)

static void read_name(const char *pid, char name[static PROCESS_NAME_MAX])
{
	char path[64];
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%.16s/comm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, name, PROCESS_NAME_MAX - 1);
		close(fd);
	}
	name[n > 0 ? n : 0] = '\0';
	name[strcspn(name, "\n")] = '\0';
}

static void name_socket(const struct listener_list *listeners, char (*names)[PROCESS_NAME_MAX],
	unsigned long inode, const char *pid)
{
	for (size_t i = 0; i < listeners->n; i++) {
		if (listeners->listeners[i].inode != inode)
			continue;
		if (names[i][0] == '\0' || strcmp(names[i], "systemd") == 0)
			read_name(pid, names[i]);
	}
}

static void look_into(
	const struct listener_list *listeners, char (*names)[PROCESS_NAME_MAX], const char *pid)
{
	_cleanup_(closedirp) DIR *directory = NULL;
	const struct dirent *entry;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%.16s/fd", pid);
	directory = opendir(path);
	for (int i = 0; directory && i < DESCRIPTORS_MAX && (entry = readdir(directory)); i++) {
		unsigned long inode;
		char target[64];
		ssize_t n = readlinkat(dirfd(directory), entry->d_name, target, sizeof(target) - 1);

		if (n <= 0)
			continue;
		target[n] = '\0';
		if (sscanf(target, "socket:[%lu]", &inode) == 1)
			name_socket(listeners, names, inode, pid);
	}
}

int processes_name(const struct listener_list *listeners, char (*names)[PROCESS_NAME_MAX])
{
	_cleanup_(closedirp) DIR *directory = opendir("/proc");
	const struct dirent *entry;

	if (!directory)
		return errno == ENOMEM ? -ENOMEM : 0;
	while ((entry = readdir(directory)))
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			look_into(listeners, names, entry->d_name);
	return 0;
}
