/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <utmpx.h>

#include "agent/cli/origin.h"
#include "agent/common/prefix.h"
#include "cleanup.h"

#define VARIABLE "SSH_CONNECTION="
#define ENVIRONMENT_BYTES_MAX (256 * 1024)
#define ANCESTORS_MAX 64

static int parse_address(const char *text, struct origin *origin)
{
	char address[PREFIX_STRING_MAX];
	struct prefix prefix;

	/* A link-local address comes with its interface: "fe80::1%eth0". */
	snprintf(address, sizeof(address), "%.*s", (int)strcspn(text, "%"), text);
	if (strncasecmp(address, "::ffff:", 7) == 0 && strchr(address, '.'))
		memmove(address, address + 7, strlen(address + 7) + 1);
	if (prefix_parse(address, &prefix) < 0 || prefix.family == AF_UNSPEC ||
		prefix.length != 8 * address_bytes(prefix.family))
		return -EINVAL;
	origin->family = prefix.family;
	origin->source = prefix.address;
	return 0;
}

int origin_parse(const char *text, struct origin *ret)
{
	struct origin origin = {};
	char source[64], own[64];
	unsigned source_port, port;
	int n = 0;

	if (sscanf(text, "%63s %5u %63s %5u%n", source, &source_port, own, &port, &n) != 4 ||
		text[n] != '\0' || port == 0 || port > UINT16_MAX)
		return -EINVAL;
	if (parse_address(source, &origin) < 0)
		return -EINVAL;
	origin.port = (uint16_t)port;
	*ret = origin;
	return 0;
}

/* A file of /proc, which tells no size. Returns how many bytes there are, with a NUL behind; -errno
 */
static ssize_t read_proc(const char *path, char *buffer, size_t n_max)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t n = 0;

	if (fd < 0)
		return -errno;
	while (n < n_max - 1) {
		ssize_t more = read(fd, buffer + n, n_max - 1 - n);

		if (more < 0 && errno == EINTR)
			continue;
		if (more < 0)
			return -errno;
		if (more == 0)
			break;
		n += (size_t)more;
	}
	buffer[n] = '\0';
	return (ssize_t)n;
}

static pid_t parent_of(pid_t pid)
{
	char path[64], stat[1024];
	const char *rest;
	int parent;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (read_proc(path, stat, sizeof(stat)) < 0)
		return 0;
	rest = strrchr(stat, ')'); /* a program's name may have anything in it */
	return rest && sscanf(rest, ") %*c %d", &parent) == 1 ? parent : 0;
}

static bool find_in_environment(pid_t pid, char *buffer, struct origin *ret)
{
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
	n = read_proc(path, buffer, ENVIRONMENT_BYTES_MAX);
	for (const char *at = buffer; n > 0 && at < buffer + n; at += strlen(at) + 1)
		if (strncmp(at, VARIABLE, strlen(VARIABLE)) == 0)
			return origin_parse(at + strlen(VARIABLE), ret) == 0;
	return false;
}

static bool find_among_ancestors(struct origin *ret)
{
	_cleanup_(freep) char *buffer = malloc(ENVIRONMENT_BYTES_MAX);
	pid_t pid = getppid();

	for (int i = 0; buffer && i < ANCESTORS_MAX && pid > 1; i++) {
		if (find_in_environment(pid, buffer, ret))
			return true;
		pid = parent_of(pid);
	}
	return false;
}

static bool find_on_terminal(struct origin *ret)
{
	char terminal[128];
	struct utmpx line = {};
	const struct utmpx *entry;
	static const int32_t none[4];

	if (ttyname_r(STDIN_FILENO, terminal, sizeof(terminal)) != 0 ||
		strncmp(terminal, "/dev/", 5) != 0)
		return false;
	memcpy(line.ut_line, terminal + 5, strnlen(terminal + 5, sizeof(line.ut_line)));
	setutxent();
	entry = getutxline(&line);
	if (entry && entry->ut_type == USER_PROCESS &&
		memcmp(entry->ut_addr_v6, none, sizeof(none)) != 0) {
		bool ipv4 = memcmp(entry->ut_addr_v6 + 1, none, 12) == 0;

		*ret = (struct origin){ .family = ipv4 ? AF_INET : AF_INET6 };
		memcpy(ret->source.bytes, entry->ut_addr_v6, ipv4 ? 4 : 16);
	}
	endutxent();
	return ret->family != AF_UNSPEC;
}

static bool read_sockaddr(
	const struct sockaddr *socket_address, uint8_t *ret_family, struct address *ret)
{
	const struct sockaddr_in *ipv4 = (const void *)socket_address;
	const struct sockaddr_in6 *ipv6 = (const void *)socket_address;

	*ret = (struct address){};
	*ret_family = (uint8_t)socket_address->sa_family;
	if (*ret_family == AF_INET)
		memcpy(ret->bytes, &ipv4->sin_addr, sizeof(ipv4->sin_addr));
	else if (*ret_family == AF_INET6)
		memcpy(ret->bytes, &ipv6->sin6_addr, sizeof(ipv6->sin6_addr));
	else
		return false;
	return true;
}

static bool is_own(const struct origin *origin)
{
	struct ifaddrs *all = NULL;
	bool found = false;

	if (getifaddrs(&all) < 0)
		return false;
	for (const struct ifaddrs *own = all; own && !found; own = own->ifa_next) {
		struct address address;
		uint8_t family;

		found = own->ifa_addr && read_sockaddr(own->ifa_addr, &family, &address) &&
			family == origin->family &&
			memcmp(&address, &origin->source, sizeof(address)) == 0;
	}
	freeifaddrs(all);
	return found;
}

void origin_find(struct origin *ret)
{
	const char *variable = getenv("SSH_CONNECTION");

	*ret = (struct origin){};
	if ((!variable || origin_parse(variable, ret) < 0) && !find_among_ancestors(ret) &&
		!find_on_terminal(ret))
		return;
	/* Through a tunnel, or from this host itself: the gate lets loopback pass. */
	if (address_is_loopback(ret->family, &ret->source) || is_own(ret))
		*ret = (struct origin){};
}
