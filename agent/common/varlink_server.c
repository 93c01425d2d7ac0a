/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "agent/common/closing.h"
#include "agent/common/times.h"
#include "agent/common/varlink_server.h"

#ifndef SO_PASSRIGHTS /* Linux 6.16 */
#define SO_PASSRIGHTS 83
#endif

#define SERVICE_INTERFACE "org.varlink.service"
#define CONNECTIONS_RESERVED 8 /* of VARLINK_CONNECTIONS_MAX: nobody locks an administrator out */
#define GROUPS_MAX 65536 /* NGROUPS_MAX of the kernel */

static const char service_description[] =
	"# The Varlink Service Interface is provided by every varlink service. It\n"
	"# describes the service and the interfaces it implements.\n"
	"interface org.varlink.service\n"
	"\n"
	"# Get a list of all the interfaces a service provides and information\n"
	"# about the implementation.\n"
	"method GetInfo() -> (\n"
	"  vendor: string,\n"
	"  product: string,\n"
	"  version: string,\n"
	"  url: string,\n"
	"  interfaces: []string\n"
	")\n"
	"\n"
	"# Get the description of an interface that is implemented by this service.\n"
	"method GetInterfaceDescription(interface: string) -> (description: string)\n"
	"\n"
	"# The requested interface was not found.\n"
	"error InterfaceNotFound (interface: string)\n"
	"\n"
	"# The requested method was not found\n"
	"error MethodNotFound (method: string)\n"
	"\n"
	"# The interface defines the requested method, but the service does not\n"
	"# implement it.\n"
	"error MethodNotImplemented (method: string)\n"
	"\n"
	"# One of the passed parameters is invalid.\n"
	"error InvalidParameter (parameter: string)\n";

static int service_get_info(
	struct varlink_server *server, struct varlink_call *call, json_t *parameters)
{
	const struct varlink_service *service = server->service;
	const char *key;
	json_t *value;

	json_object_foreach (parameters, key, value)
		return varlink_call_invalid_parameter(call, key);

	return varlink_call_reply(call,
		json_pack("{s:s, s:s, s:s, s:s, s:[s, s]}", "vendor", service->vendor, "product",
			service->product, "version", service->version, "url", service->url,
			"interfaces", SERVICE_INTERFACE, service->interface));
}

static int service_get_interface_description(
	struct varlink_server *server, struct varlink_call *call, json_t *parameters)
{
	const char *interface = json_string_value(json_object_get(parameters, "interface"));
	const char *description;

	if (!interface || json_object_size(parameters) != 1)
		return varlink_call_invalid_parameter(call, "interface");

	if (strcmp(interface, SERVICE_INTERFACE) == 0)
		description = service_description;
	else if (strcmp(interface, server->service->interface) == 0)
		description = server->service->description;
	else
		return varlink_call_error(call, SERVICE_INTERFACE ".InterfaceNotFound",
			json_pack("{s:s}", "interface", interface));

	return varlink_call_reply(call, json_pack("{s:s}", "description", description));
}

static bool method_is_of(const char *method, const char *interface)
{
	const char *dot = strrchr(method, '.');
	size_t n = strlen(interface);

	return dot && (size_t)(dot - method) == n && memcmp(method, interface, n) == 0;
}

int varlink_server_dispatch(struct varlink_server *server, struct varlink_call *call,
	const char *method, json_t *parameters)
{
	const char *dot = strrchr(method, '.');

	if (strcmp(method, SERVICE_INTERFACE ".GetInfo") == 0)
		return service_get_info(server, call, parameters);
	if (strcmp(method, SERVICE_INTERFACE ".GetInterfaceDescription") == 0)
		return service_get_interface_description(server, call, parameters);

	for (const struct varlink_method *m = server->service->methods; m->name; m++) {
		if (strcmp(m->name, method) != 0)
			continue;
		if (!m->call)
			return varlink_call_error(call, SERVICE_INTERFACE ".MethodNotImplemented",
				json_pack("{s:s}", "method", method));
		return m->call(call, parameters, server->userdata);
	}

	if (dot && !method_is_of(method, SERVICE_INTERFACE) &&
		!method_is_of(method, server->service->interface))
		return varlink_call_error(call, SERVICE_INTERFACE ".InterfaceNotFound",
			json_pack("{s:s%}", "interface", method, (size_t)(dot - method)));
	return varlink_call_error(
		call, SERVICE_INTERFACE ".MethodNotFound", json_pack("{s:s}", "method", method));
}

static void peer_done(struct varlink_peer *peer)
{
	free(peer->groups);
}

static int peer_read_groups(int fd, struct varlink_peer *peer)
{
	_cleanup_(freep) gid_t *groups = NULL;
	socklen_t n_bytes = 0;

	/* Asked with no room, the kernel says how much it takes. Groups never change afterwards. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &n_bytes) == 0)
		return 0;
	if (errno != ERANGE)
		return -errno;
	if (n_bytes > GROUPS_MAX * sizeof(gid_t))
		return -E2BIG;

	groups = malloc(n_bytes);
	if (!groups)
		return -ENOMEM;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &n_bytes) < 0)
		return -errno;
	peer->n_groups = n_bytes / sizeof(gid_t);
	peer->groups = TAKE_PTR(groups);
	return 0;
}

static int peer_read(int fd, struct varlink_peer *ret)
{
	struct varlink_peer peer = { 0 };
	struct ucred credentials;
	socklen_t n_bytes = sizeof(credentials);
	int r;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &n_bytes) < 0)
		return -errno;
	peer.uid = credentials.uid;
	peer.gid = credentials.gid;
	peer.pid = credentials.pid;
	r = peer_read_groups(fd, &peer);
	if (r < 0)
		return r;
	*ret = peer;
	return 0;
}

bool varlink_uid_is_trusted(uid_t uid)
{
	return uid == 0 || uid == geteuid();
}

static size_t server_count_uid(const struct varlink_server *server, uid_t uid)
{
	size_t n = 0;

	for (const struct varlink_connection *c = server->connections; c; c = c->next)
		n += c->peer.uid == uid;
	return n;
}

/* Of the user who holds most, and more than n, the connection that has been idle longest; one on
 * which a call is under way only where all are. NULL: nobody holds so many. */
static struct varlink_connection *server_find_crowder(struct varlink_server *server, size_t n)
{
	struct varlink_connection *found = NULL;

	/* Who spoke last comes first in the list, so the last that fits is the one. */
	for (struct varlink_connection *c = server->connections; c; c = c->next) {
		size_t n_of_uid;

		if (varlink_uid_is_trusted(c->peer.uid))
			continue;
		n_of_uid = server_count_uid(server, c->peer.uid);
		if (n_of_uid < n || (n_of_uid == n && (!found || found->peer.uid != c->peer.uid)))
			continue;
		if (n_of_uid == n && varlink_connection_is_busy(c) &&
			!varlink_connection_is_busy(found))
			continue;
		found = c;
		n = n_of_uid;
	}
	return found;
}

/* The connection that has been idle longest of those without a call under way; NULL: there is none.
 */
static struct varlink_connection *server_find_idle(struct varlink_server *server)
{
	struct varlink_connection *found = NULL;

	for (struct varlink_connection *c = server->connections; c; c = c->next)
		if (!varlink_uid_is_trusted(c->peer.uid) && !c->call)
			found = c;
	return found;
}

/*
 * Where all places are taken, a user who holds fewer than another is let in for the longest idle of
 * the one who holds most: a crowd keeps itself out, and nobody else. By two at least, or two users
 * would put each other out in turn. But one person may be many users (subuid(5)), each with one
 * connection: whoever holds none is let in for whom nothing is done just now.
 */
static bool server_make_room(struct varlink_server *server, uid_t uid)
{
	size_t n_of_uid = server_count_uid(server, uid), max = VARLINK_CONNECTIONS_MAX;
	struct varlink_connection *crowder;

	if (!varlink_uid_is_trusted(uid)) {
		if (n_of_uid >= VARLINK_CONNECTIONS_PER_UID_MAX)
			return false;
		max -= CONNECTIONS_RESERVED;
	}
	if (server->n_connections < max)
		return true;
	crowder = server_find_crowder(server, varlink_uid_is_trusted(uid) ? 0 : n_of_uid + 1);
	if (!crowder && n_of_uid == 0)
		crowder = server_find_idle(server);
	if (!crowder)
		return false;
	varlink_connection_close(crowder);
	return true;
}

void varlink_server_rank(struct varlink_server *server, uint64_t now_usec)
{
	for (struct varlink_connection *c = server->connections; c; c = c->next) {
		bool over = c->share && share_is_over(c->share, now_usec);

		if (over == c->goes_behind)
			continue;
		if (sd_event_source_set_priority(c->io,
			    over ? SD_EVENT_PRIORITY_NORMAL + 1 : SD_EVENT_PRIORITY_NORMAL) >= 0)
			c->goes_behind = over;
	}
}

/*
 * Without a free descriptor, accept() fails and the listening socket stays readable: the loop would
 * spin. The spare one makes room to accept and close.
 */
static void server_turn_away(struct varlink_server *server)
{
	int fd;

	if (server->spare_fd >= 0)
		close(TAKE_FD(server->spare_fd));
	fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		close_at_once(fd);
	server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static int server_on_accept(
	sd_event_source *source, int listen_fd, uint32_t revents, void *userdata)
{
	struct varlink_server *server = userdata;
	_cleanup_(peer_done) struct varlink_peer peer = { 0 };
	int fd;

	(void)source;
	(void)revents;

	varlink_server_rank(userdata, clock_monotonic_usec());
	fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE)
			server_turn_away(server);
		return 0;
	}

	/* Whom we can't serve finds the connection closed; the listener goes on for the others. */
	if (peer_read(fd, &peer) < 0 || !server_make_room(server, peer.uid) ||
		varlink_connection_new(server, fd, &peer) < 0)
		close_at_once(fd);
	return 0;
}

/* Whoever sends one along is told so; also where he connects before he is accepted. */
static void refuse_descriptors(int listen_fd)
{
	/* Kernels before 6.16 do not know it: closing.h. */
	(void)setsockopt(listen_fd, SOL_SOCKET, SO_PASSRIGHTS, &(int){ 0 }, sizeof(int));
}

int varlink_server_new(sd_event *event, int listen_fd, const struct varlink_service *service,
	void *userdata, struct varlink_server **ret)
{
	_cleanup_(varlink_server_freep) struct varlink_server *server = NULL;
	int r;

	server = calloc(1, sizeof(*server));
	if (!server)
		return -ENOMEM;

	server->event = sd_event_ref(event);
	server->service = service;
	server->userdata = userdata;
	server->idle_usec = VARLINK_IDLE_USEC;
	server->listen_fd = -1;
	server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (server->spare_fd < 0)
		return -errno;
	r = closing_prepare();
	if (r < 0)
		return r;
	refuse_descriptors(listen_fd);
	r = sd_event_add_io(event, &server->accept, listen_fd, EPOLLIN, server_on_accept, server);
	if (r < 0)
		return r;

	server->listen_fd = listen_fd;
	*ret = TAKE_PTR(server);
	return 0;
}

struct varlink_server *varlink_server_free(struct varlink_server *server)
{
	if (!server)
		return NULL;

	while (server->connections)
		varlink_connection_close(server->connections);
	sd_event_source_disable_unref(server->accept);
	if (server->listen_fd >= 0)
		close_at_once(server->listen_fd);
	closep(&server->spare_fd);
	sd_event_unref(server->event);
	free(server);
	return NULL;
}

void varlink_server_set_idle(struct varlink_server *server, uint64_t idle_usec)
{
	server->idle_usec = idle_usec;
}
