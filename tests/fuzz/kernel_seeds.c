/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * Writes what this machine's kernel answers as seeds of the targets that read netlink, in a network
 * namespace of its own. Usage: kernel_seeds DIRECTORY [RULES ...]: files of rules that other
 * programs may have there, NAME.nft for nft(8) and NAME.iptables for iptables-nft-restore(8). Where
 * no such namespace can be made, or a program is missing, it says so: targets then begin with less.
 */

#include <errno.h>
#include <fcntl.h>
#include <libnftnl/common.h>
#include <libnftnl/set.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <spawn.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <linux/inet_diag.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>

#include "nft/gate.h"

#define SEED_BYTES_MAX 16384

static const char *directory;

/* Takes up messages until they are written as the seed of a target. */
struct seed {
	uint8_t bytes[SEED_BYTES_MAX];
	size_t n_bytes;
};

static void seed_write(const struct seed *seed, const char *target, const char *name, uint8_t first)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", directory, target);
	(void)mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/%s/%s", directory, target, name);
	file = fopen(path, "we");
	if (!file || fputc(first, file) == EOF ||
		fwrite(seed->bytes, 1, seed->n_bytes, file) != seed->n_bytes || fclose(file) != 0) {
		perror(path);
		exit(1);
	}
}

static int on_message(const struct nlmsghdr *message, void *userdata)
{
	struct seed *seed = userdata;
	size_t n = MNL_ALIGN(message->nlmsg_len);

	if (seed->n_bytes + n <= sizeof(seed->bytes)) {
		memcpy(seed->bytes + seed->n_bytes, message, message->nlmsg_len);
		seed->n_bytes += n;
	}
	return MNL_CB_OK;
}

static void dump_tables(struct netlink *netlink, struct seed *seed, uint16_t type, uint16_t family)
{
	char buffer[256];

	(void)netlink_request(netlink, nftnl_nlmsg_build_hdr(buffer, type, family, NLM_F_DUMP, 0),
		on_message, seed);
}

static void dump_set(struct netlink *netlink, struct seed *seed, enum gate_set set)
{
	char buffer[512];
	struct nlmsghdr *request =
		nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETSETELEM, NFPROTO_INET, NLM_F_DUMP, 0);

	mnl_attr_put_strz(request, NFTA_SET_ELEM_LIST_TABLE, GATE_TABLE);
	mnl_attr_put_strz(request, NFTA_SET_ELEM_LIST_SET, gate_set_definition(set)->name);
	(void)netlink_request(netlink, request, on_message, seed);
}

static void install(struct gate *gate)
{
	static const struct port_range tcp[] = { { 22, 22 }, { 5000, 5010 } },
				       udp[] = { { 53, 53 } };
	struct element elements[] = {
		{ .sources = { AF_INET, { { 192, 0, 2, 7 } }, { { 192, 0, 2, 7 } } },
			.comment = "g-1" },
		{ .sources = { AF_INET, { { 10 } }, { { 10, 255, 255, 255 } } }, .comment = "g-2" },
		{ .sources = { AF_INET6, { { 0x20, 1 } }, { { 0x20, 1 } } }, .comment = "g-3" },
	};
	const struct flow flows[] = {
		{ AF_INET, IPPROTO_UDP, { { 192, 0, 2, 7 } }, { { 192, 0, 2, 1 } }, 4000, 53 },
		{ AF_INET6, IPPROTO_UDP, { { 0x20, 1 } }, { { 0x20, 1, 1 } }, 4000, 53 },
	};
	struct flow_list list = { .n = N_ELEMENTS(flows) };
	const struct ruleset ruleset = { .tcp = tcp,
		.n_tcp = N_ELEMENTS(tcp),
		.udp = udp,
		.n_udp = N_ELEMENTS(udp),
		.destination_nat = true };
	struct flow copies[N_ELEMENTS(flows)];
	enum gate_install found;
	const char *what;
	bool owned;
	int r;

	for (size_t i = 0; i < N_ELEMENTS(elements); i++) {
		elements[i].l4proto = IPPROTO_TCP;
		elements[i].ports = tcp[0];
		elements[i].timeout_ms = 60000;
	}
	memcpy(copies, flows, sizeof(copies));
	list.flows = copies;
	r = gate_install(gate, &ruleset,
		&(struct element_list){ .elements = elements, .n = N_ELEMENTS(elements) }, &found,
		&owned, &what);
	if (r == 0)
		r = gate_add_flows(gate, &list);
	if (r < 0) {
		fprintf(stderr, "kernel_seeds: %s: %s\n", what, strerror(-r));
		exit(1);
	}
}

/* What the installation was told as, to who watches. */
static void hear(struct netlink *news, const char *name)
{
	char buffer[NETLINK_BUFFER_BYTES];
	struct seed seed = {};
	ssize_t n;

	while ((n = recv(netlink_fd(news), buffer, sizeof(buffer), MSG_DONTWAIT)) > 0)
		(void)mnl_cb_run(buffer, (size_t)n, 0, 0, on_message, &seed);
	seed_write(&seed, "news", name, 0);
}

static void tables_and_elements(struct netlink *netlink)
{
	static const uint16_t types[] = { NFT_MSG_GETTABLE, NFT_MSG_GETCHAIN, NFT_MSG_GETSET,
		NFT_MSG_GETOBJ };
	struct seed all = {};

	for (size_t i = 0; i < N_ELEMENTS(types); i++)
		dump_tables(netlink, &all, types[i], NFPROTO_INET);
	for (unsigned how = 0; how < 8; how++) {
		char name[32];

		snprintf(name, sizeof(name), "kernel-%u", how);
		seed_write(&all, "gate", name, (uint8_t)how);
	}
	for (enum gate_set set = 0; set < SET_COUNT; set++) {
		struct seed elements = {};

		dump_set(netlink, &elements, set);
		dump_set(netlink, &all, set);
		if (elements.n_bytes > 0)
			seed_write(&elements, "elements", gate_set_definition(set)->name,
				(uint8_t)set);
	}
	seed_write(&all, "gate", "kernel-lists", 3);
	seed_write(&all, "gate", "kernel-install", 4);
}

/* Runs a program with the file as its input (NULL: none). Returns 0; -1, what is wrong being told.
 */
static int run(char *const *words, const char *input)
{
	posix_spawn_file_actions_t actions;
	int status = -1, r;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(
		&actions, STDIN_FILENO, input ? input : "/dev/null", O_RDONLY, 0);
	r = posix_spawnp(&pid, words[0], &actions, NULL, words, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r != 0) {
		fprintf(stderr, "kernel_seeds: %s: %s\n", words[0], strerror(r));
		return -1;
	}
	return waitpid(pid, &status, 0) == pid && status == 0 ? 0 : -1;
}

struct sets {
	struct netlink *netlink;
	struct seed *seed;
};

/* The set's elements, in a request of their own: one at a time is all that a socket can do. */
static int on_set(const struct nlmsghdr *message, void *userdata)
{
	struct nftnl_set *set = nftnl_set_alloc();
	struct sets *sets = userdata;
	char buffer[1024];
	struct nlmsghdr *request;

	if (set && nftnl_set_nlmsg_parse(message, set) == 0) {
		request = nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETSETELEM,
			(uint16_t)nftnl_set_get_u32(set, NFTNL_SET_FAMILY), NLM_F_DUMP, 0);
		mnl_attr_put_strz(
			request, NFTA_SET_ELEM_LIST_TABLE, nftnl_set_get_str(set, NFTNL_SET_TABLE));
		mnl_attr_put_strz(
			request, NFTA_SET_ELEM_LIST_SET, nftnl_set_get_str(set, NFTNL_SET_NAME));
		(void)netlink_request(sets->netlink, request, on_message, sets->seed);
	}
	nftnl_set_free(set);
	return MNL_CB_OK;
}

/* What is asked of the kernel to read all rules, of which those of the file are all there are. */
static void foreign_rules(struct netlink *netlink, struct netlink *another, const char *path)
{
	static const uint16_t types[] = { NFT_MSG_GETTABLE, NFT_MSG_GETCHAIN, NFT_MSG_GETRULE,
		NFT_MSG_GETSET };
	char *const flush[] = { "nft", "flush", "ruleset", NULL };
	char *const nft[] = { "nft", "-f", "-", NULL };
	char *const iptables[] = { "iptables-nft-restore", NULL };
	const char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
	struct seed seed = {};
	struct sets sets = { another, &seed };
	char buffer[256];

	if (run(flush, NULL) < 0)
		return;
	if (run(dot && strcmp(dot, ".iptables") == 0 ? iptables : nft, path) < 0) {
		fprintf(stderr, "kernel_seeds: %s: the kernel has not taken it\n", path);
		return;
	}
	for (size_t i = 0; i < N_ELEMENTS(types); i++)
		dump_tables(netlink, &seed, types[i], NFPROTO_UNSPEC);
	(void)netlink_request(netlink,
		nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETSET, NFPROTO_UNSPEC, NLM_F_DUMP, 0),
		on_set, &sets);
	/* The port is 22; of every kind of probe. */
	for (unsigned how = 22; how < 256; how += 32) {
		char name[64];

		snprintf(name, sizeof(name), "%s-%u", slash ? slash + 1 : path, how / 32);
		seed_write(&seed, "firewall", name, (uint8_t)how);
	}
}

static void ask_route(struct netlink *netlink, struct seed *seed, uint16_t type, uint8_t family)
{
	char buffer[256];
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);

	message->nlmsg_type = type;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	((struct rtgenmsg *)mnl_nlmsg_put_extra_header(message, sizeof(struct ifinfomsg)))
		->rtgen_family = family;
	(void)netlink_request(netlink, message, on_message, seed);
}

static void ask_sockets(struct netlink *netlink, struct seed *seed, uint8_t family,
	uint8_t protocol, unsigned state)
{
	char buffer[256];
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct inet_diag_req_v2 *request;

	message->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	request = mnl_nlmsg_put_extra_header(message, sizeof(*request));
	request->sdiag_family = family;
	request->sdiag_protocol = protocol;
	request->idiag_states = 1u << state;
	(void)netlink_request(netlink, message, on_message, seed);
}

/* Of the machine itself: a namespace that was made now has no interface but lo. */
static void host(void)
{
	_cleanup_(netlink_freep) struct netlink *route = NULL, *diag = NULL;
	static const uint8_t families[] = { AF_INET, AF_INET6 };
	struct seed seed = {};

	if (netlink_open(NETLINK_ROUTE, 0, &route) < 0 ||
		netlink_open(NETLINK_SOCK_DIAG, 0, &diag) < 0)
		return;
	for (size_t i = 0; i < N_ELEMENTS(families); i++) {
		ask_route(route, &seed, RTM_GETROUTE, families[i]);
		ask_sockets(diag, &seed, families[i], IPPROTO_TCP, TCP_LISTEN);
		ask_sockets(diag, &seed, families[i], IPPROTO_UDP, TCP_CLOSE);
	}
	ask_route(route, &seed, RTM_GETLINK, AF_UNSPEC);
	seed_write(&seed, "host", "kernel", 0);
}

/* UDP sockets that are connected to themselves, of both families. */
static void lookups(void)
{
	const struct sockaddr_in address = { AF_INET, htons(5353), { htonl(INADDR_LOOPBACK) }, {} };
	const struct sockaddr_in6 address6 = { .sin6_family = AF_INET6,
		.sin6_port = htons(5354),
		.sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int fd6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq loopback = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	struct netlink *netlink;
	struct seed seed = {};

	if (ioctl(fd, SIOCSIFFLAGS, &loopback) < 0 ||
		netlink_open(NETLINK_SOCK_DIAG, 0, &netlink) < 0)
		return;
	(void)bind(fd, (const struct sockaddr *)&address, sizeof(address));
	(void)connect(fd, (const struct sockaddr *)&address, sizeof(address));
	(void)bind(fd6, (const struct sockaddr *)&address6, sizeof(address6));
	(void)connect(fd6, (const struct sockaddr *)&address6, sizeof(address6));
	ask_sockets(netlink, &seed, AF_INET, IPPROTO_UDP, TCP_ESTABLISHED);
	ask_sockets(netlink, &seed, AF_INET6, IPPROTO_UDP, TCP_ESTABLISHED);
	netlink_free(netlink);
	close(fd);
	close(fd6);
	seed_write(&seed, "lookup", "kernel-sockets", 0);
	seed_write(&seed, "news", "kernel-sockets", 2);
}

static void map_root(void)
{
	const struct {
		const char *path;
		unsigned id;
	} maps[] = { { "/proc/self/uid_map", getuid() }, { "/proc/self/gid_map", getgid() } };

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) {
		fprintf(stderr, "kernel_seeds: no network namespace can be made (%s)\n",
			strerror(errno));
		exit(0);
	}
	for (size_t i = 0; i < N_ELEMENTS(maps); i++) {
		int deny = open("/proc/self/setgroups", O_WRONLY | O_CLOEXEC);
		int fd = open(maps[i].path, O_WRONLY | O_CLOEXEC);

		if (deny >= 0 && write(deny, "deny", 4) == 4)
			close(deny);
		if (fd < 0 || dprintf(fd, "0 %u 1", maps[i].id) < 0)
			perror(maps[i].path);
		close(fd);
	}
}

static int record(char *const *rules)
{
	_cleanup_(netlink_freep) struct netlink *netlink = NULL, *another = NULL, *news = NULL;
	_cleanup_(gate_freep) struct gate *gate = NULL;
	int r;

	r = netlink_open(NETLINK_NETFILTER, 0, &netlink);
	if (r == 0)
		r = netlink_open(NETLINK_NETFILTER, 0, &another);
	if (r == 0)
		r = netlink_open(NETLINK_NETFILTER, SOCK_NONBLOCK, &news);
	if (r == 0)
		r = netlink_join(news, NFNLGRP_NFTABLES);
	if (r == 0)
		r = gate_open(&gate);
	if (r < 0)
		return r;
	install(gate);
	hear(news, "kernel-installed");
	tables_and_elements(netlink);
	(void)gate_remove(gate);
	hear(news, "kernel-removed");
	lookups();
	for (; *rules; rules++)
		foreign_rules(netlink, another, *rules);
	return 0;
}

int main(int argc, char **argv)
{
	int r;

	if (argc < 2)
		return 2;
	directory = argv[1];
	host();
	map_root();
	r = record(argv + 2);
	if (r < 0)
		fprintf(stderr, "kernel_seeds: netlink: %s\n", strerror(-r));
	return 0;
}
