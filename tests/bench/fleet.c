/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * Many agents that hold a request each:
 *
 *   fleet ADDRESS PORT plain|tls AGENTS      AGENTS: a file with "vmId credential" a line
 *
 * Each asks for its documents, again and again, as jitgate-poll does. Prints "held N" once all N
 * wait, and then for each answer with documents "INDEX N_DOCUMENTS SECONDS", by CLOCK_REALTIME.
 * Ends with its standard input.
 */

#include <arpa/inet.h>
#include <jansson.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "tests/bench/bench.h"

#define ANSWER_BYTES_MAX (256 * 1024)
#define CONNECTING_MAX 128 /* at once: the listener's queue has an end */
#define WAIT_SECONDS 300

struct agent {
	char *path; /* of the VM's documents */
	char *credential;
	char cursor[160];
	int fd;
	SSL *tls;
	bool connected;
	bool holds; /* waits for what is new */
	char *answer;
	size_t n_answer;
};

struct fleet {
	struct agent *agents;
	size_t n_agents;
	size_t n_begun;
	size_t n_connecting;
	size_t n_holding;
	bool told;
	int epoll;
	SSL_CTX *context;
	struct sockaddr_in address;
};

static char *encode_segment(const char *text)
{
	static const char unreserved[] = "-._~";
	char *encoded = malloc(3 * strlen(text) + 1);
	char *to = encoded;

	if (!encoded)
		err(EXIT_FAILURE, "agents");
	for (; *text; text++)
		if ((*text >= '0' && *text <= '9') || (*text >= 'a' && *text <= 'z') ||
			(*text >= 'A' && *text <= 'Z') || strchr(unreserved, *text))
			*to++ = *text;
		else
			to += sprintf(to, "%%%02X", (unsigned char)*text);
	*to = '\0';
	return encoded;
}

static void fleet_read_agents(struct fleet *fleet, const char *path)
{
	_cleanup_(fclosep) FILE *file = fopen(path, "re");
	char id[1024], credential[256];

	if (!file)
		err(EXIT_FAILURE, "%s", path);
	while (fscanf(file, "%1023s %255s", id, credential) == 2) {
		_cleanup_(freep) char *segment = encode_segment(id);
		struct agent *agent;

		fleet->agents =
			reallocarray(fleet->agents, fleet->n_agents + 1, sizeof(*fleet->agents));
		if (!fleet->agents)
			err(EXIT_FAILURE, "agents");
		agent = &fleet->agents[fleet->n_agents++];
		*agent = (struct agent){ .fd = -1, .credential = strdup(credential) };
		if (!agent->credential ||
			asprintf(&agent->path, "/v1/vms/%s/documents", segment) < 0)
			err(EXIT_FAILURE, "agents");
	}
}

/* Requests are short and the socket's buffer is empty: what is sent is sent whole. */
static void agent_send(struct agent *agent, const char *bytes, int n)
{
	ssize_t sent = agent->tls ? SSL_write(agent->tls, bytes, n) : send(agent->fd, bytes, n, 0);

	if (sent != n)
		errx(EXIT_FAILURE, "an agent can't send its request");
}

static void agent_ask(struct agent *agent)
{
	char request[4096];
	int n;

	n = snprintf(request, sizeof(request),
		"GET %s?wait=%d%s%s HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\n\r\n",
		agent->path, WAIT_SECONDS, agent->cursor[0] ? "&after=" : "", agent->cursor,
		agent->credential);
	agent_send(agent, request, n);
}

static void fleet_begin(struct fleet *fleet)
{
	struct agent *agent = &fleet->agents[fleet->n_begun];
	struct epoll_event event = { .events = EPOLLOUT, .data.ptr = agent };
	int one = 1;

	agent->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (agent->fd < 0)
		err(EXIT_FAILURE, "socket");
	(void)setsockopt(agent->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(agent->fd, (struct sockaddr *)&fleet->address, sizeof(fleet->address)) < 0 &&
		errno != EINPROGRESS)
		err(EXIT_FAILURE, "connect");
	if (fleet->context) {
		agent->tls = SSL_new(fleet->context);
		if (!agent->tls || SSL_set_fd(agent->tls, agent->fd) != 1)
			errx(EXIT_FAILURE, "TLS");
	}
	if (epoll_ctl(fleet->epoll, EPOLL_CTL_ADD, agent->fd, &event) < 0)
		err(EXIT_FAILURE, "epoll");
	fleet->n_begun++;
	fleet->n_connecting++;
}

static void fleet_want(struct fleet *fleet, struct agent *agent, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = agent };

	if (epoll_ctl(fleet->epoll, EPOLL_CTL_MOD, agent->fd, &event) < 0)
		err(EXIT_FAILURE, "epoll");
}

static void agent_connect(struct fleet *fleet, struct agent *agent)
{
	int error = 0;
	socklen_t n = sizeof(error);

	if (getsockopt(agent->fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0 || error)
		errx(EXIT_FAILURE, "connect: %s", strerror(error));
	if (agent->tls) {
		int r = SSL_connect(agent->tls);

		if (r != 1) {
			int why = SSL_get_error(agent->tls, r);

			if (why == SSL_ERROR_WANT_READ)
				fleet_want(fleet, agent, EPOLLIN);
			else if (why == SSL_ERROR_WANT_WRITE)
				fleet_want(fleet, agent, EPOLLOUT);
			else
				errx(EXIT_FAILURE, "TLS: no handshake");
			return;
		}
	}
	agent->connected = true;
	fleet->n_connecting--;
	fleet_want(fleet, agent, EPOLLIN);
	agent_ask(agent);
}

static void print_answer(struct fleet *fleet, struct agent *agent, size_t n_documents)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	printf("%td %zu %jd.%06ld\n", agent - fleet->agents, n_documents, (intmax_t)now.tv_sec,
		now.tv_nsec / 1000);
}

/* The body of a 200, or none: a 204. */
static void agent_take(struct fleet *fleet, struct agent *agent, const char *body, size_t n)
{
	json_auto_t *json = n ? json_loadb(body, n, 0, NULL) : NULL;
	const char *cursor = json_string_value(json_object_get(json, "cursor"));
	size_t n_documents = json_array_size(json_object_get(json, "documents"));

	if (n && !cursor)
		errx(EXIT_FAILURE, "an answer without a cursor: %.200s", body);
	if (cursor)
		snprintf(agent->cursor, sizeof(agent->cursor), "%s", cursor);
	if (n_documents && agent->holds)
		print_answer(fleet, agent, n_documents);
	if (!agent->holds) {
		agent->holds = true;
		fleet->n_holding++;
	}
	agent_ask(agent);
}

/* Returns how many bytes the answer takes, or 0 where it is not whole yet. */
static size_t answer_size(const char *text, size_t n, size_t *ret_head)
{
	const char *end = memmem(text, n, "\r\n\r\n", 4);
	const char *length;

	if (!end)
		return 0;
	*ret_head = end + 4 - text;
	length = strcasestr(text, "\r\nContent-Length:");
	return *ret_head + (length && length < end ? strtoul(length + 17, NULL, 10) : 0);
}

static void agent_receive(struct fleet *fleet, struct agent *agent)
{
	static char bytes[ANSWER_BYTES_MAX];
	size_t size, head = 0;
	ssize_t n;

	n = agent->tls ? SSL_read(agent->tls, bytes, sizeof(bytes) - 1)
		       : recv(agent->fd, bytes, sizeof(bytes) - 1, 0);
	if (n < 0 && agent->tls && SSL_get_error(agent->tls, n) == SSL_ERROR_WANT_READ)
		return;
	if (n <= 0)
		errx(EXIT_FAILURE, "the server closed a connection");
	agent->answer = realloc(agent->answer, agent->n_answer + n + 1);
	if (!agent->answer)
		err(EXIT_FAILURE, "answer");
	memcpy(agent->answer + agent->n_answer, bytes, n);
	agent->n_answer += n;
	agent->answer[agent->n_answer] = '\0';
	size = answer_size(agent->answer, agent->n_answer, &head);
	if (size == 0 || agent->n_answer < size)
		return;
	if (strncmp(agent->answer, "HTTP/1.1 20", 11) != 0)
		errx(EXIT_FAILURE, "an agent is answered: %.300s", agent->answer);
	agent_take(fleet, agent, agent->answer + head, size - head);
	free(agent->answer);
	agent->answer = NULL;
	agent->n_answer = 0;
}

/* Returns false at the end of standard input. */
static bool fleet_turn(struct fleet *fleet)
{
	struct epoll_event events[256];
	int n = epoll_wait(fleet->epoll, events, N_ELEMENTS(events), -1);

	if (n < 0 && errno != EINTR)
		err(EXIT_FAILURE, "epoll");
	for (int i = 0; i < n; i++) {
		struct agent *agent = events[i].data.ptr;

		if (!agent)
			return false;
		if (!agent->connected)
			agent_connect(fleet, agent);
		else
			do /* TLS may have read more than was asked for */
				agent_receive(fleet, agent);
			while (agent->tls && SSL_pending(agent->tls) > 0);
	}
	return true;
}

static void fleet_run(struct fleet *fleet)
{
	do {
		while (fleet->n_begun < fleet->n_agents && fleet->n_connecting < CONNECTING_MAX)
			fleet_begin(fleet);
		if (!fleet->told && fleet->n_holding == fleet->n_agents) {
			printf("held %zu\n", fleet->n_holding);
			fleet->told = true;
		}
		fflush(stdout);
	} while (fleet_turn(fleet));
}

int main(int argc, char **argv)
{
	struct fleet fleet = { .address = { .sin_family = AF_INET } };
	struct epoll_event input = { .events = EPOLLIN | EPOLLHUP };
	struct rlimit limit;

	if (argc != 5)
		errx(2, "usage: fleet ADDRESS PORT plain|tls AGENTS");
	if (inet_pton(AF_INET, argv[1], &fleet.address.sin_addr) != 1)
		errx(2, "%s is no IPv4 address", argv[1]);
	fleet.address.sin_port = htons(atoi(argv[2]));
	if (strcmp(argv[3], "tls") == 0) {
		fleet.context = SSL_CTX_new(TLS_client_method());
		if (!fleet.context)
			errx(EXIT_FAILURE, "TLS");
	}
	fleet_read_agents(&fleet, argv[4]);
	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	fleet.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (fleet.epoll < 0 || epoll_ctl(fleet.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &input) < 0)
		err(EXIT_FAILURE, "epoll");
	fleet_run(&fleet);
	return EXIT_SUCCESS;
}
