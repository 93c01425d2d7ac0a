/* SPDX-License-Identifier: GPL-3.0-or-later */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "nft/gate.h"
#include "nft/trial.h"

struct outcome {
	int status;
	struct trial trial;
};

/* Everything that a gate may have: both protocols, ranges of ports and sources, destination NAT,
 * packets for others. */
static void make_gate(struct outcome *outcome)
{
	static const struct port_range tcp[] = { { 22, 22 }, { 5000, 5010 } },
				       udp[] = { { 53, 53 } };
	static const struct element always = {
		.sources = { .family = AF_INET,
			.first = { .bytes = { 192, 0, 2, 0 } },
			.last = { .bytes = { 192, 0, 2, 255 } } },
		.l4proto = IPPROTO_TCP,
		.ports = { 22, 22 },
	};
	static struct element grants[] = {
		{ .sources = { .family = AF_INET,
			  .first = { .bytes = { 203, 0, 113, 7 } },
			  .last = { .bytes = { 203, 0, 113, 7 } } },
			.l4proto = IPPROTO_TCP,
			.ports = { 22, 22 },
			.timeout_ms = 60000 },
		{ .sources = { .family = AF_INET6,
			  .first = { .bytes = { 0x20, 0x01, 0x0d, 0xb8 } },
			  .last = { .bytes = { 0x20, 0x01, 0x0d, 0xb8, [15] = 0xff } } },
			.l4proto = IPPROTO_UDP,
			.ports = { 53, 53 },
			.timeout_ms = 60000 },
	};
	static const struct element_list list = { .elements = grants, .n = N_ELEMENTS(grants) };
	static const struct vrfs vrfs = { .exist = true, .members = { 2 }, .n_members = 1 };
	const struct ruleset ruleset = {
		.tcp = tcp,
		.n_tcp = N_ELEMENTS(tcp),
		.udp = udp,
		.n_udp = N_ELEMENTS(udp),
		.always_allow = &always,
		.n_always_allow = 1,
		.destination_nat = true,
		.forwarding = true,
		.vrfs = &vrfs,
		.owned = true,
	};
	_cleanup_(gate_freep) struct gate *gate = NULL;
	enum gate_install found;
	const char *what = "opening netlink";

	outcome->status = gate_open(&gate);
	if (outcome->status == 0)
		outcome->status =
			gate_install(gate, &ruleset, &list, &found, &outcome->trial.owned, &what);
	snprintf(outcome->trial.what, sizeof(outcome->trial.what), "%s", what);
}

/* In a user namespace of its own, anyone may change the network namespace that belongs to it. */
static void try_in_child(int to)
{
	struct outcome outcome = { .status = -EACCES };

	if (unshare(CLONE_NEWNET) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0)
		make_gate(&outcome);
	if (write(to, &outcome, sizeof(outcome)) != sizeof(outcome))
		_exit(EXIT_FAILURE);
	_exit(EXIT_SUCCESS);
}

int trial_run(struct trial *ret)
{
	struct outcome outcome = { .status = -EIO };
	int ends[2], status;
	pid_t child;
	ssize_t n;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	fflush(NULL);
	child = fork();
	if (child == 0)
		try_in_child(ends[1]);
	status = child < 0 ? -errno : 0;
	close(ends[1]);
	if (status == 0) {
		do
			n = read(ends[0], &outcome, sizeof(outcome));
		while (n < 0 && errno == EINTR);
		while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
			;
		if (n != sizeof(outcome))
			status = -EIO;
	}
	close(ends[0]);
	*ret = outcome.trial;
	ret->what[sizeof(ret->what) - 1] = '\0';
	return status < 0 ? status : outcome.status;
}
