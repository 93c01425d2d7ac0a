/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * libmicrohttpd without threads: its epoll instance is a source of our event loop.
 *
 * Its pool is all that a connection may need for headers, those of the answer too, and it is zeroed
 * as a whole between requests, so each connection takes all of it: small means more connections.
 *
 * Its own timeouts begin anew with each byte. Ours do not: a request must be there whole, and an
 * answer taken, before a deadline. They are all equally long, so a list in order of beginning is in
 * order of ending. What is over is shut down, and libmicrohttpd sees the end of its input.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include "agent/common/times.h"
#include "contrib/control-plane/http/request.h"
#include "contrib/control-plane/state/turn.h"

#define POOL_BYTES (12 * 1024)
#define PATIENCE_USEC_DEFAULT (60 * USEC_PER_SEC)
#define DEADLINE_ACCURACY_USEC USEC_PER_SEC
#define CONNECTIONS_MAX_DEFAULT 20000
#define SPARE_DESCRIPTORS 64
#define HANGUPS_MAX 64 /* taken at once */
/* Of libmicrohttpd, at once and without effect: headers that fill half the pool are read 128 bytes
 * a run. */
#define IDLE_RUNS 64
#define TLS_PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

static _printf_(3, 4) int fail(char **ret_error, int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(ret_error, format, arguments) < 0)
		*ret_error = NULL;
	va_end(arguments);
	return error;
}

static int server_arm_deadline(struct http_server *server)
{
	const struct connection *first = TAILQ_FIRST(&server->waiting);

	if (first)
		(void)sd_event_source_set_time(server->deadline, first->deadline_usec);
	return sd_event_source_set_enabled(
		server->deadline, first ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

void connection_wait_done(struct connection *connection)
{
	struct http_server *server = connection->daemon->server;
	bool was_first = connection == TAILQ_FIRST(&server->waiting);

	if (connection->deadline_usec == 0)
		return;
	TAILQ_REMOVE(&server->waiting, connection, waiting);
	connection->deadline_usec = 0;
	if (was_first && TAILQ_EMPTY(&server->waiting))
		(void)server_arm_deadline(server);
}

void connection_wait(struct connection *connection)
{
	struct http_server *server = connection->daemon->server;
	bool was_empty;

	connection_wait_done(connection);
	was_empty = TAILQ_EMPTY(&server->waiting);
	connection->deadline_usec = clock_monotonic_usec() + server->patience_usec;
	TAILQ_INSERT_TAIL(&server->waiting, connection, waiting);
	/* The timer of one that has left the list's head is early, which harms nobody. */
	if (was_empty)
		(void)server_arm_deadline(server);
}

static int server_on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct http_server *server = userdata;
	uint64_t now = clock_monotonic_usec();
	struct connection *connection;

	(void)source, (void)usec;
	while ((connection = TAILQ_FIRST(&server->waiting)) && connection->deadline_usec <= now) {
		TAILQ_REMOVE(&server->waiting, connection, waiting);
		connection->deadline_usec = 0;
		(void)shutdown(connection->fd, SHUT_RDWR);
	}
	return server_arm_deadline(server);
}

static int server_on_hangup(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct epoll_event events[HANGUPS_MAX];
	int n = epoll_wait(fd, events, HANGUPS_MAX, 0);

	(void)source, (void)revents, (void)userdata;
	for (int i = 0; i < n; i++) {
		struct http_request *request = events[i].data.ptr;

		/* Freed it cannot be: that happens when its daemon runs. */
		if (request->is_held)
			request_hang_up(request);
	}
	return 0;
}

static void daemon_on_connection(void *userdata, struct MHD_Connection *mhd, void **context,
	enum MHD_ConnectionNotificationCode code)
{
	struct http_daemon *daemon = userdata;
	struct connection *connection = *context;

	daemon->n_steps++;
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		connection = calloc(1, sizeof(*connection));
		daemon->n_connections++;
		*context = connection;
		if (!connection)
			return;
		connection->daemon = daemon;
		connection->fd =
			MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
		connection_wait(connection);
	} else {
		daemon->n_connections--;
		if (connection)
			connection_wait_done(connection);
		free(connection);
		*context = NULL;
	}
}

_printf_(2, 0) static void daemon_on_message(void *userdata, const char *format, va_list arguments)
{
	struct http_server *server = userdata;

	(void)vsnprintf(server->message, sizeof(server->message), format, arguments);
}

/* Accepts no more. */
static void daemon_quiesce(struct http_daemon *daemon)
{
	if (daemon->listen_fd < 0)
		return;
	(void)MHD_quiesce_daemon(daemon->mhd);
	/* Now it is ours to close. */
	closep(&daemon->listen_fd);
	daemon->listen_fd = -1;
}

static struct http_daemon *daemon_free(struct http_daemon *daemon)
{
	if (!daemon)
		return NULL;
	sd_event_source_disable_unref(daemon->ready);
	sd_event_source_disable_unref(daemon->again);
	if (daemon->mhd) {
		daemon_quiesce(daemon);
		MHD_stop_daemon(daemon->mhd);
		LIST_REMOVE(daemon, daemons);
	}
	free(daemon);
	return NULL;
}
DEFINE_CLEANUP(struct http_daemon *, daemon_free)

static void daemon_run(struct http_daemon *daemon)
{
	uint64_t n_steps = daemon->n_steps;

	(void)MHD_run(daemon->mhd);
	daemon->n_idle_runs = daemon->n_steps == n_steps ? daemon->n_idle_runs + 1 : 0;
	if (daemon->retired && daemon->n_connections == 0)
		daemon_free(daemon);
}

static int daemon_on_ready(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	(void)source, (void)fd, (void)revents;
	daemon_run(userdata);
	return 0;
}

static int daemon_on_again(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source, (void)usec;
	daemon_run(userdata);
	return 0;
}

void daemon_run_again(struct http_daemon *daemon, uint64_t delay_usec)
{
	(void)turn_at(daemon->again, clock_monotonic_usec() + delay_usec);
}

/*
 * Before the loop sleeps: libmicrohttpd may have work that its epoll instance does not show. Or it
 * thinks so: while a TLS handshake waits for its client (up to 1.0 at least) it does not notice
 * that it has read all there was. So where nothing comes of running it, it is run less and less
 * often; what arrives comes by its epoll instance.
 */
static int daemon_on_prepare(sd_event_source *source, void *userdata)
{
	struct http_daemon *daemon = userdata;
	MHD_UNSIGNED_LONG_LONG timeout_ms;
	unsigned n = daemon->n_idle_runs;
	int enabled;

	(void)source;
	if (sd_event_source_get_enabled(daemon->again, &enabled) >= 0 && enabled != SD_EVENT_OFF)
		return 0;
	if (MHD_get_timeout(daemon->mhd, &timeout_ms) == MHD_YES && timeout_ms == 0)
		daemon_run_again(daemon,
			n < IDLE_RUNS               ? 0
				: n < IDLE_RUNS + 7 ? USEC_PER_MSEC << (n - IDLE_RUNS)
						    : 100 * USEC_PER_MSEC);
	return 0;
}

static unsigned server_connections_max(const struct http_server *server)
{
	struct rlimit limit;
	unsigned n = server->n_connections_max;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= n + SPARE_DESCRIPTORS)
		return n;
	return limit.rlim_cur > 2 * SPARE_DESCRIPTORS ? (unsigned)limit.rlim_cur - SPARE_DESCRIPTORS
						      : SPARE_DESCRIPTORS;
}

/* libmicrohttpd only reads them. */
static void *unconst(const char *text)
{
	return (void *)(uintptr_t)text;
}

static struct MHD_Daemon *daemon_start(
	struct http_daemon *daemon, const char *certificate, const char *key)
{
	struct http_server *server = daemon->server;
	const struct MHD_OptionItem tls[] = {
		{ MHD_OPTION_HTTPS_MEM_CERT, 0, unconst(certificate) },
		{ MHD_OPTION_HTTPS_MEM_KEY, 0, unconst(key) },
		{ MHD_OPTION_HTTPS_PRIORITIES, 0, unconst(TLS_PRIORITIES) },
		{ MHD_OPTION_END, 0, NULL },
	};
	const struct MHD_OptionItem none = { MHD_OPTION_END, 0, NULL };
	unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG |
		(certificate ? MHD_USE_TLS : 0);

	return MHD_start_daemon(flags, 0, NULL, NULL, request_proceed, server,
		/* The first: what goes wrong with others comes here. */
		MHD_OPTION_EXTERNAL_LOGGER, daemon_on_message, server, MHD_OPTION_LISTEN_SOCKET,
		daemon->listen_fd, MHD_OPTION_URI_LOG_CALLBACK, request_begin, server,
		MHD_OPTION_NOTIFY_COMPLETED, request_end, server, MHD_OPTION_NOTIFY_CONNECTION,
		daemon_on_connection, daemon, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		(size_t)POOL_BYTES, MHD_OPTION_CONNECTION_LIMIT, server_connections_max(server),
		MHD_OPTION_PER_IP_CONNECTION_LIMIT, server->n_connections_per_address,
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_ARRAY, certificate ? tls : &none,
		MHD_OPTION_END);
}

static int daemon_new(
	struct http_server *server, const char *certificate, const char *key, char **ret_error)
{
	_cleanup_(daemon_freep) struct http_daemon *daemon = calloc(1, sizeof(*daemon));
	int epoll_fd, r;

	if (!daemon)
		return -ENOMEM;
	daemon->server = server;
	server->message[0] = '\0';
	/* libmicrohttpd closes it where it fails to start, for want of a good certificate for one.
	 */
	daemon->listen_fd = fcntl(server->listener.fd, F_DUPFD_CLOEXEC, 0);
	if (daemon->listen_fd < 0)
		return -errno;
	daemon->mhd = daemon_start(daemon, certificate, key);
	if (!daemon->mhd) {
		server->message[strcspn(server->message, "\n")] = '\0';
		return fail(ret_error, -EINVAL, "HTTP cannot be served: %s", server->message);
	}
	LIST_INSERT_HEAD(&server->daemons, daemon, daemons);
	epoll_fd = MHD_get_daemon_info(daemon->mhd, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
	r = sd_event_add_io(
		server->event, &daemon->ready, epoll_fd, EPOLLIN, daemon_on_ready, daemon);
	if (r >= 0)
		r = sd_event_source_set_prepare(daemon->ready, daemon_on_prepare);
	if (r >= 0)
		r = sd_event_add_time(server->event, &daemon->again, CLOCK_MONOTONIC, 0, 1,
			daemon_on_again, daemon);
	if (r < 0)
		return r;
	TAKE_PTR(daemon);
	return 0;
}

static int server_open(
	struct http_server *server, const struct http_options *options, char **ret_error)
{
	int r;

	if (options->routes) {
		r = http_server_add_routes(server, options->routes, options->userdata);
		if (r < 0)
			return r;
	}
	r = sd_event_add_time(server->event, &server->deadline, CLOCK_MONOTONIC, 0,
		DEADLINE_ACCURACY_USEC, server_on_deadline, server);
	if (r >= 0)
		r = sd_event_source_set_enabled(server->deadline, SD_EVENT_OFF);
	if (r < 0)
		return r;
	server->hangup_fd = epoll_create1(EPOLL_CLOEXEC);
	if (server->hangup_fd < 0)
		return -errno;
	r = sd_event_add_io(server->event, &server->hangup, server->hangup_fd, EPOLLIN,
		server_on_hangup, server);
	if (r < 0)
		return r;
	r = listener_open(&server->listener, options->listen, ret_error);
	if (r < 0)
		return r;
	if (!server->is_tls && !server->listener.is_local)
		return fail(ret_error, -EINVAL,
			"without TLS only a loopback address or a Unix socket is served");
	return daemon_new(server, options->certificate, options->key, ret_error);
}

int http_server_new(sd_event *event, const struct http_options *options, struct http_server **ret,
	char **ret_error)
{
	_cleanup_(http_server_freep) struct http_server *server = calloc(1, sizeof(*server));
	int r;

	*ret_error = NULL;
	if (!server)
		return -ENOMEM;
	server->event = sd_event_ref(event);
	server->listener.fd = -1;
	server->hangup_fd = -1;
	TAILQ_INIT(&server->waiting);
	LIST_INIT(&server->held);
	LIST_INIT(&server->daemons);
	server->admit = options->admit;
	server->userdata = options->userdata;
	server->is_tls = options->certificate;
	server->n_connections_max =
		options->n_connections_max ? options->n_connections_max : CONNECTIONS_MAX_DEFAULT;
	server->n_connections_per_address = options->n_connections_per_address;
	server->patience_usec =
		options->patience_usec ? options->patience_usec : PATIENCE_USEC_DEFAULT;
	r = server_open(server, options, ret_error);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(server);
	return 0;
}

int http_server_add_routes(
	struct http_server *server, const struct http_route *routes, void *userdata)
{
	return router_add(&server->router, routes, userdata);
}

int http_server_set_certificate(
	struct http_server *server, const char *certificate, const char *key)
{
	struct http_daemon *old = LIST_FIRST(&server->daemons);
	_cleanup_(freep) char *error = NULL;
	int r;

	if (!server->is_tls)
		return -EINVAL;
	r = daemon_new(server, certificate, key, &error);
	if (r < 0)
		return r;
	old->retired = true;
	daemon_quiesce(old);
	if (old->n_connections == 0)
		daemon_free(old);
	return 0;
}

static void server_end_held(struct http_server *server)
{
	struct http_daemon *daemon;
	struct http_request *request;

	/* Whoever held a request does not know that it is gone, and must meet no other. */
	server->is_ending = true;
	while ((request = LIST_FIRST(&server->held)))
		request_turn_away(request);
	/* Once to resume, once to send; what is behind it on the connection may come, too. */
	LIST_FOREACH(daemon, &server->daemons, daemons)
	for (int i = 0; i < 2; i++)
		(void)MHD_run(daemon->mhd);
}

struct http_server *http_server_free(struct http_server *server)
{
	struct http_daemon *daemon;

	if (!server)
		return NULL;
	LIST_FOREACH(daemon, &server->daemons, daemons)
	(void)MHD_quiesce_daemon(daemon->mhd);
	server_end_held(server);
	while ((daemon = LIST_FIRST(&server->daemons)))
		daemon_free(daemon);
	listener_close(&server->listener);
	sd_event_source_disable_unref(server->deadline);
	sd_event_source_disable_unref(server->hangup);
	closep(&server->hangup_fd);
	router_done(&server->router);
	sd_event_unref(server->event);
	free(server);
	return NULL;
}

void http_server_count(const struct http_server *server, struct http_counts *ret)
{
	const struct http_daemon *daemon;

	*ret = (struct http_counts){ .n_held = server->n_held };
	LIST_FOREACH(daemon, &server->daemons, daemons)
	ret->n_connections += daemon->n_connections;
}

static void tell_answers(const struct answers *answers, const char *route,
	void (*callback)(
		const char *route, unsigned status, uint64_t n, double seconds, void *userdata),
	void *userdata)
{
	for (unsigned i = 0; i < STATUS_CLASSES; i++)
		if (answers->n[i] > 0)
			callback(route, (i + 1) * 100, answers->n[i],
				(double)answers->usec[i] / USEC_PER_SEC, userdata);
}

void http_server_foreach_answer(const struct http_server *server,
	void (*callback)(
		const char *route, unsigned status, uint64_t n, double seconds, void *userdata),
	void *userdata)
{
	for (size_t i = 0; i < server->router.n_tables; i++) {
		const struct router_table *table = &server->router.tables[i];

		for (size_t j = 0; j < table->n_routes; j++)
			tell_answers(&table->answers[j], table->routes[j].name, callback, userdata);
	}
	tell_answers(&server->router.unrouted, "none", callback, userdata);
}
