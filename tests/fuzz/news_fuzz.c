/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What the kernel tells unasked: a byte for the listener, then netlink messages: changes of
 * nf_tables, logged packets, sockets that are gone. */

#include "nft/nflog.h"
#include "nft/sockets.h"
#include "nft/watch.h"
#include "tests/fuzz/netlink.h"
#include "tests/fuzz/outside.h"

static void on_flow(const struct flow *flow, void *userdata)
{
	static const struct address zero;
	size_t n = address_bytes(flow->family);

	(void)userdata;
	CHECK(flow->family == AF_INET || flow->family == AF_INET6);
	CHECK(flow->l4proto == IPPROTO_TCP || flow->l4proto == IPPROTO_UDP);
	CHECK(memcmp(flow->remote.bytes + n, zero.bytes, sizeof(zero.bytes) - n) == 0);
	CHECK(memcmp(flow->local.bytes + n, zero.bytes, sizeof(zero.bytes) - n) == 0);
}

static void hear_watch(const uint8_t *data, size_t size)
{
	_cleanup_(watch_freep) struct watch *watch = NULL;
	struct watch_report report;

	CHECK(watch_open(1, &watch) == 0);
	kernel_tell(watch_fd(watch), data, size);
	CHECK(watch_read(watch, &report) == 0);
	CHECK(memchr(report.process, '\0', sizeof(report.process)));
}

static void hear_nflog(const uint8_t *data, size_t size)
{
	_cleanup_(nflog_freep) struct nflog *nflog = NULL;

	CHECK(nflog_open(1, 128, &nflog) == 0);
	kernel_tell(nflog_fd(nflog), data, size);
	CHECK(nflog_read(nflog, on_flow, NULL) == 0);
}

static void hear_sockets(const uint8_t *data, size_t size)
{
	_cleanup_(sockets_freep) struct sockets *sockets = NULL;

	CHECK(sockets_open(&sockets) == 0);
	CHECK(sockets_watch(sockets, &(struct port_range){ 0, UINT16_MAX }, 1) == 0);
	kernel_tell(sockets_watch_fd(sockets), data, size);
	CHECK(sockets_watch_read(sockets, on_flow, NULL) == 0);
}

static void read_packet(const uint8_t *data, size_t size)
{
	/* In memory of its own, so that reading past its end shows. */
	_cleanup_(freep) char *packet = take_text(data, size);
	struct flow flow;

	packet = realloc(packet, size ? size : 1);
	if (packet_flow((const uint8_t *)packet, size, &flow) == 0)
		on_flow(&flow, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const listeners[])(const uint8_t *data, size_t size) = {
		hear_watch,
		hear_nflog,
		hear_sockets,
		read_packet,
	};
	unsigned which = take_byte(&data, &size) % N_ELEMENTS(listeners);

	kernel_answer_with(NULL, 0);
	listeners[which](data, size);
	return 0;
}
