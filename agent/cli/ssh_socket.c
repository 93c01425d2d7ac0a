/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <ctype.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/ssh_socket.h"
#include "cleanup.h"

#define KEY "ListenStream"
#define FILES_MAX 64
#define LINES_MAX 1000

static const char *const patterns[] = {
	"/etc/systemd/system/ssh{,d}.socket{,.d/*.conf}",
	"/run/systemd/{system,generator}/ssh{,d}.socket{,.d/*.conf}",
	"/{usr/,}lib/systemd/system/ssh{,d}.socket{,.d/*.conf}",
};

uint16_t ssh_socket_port(const char *line)
{
	const char *value, *colon;
	unsigned long port;
	char *end;

	line += strspn(line, " \t");
	if (strncmp(line, KEY, strlen(KEY)) != 0)
		return 0;
	value = line + strlen(KEY);
	value += strspn(value, " \t");
	if (*value++ != '=')
		return 0;
	value += strspn(value, " \t");
	colon = strrchr(value, ':');
	value = colon ? colon + 1 : value;
	if (!isdigit((unsigned char)*value))
		return 0;
	port = strtoul(value, &end, 10);
	return end[strspn(end, " \t\r\n")] == '\0' && port <= UINT16_MAX ? (uint16_t)port : 0;
}

static bool file_has(const char *path, uint16_t port)
{
	_cleanup_(fclosep) FILE *file = fopen(path, "re");
	char line[1024];

	for (int i = 0; file && i < LINES_MAX && fgets(line, sizeof(line), file); i++)
		if (ssh_socket_port(line) == port)
			return true;
	return false;
}

bool ssh_socket_has(uint16_t port)
{
	bool found = false;

	for (size_t i = 0; i < N_ELEMENTS(patterns) && !found; i++) {
		glob_t paths;

		if (glob(patterns[i], GLOB_BRACE, NULL, &paths) == 0)
			for (size_t k = 0; k < paths.gl_pathc && k < FILES_MAX && !found; k++)
				found = file_has(paths.gl_pathv[k], port);
		globfree(&paths);
	}
	return found;
}
