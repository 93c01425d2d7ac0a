/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * What one packet costs in several namespaces that differ in their rules only:
 *
 *   packets KIND ROUNDS PHASES CLIENT,SERVER,NUMBER…
 *
 * KIND is udp4, udp6, syn4, syn6, ack4, ack6, flood4 or flood6.
 *
 * A veth pair leads from the namespace CLIENT to SERVER, with the addresses that make_address()
 * says. Bursts go to one server after the other, round after round, and what their median costs is
 * printed, and the median of what each costs more than the first one of the same round. Sender and
 * receiver are on one CPU: the packet is through the receiver's rules, and in its socket or
 * dropped, when send() returns. Of several phases each has its own results, and all but the first
 * begin when a line is read: what reads the results changes the rules in between.
 */

#include <arpa/inet.h>
#include <linux/ipv6.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "tests/bench/bench.h"

#define BURST 64
#define PAYLOAD_BYTES 16
#define SERVERS_MAX 12
#define WARM_UP_ROUNDS 50
#define UNMANAGED_PORT 9999
#define MANAGED_PORT 22
#define FLOOD_SOURCES 65536

union address {
	struct sockaddr generic;
	struct sockaddr_in ipv4;
	struct sockaddr_in6 ipv6;
};

struct kind {
	const char *name;
	int family;
	int protocol;
	bool ack;
	bool flood; /* each packet from another source */
};

static const struct kind kinds[] = {
	{ "udp4", AF_INET, IPPROTO_UDP, false, false },
	{ "udp6", AF_INET6, IPPROTO_UDP, false, false },
	{ "syn4", AF_INET, IPPROTO_TCP, false, false },
	{ "syn6", AF_INET6, IPPROTO_TCP, false, false },
	{ "ack4", AF_INET, IPPROTO_TCP, true, false },
	{ "ack6", AF_INET6, IPPROTO_TCP, true, false },
	{ "flood4", AF_INET, IPPROTO_TCP, false, true },
	{ "flood6", AF_INET6, IPPROTO_TCP, false, true },
};

struct packet4 {
	struct iphdr ip;
	struct tcphdr tcp;
};

struct packet6 {
	struct ipv6hdr ip;
	struct tcphdr tcp;
};

struct server {
	const char *name;
	union address address, client;
	int from; /* the client's socket */
	int to; /* the server's, or -1 */
	struct mmsghdr messages[BURST];
	struct iovec vectors[BURST];
	union {
		char payload[PAYLOAD_BYTES];
		struct packet4 ipv4;
		struct packet6 ipv6;
	} packets[BURST];
	struct samples costs, extras;
	double cost;
	size_t n_sent, n_delivered;
};

static void make_address(int family, size_t index, int host, uint16_t port, union address *ret)
{
	char text[64];

	memset(ret, 0, sizeof(*ret));
	ret->generic.sa_family = family;
	if (family == AF_INET) {
		snprintf(text, sizeof(text), "10.9.%zu.%d", index, host);
		ret->ipv4.sin_port = htons(port);
		inet_pton(family, text, &ret->ipv4.sin_addr);
	} else {
		snprintf(text, sizeof(text), "fd09:0:0:%zu::%d", index, host);
		ret->ipv6.sin6_port = htons(port);
		inet_pton(family, text, &ret->ipv6.sin6_addr);
	}
}

static socklen_t address_size(const union address *address)
{
	return address->generic.sa_family == AF_INET ? sizeof(address->ipv4)
						     : sizeof(address->ipv6);
}

static int socket_make(int family, int type, int protocol)
{
	int fd = socket(family, type | SOCK_CLOEXEC, protocol);

	if (fd < 0)
		err(EXIT_FAILURE, "socket");
	return fd;
}

static uint32_t sum_words(const void *data, size_t n_bytes, uint32_t sum)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i + 1 < n_bytes; i += 2)
		sum += bytes[i] << 8 | bytes[i + 1];
	return sum;
}

static uint16_t sum_fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons(~sum);
}

static void fill_tcp(struct tcphdr *tcp, const struct kind *kind, uint32_t number)
{
	tcp->source = htons(1024 + number % 60000);
	tcp->dest = htons(MANAGED_PORT);
	tcp->seq = htonl(number * 7919);
	tcp->doff = sizeof(*tcp) / 4;
	tcp->syn = !kind->ack;
	tcp->ack = kind->ack;
	tcp->ack_seq = kind->ack ? htonl(1) : 0;
	tcp->window = htons(64240);
}

static void fill_packet(struct server *server, const struct kind *kind, size_t i, uint32_t number)
{
	uint32_t sum = IPPROTO_TCP + sizeof(struct tcphdr), source = number % FLOOD_SOURCES;

	if (kind->family == AF_INET) {
		struct packet4 *packet = &server->packets[i].ipv4;

		memset(packet, 0, sizeof(*packet));
		packet->ip.version = 4;
		packet->ip.ihl = 5;
		packet->ip.ttl = 64;
		packet->ip.protocol = IPPROTO_TCP;
		packet->ip.tot_len = htons(sizeof(*packet));
		packet->ip.saddr = kind->flood ? htonl(0xc6120000 + source)
					       : server->client.ipv4.sin_addr.s_addr;
		packet->ip.daddr = server->address.ipv4.sin_addr.s_addr;
		fill_tcp(&packet->tcp, kind, number);
		sum = sum_words(&packet->ip.saddr, 8, sum);
		packet->tcp.check = sum_fold(sum_words(&packet->tcp, sizeof(packet->tcp), sum));
	} else {
		struct packet6 *packet = &server->packets[i].ipv6;

		memset(packet, 0, sizeof(*packet));
		packet->ip.version = 6;
		packet->ip.hop_limit = 64;
		packet->ip.nexthdr = IPPROTO_TCP;
		packet->ip.payload_len = htons(sizeof(packet->tcp));
		packet->ip.saddr = server->client.ipv6.sin6_addr;
		if (kind->flood)
			packet->ip.saddr.s6_addr32[3] = htonl(source + 0x10000);
		packet->ip.daddr = server->address.ipv6.sin6_addr;
		fill_tcp(&packet->tcp, kind, number);
		sum = sum_words(&packet->ip.saddr, 32, sum);
		packet->tcp.check = sum_fold(sum_words(&packet->tcp, sizeof(packet->tcp), sum));
	}
}

static size_t packet_bytes(const struct kind *kind)
{
	if (kind->protocol == IPPROTO_UDP)
		return PAYLOAD_BYTES;
	return kind->family == AF_INET ? sizeof(struct packet4) : sizeof(struct packet6);
}

static void drain(struct server *server)
{
	char bytes[BURST][PAYLOAD_BYTES];
	struct mmsghdr messages[BURST] = {};
	struct iovec vectors[BURST];
	int n;

	if (server->to < 0)
		return;
	for (size_t i = 0; i < BURST; i++) {
		vectors[i] = (struct iovec){ bytes[i], PAYLOAD_BYTES };
		messages[i].msg_hdr.msg_iov = &vectors[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	while ((n = recvmmsg(server->to, messages, BURST, MSG_DONTWAIT, NULL)) > 0)
		server->n_delivered += n;
}

/* A flow in both directions: connection tracking has it established, as most packets are. */
static void open_udp(struct server *server, const struct kind *kind)
{
	const struct timeval patience = { .tv_sec = 5 };
	union address from, to;
	socklen_t n = sizeof(from);
	char byte = 0;

	namespace_enter(server->name);
	server->to = socket_make(kind->family, SOCK_DGRAM, 0);
	to = server->address;
	if (bind(server->to, &to.generic, address_size(&to)) < 0)
		err(EXIT_FAILURE, "%s: bind", server->name);
	if (setsockopt(server->to, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
		setsockopt(server->from, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
		err(EXIT_FAILURE, "%s: SO_RCVTIMEO", server->name);
	if (connect(server->from, &to.generic, address_size(&to)) < 0 ||
		send(server->from, &byte, 1, 0) < 0 ||
		recvfrom(server->to, &byte, 1, 0, &from.generic, &n) < 0 ||
		sendto(server->to, &byte, 1, 0, &from.generic, n) < 0 ||
		recv(server->from, &byte, 1, 0) < 0)
		err(EXIT_FAILURE, "%s: can't exchange packets", server->name);
}

static void server_open(struct server *server, const struct kind *kind, const char *client,
	const char *name, size_t index)
{
	const struct timeval patience = { .tv_sec = 5 };
	bool udp = kind->protocol == IPPROTO_UDP;

	server->name = name;
	server->to = -1;
	make_address(kind->family, index, 1, udp ? UNMANAGED_PORT : 0, &server->address);
	make_address(kind->family, index, 2, 0, &server->client);
	namespace_enter(client);
	server->from = udp ? socket_make(kind->family, SOCK_DGRAM, 0)
			   : socket_make(kind->family, SOCK_RAW, IPPROTO_RAW);
	/* Bound, so that choosing a source address is no part of what is measured. */
	if (!udp && bind(server->from, &server->client.generic, address_size(&server->client)) < 0)
		err(EXIT_FAILURE, "%s: bind", name);
	if (setsockopt(server->from, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0)
		err(EXIT_FAILURE, "%s: SO_SNDTIMEO", name);
	if (udp)
		open_udp(server, kind);
	for (size_t i = 0; i < BURST; i++) {
		server->vectors[i] = (struct iovec){ &server->packets[i], packet_bytes(kind) };
		server->messages[i].msg_hdr.msg_iov = &server->vectors[i];
		server->messages[i].msg_hdr.msg_iovlen = 1;
		if (!udp) {
			server->messages[i].msg_hdr.msg_name = &server->address;
			server->messages[i].msg_hdr.msg_namelen = address_size(&server->address);
		}
	}
}

static void server_burst(struct server *server, const struct kind *kind, uint32_t number)
{
	double from;

	for (size_t i = 0; i < BURST && kind->protocol == IPPROTO_TCP; i++)
		fill_packet(server, kind, i, kind->flood ? number + i : i);
	from = now_ns();
	if (sendmmsg(server->from, server->messages, BURST, 0) != BURST)
		err(EXIT_FAILURE, "%s: sendmmsg", server->name);
	server->cost = (now_ns() - from) / BURST;
	drain(server);
}

/* Each round begins with another server, so that none always follows the same one. */
static void measure_round(struct server *servers, size_t n, const struct kind *kind, uint32_t round)
{
	for (size_t i = 0; i < n; i++)
		server_burst(&servers[(round + i) % n], kind, round * BURST);
	for (size_t i = 0; i < n && round >= WARM_UP_ROUNDS; i++) {
		samples_add(&servers[i].costs, servers[i].cost);
		samples_add(&servers[i].extras, servers[i].cost - servers[0].cost);
		servers[i].n_sent += BURST;
	}
	for (size_t i = 0; i < n && round < WARM_UP_ROUNDS; i++)
		servers[i].n_delivered = 0;
}

static const struct kind *kind_find(const char *name)
{
	for (size_t i = 0; i < N_ELEMENTS(kinds); i++)
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	errx(EXIT_FAILURE, "%s: no such kind", name);
}

static void print_results(struct server *servers, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct server *server = &servers[i];

		if (server->to >= 0 && server->n_delivered != server->n_sent)
			errx(EXIT_FAILURE, "%s: %zu of %zu packets were delivered", server->name,
				server->n_delivered, server->n_sent);
		printf("%s %.2f %.2f\n", server->name, samples_quantile(&server->costs, 0.5),
			samples_quantile(&server->extras, 0.5));
		server->costs.n = server->extras.n = 0;
		server->n_sent = server->n_delivered = 0;
	}
	fflush(stdout);
}

static void measure_phase(
	struct server *servers, size_t n, const struct kind *kind, uint32_t n_rounds)
{
	for (uint32_t round = 0; round < n_rounds; round++)
		measure_round(servers, n, kind, round);
	print_results(servers, n);
}

int main(int argc, char **argv)
{
	static struct server servers[SERVERS_MAX];
	const struct kind *kind;
	size_t n = argc - 4;
	uint32_t n_rounds;
	char line[8];

	if (argc < 5 || n > SERVERS_MAX)
		errx(2, "usage: packets KIND ROUNDS PHASES CLIENT,SERVER,NUMBER...");
	kind = kind_find(argv[1]);
	n_rounds = atoi(argv[2]) + WARM_UP_ROUNDS;
	pin_to_cpu(0);
	for (size_t i = 0; i < n; i++) {
		const char *client = strtok(argv[4 + i], ","), *name = strtok(NULL, ",");
		const char *number = strtok(NULL, ",");

		if (!number)
			errx(2, "a server is CLIENT,SERVER,NUMBER");
		server_open(&servers[i], kind, client, name, atoi(number));
	}
	measure_phase(servers, n, kind, n_rounds);
	for (int phase = 1; phase < atoi(argv[3]) && fgets(line, sizeof(line), stdin); phase++)
		measure_phase(servers, n, kind, n_rounds);
	return EXIT_SUCCESS;
}
