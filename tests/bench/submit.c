/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * From a signed grant, written to the agent's socket, to the kernel's set and to the answer:
 *
 *   submit load SOCKET DOCUMENTS
 *           all of them; fails where one does not become active
 *   submit time COUNT [NAMESPACE SOCKET DOCUMENTS]…
 *           one to each agent in turn, COUNT times
 *
 * That the element is in the kernel, the kernel's own notification says, to a listener that has
 * nothing to do with the agent. Prints the quantiles, in microseconds, of both:
 *
 *   SOCKET kernel 0.5 0.99 answer 0.5 0.99
 */

#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/bench/bench.h"

#define MESSAGE_BYTES_MAX (64 * 1024)
#define PATIENCE_MS 10000
#define AGENTS_MAX 4

struct agent {
	const char *path;
	int fd;
	struct mnl_socket *listener;
	FILE *documents;
	struct samples kernel, answer;
};

static void agent_connect(struct agent *agent, const char *path, const char *documents)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	agent->path = path;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	agent->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (agent->fd < 0 || connect(agent->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		err(EXIT_FAILURE, "%s", path);
	agent->documents = fopen(documents, "re");
	if (!agent->documents)
		err(EXIT_FAILURE, "%s", documents);
}

static void agent_listen(struct agent *agent, const char *namespace)
{
	int group = NFNLGRP_NFTABLES;

	namespace_enter(namespace);
	agent->listener = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!agent->listener || mnl_socket_bind(agent->listener, 0, MNL_SOCKET_AUTOPID) < 0 ||
		mnl_socket_setsockopt(
			agent->listener, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		err(EXIT_FAILURE, "%s: netlink", namespace);
}

/* The next document as a call, in message. Returns how long it is, or 0 at the end. */
static size_t agent_next(struct agent *agent, char *message)
{
	char document[MESSAGE_BYTES_MAX / 2];

	if (!fgets(document, sizeof(document), agent->documents))
		return 0;
	document[strcspn(document, "\n")] = '\0';
	return snprintf(message, MESSAGE_BYTES_MAX,
		       "{\"method\":\"io.jitgate.Agent.Submit\",\"parameters\":{\"document\":\"%"
		       "s\"}}",
		       document) +
		1;
}

static bool heard_element(struct agent *agent)
{
	char buffer[32768];
	bool heard = false;
	ssize_t n;

	while ((n = mnl_socket_recvfrom(agent->listener, buffer, sizeof(buffer))) > 0) {
		const struct nlmsghdr *message = (const void *)buffer;
		int n_left = n;

		for (; mnl_nlmsg_ok(message, n_left); message = mnl_nlmsg_next(message, &n_left))
			heard |= message->nlmsg_type ==
				(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM);
	}
	return heard;
}

/* Reads on. Returns true once the answer is whole. */
static bool heard_answer(struct agent *agent, char *answer, size_t *n)
{
	ssize_t n_read = recv(agent->fd, answer + *n, MESSAGE_BYTES_MAX - *n, MSG_DONTWAIT);

	if (n_read == 0)
		errx(EXIT_FAILURE, "%s: closed", agent->path);
	if (n_read < 0 && errno != EAGAIN)
		err(EXIT_FAILURE, "%s", agent->path);
	if (n_read > 0)
		*n += n_read;
	return *n > 0 && answer[*n - 1] == '\0';
}

/* Submits one document. Returns false where there is none left. */
static bool agent_submit(struct agent *agent)
{
	static char message[MESSAGE_BYTES_MAX], answer[MESSAGE_BYTES_MAX];
	struct pollfd polls[] = {
		{ .fd = agent->fd, .events = POLLIN },
		{ .fd = agent->listener ? mnl_socket_get_fd(agent->listener) : -1,
			.events = POLLIN },
	};
	bool answered = false, in_kernel = !agent->listener;
	size_t n = agent_next(agent, message), n_answer = 0;
	double from;

	if (n == 0)
		return false;
	if (agent->listener)
		(void)heard_element(agent);
	from = now_ns();
	if (send(agent->fd, message, n, 0) != (ssize_t)n)
		err(EXIT_FAILURE, "%s", agent->path);
	while (!answered || !in_kernel) {
		if (poll(polls, N_ELEMENTS(polls), PATIENCE_MS) <= 0)
			errx(EXIT_FAILURE, "%s: waited in vain: %.*s", agent->path, (int)n_answer,
				answer);
		if (!in_kernel && polls[1].revents && heard_element(agent)) {
			in_kernel = true;
			samples_add(&agent->kernel, (now_ns() - from) / 1000);
		}
		if (!answered && polls[0].revents && heard_answer(agent, answer, &n_answer)) {
			answered = true;
			samples_add(&agent->answer, (now_ns() - from) / 1000);
		}
	}
	if (!strstr(answer, "\"active\""))
		errx(EXIT_FAILURE, "%s: %s", agent->path, answer);
	return true;
}

static int load(const char *path, const char *documents)
{
	struct agent agent = {};

	agent_connect(&agent, path, documents);
	while (agent_submit(&agent))
		;
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static struct agent agents[AGENTS_MAX];
	size_t n = (argc - 3) / 3;

	if (argc == 4 && strcmp(argv[1], "load") == 0)
		return load(argv[2], argv[3]);
	if (argc < 6 || argc % 3 != 0 || n > AGENTS_MAX || strcmp(argv[1], "time") != 0)
		errx(2,
			"usage: submit load SOCKET DOCUMENTS | submit time COUNT [NAMESPACE "
			"SOCKET DOCUMENTS]...");
	for (size_t i = 0; i < n; i++) {
		agent_connect(&agents[i], argv[4 + 3 * i], argv[5 + 3 * i]);
		agent_listen(&agents[i], argv[3 + 3 * i]);
	}
	for (long round = 0; round < atol(argv[2]); round++)
		for (size_t i = 0; i < n; i++)
			if (!agent_submit(&agents[i]))
				errx(EXIT_FAILURE, "%s: no document left", agents[i].path);
	for (size_t i = 0; i < n; i++)
		printf("%s kernel %.1f %.1f answer %.1f %.1f\n", agents[i].path,
			samples_quantile(&agents[i].kernel, 0.5),
			samples_quantile(&agents[i].kernel, 0.99),
			samples_quantile(&agents[i].answer, 0.5),
			samples_quantile(&agents[i].answer, 0.99));
	return EXIT_SUCCESS;
}
