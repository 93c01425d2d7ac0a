/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What the commands make of a control plane's answers: a byte for the command, one for how it is
 * called, then answers, a line each (plane.h). */

#include "tests/fuzz/plane.h"

#define SERVER "--server", "http://localhost:1"

static const struct call calls[] = {
	{ &command_requests, { SERVER } },
	{ &command_request, { SERVER, "web-1", "--port", "22/tcp", "--reason", "r" } },
	{ &command_approve, { SERVER, "some-id" } },
	{ &command_deny, { SERVER, "some-id", "--reason", "r" } },
	{ &command_requests_revoke, { SERVER, "some-id", "--reason", "r" } },
	{ &command_activity, { SERVER } },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	(void)call_with_lines(calls, N_ELEMENTS(calls), data, size);
	return 0;
}
