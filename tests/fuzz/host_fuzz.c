/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What the kernel says of this host: a byte for the family, then netlink messages: interfaces,
 * those that belong to VRFs, default routes, sockets that wait for strangers. */

#include "nft/links.h"
#include "nft/listeners.h"
#include "nft/vrfs.h"
#include "tests/fuzz/netlink.h"
#include "tests/fuzz/outside.h"

static void check_links(uint8_t family)
{
	struct links links;
	const struct link *outside;

	if (links_read(&links) < 0)
		return;
	CHECK(links.n <= LINKS_MAX);
	for (size_t i = 0; i < links.n; i++)
		CHECK(memchr(links.links[i].name, '\0', sizeof(links.links[i].name)));
	outside = links_outside(&links, family);
	CHECK(!outside || (outside >= links.links && outside < links.links + links.n));
}

static void check_vrfs(void)
{
	static struct vrfs vrfs, again;

	if (vrfs_read(&vrfs) < 0)
		return;
	CHECK(vrfs.n_members <= VRF_MEMBERS_MAX);
	CHECK(vrfs_read(&again) == 0 && vrfs_are_same(&vrfs, &again));
}

static void check_listeners(uint8_t family)
{
	_cleanup_(listener_list_done) struct listener_list list = {};
	static const struct address zero;

	if (listeners_read(&list) < 0)
		return;
	CHECK(list.n <= LISTENERS_MAX);
	for (size_t i = 0; i < list.n; i++) {
		const struct listener *listener = &list.listeners[i];
		size_t n = address_bytes(listener->family);

		CHECK(listener->port != 0);
		CHECK(listener->family == AF_INET || listener->family == AF_INET6);
		CHECK(memcmp(listener->address.bytes + n, zero.bytes, sizeof(zero.bytes) - n) == 0);
		(void)listener_is_loopback(listener);
		CHECK(listener_takes(listener, listener->family));
		(void)listener_takes(listener, family);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t family = take_byte(&data, &size) & 1 ? AF_INET6 : AF_INET;

	kernel_answer_with(data, size);
	check_links(family);
	check_vrfs();
	check_listeners(family);
	return 0;
}
