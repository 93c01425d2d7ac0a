/* SPDX-License-Identifier: GPL-3.0-or-later */

/*
 * Writes what this machine's kernel answers as seeds of the targets that read netlink, in a network
 * namespace of its own. Usage: kernel_seeds DIRECTORY. Where no such namespace can be made it says
 * so: targets then begin with less.
 */

#include <errno.h>
#include <fcntl.h>
#include <libnftnl/common.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <linux/inet_diag.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
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

static void dump_tables(struct netlink *netlink, struct seed *seed, uint16_t type)
{
	char buffer[256];

	(void)netlink_request(netlink,
		nftnl_nlmsg_build_hdr(buffer, type, NFPROTO_INET, NLM_F_DUMP, 0), on_message, seed);
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
		dump_tables(netlink, &all, types[i]);
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
	for (int family = AF_INET; family <= AF_INET6; family += AF_INET6 - AF_INET) {
		char buffer[256];
		struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
		struct inet_diag_req_v2 *request;

		message->nlmsg_type = SOCK_DIAG_BY_FAMILY;
		message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
		request = mnl_nlmsg_put_extra_header(message, sizeof(*request));
		request->sdiag_family = (uint8_t)family;
		request->sdiag_protocol = IPPROTO_UDP;
		request->idiag_states = 1u << TCP_ESTABLISHED;
		(void)netlink_request(netlink, message, on_message, &seed);
	}
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

static int record(void)
{
	_cleanup_(netlink_freep) struct netlink *netlink = NULL, *news = NULL;
	_cleanup_(gate_freep) struct gate *gate = NULL;
	int r;

	r = netlink_open(NETLINK_NETFILTER, 0, &netlink);
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
	return 0;
}

int main(int argc, char **argv)
{
	int r;

	if (argc != 2)
		return 2;
	directory = argv[1];
	map_root();
	r = record();
	if (r < 0)
		fprintf(stderr, "kernel_seeds: netlink: %s\n", strerror(-r));
	return 0;
}
