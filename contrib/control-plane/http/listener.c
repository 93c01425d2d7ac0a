/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include "agent/common/prefix.h"
#include "contrib/control-plane/http/http.h"
#include "contrib/control-plane/http/listener.h"

/* The kernel cuts it to net.core.somaxconn. */
#define BACKLOG 65535

union socket_address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
};

static _printf_(3, 4) int fail(char **ret_error, int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(ret_error, format, arguments) < 0)
		*ret_error = NULL;
	va_end(arguments);
	return error;
}

/* Returns the address' length, 0 where the text is no address. */
static socklen_t address_parse(const char *listen, union socket_address *ret)
{
	char host[INET6_ADDRSTRLEN + 2];
	const char *colon = strrchr(listen, ':');
	struct port_range port;
	size_t n_host;

	memset(ret, 0, sizeof(*ret));
	if (*listen == '/') {
		if (strlen(listen) >= sizeof(ret->un.sun_path))
			return 0;
		ret->un.sun_family = AF_UNIX;
		strcpy(ret->un.sun_path, listen);
		return sizeof(ret->un);
	}
	n_host = colon ? (size_t)(colon - listen) : 0;
	if (n_host == 0 || n_host >= sizeof(host) || port_range_parse(colon + 1, &port) < 0 ||
		port.first != port.last)
		return 0;
	memcpy(host, listen, n_host);
	host[n_host] = '\0';
	if (host[0] == '[' && host[n_host - 1] == ']') {
		host[n_host - 1] = '\0';
		ret->in6.sin6_family = AF_INET6;
		ret->in6.sin6_port = htons(port.first);
		return inet_pton(AF_INET6, host + 1, &ret->in6.sin6_addr) == 1 ? sizeof(ret->in6)
									       : 0;
	}
	ret->in.sin_family = AF_INET;
	ret->in.sin_port = htons(port.first);
	return inet_pton(AF_INET, host, &ret->in.sin_addr) == 1 ? sizeof(ret->in) : 0;
}

static bool address_is_local(const union socket_address *address)
{
	switch (address->any.sa_family) {
	case AF_UNIX:
		return true;
	case AF_INET:
		return ntohl(address->in.sin_addr.s_addr) >> 24 == 127;
	case AF_INET6:
		return IN6_IS_ADDR_LOOPBACK(&address->in6.sin6_addr);
	default:
		return false;
	}
}

static bool address_is_any(const union socket_address *address)
{
	return address->any.sa_family == AF_INET ? address->in.sin_addr.s_addr == htonl(INADDR_ANY)
						 : address->any.sa_family == AF_INET6 &&
			IN6_IS_ADDR_UNSPECIFIED(&address->in6.sin6_addr);
}

int http_listen_check(const char *listen, enum http_reach *ret)
{
	union socket_address address;

	if (address_parse(listen, &address) == 0)
		return -EINVAL;
	*ret = address_is_local(&address)  ? HTTP_REACH_LOCAL
		: address_is_any(&address) ? HTTP_REACH_ANY
					   : HTTP_REACH_ADDRESS;
	return 0;
}

/* A socket that nobody listens on any more is left by a server that was killed. */
static int remove_stale(const union socket_address *address, char **ret_error)
{
	const char *path = address->un.sun_path;
	_cleanup_(closep) int fd = -1;
	struct stat status;

	if (lstat(path, &status) < 0)
		return errno == ENOENT ? 0 : fail(ret_error, -errno, "%s: %m", path);
	if (!S_ISSOCK(status.st_mode))
		return fail(ret_error, -EEXIST, "%s is there already, and is no socket", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, &address->any, sizeof(address->un)) == 0 || errno != ECONNREFUSED)
		return fail(ret_error, -EADDRINUSE, "%s: another server listens there", path);
	return unlink(path) < 0 ? fail(ret_error, -errno, "%s: cannot be removed: %m", path) : 0;
}

static int socket_bind(int fd, const union socket_address *address, socklen_t n_address)
{
	const int on = 1, off = 0;
	mode_t mask;
	int r;

	if (address->any.sa_family != AF_UNIX) {
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		/* What is accepted has it from here. */
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		if (address->any.sa_family == AF_INET6)
			(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
		return bind(fd, &address->any, n_address) < 0 ? -errno : 0;
	}
	mask = umask(0117);
	r = bind(fd, &address->any, n_address) < 0 ? -errno : 0;
	umask(mask);
	return r;
}

static int take_passed(struct listener *listener, char **ret_error)
{
	union socket_address address;
	socklen_t n_address = sizeof(address);

	if (sd_is_socket(SD_LISTEN_FDS_START, AF_UNSPEC, SOCK_STREAM, 1) <= 0 ||
		getsockname(SD_LISTEN_FDS_START, &address.any, &n_address) < 0)
		return fail(ret_error, -EINVAL, "what systemd passed is no listening socket");
	*listener = (struct listener){
		.fd = SD_LISTEN_FDS_START,
		.is_local = address_is_local(&address),
	};
	return 0;
}

int listener_open(struct listener *listener, const char *where, char **ret_error)
{
	_cleanup_(closep) int fd = -1;
	union socket_address address;
	socklen_t n_address = address_parse(where, &address);
	bool is_unix = address.any.sa_family == AF_UNIX;
	int r = sd_listen_fds(true);

	*ret_error = NULL;
	if (r == 1)
		return take_passed(listener, ret_error);
	if (r > 1)
		return fail(ret_error, -EINVAL, "systemd passed %d sockets instead of one", r);
	if (n_address == 0)
		return fail(ret_error, -EINVAL,
			"\"%s\" is neither an address and port, as 127.0.0.1:8443 or [::1]:8443, "
			"nor the path of a socket",
			where);
	r = is_unix ? remove_stale(&address, ret_error) : 0;
	if (r < 0)
		return r;
	fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fail(ret_error, -errno, "socket: %m");
	r = socket_bind(fd, &address, n_address);
	if (r == 0 && listen(fd, BACKLOG) < 0)
		r = -errno;
	if (r < 0)
		return fail(ret_error, r, "cannot listen on %s: %s", where, strerror(-r));
	*listener = (struct listener){ .is_local = address_is_local(&address) };
	if (is_unix) {
		listener->path = strdup(where);
		if (!listener->path)
			return -ENOMEM;
	}
	listener->fd = TAKE_FD(fd);
	return 0;
}

void listener_close(struct listener *listener)
{
	if (listener->path)
		(void)unlink(listener->path);
	free(listener->path);
	closep(&listener->fd);
	*listener = (struct listener){ .fd = -1 };
}
