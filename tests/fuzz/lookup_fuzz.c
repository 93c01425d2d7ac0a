/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What the kernel answers about one connection: a byte for the family, then netlink messages of
 * sock_diag and of connection tracking. */

#include <errno.h>

#include "nft/sockets.h"
#include "nft/tracking.h"
#include "tests/fuzz/netlink.h"
#include "tests/fuzz/outside.h"

static void on_flow(const struct flow *flow, void *userdata)
{
	(void)userdata;
	CHECK(flow->family == AF_INET || flow->family == AF_INET6);
	CHECK(flow->l4proto == IPPROTO_UDP);
	CHECK(flow->remote_port != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool ipv6 = take_byte(&data, &size) & 1;
	const struct flow flow = {
		.family = ipv6 ? AF_INET6 : AF_INET,
		.l4proto = IPPROTO_TCP,
		.remote = { { 192, 0, 2, 7 } },
		.local = { { 192, 0, 2, 1 } },
		.remote_port = 40000,
		.local_port = 22,
	};
	_cleanup_(sockets_freep) struct sockets *sockets = NULL;
	_cleanup_(tracking_freep) struct tracking *tracking = NULL;
	struct flow translated;
	int r;

	CHECK(sockets_open(&sockets) == 0);
	CHECK(tracking_open(&tracking) == 0);
	kernel_answer_with(data, size);
	r = sockets_find(sockets, &flow);
	CHECK(r < 256);
	CHECK(sockets_destroy(sockets, &flow) <= 0);
	CHECK(sockets_foreach_udp(sockets, on_flow, NULL) <= 0);
	r = tracking_find(tracking, &flow, &translated);
	CHECK(r <= 1);
	CHECK(translated.family == flow.family && translated.l4proto == flow.l4proto);
	CHECK(memcmp(&translated.remote, &flow.remote, sizeof(flow.remote)) == 0);
	CHECK(tracking_forget(tracking, &flow) <= 0);
	return 0;
}
